// SPDX-License-Identifier: Apache-2.0
/**
 * Transfers: how blobs come from a registry that is large, slow, broken or hostile. What counts is what is asked
 * of the registry, what is on disk afterwards, and that the next pull works.
 */
import { randomBytes } from 'node:crypto'
import { readlinkSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope, type Scope } from '../../src/base/scope.ts'
import { type LayerStore, layerStore } from '../../src/host/images/layers.ts'
import type { PullProgress } from '../../src/host/images/protocol.ts'
import { imagePuller, type PullerOptions } from '../../src/host/images/puller.ts'
import { spool } from '../../src/host/images/spool.ts'
import { warmWorkers } from '../../src/host/images/warm-workers.ts'
import { PULL, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { native, pullerOptions, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, type Image } from '../support/oci-image.ts'
import { buildLayer, type Layer, sha256 } from '../support/oci-layer.ts'
import { type FaultRule, type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

const MIB = 2 ** 20
/** Each test starts programs, and some wait for limits. */
vi.setConfig({ testTimeout: 30_000 })
const soon = { timeout: 15_000 }

let root: string
let registry: PullRegistry
let layers: LayerStore
let leaks: Snapshot
let pids: number[]
let large: Layer
let small: Layer[]

beforeAll(async () => {
  leaks = await snapshot({ roots: [join(tmpdir(), 'gt-transfers-')], linkPrefixes: [] })
  const content = randomBytes(PULL.spoolBytes + 2 * PULL.segmentBytes)
  large = await buildLayer([{ type: 'file', path: 'large', content }], 'none')
  small = await Promise.all(
    ['a', 'b'].map((path) => buildLayer([{ type: 'file', path, content: path.repeat(300_000) }], 'none')),
  )
})
afterAll(() => expectNoLeaks(leaks))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-transfers-'))
  registry = await pullRegistry()
  layers = layerStore(join(root, 'layers'), native)
  await layers.prepare()
  pids = []
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

const spying = {
  ...native,
  spawn: (...args: Parameters<typeof native.spawn>) => {
    const pid = native.spawn(...args)
    pids.push(pid)
    return pid
  },
}

interface How {
  readonly name?: string
  readonly own?: Scope
  readonly options?: Partial<PullerOptions>
  readonly onProgress?: (progress: PullProgress) => void
}

function pull({ name = `${registry.host}/a/b:v1`, own = scope, options, onProgress }: How = {}) {
  const puller = imagePuller(pullerOptions(root, { native: spying, layers, ...options }))
  const events = { onPlan: async () => {}, ...(onProgress ? { onProgress } : {}) }
  return puller.pull(own, { reference: parseReference(name), auth: seal({}) }, events)
}

/** Serves an image of these layers as a/b:v1. */
function serve(...of: readonly Layer[]): Image {
  const image = buildImage({ layers: of })
  registry.add('a/b', 'v1', image)
  return image
}

const fault = (one: FaultRule['fault'], more: Partial<FaultRule> = {}) =>
  registry.setFaults([{ fault: one, on: 'blob', ...more }])
const asked = (layer: Layer) => registry.seen.filter((r) => r.path.endsWith(layer.digest))
/** Bytes that the requests for a blob asked for. */
const askedBytes = (layer: Layer) =>
  asked(layer).reduce((sum, { headers }) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '')
    return sum + (range ? Number(range[2]) - Number(range[1]) + 1 : layer.bytes.length)
  }, 0)
