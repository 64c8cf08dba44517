// SPDX-License-Identifier: Apache-2.0
/**
 * The pull worker as a process: what it is given and what others may see of it, how it ends, how large it gets,
 * and that the daemon's side of a pull stays small and loads no HTTP client.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Scope } from '../../src/base/scope.ts'
import { type LayerStore, layerStore } from '../../src/host/images/layers.ts'
import { formatLine } from '../../src/host/images/protocol.ts'
import { imagePuller } from '../../src/host/images/puller.ts'
import { imageRecords } from '../../src/host/images/records.ts'
import { PULL, type RegistryAuth, seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { imageRecord } from '../support/image-record.ts'
import { native, pullerOptions, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, type Image } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

const repo = join(import.meta.dirname, '../..')
const worker = join(repo, 'src/image-worker.ts')
const addon = join(repo, 'native/build/gantry.node')
const unpackProgram = join(repo, 'native/build/gantry-unpack')
const platform = { os: 'linux', architecture: process.arch }

let root: string
let registry: PullRegistry
let layers: LayerStore
let image: Image
let leaks: Snapshot
let pids: number[]

beforeAll(async () => {
  leaks = await snapshot({ roots: [join(tmpdir(), 'gt-worker-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(leaks))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-worker-'))
  registry = await pullRegistry()
  layers = layerStore(join(root, 'layers'), native)
  await layers.prepare()
  image = buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content: 'a' }])] })
  registry.add('a/b', 'v1', image)
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

function pull(auth: RegistryAuth = {}, own: Scope = scope) {
  const puller = imagePuller(pullerOptions(root, { native: spying, layers, certsDirs: [] }))
  const reference = parseReference(`${registry.host}/a/b:v1`)
  return puller.pull(own, { reference, auth: seal(auth) }, { onPlan: async () => {} })
}

const isBlob = (path: string) => path.endsWith(image.layers[0]?.digest ?? '-')

test('credentials reach the registry, but neither argv, environment nor name of any process', async () => {
  const seen: string[] = []
  registry.intercept = async (req, res) => {
    if (req.headers.authorization === undefined) {
      res.writeHead(401, { 'www-authenticate': 'Basic realm="r"' })
      res.end()
      return true
    }
    if (isBlob(req.path)) {
      const children = await readFile(`/proc/${pids[0]}/task/${pids[0]}/children`, 'utf8')
      for (const pid of [
        pids[0],
        ...children
          .trim()
          .split(' ')
          .filter((c) => c !== ''),
      ]) {
        for (const file of ['cmdline', 'environ', 'comm'])
          seen.push(await readFile(`/proc/${pid}/${file}`, 'utf8'))
      }
    }
    return false
  }
  await pull({ username: 'ann', password: 'correct-horse' })
  expect(seen.length).toBeGreaterThanOrEqual(6)
  expect(seen[2]).toBe('gantry-pull\n')
  expect(seen.join('\n')).not.toMatch(/correct-horse|YW5u/)
})

const halfMade = async () => (await readdir(layers.root)).filter((n) => n.startsWith('.tmp-'))

describe('it ends and leaves nothing', () => {
  /** A worker of which the test is the daemon, in the middle of a layer. */
  async function inTheMiddle() {
    const asked = Promise.withResolvers<void>()
    registry.intercept = (req, res, blob) => {
      if (!isBlob(req.path)) return false
      res.writeHead(200, { 'content-length': blob?.bytes.length })
      res.write(blob?.bytes.subarray(0, 20))
      asked.resolve()
      return true
    }
    const child = spawn(process.execPath, [worker], { stdio: ['pipe', 'ignore', 'inherit'] })
    child.stdin.write(
      formatLine({
        job: 'pull',
        workId: 'p1',
        reference: `${registry.host}/a/b:v1`,
        auth: {},
        certsDirs: [],
        authFiles: [],
        helperDirs: [],
        platform,
        layersRoot: layers.root,
        unpackProgram,
        addon,
        parallelLayers: 3,
      }),
    )
    child.stdin.write(formatLine({ go: true }))
    await asked.promise
    await expect.poll(() => halfMade()).toHaveLength(1)
    return child
  }

  test.each([
    ['when its daemon dies', (child: Awaited<ReturnType<typeof inTheMiddle>>) => child.stdin.destroy()],
    ['when it is told to stop', (child: Awaited<ReturnType<typeof inTheMiddle>>) => child.kill('SIGTERM')],
  ])('%s', async (_when, end) => {
    const child = await inTheMiddle()
    const exited = once(child, 'exit')
    end(child)
    expect(await exited).toEqual([0, null])
    expect(await readdir(layers.root)).toEqual([])
  })

  test('when it is killed, by the sweep of the daemon', async () => {
    const asked = Promise.withResolvers<void>()
    registry.intercept = (req) => {
      if (isBlob(req.path)) asked.resolve()
      return isBlob(req.path)
    }
    const running = pull()
    await asked.promise
    await expect.poll(() => halfMade()).toHaveLength(1)
    const [pid] = pids
    if (pid === undefined || pid <= 1) throw new Error('no worker')
    process.kill(pid, 'SIGKILL')
    await expect(running).rejects.toThrow(/ended by signal 9/)
    expect(await readdir(layers.root)).toEqual([])
  })
})

