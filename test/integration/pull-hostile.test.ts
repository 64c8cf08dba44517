// SPDX-License-Identifier: Apache-2.0
/**
 * Hostile registries and images, through the whole store: each must be told by an error that names the registry,
 * the image and, where one is to blame, the layer; it leaves nothing, and the next pull works. What the unpacker
 * makes of hostile archives in detail is in `test/native/`, broken transfers of a layer are in `transfers.test.ts`.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { asFault, type Fault } from '../../src/base/fault.ts'
import { UNPACK_LIMITS } from '../../src/model/limits.ts'
import { PULL, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { type ImageStoreOptions, imageStore, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, buildIndex, type Image, mediaTypes } from '../support/oci-image.ts'
import { buildLayer, type Compression, type Layer, sha256 } from '../support/oci-layer.ts'
import { type FaultRule, type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { paxHeader, tarArchive, tarEntry } from '../support/tar-writer.ts'

/** Each test starts programs, and some wait for limits. */
vi.setConfig({ testTimeout: 60_000 })

let root: string
let registry: PullRegistry
let good: Layer
let leaks: Snapshot

beforeAll(async () => {
  leaks = await snapshot({ roots: [join(tmpdir(), 'gt-hostile-')], linkPrefixes: [] })
  good = await buildLayer([{ type: 'file', path: 'good', content: 'good' }])
})
afterAll(() => expectNoLeaks(leaks))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-hostile-'))
  registry = await pullRegistry()
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

/** Pulls a/b:v1, which must fail; then what is right is served, and the same store must be able to pull it. */
async function refused(puller: ImageStoreOptions['puller'] = {}): Promise<Fault> {
  const { images, layers } = await imageStore(root, { puller })
  const name = `${registry.host}/a/b:v1`
  const pull = () => images.pull(scope, { reference: parseReference(name), auth: seal({}) })
  const fault = await pull().then(
    () => expect.unreachable('the pull has succeeded'),
    (e: unknown) => asFault(e),
  )
  expect(fault.message).toContain(name)
  expect(images.list()).toEqual([])
  expect(await readdir(layers.root)).toEqual([])
  expect(await readdir(join(root, 'images'))).toEqual([])
  registry.setFaults([])
  registry.intercept = undefined
  registry.add('a/b', 'v1', buildImage({ layers: [good] }))
  expect((await pull()).layers).toHaveLength(1)
  return fault
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(65_536)
    await setImmediate()
  }
}

/** A layer of these bytes, whatever they are; what it unpacks to is never looked at. */
const raw = (bytes: Buffer, compression: Compression = 'none'): Layer => ({
  compression,
  bytes,
  digest: sha256(bytes),
  diffId: compression === 'none' ? sha256(bytes) : good.diffId,
})
const tarOf = (...parts: Buffer[]) => raw(tarArchive(...parts))
const serve = (...layers: Layer[]): void => registry.add('a/b', 'v1', buildImage({ layers }))

