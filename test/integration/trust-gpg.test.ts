// SPDX-License-Identifier: Apache-2.0
/** "signedBy": simple signatures through the real gpg, each right once and wrong in every way that has a name. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope } from '../../src/base/scope.ts'
import { toGrpc } from '../../src/edge/cri/status.ts'
import { keyring } from '../../src/host/trust/gpg.ts'
import { TRUST } from '../../src/model/limits.ts'
import { native, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type GpgSigner, gpgSigner } from '../support/signing.ts'
import {
  base64,
  flipped,
  SILENT,
  type TrustFixture,
  trustFixture,
  trustRoots,
} from '../support/trust-fixture.ts'

let keys: string
let good: GpgSigner
let other: GpgSigner

let t: TrustFixture
let before: Snapshot
beforeAll(async () => {
  before = await snapshot({ roots: [trustRoots, join(tmpdir(), 'gt-keys-')], linkPrefixes: [] })
  keys = await mkdtemp(join(tmpdir(), 'gt-keys-'))
  good = await gpgSigner(keys, 'good')
  other = await gpgSigner(keys, 'other')
})
afterAll(async () => {
  await good.stop()
  await other.stop()
  await rm(keys, { recursive: true, force: true })
  await expectNoLeaks(before)
})
beforeEach(async () => {
  t = await trustFixture()
})
afterEach(() => t[Symbol.asyncDispose]())

const signedBy = (key: string, more: object = {}) => ({
  type: 'signedBy',
  keyType: 'GPGKeys',
  keyData: base64(key),
  ...more,
})

/** Text as an OpenPGP packet by itself. */
function literal(text: string): Buffer {
  const body = Buffer.concat([Buffer.from([0x62, 0, 0, 0, 0, 0]), Buffer.from(text)])
  return Buffer.concat([Buffer.from([0xcb, body.length]), body])
}