const onDisk = () => readdir(layers.root)
const parts = async () => (await onDisk()).filter((n) => n.startsWith('.part-'))
describe('a large layer', () => {
  test('comes in parts over several connections at once, and leaves no file behind', async () => {
    serve(large)
    const busy = new Set<unknown>()
    let most = 0
    registry.intercept = (req, res) => {
      if (!req.path.endsWith(large.digest)) return false
      most = Math.max(most, busy.add(res).size)
      // When it is with the kernel, not when it is closed: the client is faster than our side of the connection.
      for (const over of ['finish', 'close']) res.on(over, () => busy.delete(res))
      return false
    }
    fault({ kind: 'slow', chunk: MIB, everyMs: 5 })
    const seen: PullProgress[] = []
    await pull({ onProgress: (p) => seen.push(p) })
    expect(most).toBeGreaterThan(1)
    expect(most).toBeLessThanOrEqual(PULL.segmentLanes)
    expect(askedBytes(large)).toBe(large.bytes.length)
    expect(await onDisk()).toHaveLength(1)
    expect(seen.at(-1)?.layers[0]).toEqual({
      digest: large.digest,
      state: 'done',
      doneBytes: large.bytes.length,
      unpackedBytes: large.bytes.length,
      totalBytes: large.bytes.length,
    })
  })

  test.each(['ignored', 'refused', 'shifted'] as const)(
    'comes over one connection from a host where ranges are %s',
    async (how) => {
      serve(large)
      fault({ kind: 'ranges', how })
      await pull()
      expect(asked(large).length).toBeLessThanOrEqual(2)
      expect(await onDisk()).toHaveLength(1)
    },
  )

  test('is taken up where its connections broke', async () => {
    serve(large)
    registry.setFaults([
      { fault: { kind: 'short-body', after: 3 * MIB }, on: 'blob', contains: large.digest, times: 3 },
    ])
    await pull()
    expect(askedBytes(large)).toBeLessThan(large.bytes.length + 4 * MIB)
  })

  /** A pull that is killed in the middle of the layer, with at least `MIB` of it on disk. */
  async function killed() {
    serve(large)
    fault({ kind: 'stall', after: PULL.segmentBytes }, { contains: large.digest })
    const running = pull()
    running.catch(() => {})
    await expect
      .poll(async () => (await spool(layers.root, native).list())[0]?.bytes ?? 0, soon)
      .toBeGreaterThan(MIB)
    await expect.poll(() => asked(large).length, soon).toBeGreaterThan(PULL.segmentLanes)
    const [pid] = pids
    if (pid === undefined || pid <= 1) throw new Error('no worker')
    process.kill(pid, 'SIGKILL')
    await expect(running).rejects.toThrow(/signal 9/)
    registry.setFaults([])
    registry.seen.length = 0
  }

  test('is taken up after kill -9 and the sweep of a new daemon', async () => {
    await killed()
    await layers.sweep()
    expect(await parts()).toHaveLength(1)
    await pull()
    expect(askedBytes(large)).toBeLessThanOrEqual(large.bytes.length - PULL.segmentBytes)
    expect(await onDisk()).toHaveLength(1)
  })

  test('is fetched anew, once, when what was left of it is damaged', async () => {
    await killed()
    const [part] = await parts()
    const path = join(layers.root, part ?? '')
    const bytes = await readFile(path)
    bytes.fill(0, 0, PULL.spoolBytes)
    await writeFile(path, bytes)
    await pull()
    expect(askedBytes(large)).toBeGreaterThanOrEqual(large.bytes.length)
    expect(await onDisk()).toHaveLength(1)
  })

  test('is fetched anew when the file is of another length', async () => {
    await killed()
    const [part] = await parts()
    await truncate(join(layers.root, part ?? ''), 5)
    await pull()
    expect(askedBytes(large)).toBe(large.bytes.length)
  })

  test('that is wrong leaves nothing', async () => {
    serve(large)
    fault({ kind: 'wrong-bytes' }, { contains: large.digest })
    await expect(pull()).rejects.toMatchObject({ kind: 'corrupt' })
    expect(await onDisk()).toEqual([])
  })
})

