// SPDX-License-Identifier: Apache-2.0
/**
 * Pulls through the real worker process and the real unpacker, from a registry on loopback: what is on disk
 * afterwards, what is asked of the registry, and that a pull that ends early leaves nothing.
 */
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope, type Scope } from '../../src/base/scope.ts'
import type { Images } from '../../src/engine/images/images.ts'
import { type RegistryAuth, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { type ImageStoreOptions, newImageStore, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, buildIndex } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

let root: string
let registry: PullRegistry

const images = (puller: ImageStoreOptions['puller'] = {}): Images => newImageStore(root, { puller }).images

const pull = (from: Images, name: string, auth: RegistryAuth = {}, own: Scope = scope) =>
  from.pull(own, { reference: parseReference(name), auth: seal(auth) })

async function sample(marker: string) {
  const base = await buildLayer([
    { type: 'directory', path: 'tmp', mode: 0o1777 },
    { type: 'file', path: 'etc/passwd', content: 'root:x:0:0::/:/bin/sh\n' },
  ])
  const top = await buildLayer([{ type: 'file', path: `tmp/${marker}`, content: marker }], 'zstd')
  return buildImage({
    layers: [base, top],
    config: { Env: ['A=1'], User: 'www-data:1004', Labels: { n: '5n' } },
  })
}

let before: Snapshot
beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-pull-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(before))

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-pull-'))
  registry = await pullRegistry()
})

afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

const leftovers = async () => (await readdir(join(root, 'layers'))).filter((n) => n.startsWith('.'))

describe('a pull', () => {
  test('makes an image with the name, digests, layers and configuration of the registry', async () => {
    const index = buildIndex([await sample('one')])
    registry.add('a/b', 'v1', index)
    const store = images()
    await store.load()
    const name = `${registry.host}/a/b`
    const image = await pull(store, `${name}:v1`)
    expect(image.repoTags).toEqual([`${name}:v1`])
    expect(image.repoDigests).toEqual([`${name}@${index.manifest.digest}`])
    expect(image.id).toBe(index.images[0]?.config.digest)
    expect(image.config).toMatchObject({ env: ['A=1'], user: 'www-data:1004', labels: { n: '5n' } })
    expect(image.size).toBeGreaterThan(0n)
    const [top, base] = store.lowerDirs(image)
    expect(await readFile(join(top ?? '', 'tmp/one'), 'utf8')).toBe('one')
    expect(await readFile(join(base ?? '', 'etc/passwd'), 'utf8')).toContain('root')
    expect(await leftovers()).toEqual([])
  })

  test('keeps the mode of a folder that the upper layer has no entry for', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    const store = images()
    await store.load()
    const [top] = store.lowerDirs(await pull(store, `${registry.host}/a/b:v1`))
    expect((await stat(join(top ?? '', 'tmp'))).mode & 0o7777).toBe(0o1777)
  })

  test('is there after a restart, without asking the registry', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    const before = images()
    await before.load()
    const image = await pull(before, `${registry.host}/a/b:v1`)
    const after = images()
    expect(await after.load()).toEqual([])
    expect(after.find(`${registry.host}/a/b:v1`)).toEqual(image)
    expect(after.fsInfo()).toMatchObject({ bytes: before.fsInfo().bytes, mountpoint: join(root, 'layers') })
  })

  test('fetches only the layers that are missing', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    registry.add('a/b', 'v2', await sample('two'))
    const store = images()
    await store.load()
    await pull(store, `${registry.host}/a/b:v1`)
    registry.seen.length = 0
    await pull(store, `${registry.host}/a/b:v2`)
    expect(registry.blobGets()).toHaveLength(2)
  })

  test('of several at once shares the work of equal ones and the layers of the others', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    registry.add('c/d', 'v1', await sample('two'))
    const store = images()
    await store.load()
    const names = ['a/b:v1', 'a/b:v1', 'c/d:v1', 'a/b:v1']
    const pulled = await Promise.all(names.map((n) => pull(store, `${registry.host}/${n}`)))
    expect(new Set(pulled.map((p) => p.id)).size).toBe(2)
    expect(registry.seen.filter((r) => r.path === '/v2/a/b/manifests/v1')).toHaveLength(1)
    expect(await leftovers()).toEqual([])
  })
})