/** A daemon's side of one pull, alone in its process: prints its own growth and the worker's peak, in KiB. */
const measured = (reference: string) => `
import { readFileSync } from 'node:fs'
const { layerStore } = await import('${repo}/src/host/images/layers.ts')
const { imagePuller } = await import('${repo}/src/host/images/puller.ts')
const { loadNative } = await import('${repo}/src/host/native.ts')
const { seal } = await import('${repo}/src/model/pull-policy.ts')
const { parseReference } = await import('${repo}/src/model/reference.ts')
const { silent } = await import('${repo}/src/base/log.ts')
const native = loadNative('${addon}')
let pid, peak = 0
const spying = { ...native, spawn: (...args) => (pid = native.spawn(...args)) }
const puller = imagePuller({ native: spying, layers: layerStore('${layers.root}', native), node: process.execPath,
  worker: '${worker}', unpackProgram: '${unpackProgram}', addon: '${addon}', certsDirs: [], authFiles: [], helperDirs: [], platform: ${JSON.stringify(platform)} })
const before = process.memoryUsage().rss
setInterval(() => {
  try { peak = Math.max(peak, Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/' + pid + '/status', 'utf8'))[1])) } catch {}
}, 10)
const request = { reference: parseReference('${reference}'), auth: seal({}) }
const image = await puller.pull({ signal: new AbortController().signal, log: silent }, request, { onPlan: async () => {} })
console.log(JSON.stringify({ grown: (process.memoryUsage().rss - before) / 1024, peak, bytes: image.layers.reduce((sum, layer) => sum + Number(layer.bytes), 0) }))
process.exit(0)`

test('several large layers at once cost the worker less than 32 MiB more than a small one, and the daemon less than 20', async () => {
  const { parallelLayers } = PULL
  const size = PULL.spoolBytes + 2 * PULL.segmentBytes
  const large = await Promise.all(
    Array.from({ length: parallelLayers + 1 }, (_, i) => {
      const content = Buffer.alloc(size, `${i} noise that is not the same in each layer;`)
      return buildLayer([{ type: 'file', path: `f${i}`, content }], 'none')
    }),
  )
  registry.add('a/b', 'large', buildImage({ layers: large }))
  const run = async (tag: string) => {
    const script = measured(`${registry.host}/a/b:${tag}`)
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    return JSON.parse(stdout)
  }
  const [small, big] = [await run('v1'), await run('large')]
  expect(big.bytes).toBeGreaterThanOrEqual((parallelLayers + 1) * size)
  expect(small.peak).toBeGreaterThan(10_000)
  expect((big.peak - small.peak) / 1024).toBeLessThan(32)
  expect(big.grown / 1024).toBeLessThan(20)
}, 60_000)

test('the daemon’s side of a pull loads no HTTP client', async () => {
  const modules = ['src/engine/images/images.ts', 'src/engine/images/resolve.ts', 'src/host/images/puller.ts']
    .concat(['src/host/images/layers.ts', 'src/host/images/local.ts', 'src/host/images/records.ts'])
    .map((file) => `await import(${JSON.stringify(join(repo, file))})`)
  const script = `${modules.join(';')};console.log(process.moduleLoadList.filter((m) => /(undici|https?|tls|_http_client)$/.test(m)).join())`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  expect(stdout.trim()).toBe('')
})

describe('on disk', () => {
  test('a damaged layer is fetched again and replaced', async () => {
    const { layers: made } = await pull()
    const chainId = made[0]?.chainId
    if (chainId === undefined) throw new Error('no layer')
    await writeFile(join(layers.fsOf(chainId), '../layer.json'), '{"half":')
    expect(await layers.read(chainId)).toBeUndefined()
    const again = await pull()
    expect(again.layersHad).toBe(0)
    expect(await layers.read(chainId)).toEqual(made[0])
    await layers.emptyTrash()
    expect(await readdir(layers.root)).toHaveLength(1)
  })

  test('a damaged record is set aside and told, the others are read', async () => {
    const records = imageRecords(join(root, 'images'))
    await records.readAll()
    for (const seed of ['a', 'b', 'c']) await records.write(imageRecord(seed))
    const hex = (seed: string) => imageRecord(seed).id.slice(7)
    await writeFile(join(root, 'images', `${hex('a')}.json`), '{"v":1,"image":{"id":')
    await writeFile(join(root, 'images', `${hex('b')}.json`), '{"v":1,"image":{"id":5}}')
    await writeFile(join(root, 'images', `${hex('c')}.json.9-1.tmp`), 'half')
    const read = await records.readAll()
    expect(read.records).toEqual([imageRecord('c')])
    expect(read.problems).toHaveLength(2)
    const left = await readdir(join(root, 'images'))
    expect(left.sort()).toEqual(
      [`${hex('a')}.json.corrupt`, `${hex('b')}.json.corrupt`, `${hex('c')}.json`].sort(),
    )
  })

  test('what pulls left behind is swept, layers are not', async () => {
    const { layers: made } = await pull()
    await layers.begin('crashed')
    await layers.begin('other')
    await layers.sweep('crashed')
    expect((await readdir(layers.root)).filter((n) => n.startsWith('.'))).toHaveLength(1)
    await layers.sweep()
    expect(await layers.list()).toEqual(made.map((l) => l.chainId))
    expect(await readdir(layers.root)).toHaveLength(1)
  })
})