describe('a manifest', () => {
  /** Serves `document` as a/b:v1. */
  const put = (document: object, mediaType: string = mediaTypes.oci.manifest) =>
    registry.put('a/b', 'v1', { bytes: Buffer.from(JSON.stringify(document)), mediaType })
  const imageOf = (layers: readonly Layer[] = [good]): Image => {
    const image = buildImage({ layers })
    registry.add('a/b', 'other', image)
    return image
  }
  const changed = (change: (manifest: Record<string, unknown>) => object) =>
    put(change(JSON.parse(Buffer.from(imageOf().manifest.bytes).toString())))
  const layerOfType = (mediaType: string) =>
    changed((m) => ({ ...m, layers: [{ mediaType, digest: good.digest, size: good.bytes.length }] }))

  /** An index whose only entry is the given digest. */
  const indexOf = (digest: string, size: number) => ({
    schemaVersion: 2,
    mediaType: mediaTypes.oci.index,
    manifests: [{ mediaType: mediaTypes.oci.index, digest, size }],
  })

  function nested(): void {
    let { digest, bytes } = buildIndex([imageOf()]).manifest
    registry.put('a/b', digest, { bytes, mediaType: mediaTypes.oci.index })
    for (let i = 0; i <= PULL.indexDepth; i++) {
      bytes = Buffer.from(JSON.stringify(indexOf(digest, bytes.length)))
      digest = sha256(bytes)
      registry.put('a/b', digest, { bytes, mediaType: mediaTypes.oci.index })
    }
    registry.put('a/b', 'v1', { bytes, mediaType: mediaTypes.oci.index })
  }

  /** No honest index can name itself: the registry gives it for every digest. */
  function circle(): void {
    const own = `sha256:${'c'.repeat(64)}`
    const bytes = Buffer.from(JSON.stringify(indexOf(own, JSON.stringify(indexOf(own, 100)).length)))
    for (const name of ['v1', own]) registry.put('a/b', name, { bytes, mediaType: mediaTypes.oci.index })
  }

  test.each<[string, () => void, string, RegExp]>([
    [
      'of 100 MB',
      () => put({ schemaVersion: 2, filler: 'x'.repeat(100_000_000) }),
      'corrupt',
      /larger than 4194304 bytes/,
    ],
    [
      'of 10 000 layers',
      () => put(JSON.parse(manyLayers(10_000))),
      'unsupported',
      /10000 layers, more than 500/,
    ],
    ['that is an index in an index in an index …', nested, 'unsupported', /nested more than 4 deep/],
    ['that leads to itself', circle, 'corrupt', /the manifest has the digest/],
    [
      'of no known type',
      () => put({ schemaVersion: 2 }, 'text/html'),
      'unsupported',
      /"text\/html" is not a m/,
    ],
    ['that is no JSON', () => registry.put('a/b', 'v1', html()), 'corrupt', /manifest sha256:\w+: /],
    ['of schema 1', () => put({ schemaVersion: 1 }), 'unsupported', /schema 1/],
    [
      'with layers in a list of another kind',
      () => changed((m) => ({ ...m, layers: 5 })),
      'corrupt',
      /: layers/,
    ],
    [
      'with a layer of no known type',
      () => layerOfType('application/x-7z'),
      'unsupported',
      /layers\[0\].*x-7z/,
    ],
    [
      'with a layer kept elsewhere',
      () => layerOfType('application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'),
      'unsupported',
      /layers\[0\].*outside the registry/,
    ],
    [
      'with a size that is no size',
      () => changed((m) => ({ ...m, layers: [{ mediaType: 'a', digest: good.digest, size: -1 }] })),
      'corrupt',
      /layers\[0\].*size/,
    ],
    [
      'with a digest that is a path',
      () => changed((m) => ({ ...m, layers: [{ mediaType: 'a', digest: 'sha256:../../etc', size: 1 }] })),
      'corrupt',
      /layers\[0\].*digest/,
    ],
    [
      'with fewer layers than its configuration names',
      () => changed((m) => ({ ...m, layers: [] })),
      'corrupt',
      /0 layers, but its configuration names 1/,
    ],
  ])('%s', async (_what, make, kind, says) => {
    make()
    const fault = await refused()
    expect(fault.kind).toBe(kind)
    expect(fault.message).toMatch(says)
  })

  const manyLayers = (count: number) =>
    Buffer.from(buildImage({ layers: Array.from({ length: count }, () => good) }).manifest.bytes).toString()
  const html = () => ({ bytes: Buffer.from('<html>'), mediaType: mediaTypes.oci.manifest })

  test('that is another one for HEAD than for GET: what is fetched is what counts, and nothing else is asked', async () => {
    const [one, two] = [imageOf(), buildImage({ layers: [good], config: { User: 'two' } })]
    registry.add('a/b', 'v1', two)
    registry.intercept = (req, res) => {
      if (req.method !== 'HEAD') return false
      res.writeHead(200, { 'docker-content-digest': one.manifest.digest }).end()
      return true
    }
    const { images } = await imageStore(root)
    const reference = parseReference(`${registry.host}/a/b:v1`)
    const image = await images.pull(scope, { reference, auth: seal({}) })
    expect([image.id, image.repoDigests]).toEqual([
      two.config.digest,
      [`${registry.host}/a/b@${two.manifest.digest}`],
    ])
    expect(registry.seen.filter((r) => r.method === 'HEAD')).toEqual([])
  })
})