describe('a pull that does not end', () => {
  test('keeps what is whole from below, and the next one fetches only the rest', async () => {
    const [first, second] = small
    if (!first || !second) throw new Error('no layers')
    serve(first, second)
    fault({ kind: 'stall' }, { contains: second.digest })
    using own = childScope(scope)
    const states: string[] = []
    const running = pull({ own, onProgress: (p) => states.push(p.layers.map((l) => l.state).join()) })
    running.catch(() => {})
    await expect.poll(() => states.at(-1), soon).toBe('done,fetching')
    await expect.poll(() => layers.list(), soon).toHaveLength(1)
    own.abort(new Fault('cancelled', 'gone'))
    await expect(running).rejects.toMatchObject({ kind: 'cancelled' })
    await layers.sweep()
    registry.setFaults([])
    registry.seen.length = 0
    const { layersHad } = await pull()
    expect([layersHad, asked(first).length, asked(second).length]).toEqual([1, 0, 1])
    expect((await onDisk()).filter((n) => n.startsWith('.'))).toEqual([])
  })

  test('has layers that count only until the machine stops', async () => {
    serve(...small)
    const made = (await pull()).layers.map((layer) => layer.chainId)
    const mark = join(layers.root, `${made[0]?.slice(7)}`, 'unsynced')
    expect(readlinkSync(mark)).toMatch(/^[0-9a-f-]{36}$/)
    await layers.settle(made)
    expect(() => readlinkSync(mark)).toThrow('ENOENT')
    await symlink('another-boot', mark)
    const read = await Promise.all(made.map((id) => layers.read(id)))
    expect(read.map((facts) => facts !== undefined)).toEqual(made.map((_, i) => i > 0))
    await layers.dropUnsynced()
    expect((await layers.list()).sort()).toEqual(made.slice(1).sort())
    expect((await pull()).layersHad).toBe(made.length - 1)
  })
})

describe('pulls at once', () => {
  test.each([
    ['large', () => large],
    ['small', () => small[0]],
  ])('of the same %s layer fetch it once', async (_which, layerOf) => {
    const layer = layerOf()
    if (!layer) throw new Error('no layer')
    serve(layer)
    fault({ kind: 'slow', chunk: MIB / 4, everyMs: 5 }, { contains: layer.digest })
    const made = await Promise.all([pull(), pull(), pull()])
    expect(made.map((m) => m.layersHad).sort()).toEqual([0, 1, 1])
    expect(askedBytes(layer)).toBe(layer.bytes.length)
    expect(await onDisk()).toHaveLength(1)
  })

  test('one after another use the same worker, which ends when it is idle', async () => {
    serve(...small)
    const warm = warmWorkers(50)
    await pull({ options: { warm } })
    await pull({ options: { warm } })
    const [worker] = pids
    expect(pids).toHaveLength(1)
    await expect.poll(() => readFile(`/proc/${worker}/comm`, 'utf8').catch(() => 'gone'), soon).toBe('gone')
    await warm.close()
  })

  test('many small ones at once share few workers', async () => {
    serve(...small)
    const warm = warmWorkers(5_000)
    await Promise.all(Array.from({ length: 24 }, () => pull({ options: { warm } })))
    // Two are started at once; a loaded machine may need more when none is free in time.
    expect(pids.length).toBeLessThan(8)
    await warm.close()
  })

  test('ones that take long hold nobody up, and who waits for a worker can be cancelled', async () => {
    serve(...small)
    const slow = buildImage({ layers: [large] })
    registry.add('a/slow', 'v1', slow)
    fault({ kind: 'stall' }, { contains: large.digest })
    const warm = warmWorkers(5_000)
    const long = new AbortController()
    const name = `${registry.host}/a/slow:v1`
    const own = { ...scope, signal: long.signal }
    const stuck = Promise.allSettled([1, 2].map(() => pull({ name, own, options: { warm } })))
    await expect.poll(() => pids.length, soon).toBeGreaterThanOrEqual(2)
    const brief = new AbortController()
    const given = pull({ own: { ...scope, signal: brief.signal }, options: { warm } })
    brief.abort(new Fault('cancelled', 'enough'))
    await expect(given).rejects.toMatchObject({ kind: 'cancelled' })
    await pull({ options: { warm } })
    long.abort(new Fault('cancelled', 'enough'))
    expect((await stuck).map((one) => one.status)).toEqual(['rejected', 'rejected'])
    await warm.close()
  })

  test('a worker whose pull failed is not used again', async () => {
    serve(...small)
    const warm = warmWorkers(5_000)
    registry.setFaults([{ fault: { kind: 'status', status: 404 }, on: 'manifest', times: 1 }])
    await expect(pull({ options: { warm } })).rejects.toMatchObject({ kind: 'not-found' })
    await pull({ options: { warm } })
    expect(pids).toHaveLength(2)
    await warm.close()
  })
})

test('blobs are kept after unpacking, the very bytes, if that is wanted', async () => {
  serve(...small, large)
  const keepBlobs = join(root, 'blobs')
  await pull({ options: { keepBlobs } })
  for (const layer of [...small, large])
    expect(sha256(await readFile(join(keepBlobs, 'sha256', layer.digest.slice(7))))).toBe(layer.digest)
  expect(await parts()).toEqual([])
})

