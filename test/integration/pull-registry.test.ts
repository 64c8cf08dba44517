// SPDX-License-Identifier: Apache-2.0
/** Pulls from Debian's docker-registry: with and without credentials, through a mirror's hosts.toml, by digest. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Images } from '../../src/engine/images/images.ts'
import { PULL, type RegistryAuth, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { imageStore, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { artifactSource, buildArtifact } from '../support/oci-artifact.ts'
import { buildImage, buildIndex, type Image, type Index, sourceOf } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type Registry, registryUser, startRegistry, writeHostsToml } from '../support/registry.ts'

let root: string
let open: Registry
let closed: Registry
let images: Images
let image: Image
let index: Index
let before: Snapshot

beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-pulls-')], linkPrefixes: [] })
  root = await mkdtemp(join(tmpdir(), 'gt-pulls-'))
  open = await startRegistry()
  closed = await startRegistry({ auth: true })
  image = buildImage({
    format: 'docker',
    layers: [
      await buildLayer([{ type: 'file', path: 'who', content: 'base' }]),
      await buildLayer([{ type: 'file', path: 'who', content: 'top' }]),
    ],
  })
  index = buildIndex([buildImage({ layers: [], platform: { os: 'linux', architecture: 's390x' } }), image])
  for (const registry of [open, closed]) {
    await registry.push(sourceOf(image), `${registry.host}/a/b:v1`)
    await registry.push(sourceOf(index), `${registry.host}/a/index:v1`)
  }
  images = (await imageStore(root)).images
})
afterAll(async () => {
  await open.stop()
  await closed.stop()
  await rm(root, { recursive: true, force: true })
  await expectNoLeaks(before)
})

const pull = (name: string, auth: RegistryAuth = {}) =>
  images.pull(scope, { reference: parseReference(name), auth: seal(auth) })

describe('docker-registry', () => {
  test('by tag', async () => {
    const got = await pull(`${open.host}/a/b:v1`)
    expect(got.id).toBe(image.config.digest)
    expect(await readFile(join(images.lowerDirs(got)[0] ?? '', 'who'), 'utf8')).toBe('top')
  })

  test('a large layer, in parts', async () => {
    const content = randomBytes(PULL.spoolBytes + PULL.segmentBytes)
    const large = buildImage({
      layers: [await buildLayer([{ type: 'file', path: 'large', content }], 'none')],
    })
    await open.push(sourceOf(large), `${open.host}/a/large:v1`)
    const got = await pull(`${open.host}/a/large:v1`)
    expect((await readFile(join(images.lowerDirs(got)[0] ?? '', 'large'))).equals(content)).toBe(true)
    expect((await readdir(join(root, 'layers'))).filter((name) => name.startsWith('.'))).toEqual([])
  }, 30_000)

  test('by the digest of an index: no tag, and only that digest', async () => {
    const name = `${open.host}/a/index@${index.manifest.digest}`
    const got = await pull(name)
    expect(got.repoDigests).toContain(name)
    expect(got.repoTags).not.toContain(`${open.host}/a/index:v1`)
    expect(images.find(name)).toEqual(got)
  })

  test('by tag and digest: the digest counts, and the tag is no name', async () => {
    const got = await pull(`${open.host}/a/b:other@${image.manifest.digest}`)
    expect(got.id).toBe(image.config.digest)
    expect(got.repoDigests).toContain(`${open.host}/a/b@${image.manifest.digest}`)
    expect(got.repoTags).not.toContain(`${open.host}/a/b:other`)
  })

  test.each(['oci', 'docker'] as const)('layers of every compression behind a list of %s', async (format) => {
    const kinds = ['none', 'gzip', 'zstd'] as const
    const layers = await Promise.all(
      kinds.map((kind) => buildLayer([{ type: 'file', path: kind, content: kind }], kind)),
    )
    const list = buildIndex([buildImage({ layers, format })], format)
    await open.push(sourceOf(list), `${open.host}/a/${format}:v1`)
    const got = await pull(`${open.host}/a/${format}:v1`)
    expect(got.repoDigests).toContain(`${open.host}/a/${format}@${list.manifest.digest}`)
    const read = (dir: string, i: number) => readFile(join(dir, kinds.toReversed()[i] ?? ''), 'utf8')
    expect(await Promise.all(images.lowerDirs(got).map(read))).toEqual(kinds.toReversed())
  })

  test('an artifact: its blobs are files', async () => {
    const made = buildArtifact([{ title: 'model.bin', content: 'weights' }])
    await open.push(artifactSource(made), `${open.host}/a/model:v1`)
    const got = await pull(`${open.host}/a/model:v1`)
    expect(got.artifactType).toBe('application/vnd.gantry.test.model.v1')
    expect(await readFile(join(images.lowerDirs(got)[0] ?? '', 'model.bin'), 'utf8')).toBe('weights')
  })

  test('with credentials only', async () => {
    const { username, password } = registryUser
    await expect(pull(`${closed.host}/a/b:v1`)).rejects.toMatchObject({ kind: 'denied' })
    await expect(pull(`${closed.host}/a/b:v1`, { username, password: 'no' })).rejects.toMatchObject({
      kind: 'denied',
    })
    const got = await pull(`${closed.host}/a/b:v1`, { username, password })
    expect(got.repoTags).toContain(`${closed.host}/a/b:v1`)
  })

  test('through hosts.toml, for a registry that is elsewhere; one image from two registries is one', async () => {
    await writeHostsToml(join(root, 'certs.d'), ['registry.example', 'docker.io'], open.url)
    await open.push(sourceOf(image), `${open.host}/library/b:latest`)
    const one = await pull('registry.example/a/b:v1')
    const two = await pull('b')
    expect(one.id).toBe(two.id)
    expect(two.repoTags).toEqual(
      expect.arrayContaining(['registry.example/a/b:v1', 'docker.io/library/b:latest']),
    )
    await images.remove(scope, 'b')
    expect(images.find('registry.example/a/b:v1')).toBeUndefined()
  })

  test('says what does not exist there', async () => {
    await expect(pull(`${open.host}/a/b:nope`)).rejects.toMatchObject({ kind: 'not-found' })
    await expect(pull('localhost:1/wrong')).rejects.toMatchObject({ reason: 'RegistryUnavailable' })
  })
})