describe('a registry that answers for the manifest with', () => {
  const busy = { kind: 'status', status: 429, headers: { 'retry-after': '0' } } as const
  test.each<[string, FaultRule['fault'], string, RegExp, ImageStoreOptions['puller']?]>([
    ['nothing', { kind: 'hang' }, 'timeout', /no/, { noProgressMs: 2_000 }],
    ['half of it', { kind: 'stall', after: 20 }, 'timeout', /no/, { noProgressMs: 2_000 }],
    ['fewer bytes than it says', { kind: 'short-body' }, 'unavailable', /manifests\/v1/],
    ['bytes for ever', { kind: 'endless' }, 'corrupt', /larger than/],
    ['another digest in its header', { kind: 'wrong-digest-header' }, 'corrupt', /says the digest is/],
    ['429 for ever', busy, 'unavailable', /HTTP 429/],
    ['429 and a wait of a day', { ...busy, headers: { 'retry-after': '86400' } }, 'unavailable', /HTTP 429/],
    ['a redirect to itself', { kind: 'redirect', to: 'self' }, 'unavailable', /redirects more than 5 times/],
    ['a redirect to a file', { kind: 'redirect', to: 'file:///etc/passwd' }, 'denied', /redirects to file:/],
    ['a redirect to ftp', { kind: 'redirect', to: 'ftp://127.0.0.1/x' }, 'denied', /redirects to ftp:/],
    ['a redirect to nowhere', { kind: 'redirect', to: 'http://[' }, 'unavailable', /not a URL/],
  ])('%s', async (_what, fault, kind, says, puller) => {
    serve(good)
    registry.setFaults([{ fault, on: 'manifest' }])
    const failure = await refused(puller)
    expect(failure.kind).toBe(kind)
    expect(failure.message).toMatch(says)
  })

  test.each<[string, number, (to: string) => Record<string, string>]>([
    ['a redirect', 307, (to: string) => ({ location: to })],
    ['a challenge', 401, () => ({ 'www-authenticate': 'Basic realm="r"' })],
  ])('%s that has a body without end: it is not read', async (_what, code, headers) => {
    serve(good)
    let ended = 0
    let atLayer = 0
    registry.intercept = (req, res) => {
      if (req.path.endsWith(good.digest)) atLayer = ended
      if (req.query.has('again') || req.headers.authorization !== undefined || req.method !== 'GET')
        return false
      res.writeHead(code, headers(`${req.path}?again`))
      res.on('close', () => ended++)
      Readable.from(endless()).pipe(res)
      return true
    }
    const { images } = await imageStore(root)
    const auth = seal({ username: 'ann', password: 'pw' })
    await images.pull(scope, { reference: parseReference(`${registry.host}/a/b:v1`), auth })
    expect(atLayer).toBeGreaterThan(0)
  })

  test('a challenge whose token server never answers', async () => {
    serve(good)
    registry.intercept = (req, res) => {
      if (req.path === '/token') return true
      const challenge = `Bearer realm="${registry.url}/token",service="s"`
      res.writeHead(401, { 'www-authenticate': challenge }).end()
      return true
    }
    expect(await refused({ noProgressMs: 2_000 })).toMatchObject({ kind: 'timeout' })
  })
})