describe('a mirror', () => {
  let mirror: PullRegistry
  beforeEach(async () => {
    mirror = await pullRegistry()
    const folder = join(root, 'certs.d', 'registry.example')
    await mkdir(folder, { recursive: true })
    await writeFile(
      join(folder, 'hosts.toml'),
      `server = "${registry.url}"\n[host."${mirror.url}"]\ncapabilities = ["pull", "resolve"]\n`,
    )
  })
  afterEach(() => mirror[Symbol.asyncDispose]())

  test.each<[string, FaultRule['fault']]>([
    ['sends other bytes', { kind: 'wrong-bytes' }],
    ['announces another size', { kind: 'oversize', extra: 7 }],
    ['sends more than it should', { kind: 'oversize', extra: 7, silently: true }],
    ['is told to wait for an hour', { kind: 'status', status: 429, headers: { 'retry-after': '3600' } }],
    ['has not got it', { kind: 'status', status: 404 }],
  ])('that %s is left for the next host, for that blob', async (_what, wrong) => {
    const image = serve(...small)
    mirror.add('a/b', 'v1', image)
    const [bad, good] = small
    mirror.setFaults([{ fault: wrong, on: 'blob', contains: bad?.digest ?? '-' }])
    await pull({ name: 'registry.example/a/b:v1' })
    expect(registry.blobGets()).toEqual([bad?.digest])
    expect(mirror.blobGets()).toContain(good?.digest)
    expect(await onDisk()).toHaveLength(small.length)
  })
})

describe('bad input', () => {
  test.each<[string, FaultRule, string, Partial<PullerOptions>?]>([
    ['other bytes', { fault: { kind: 'wrong-bytes' } }, 'corrupt'],
    ['more bytes, and says so', { fault: { kind: 'oversize', extra: 9 } }, 'corrupt'],
    ['more bytes, and does not say so', { fault: { kind: 'oversize', extra: 9, silently: true } }, 'corrupt'],
    ['bytes for ever', { fault: { kind: 'endless' } }, 'corrupt'],
    ['fewer bytes each time', { fault: { kind: 'cut', after: 70 } }, 'unavailable'],
    ['a redirect to itself', { fault: { kind: 'redirect', to: 'self' } }, 'unavailable'],
    ['a redirect to a file', { fault: { kind: 'redirect', to: 'file:///etc/passwd' } }, 'denied'],
    ['a redirect to no host', { fault: { kind: 'redirect', to: 'http://127.0.0.1:1/x' } }, 'unavailable'],
    [
      'a wait of an hour',
      { fault: { kind: 'status', status: 429, headers: { 'retry-after': '3600' } } },
      'unavailable',
    ],
    ['no answer', { fault: { kind: 'hang' } }, 'timeout', { noProgressMs: 2_500 }],
    ['no more after a while', { fault: { kind: 'stall', after: 100 } }, 'timeout', { noProgressMs: 2_500 }],
  ])(
    '%s for a layer: says which, leaves nothing, and the next pull works',
    async (_what, rule, kind, options) => {
      const [layer] = small
      if (!layer) throw new Error('no layer')
      serve(layer)
      registry.setFaults([{ ...rule, contains: layer.digest }])
      const failure = await pull({ ...(options ? { options } : {}) }).catch((e: unknown) => e)
      expect(failure).toMatchObject({ kind })
      expect(String(failure)).toContain(`${registry.host}/a/b:v1`)
      expect(String(failure)).toContain(layer.digest)
      expect(await onDisk()).toEqual([])
      registry.setFaults([])
      expect((await pull()).layers).toHaveLength(1)
    },
    20_000,
  )

  test('a manifest that is another one at each request', async () => {
    const [one, two] = small.map((layer) => buildImage({ layers: [layer] }))
    if (!one || !two) throw new Error('no images')
    registry.add('a/b', 'v1', one)
    registry.put('a/b', one.manifest.digest, two.manifest)
    const name = `${registry.host}/a/b:v1@${one.manifest.digest}`
    await expect(pull({ name })).rejects.toMatchObject({ kind: 'corrupt' })
    expect(await onDisk()).toEqual([])
  })
})
