// SPDX-License-Identifier: Apache-2.0
/**
 * Pulls under a signature policy, through the real worker: which policy counts, that a refusal comes before any
 * layer, and that it leaves nothing. The kinds of signatures are in the files beside.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { ACCEPT, REJECT, type TrustFixture, trustFixture, trustRoots } from '../support/trust-fixture.ts'

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

describe('without signatures', () => {
  test('no policy file accepts everything, and asks for no signature', async () => {
    expect((await t.pull()).repoTags).toEqual([t.name()])
    expect(t.registry.seen.filter((r) => /sigs|\.sig$/.test(r.path))).toEqual([])
  })

  test('"reject" refuses, and the next pull works when the policy does', async () => {
    await t.write('policy.json', { default: REJECT })
    await t.refused(/policy\.json:1: default\): it rejects every image/)
    await t.policy(ACCEPT)
    expect((await t.pull()).repoTags).toEqual([t.name()])
  })

  test('"reject" refuses also beside a requirement that is met', async () => {
    await t.policy([...ACCEPT, ...REJECT])
    await t.refused(/it rejects/)
  })

  test('a policy that is not understood fails every pull, with file and line', async () => {
    await t.write('policy.json', '{"default": [\n {"type": "insecureAcceptAnythin"}]}')
    await expect(t.pull()).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(/policy\.json:2: default\[0\]\.type: "insecureAcceptAnythin"/),
    })
  })

  test('an image whose layer is encrypted is refused in so many words', async () => {
    const bytes = Buffer.from(t.image.manifest.bytes)
      .toString('utf8')
      .replace('.tar+gzip', '.tar+gzip+encrypted')
    t.registry.put('ns/app', 'secret', { mediaType: OCI_MANIFEST, bytes: Buffer.from(bytes) })
    await expect(t.pull(t.name('ns/app:secret'))).rejects.toMatchObject({
      kind: 'unsupported',
      message: expect.stringContaining('is encrypted, and images are not decrypted here'),
    })
  })
})

describe('the policy of a namespace', () => {
  test('counts instead of that of the node, both ways', async () => {
    await t.policy(REJECT)
    await t.policy(ACCEPT, 'policies/dev.json')
    await t.refused(/it rejects/)
    await t.refused(/it rejects/, t.name(), 'prod')
    expect((await t.pull(t.name(), 'dev')).repoTags).toEqual([t.name()])
  })

  test('is asked also when the image is there, and when another pull of it is on the way', async () => {
    await t.policy(ACCEPT)
    await t.policy(REJECT, 'policies/prod.json')
    const [dev, prod] = await Promise.allSettled([t.pull(t.name(), 'dev'), t.pull(t.name(), 'prod')])
    expect([dev.status, prod.status]).toEqual(['fulfilled', 'rejected'])
    await expect(t.pull(t.name(), 'prod')).rejects.toMatchObject({ reason: 'SignatureValidationFailed' })
    expect(t.store.list()).toHaveLength(1)
  })

  test('pulls of namespaces under the same policy are one', async () => {
    await t.policy(ACCEPT)
    await Promise.all([t.pull(t.name(), 'a'), t.pull(t.name(), 'b'), t.pull(t.name(), '')])
    expect(t.registry.seen.filter((r) => r.path.endsWith('/manifests/v1'))).toHaveLength(1)
  })

  test('a namespace that is a path is refused', async () => {
    await expect(t.pull(t.name(), '../policies/dev')).rejects.toMatchObject({ kind: 'invalid' })
  })
})