describe('"signedBy"', () => {
  beforeEach(() => t.policy([signedBy(good.publicKey)]))

  test('a signature of the manifest is accepted', async () => {
    t.lay([await good.sign(t.claim())])
    expect((await t.pull()).repoTags).toEqual([t.name()])
  })

  test('a signature of the index is accepted', async () => {
    t.lay([await good.sign(t.claim({ digest: t.index.manifest.digest }))], t.index.manifest.digest)
    await t.judge()
  })

  test('a pull by digest is accepted with a signature for any tag', async () => {
    t.lay([await good.sign(t.claim({ reference: t.name('ns/app:other') }))])
    const byDigest = t.name(`ns/app@${t.index.manifest.digest}`)
    expect((await t.pull(byDigest)).repoDigests).toEqual([byDigest])
  })

  test('one good signature among others is enough', async () => {
    const signed = await good.sign(t.claim())
    t.lay([Buffer.from('rubbish'), await other.sign(t.claim()), signed, Buffer.from('more')])
    await t.judge()
  })

  test('keys from several files, and signatures from a folder', async () => {
    await t.write('a.asc', other.publicKey)
    await t.write('b.asc', good.publicKey)
    const files = { keyData: undefined, keyPaths: [join(t.root, 'a.asc'), join(t.root, 'b.asc')] }
    await t.policy([signedBy('', files)])
    await t.registries({ lookaside: `file://${t.root}/sigs` })
    const folder = join(t.root, 'sigs', t.shelf(), '..')
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'signature-1'), await good.sign(t.claim()))
    await t.judge()
  })

  test.each<[string, () => Promise<Buffer[]>, RegExp]>([
    ['no signature', async () => [], /there is no signature below http/],
    ['the key of somebody else', async () => [await other.sign(t.claim())], /which is not one of the policy/],
    [
      'another tag',
      async () => [await good.sign(t.claim({ reference: t.name('ns/app:v2') }))],
      /is for the name/,
    ],
    [
      'another image',
      async () => [await good.sign(t.claim({ digest: t.image.config.digest }))],
      /another image/,
    ],
    [
      'the index in the place of the manifest',
      async () => [await good.sign(t.claim({ digest: t.index.manifest.digest }))],
      /another image/,
    ],
    ['rubbish', async () => [Buffer.from([1, 2, 3])], /not an OpenPGP signature/],
    ['nothing in it', async () => [Buffer.alloc(0)], /not an OpenPGP signature/],
    ['a changed byte', async () => [flipped(await good.sign(t.claim()))], /the signature: /],
    [
      'the type of cosign',
      async () => [await good.sign(t.claim({ type: 'cosign container image signature' }))],
      /of type/,
    ],
    ['what is no JSON', async () => [await good.signBytes(Buffer.from('hello'))], /not JSON/],
    [
      'a key twice',
      async () => [await good.signBytes(Buffer.from('{"critical":1,"critical":2}'))],
      /there twice/,
    ],
    [
      'SHA-1',
      async () => [await good.sign(t.claim(), ['--digest-algo', 'SHA1', '--allow-weak-digest-algos'])],
      /the signature: /,
    ],
    [
      'text without a signature in front',
      async () => [Buffer.concat([literal('{}'), await good.sign(t.claim())])],
      /the signature: /,
    ],
    ['text without a signature', async () => [literal(JSON.stringify(t.claim()))], /the signature: /],
    ['more than is read', async () => [Buffer.alloc(TRUST.signatureBytes + 1)], /larger than/],
    [
      'too many',
      async () => Array.from({ length: TRUST.signatures + 40 }, () => Buffer.from('x')),
      /and 124 more/,
    ],
  ])('%s is refused', async (_, make, message) => {
    t.lay(await make())
    await t.judgedBad(message)
  })

  test('without a signature, and with that of somebody else, there is no pull', async () => {
    await t.refused(/there is no signature below http/)
    t.lay([await other.sign(t.claim())])
    await t.refused(/which is not one of the policy/)
  })

  test('the name of a mirror is not the name that was asked for', async () => {
    const alias = `localhost:${t.registry.host.split(':')[1]}/ns/app:v1`
    await t.write('policy.json', { default: [signedBy(good.publicKey)] })
    await t.write('registries.d/a.yaml', `default-docker: {lookaside: "http://${t.registry.host}/sigs"}`)
    t.lay([await good.sign(t.claim())])
    await t.refused(/is for the name/, alias)
  })

  test('both of two requirements must be met', async () => {
    await t.policy([signedBy(good.publicKey), signedBy(other.publicKey)])
    t.lay([await good.sign(t.claim())])
    await t.judgedBad(/is not met/)
    t.lay([await good.sign(t.claim()), await other.sign(t.claim())])
    await t.judge()
  })

  test('what follows a signature is no part of what was signed', async () => {
    t.lay([
      Buffer.concat([await good.sign(t.claim({ digest: 'sha256:0' })), literal(JSON.stringify(t.claim()))]),
    ])
    await t.judgedBad(/the signature: /)
  })

  test('a signature that has expired is refused', async () => {
    const old = await gpgSigner(keys, 'old', { faked: '20200101T000000' })
    try {
      await t.policy([signedBy(old.publicKey)])
      t.lay([await old.sign(t.claim(), ['--default-sig-expire', '1d'])])
      await t.judgedBad(/it has expired/)
      t.lay([await old.sign(t.claim())])
      await t.judge()
    } finally {
      await old.stop()
    }
  })

  test('an expired key and a revoked one are refused', async () => {
    const expired = await gpgSigner(keys, 'expired', {
      expires: '20200201T000000',
      faked: '20200101T000000',
    })
    const revoked = await gpgSigner(keys, 'revoked')
    try {
      await t.policy([signedBy(expired.publicKey)])
      t.lay([await expired.sign(t.claim())])
      await t.judgedBad(/its key has expired/)
      t.lay([await revoked.sign(t.claim())])
      await t.policy([signedBy(await revoked.revoke())])
      await t.judgedBad(/its key is revoked/)
    } finally {
      await expired.stop()
      await revoked.stop()
    }
  })

  test('a key that gpg cannot read fails the pull by name, as does a missing file', async () => {
    await t.write('no.asc', 'hello')
    await t.policy([signedBy('', { keyData: undefined, keyPath: join(t.root, 'no.asc') })])
    await expect(t.pull()).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('no.asc'),
    })
    await t.policy([signedBy('', { keyData: undefined, keyPath: join(t.root, 'none.asc') })])
    await expect(t.pull()).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('none.asc'),
    })
    expect(await readdir(join(t.root, 'layers'))).toEqual([])
  })

  test.each([
    ['does not answer', () => t.registries({ lookaside: 'http://127.0.0.1:1/sigs' })],
    ['answers with an error', () => void t.lookaside.set(t.shelf(), 501)],
  ])('a signature server that %s is told as such', async (_, arrange) => {
    await arrange()
    const fault = await t.pull().catch((e: unknown) => e)
    expect(fault).toMatchObject({ kind: 'unavailable', reason: 'RegistryUnavailable' })
    expect(toGrpc(fault).details).toMatch(/^RegistryUnavailable: /)
  })

  test('a pull that is given up while it waits for a signature leaves nothing', async () => {
    t.lookaside.set(t.shelf(), SILENT)
    using own = childScope(scope)
    const pulling = t.pull(t.name(), '', own)
    await vi.waitFor(
      () => expect(t.registry.seen.some((r) => r.path.startsWith('/sigs/'))).toBe(true),
      10_000,
    )
    expect(await readdir(join(t.root, 'layers'))).toHaveLength(1)
    own.abort(new Fault('cancelled', 'enough'))
    await expect(pulling).rejects.toMatchObject({ kind: 'cancelled' })
    await vi.waitFor(async () => expect(await readdir(join(t.root, 'layers'))).toEqual([]), 10_000)
  })

  test('without gpg the error says what to install', async () => {
    const options = { native, tempDir: t.root, owner: 'x', path: [join(t.root, 'none')] }
    await expect(keyring(scope, options, [{ data: base64(good.publicKey) }])).rejects.toMatchObject({
      kind: 'unsupported',
      message: expect.stringContaining('install GnuPG'),
    })
  })
})
