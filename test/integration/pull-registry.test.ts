// SPDX-License-Identifier: Apache-2.0
/** Pulls from Debian's docker-registry: with and without credentials, through a mirror's hosts.toml, by digest. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import { createImages, type Images } from '../../src/engine/images/images.ts'
import { layerStore } from '../../src/host/images/layers.ts'
import { localLayers } from '../../src/host/images/local.ts'
import { imagePuller } from '../../src/host/images/puller.ts'
import { imageRecords } from '../../src/host/images/records.ts'
import { loadNative } from '../../src/host/native.ts'
import { type RegistryAuth, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, buildIndex, type Image, type Index, sourceOf } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type Registry, registryUser, startRegistry, writeHostsToml } from '../support/registry.ts'

const repo = join(import.meta.dirname, '../..')
const addon = join(repo, 'native/build/gantry.node')
const native = loadNative(addon)
const scope: Scope = { signal: new AbortController().signal, log: silent }

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
  const layers = layerStore(join(root, 'layers'), native)
  images = createImages({
    records: imageRecords(join(root, 'images')),
    layers,
    puller: imagePuller({
      native,
      layers,
      node: process.execPath,
      worker: join(repo, 'src/pull-worker.ts'),
      unpackProgram: join(repo, 'native/build/gantry-unpack'),
      addon,
      certsDirs: [join(root, 'certs.d')],
      platform: { os: 'linux', architecture: process.arch },
    }),
    localLayers: localLayers(layers, native),
    daemon: scope,
    nowNs: () => BigInt(Date.now()) * 1_000_000n,
    usedBy: () => undefined,
  })
  await images.load()
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

  test('by the digest of an index: no tag, and only that digest', async () => {
    const name = `${open.host}/a/index@${index.manifest.digest}`
    const got = await pull(name)
    expect(got.repoDigests).toContain(name)
    expect(got.repoTags).not.toContain(`${open.host}/a/index:v1`)
    expect(images.find(name)).toEqual(got)
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
