// SPDX-License-Identifier: Apache-2.0
/**
 * Pushes through the real worker: to Debian's docker-registry and back again, and to a registry that misbehaves.
 * What comes back is the same image; what the registry has is not sent; what breaks goes on where it broke.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope, type Scope } from '../../src/base/scope.ts'
import type { Images } from '../../src/engine/images/images.ts'
import { type RegistryAuth, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { imageStore, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, buildIndex, type Image } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { type PushRegistry, pushRegistry } from '../support/push-registry.ts'
import { type Registry, registryUser, startRegistry } from '../support/registry.ts'

vi.setConfig({ testTimeout: 30_000 })

let before: Snapshot
let root: string
let source: PullRegistry

beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-push-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(before))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-push-'))
  source = await pullRegistry()
})
afterEach(async () => {
  await source[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

/** Bytes that do not compress, the same each time. */
function noise(bytes: number): Buffer {
  const parts = Array.from({ length: bytes / 32 }, (_, i) => createHash('sha256').update(`${i}`).digest())
  return Buffer.concat(parts)
}

async function sample(compression: 'gzip' | 'zstd' = 'gzip'): Promise<Image> {
  const base = await buildLayer([{ type: 'file', path: 'base', content: noise(640_000) }], compression)
  const top = await buildLayer([{ type: 'file', path: 'top', content: 'top' }])
  return buildImage({ layers: [base, top] })
}

const pull = (from: Images, name: string, auth: RegistryAuth = {}) =>
  from.pull(scope, { reference: parseReference(name), auth: seal(auth) })
const push = (
  from: Images,
  reference: string,
  target: string,
  more: { auth?: RegistryAuth; own?: Scope } = {},
) => from.push(more.own ?? scope, { reference, target: parseReference(target), auth: seal(more.auth ?? {}) })

/** A store with one image of the source in it. */
async function withImage(keepBlobs: boolean, image?: Image) {
  const own = image ?? (await sample())
  source.add('a/b', 'v1', own)
  const { images } = await imageStore(root, { keepBlobs })
  const record = await pull(images, `${source.host}/a/b:v1`)
  return { image: own, images, record }
}

describe("Debian's docker-registry", () => {
  let registry: Registry
  beforeAll(async () => {
    registry = await startRegistry({ auth: true })
  })
  afterAll(() => registry.stop())
  const auth = { username: registryUser.username, password: registryUser.password }

  test('gets the image as it was pulled, and gives it back', async () => {
    const { image, images, record } = await withImage(true)
    const pushed = await push(images, record.id, `${registry.host}/kept/a:v1`, { auth })
    expect(pushed).toEqual({
      name: `${registry.host}/kept/a:v1`,
      digest: image.manifest.digest,
      warnings: [],
    })
    const other = await imageStore(join(root, 'other'))
    const back = await pull(other.images, `${registry.host}/kept/a:v1`, auth)
    expect([back.id, back.manifestDigest]).toEqual([record.id, image.manifest.digest])
  })

  test('gets layers made anew, always the same, and says so', async () => {
    const { image, images, record } = await withImage(false, await sample('zstd'))
    const pushed = await push(images, record.id, `${registry.host}/made/a:v1`, { auth })
    expect(pushed.warnings).toEqual([expect.stringContaining('compressed anew')])
    expect(pushed.digest).not.toBe(image.manifest.digest)
    expect((await push(images, record.id, `${registry.host}/made/b:v1`, { auth })).digest).toBe(pushed.digest)
    const other = await imageStore(join(root, 'other'))
    const back = await pull(other.images, `${registry.host}/made/a@${pushed.digest}`, auth)
    expect(back.id).toBe(record.id)
    expect(back.layers.map((l) => l.chainId)).toEqual(record.layers.map((l) => l.chainId))
  })

  test('is not let in without credentials, or with wrong ones', async () => {
    const { images, record } = await withImage(true)
    const target = `${registry.host}/no/a:v1`
    await expect(push(images, record.id, target)).rejects.toThrow(/asks for authentication: no credentials/)
    const wrong = push(images, record.id, target, { auth: { ...auth, password: 'not-this-one' } })
    await expect(wrong).rejects.toMatchObject({ kind: 'denied' })
    await expect(wrong).rejects.not.toThrow(/not-this-one/)
  })
})

