// SPDX-License-Identifier: Apache-2.0
/** "sigstoreSigned": signatures of cosign's form, attached in the registry. Keys and logs by themselves are a unit test. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TRUST } from '../../src/model/limits.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import {
  attachment,
  type Claim,
  type CosignSignature,
  certified,
  cosign,
  logged,
  pemOf,
  sha256,
} from '../support/signing.ts'
import { base64, flipped, type TrustFixture, trustFixture, trustRoots } from '../support/trust-fixture.ts'
import { makeCertificate, makeRoot, p256 } from '../support/x509.ts'

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

let t: TrustFixture
let before: Snapshot
beforeAll(async () => {
  before = await snapshot({ roots: [trustRoots], linkPrefixes: [] })
})
afterAll(async () => {
  await expectNoLeaks(before)
})
beforeEach(async () => {
  t = await trustFixture()
})
afterEach(() => t[Symbol.asyncDispose]())

describe('"sigstoreSigned"', () => {
  const signer = p256()
  const log = p256()
  const byKey = (key = signer.publicKey, more: object = {}) => ({
    type: 'sigstoreSigned',
    keyData: base64(pemOf(key)),
    signedIdentity: { type: 'matchRepository' },
    ...more,
  })
  const repository = (more: Partial<Claim> = {}) => t.claim({ reference: t.name('ns/app'), ...more })
  const tag = (digest = t.image.manifest.digest) => `${digest.replace(':', '-')}.sig`
  function put(name: string, bytes: Buffer, mediaType = OCI_MANIFEST): void {
    t.registry.put('ns/app', name, { mediaType, bytes })
    t.attached.set(name, bytes)
  }
  function attach(signatures: readonly CosignSignature[], digest = t.image.manifest.digest): void {
    const { manifest, blobs } = attachment(signatures)
    put(tag(digest), manifest)
    for (const [d, bytes] of blobs) put(d, bytes, 'application/octet-stream')
  }
  beforeEach(() => t.policy([byKey()]))

  test('a signature of the manifest is accepted', async () => {
    attach([cosign(repository(), signer.privateKey)])
    expect((await t.pull()).repoTags).toEqual([t.name()])
  })

  test('a signature of the index is accepted, as cosign makes it', async () => {
    attach(
      [cosign(repository({ digest: t.index.manifest.digest }), signer.privateKey)],
      t.index.manifest.digest,
    )
    expect((await t.pull()).repoTags).toEqual([t.name()])
  })

  test('one good signature among others is enough', async () => {
    attach([
      cosign(repository({ reference: 'x.io/y' }), signer.privateKey),
      cosign(repository(), signer.privateKey),
    ])
    await t.judge()
  })

  test.each<[string, () => void, RegExp]>([
    ['no signature', () => {}, /there is no signature attached/],
    ['another key', () => attach([cosign(repository(), log.privateKey)]), /not signed by a key/],
    [
      'another repository',
      () => attach([cosign(repository({ reference: t.name('ns/x') }), signer.privateKey)]),
      /is for the name/,
    ],
    [
      'another image',
      () => attach([cosign(repository({ digest: t.image.config.digest }), signer.privateKey)]),
      /another image/,
    ],
    ['no manifest', () => put(tag(), Buffer.from('[]')), /not a manifest with signatures/],
    [
      'a payload that is missing',
      () => {
        attach([cosign(repository(), signer.privateKey)])
        const { manifest } = attachment([cosign(repository({ reference: 'lost' }), signer.privateKey)])
        put(tag(), manifest)
      },
      /signature/,
    ],
    [
      'too many',
      () =>
        attach(
          Array.from({ length: TRUST.signatures + 1 }, (_, i) =>
            cosign(repository({ reference: `x${i}` }), signer.privateKey),
          ),
        ),
      /at most 128/,
    ],
  ])('%s is refused', async (_, arrange, message) => {
    arrange()
    await t.judgedBad(message)
  })

  test('a payload that is another, or too large, is refused', async () => {
    const signed = cosign(repository(), signer.privateKey)
    attach([signed])
    put(sha256(signed.payload), flipped(signed.payload), 'x/y')
    await t.refused(/what came has the digest/)
    attach([{ payload: Buffer.alloc(TRUST.signatureBytes + 1), annotations: {} }])
    await t.refused(/more than \d+ are not read/)
  })

  test('attachments are looked for only where registries.d says so, and the error tells', async () => {
    await t.registries({ 'use-sigstore-attachments': false })
    attach([cosign(repository(), signer.privateKey)])
    await t.judgedBad(/set "use-sigstore-attachments: true"/)
  })

  test('keyless: a certificate for the right person at the right time, in the log', async () => {
    const ca = makeRoot('fulcio')
    const fulcio = {
      caData: base64(ca.pem),
      oidcIssuer: 'https://id.example',
      subjectEmail: 'dev@example.com',
    }
    await t.policy([
      byKey(undefined, { keyData: undefined, fulcio, rekorPublicKeyData: base64(pemOf(log.publicKey)) }),
    ])
    const of = (email: string) => {
      const pem = makeCertificate({
        name: 'leaf',
        publicKey: signer.publicKey,
        issuer: ca,
        email,
        oidcIssuer: 'https://id.example',
      })
      return certified(logged(cosign(repository(), signer.privateKey), log.privateKey, { pem }), pem)
    }
    attach([of('eve@example.com')])
    await t.refused(/is for "eve@example\.com", not dev@example\.com/)
    attach([of('dev@example.com')])
    expect((await t.pull()).repoTags).toEqual([t.name()])
  })
})