describe('a pull that fails', () => {
  const failing = async (store: Images, name: string) => {
    try {
      await pull(store, name)
    } catch (e) {
      if (e instanceof Fault) return e
      throw e
    }
    throw new Error('the pull succeeded')
  }

  test('says that a manifest does not exist', async () => {
    const store = images()
    await store.load()
    const fault = await failing(store, `${registry.host}/a/b:nope`)
    expect(fault.kind).toBe('not-found')
    expect(fault.message).toContain(`${registry.host}/a/b:nope`)
  })

  test('says RegistryUnavailable when nobody answers', async () => {
    const store = images()
    await store.load()
    const fault = await failing(store, '127.0.0.1:1/a/b:v1')
    expect([fault.kind, fault.reason]).toEqual(['unavailable', 'RegistryUnavailable'])
  })

  test('names the layer whose content is not what its digest says, and leaves nothing', async () => {
    const image = await sample('one')
    registry.add('a/b', 'v1', image)
    const [layer] = image.layers
    if (!layer) throw new Error('no layer')
    const wrong = Buffer.from(layer.bytes)
    wrong[wrong.length - 5] = (wrong[wrong.length - 5] ?? 0) ^ 1
    registry.put('a/b', layer.digest, { mediaType: layer.mediaType, bytes: wrong })
    const store = images()
    await store.load()
    const fault = await failing(store, `${registry.host}/a/b:v1`)
    expect(fault.kind).toBe('corrupt')
    expect(fault.message).toContain(layer.digest)
    await store.prune(scope, { all: false })
    expect(await readdir(join(root, 'layers'))).toEqual([])
    expect(store.list()).toEqual([])
    registry.put('a/b', layer.digest, layer)
    expect((await pull(store, `${registry.host}/a/b:v1`)).layers).toHaveLength(2)
  })

  test('because the last caller has left is stopped, and nothing appears later', async () => {
    const image = await sample('one')
    registry.add('a/b', 'v1', image)
    const asked = Promise.withResolvers<void>()
    registry.intercept = (req) => {
      if (!req.path.endsWith(image.layers[0]?.digest ?? '-')) return false
      asked.resolve()
      return true
    }
    const store = images()
    await store.load()
    const own = childScope(scope)
    const running = pull(store, `${registry.host}/a/b:v1`, {}, own)
    await asked.promise
    own.abort(new Fault('cancelled', 'the caller left'))
    await expect(running).rejects.toMatchObject({ kind: 'cancelled' })
    await expect.poll(() => store.pulling).toBe(0)
    await expect.poll(leftovers, { timeout: 5000 }).toEqual([])
    expect(store.list()).toEqual([])
  })

  test('because nothing comes is given up after the limit', async () => {
    const image = await sample('one')
    registry.add('a/b', 'v1', image)
    registry.intercept = (req) => req.path.includes('/blobs/')
    const store = images({ noProgressMs: 1500 })
    await store.load()
    const fault = await failing(store, `${registry.host}/a/b:v1`)
    expect([fault.kind, fault.reason]).toEqual(['timeout', 'RegistryUnavailable'])
  })
})

describe('a removal', () => {
  test('takes all names and the layers that nothing else uses', async () => {
    registry.add('a/b', 'v1', await sample('one'))
    registry.add('a/b', 'v2', await sample('two'))
    const store = images()
    await store.load()
    const one = await pull(store, `${registry.host}/a/b:v1`)
    const two = await pull(store, `${registry.host}/a/b:v2`)
    await Promise.all(Array.from({ length: 5 }, () => store.remove(scope, one.id)))
    expect(store.find(one.id)).toBeUndefined()
    await store.collect()
    expect((await readdir(join(root, 'layers'))).sort()).toEqual(
      two.layers.map((l) => l.chainId.slice(7)).sort(),
    )
    expect(store.fsInfo().bytes).toBe(two.layers.reduce((sum, l) => sum + l.bytes, 0n))
  })
})