describe('a registry that keeps books', () => {
  let registry: PushRegistry
  beforeEach(async () => {
    registry = await pushRegistry()
  })
  afterEach(() => registry[Symbol.asyncDispose]())
  const sent = () =>
    registry.seen.filter((r) => ['PUT', 'PATCH'].includes(r.method) && r.path.includes('/blobs/'))
  const isLayer = (r: { query: URLSearchParams }, image: Image) =>
    r.query.get('digest') === image.layers[0]?.digest

  test('is sent nothing that it has', async () => {
    const { image, images, record } = await withImage(false)
    for (const blob of [...image.layers, image.config])
      registry.blobs.set(`x/y ${blob.digest}`, Buffer.from(blob.bytes))
    const pushed = await push(images, record.id, `${registry.host}/x/y:1`)
    // Also without a kept blob: the registry's own is as good.
    expect(pushed).toMatchObject({ digest: image.manifest.digest, warnings: [] })
    expect(sent()).toEqual([])
    expect(registry.manifests.get('x/y 1')?.equals(Buffer.from(image.manifest.bytes))).toBe(true)
  })

  test('takes blobs over from a repository that the image is known by', async () => {
    const { image, images, record } = await withImage(true)
    await push(images, record.id, `${registry.host}/x/one:1`)
    await images.tag(scope, record.id, parseReference(`${registry.host}/x/one:1`))
    registry.seen.length = 0
    await push(images, record.id, `${registry.host}/x/two:1`)
    expect(sent()).toEqual([])
    expect(registry.blobs.has(`x/two ${image.layers[0]?.digest}`)).toBe(true)
  })

  test('gives a token for pull and push, and other hosts are told none', async () => {
    const { images, record } = await withImage(true)
    const storage = await pushRegistry()
    const scopes: string[] = []
    registry.intercept = (req, _raw, res) => {
      if (req.path === '/token') {
        scopes.push(...req.query.getAll('scope'))
        res.end(JSON.stringify({ token: 'T' }))
        return true
      }
      if (req.headers.authorization === 'Bearer T') return false
      res.writeHead(401, {
        'www-authenticate': `Bearer realm="http://${registry.host}/token",scope="repository:x/y:pull"`,
      })
      res.end()
      return true
    }
    registry.locationOf = (path) => `http://${storage.host}${path}?signature=s`
    storage.intercept = (req, raw, res) => {
      raw.resume()
      const digest = req.query.get('digest') ?? ''
      registry.blobs.set(`x/y ${digest}`, Buffer.alloc(0))
      res.writeHead(201)
      res.end()
      return true
    }
    try {
      const auth = { username: 'ann', password: 'correct-horse' }
      await push(images, record.id, `${registry.host}/x/y:1`, { auth })
      expect(new Set(scopes)).toEqual(new Set(['repository:x/y:pull,push']))
      expect(storage.seen.length).toBeGreaterThan(0)
      expect(storage.seen.map((r) => r.query.get('signature'))).toEqual(storage.seen.map(() => 's'))
      expect(storage.seen.filter((r) => r.headers.authorization !== undefined)).toEqual([])
    } finally {
      await storage[Symbol.asyncDispose]()
    }
  })

  test('may break the connection: the rest is sent', async () => {
    const { image, images, record } = await withImage(true)
    let broken = false
    registry.intercept = (req, raw) => {
      if (broken || req.method !== 'PUT' || !isLayer(req, image)) return false
      broken = true
      const id = req.path.split('/').at(-1) ?? ''
      raw.on('data', (piece: Buffer) => {
        const got = Buffer.concat([registry.uploads.get(id) ?? Buffer.alloc(0), piece])
        registry.uploads.set(id, got)
        if (got.length > 100_000) raw.socket.destroy()
      })
      return true
    }
    const pushed = await push(images, record.id, `${registry.host}/x/y:1`)
    expect(pushed.digest).toBe(image.manifest.digest)
    const rest = registry.seen.find((r) => r.method === 'PATCH')
    expect(rest?.headers['content-range']).toMatch(/^[1-5]\d{5}-\d+$/)
    expect(Number(rest?.headers['content-length'])).toBeLessThan((image.layers[0]?.size ?? 0) - 100_000)
    expect(
      registry.blobs.get(`x/y ${image.layers[0]?.digest}`)?.equals(Buffer.from(image.layers[0]?.bytes ?? [])),
    ).toBe(true)
  })

  test('may forget the upload: it is begun anew', async () => {
    const { image, images, record } = await withImage(true)
    let broken = false
    registry.intercept = async (req, raw, _res) => {
      if (broken || req.method !== 'PUT' || !isLayer(req, image)) return false
      broken = true
      registry.uploads.delete(req.path.split('/').at(-1) ?? '')
      raw.socket.destroy()
      return true
    }
    const pushed = await push(images, record.id, `${registry.host}/x/y:1`)
    expect(pushed.digest).toBe(image.manifest.digest)
    expect(registry.seen.filter((r) => r.method === 'PUT' && isLayer(r, image))).toHaveLength(2)
  })

  test('may be busy for a while', async () => {
    const { image, images, record } = await withImage(true)
    let busy = 3
    registry.intercept = (req, raw, res) => {
      if (req.method === 'HEAD' || busy-- <= 0) return false
      raw.resume()
      res.writeHead(503, { 'retry-after': '0' })
      res.end()
      return true
    }
    expect((await push(images, record.id, `${registry.host}/x/y:1`)).digest).toBe(image.manifest.digest)
  })

  test('may answer before it has all, and is understood', async () => {
    const { image, images, record } = await withImage(true)
    registry.intercept = (req, _raw, res) => {
      if (req.method !== 'PUT' || !isLayer(req, image)) return false
      res.writeHead(403, { 'content-type': 'application/json' })
      res.end(JSON.stringify({ errors: [{ code: 'DENIED', message: 'quota exceeded' }] }))
      return true
    }
    const target = `${registry.host}/x/y:1`
    await expect(push(images, record.id, target)).rejects.toThrow(
      new RegExp(`push ${target}: http://.*HTTP 403: DENIED: quota exceeded`),
    )
    expect(registry.manifests.size).toBe(0)
  })

  test('must store what was sent', async () => {
    const { images, record } = await withImage(true)
    registry.intercept = (req, raw, res) => {
      if (req.method !== 'PUT' || !req.path.includes('/manifests/')) return false
      raw.resume()
      res.writeHead(201, { 'docker-content-digest': `sha256:${'0'.repeat(64)}` })
      res.end()
      return true
    }
    await expect(push(images, record.id, `${registry.host}/x/y:1`)).rejects.toThrow(
      /the registry has stored sha256:0{64}, not/,
    )
  })

  test('is not pushed to if hosts.toml says so', async () => {
    const { images, record } = await withImage(true)
    const folder = join(root, 'certs.d', registry.host)
    await mkdir(folder, { recursive: true })
    await writeFile(
      join(folder, 'hosts.toml'),
      `server = "http://${registry.host}"\ncapabilities = ["pull", "resolve"]\n`,
    )
    await expect(push(images, record.id, `${registry.host}/x/y:1`)).rejects.toThrow(
      /add the capability "push"/,
    )
    expect(registry.seen).toEqual([])
  })

  test('hears no more when the push is given up', async () => {
    const { image, images, record } = await withImage(true)
    const own = childScope(scope)
    registry.intercept = (req) => {
      if (req.method !== 'PUT' || !isLayer(req, image)) return false
      own.abort(new Fault('cancelled', 'enough'))
      return true
    }
    await expect(push(images, record.id, `${registry.host}/x/y:1`, { own })).rejects.toThrow('enough')
    expect(registry.manifests.size).toBe(0)
  })

  test('gets one platform of an index, and the person is told', async () => {
    const image = await sample()
    source.add('a/b', 'v2', buildIndex([image]))
    const { images } = await imageStore(root, { keepBlobs: true })
    const record = await pull(images, `${source.host}/a/b:v2`)
    const pushed = await push(images, record.id, `${registry.host}/x/y:1`)
    expect(pushed).toMatchObject({
      digest: image.manifest.digest,
      warnings: [expect.stringContaining('only linux/')],
    })
  })

  test('an id without a target says where to: nowhere', async () => {
    const { images, record } = await withImage(true)
    await expect(images.push(scope, { reference: record.id, auth: seal({}) })).rejects.toThrow(
      /does not say where/,
    )
  })
})