describe('a layer', () => {
  const small = { ...UNPACK_LIMITS, layerBytes: 4 * 2 ** 20 }
  const zeros = (bytes: number) => Buffer.alloc(bytes)
  const repeated = (piece: Buffer, times: number) => Buffer.concat(Array.from({ length: times }, () => piece))
  /** Far more than a GiB, from which on the ratio counts. */
  const gzipBomb = () => raw(repeated(gzipSync(zeros(2 ** 27), { level: 9 }), 24), 'gzip')
  const zstdBomb = () => raw(repeated(zstdCompressSync(zeros(2 ** 27)), 12), 'zstd')
  const longXattr = () =>
    tarOf(paxHeader([['SCHILY.xattr.user.big', Buffer.alloc(300_000, 'x')]]), tarEntry({ name: 'f' }))
  const manyEntries = (count: number) => {
    const thousand = gzipSync(repeated(tarEntry({ name: 'same' }), 1000))
    return raw(repeated(thousand, count / 1000), 'gzip')
  }

  test.each<[string, () => Layer, string, RegExp, Partial<typeof UNPACK_LIMITS>?]>([
    [
      'gzip, larger than a layer may be',
      () => raw(gzipSync(zeros(2 ** 26)), 'gzip'),
      'exhausted',
      /4194304/,
      small,
    ],
    [
      'zstd, larger than a layer may be',
      () => raw(zstdCompressSync(zeros(2 ** 26)), 'zstd'),
      'exhausted',
      /4194304/,
      small,
    ],
    [
      'one file that says it is larger',
      () => tarOf(tarEntry({ name: 'f', size: 2 ** 30 })),
      'exhausted',
      /f.*4194304|4194304.*f/s,
      small,
    ],
    ['a gzip bomb by its ratio', gzipBomb, 'exhausted', /bomb/],
    ['a zstd bomb by its ratio', zstdBomb, 'exhausted', /bomb/],
    ['an attribute of 300 KB', longXattr, 'unsupported', /user\.big/],
    [
      '1 000 000 entries where fewer are allowed',
      () => manyEntries(1_000_000),
      'exhausted',
      /100000/,
      { entries: 100_000 },
    ],
    [
      'gzip that is cut short',
      () => raw(Buffer.from(good.bytes).subarray(0, -9), 'gzip'),
      'corrupt',
      /cut short/,
    ],
    [
      'bytes after the end',
      () => raw(Buffer.concat([good.bytes, Buffer.from('more and more')]), 'gzip'),
      'corrupt',
      /gzip/,
    ],
    [
      'what unpacks to something else',
      () => ({ ...good, diffId: sha256('other') }),
      'corrupt',
      /image expects/,
    ],
    ['a name that leads out', () => tarOf(tarEntry({ name: '../../x' }, 'x')), 'corrupt', /\.\./],
    [
      'a link that leads out, and a file through a chain of them',
      () =>
        tarOf(
          tarEntry({ name: 'a', type: '2', link: 'b' }),
          tarEntry({ name: 'b', type: '2', link: 'a' }),
          tarEntry({ name: 'a/x' }, 'x'),
        ),
      'corrupt',
      /a\/x/,
    ],
    [
      'a hard link to the outside',
      () => tarOf(tarEntry({ name: 'h', type: '1', link: '../../etc/passwd' })),
      'corrupt',
      /h/,
    ],
    [
      'a name with NUL',
      () => tarOf(paxHeader([['path', 'a\0b']]), tarEntry({ name: 'f' })),
      'corrupt',
      /NUL/i,
    ],
    [
      'a device where none are allowed',
      () => tarOf(tarEntry({ name: 'dev/kmem', type: '3', major: 1, minor: 2 })),
      'unsupported',
      /dev\/kmem/,
      { devices: 'refuse' },
    ],
    ['no archive', () => raw(Buffer.from('<html>'.repeat(200))), 'corrupt', /checksum/],
  ])('%s', async (_what, make, kind, says, limits) => {
    const layer = make()
    serve(layer)
    const fault = await refused({ unpackLimits: { ...UNPACK_LIMITS, ...limits } })
    expect(fault.message).toContain(layer.digest)
    expect(fault.message).toMatch(says)
    expect(fault.kind).toBe(kind)
  })
})
