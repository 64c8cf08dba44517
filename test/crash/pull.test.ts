// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon is killed in every phase of a pull. Started again, it shows no half image; a second pull succeeds
 * and fetches nothing again that had come whole; and when the image is removed, nothing is left on the disk.
 */
import { randomBytes } from 'node:crypto'
import { chmod, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { PULL } from '../../src/model/pull-policy.ts'
import { waitUntil } from '../support/child.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, type Image } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type Interceptor, type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { outcomeOf } from '../support/scenario-refusal.ts'
import { makeWorkspace, type Workspace } from '../support/workspace.ts'

let workspace: Workspace
let registry: PullRegistry
let daemon: Daemon
let before: Snapshot
let image: Image
let name: string

/** Three small layers, and on top one that is fetched in segments. */
async function sample(): Promise<Image> {
  const file = (path: string, content: string | Uint8Array) =>
    buildLayer([{ type: 'file', path, content }], 'none')
  const layers = [
    await file('etc/one', 'one'),
    await file('etc/two', 'two'),
    await file('etc/three', 'three'),
  ]
  return buildImage({
    layers: [...layers, await file('big', randomBytes(PULL.spoolBytes + PULL.segmentBytes))],
  })
}

beforeAll(async () => {
  workspace = await makeWorkspace()
  before = await snapshot(workspace.leakScope())
  registry = await pullRegistry()
  image = await sample()
  name = `${registry.host}/crash/pull:1`
  registry.add('crash/pull', '1', image)
  daemon = await startDaemon(workspace)
})
afterAll(async () => {
  await daemon?.stop()
  if (before !== undefined) await expectNoLeaks(before, { withinMs: 10_000 })
  await workspace?.remove()
  await registry?.[Symbol.asyncDispose]()
})
beforeEach(() => {
  registry.intercept = undefined
  registry.seen.length = 0
})

const digestAt = (at: number) => image.layers.at(at)?.digest ?? ''
const layerNames = async () => (await readdir(join(workspace.state, 'layers'))).sort()
const whole = async () => (await layerNames()).filter((n) => /^[0-9a-f]{64}$/.test(n)).length
const status = async () => (await daemon.client.call('ImageStatus', { image: { image: name } })).image
const pull = () => daemon.client.call('PullImage', { image: { image: name } })
/** Which layers were asked for, by their place in the image. */
const asked = () =>
  [...new Set(registry.blobGets())]
    .map((d) => image.layers.findIndex((l) => l.digest === d))
    .filter((i) => i >= 0)

/** Answers nothing from the request on that `matches`, or its first bytes only. */
function hangs(matches: (path: string) => boolean, bytes = 0): { readonly reached: Promise<void> } {
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  const intercept: Interceptor = (req, res, blob) => {
    if (!matches(req.path) || req.method === 'HEAD') return false
    if (bytes > 0 && blob) {
      res.writeHead(200, { 'content-type': blob.mediaType, 'content-length': blob.bytes.length })
      res.write(blob.bytes.subarray(0, bytes))
    }
    resolve()
    return true
  }
  registry.intercept = intercept
  return { reached }
}

/** What must hold after any of these deaths; `again` are the layers that have to be fetched once more. */
async function expectRepaired(again: readonly number[]): Promise<void> {
  registry.intercept = undefined
  registry.seen.length = 0
  await daemon.restart({})
  expect(await status()).toBeNull()
  await pull()
  expect(asked().sort()).toEqual(again)
  expect((await status())?.repoTags).toEqual([name])
  await expectEmptied()
}

async function expectEmptied(): Promise<void> {
  await daemon.client.call('RemoveImage', { image: { image: name } })
  const left = async () => [...(await layerNames()), ...(await readdir(join(workspace.state, 'images')))]
  await waitUntil('nothing is left', async () => (await left()).length === 0, { withinMs: 10_000 })
  const { imageFilesystems } = await daemon.client.call('ImageFsInfo', {})
  expect(imageFilesystems?.[0]?.usedBytes?.value).toBe(0n)
}

describe('killed', () => {
  it('while the registry is asked for the manifest', async () => {
    const { reached } = hangs((path) => path.includes('/manifests/'))
    const outcome = outcomeOf(pull())
    await reached
    await daemon.kill9()
    expect(await outcome).toBeDefined()
    await expectRepaired([0, 1, 2, 3])
  })

  it('while the first layer comes', async () => {
    const { reached } = hangs((path) => path.endsWith(digestAt(0)), 100)
    const outcome = outcomeOf(pull())
    await reached
    await daemon.kill9()
    expect(await outcome).toBeDefined()
    registry.intercept = undefined
    await daemon.restart({})
    expect(await status()).toBeNull()
    await pull()
    expect((await status())?.repoTags).toEqual([name])
    await expectEmptied()
  })

  it('while the last layer comes: the others are not fetched again', async () => {
    const { reached } = hangs((path) => path.endsWith(digestAt(3)))
    const outcome = outcomeOf(pull())
    await reached
    await waitUntil('three layers are whole', async () => (await whole()) === 3, { withinMs: 10_000 })
    await daemon.kill9()
    expect(await outcome).toBeDefined()
    await expectRepaired([3])
  })

  it('in the middle of a large layer: what had come of it is not fetched again', async () => {
    const { promise: reached, resolve } = Promise.withResolvers<void>()
    const starts: number[] = []
    let stuck = true
    registry.intercept = (req, res, blob) => {
      if (!blob || !req.path.endsWith(digestAt(3))) return false
      const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? '') ?? []
      const start = Number(from)
      starts.push(start)
      const end = to === '' ? blob.bytes.length : Number(to) + 1
      const body = blob.bytes.subarray(start, end)
      const range = `bytes ${start}-${end - 1}/${blob.bytes.length}`
      res.writeHead(206, { 'content-length': body.length, 'content-range': range })
      if (!stuck) res.end(body)
      else {
        // Of every request only the first segment comes.
        res.write(body.subarray(0, PULL.segmentBytes + 1))
        resolve()
      }
      return true
    }
    const outcome = outcomeOf(pull())
    await reached
    await waitUntil('three layers are whole', async () => (await whole()) === 3, { withinMs: 10_000 })
    const part = `.part-${digestAt(3).slice('sha256:'.length)}`
    const flag = async () => {
      const file = await readFile(join(workspace.state, 'layers', part))
      // Behind the blob: one byte a segment.
      return file[image.layers[3]?.bytes.length ?? 0] === 1
    }
    await waitUntil('the first segment is whole', flag, { withinMs: 10_000 })
    await daemon.kill9()
    expect(await outcome).toBeDefined()
    stuck = false
    starts.length = 0
    await daemon.restart({})
    await pull()
    expect(starts.length).toBeGreaterThan(0)
    expect(Math.min(...starts)).toBeGreaterThanOrEqual(PULL.segmentBytes)
    await expectEmptied()
  })

  it.each([
    ['before the layers are planned', 'pull:plan:before', [0, 1, 2, 3]],
    ['after the layers are planned', 'pull:plan:after', [0, 1, 2, 3]],
    ['when all layers are there', 'pull:worker:after', []],
    ['before the image is recorded', 'pull:record:before', []],
  ])('%s', async (_when, point, again) => {
    await daemon.restart({ env: { GANTRY_FAULT: `${point}=kill` } })
    expect(await outcomeOf(pull())).toBeDefined()
    expect(await daemon.exited).toMatchObject({ signal: 'SIGKILL' })
    await expectRepaired(again)
  })

  it('after the image is recorded: it is there, and a pull fetches no layer', async () => {
    await daemon.restart({ env: { GANTRY_FAULT: 'pull:record:after=kill' } })
    expect(await outcomeOf(pull())).toBeDefined()
    await daemon.exited
    registry.seen.length = 0
    await daemon.restart({})
    expect((await status())?.repoTags).toEqual([name])
    await pull()
    expect(asked()).toEqual([])
    await expectEmptied()
  })
})

it('what a pull has left that nobody tries again goes by itself', async () => {
  const { reached } = hangs((path) => path.endsWith(digestAt(3)))
  const outcome = outcomeOf(pull())
  await reached
  await waitUntil('three layers are whole', async () => (await whole()) === 3, { withinMs: 10_000 })
  await daemon.kill9()
  expect(await outcome).toBeDefined()
  registry.intercept = undefined
  await daemon.restart({ env: { GANTRY_IMAGES_KEEP_UNUSED_MS: '1500' } })
  await waitUntil('nothing is left', async () => (await layerNames()).length === 0, { withinMs: 10_000 })
})

describe('after a power failure', () => {
  const marker = () => join(workspace.state, 'running.json')
  /** As if the machine had gone down while the daemon ran, and its disk had lost something. */
  async function powerFailure(damage: (layer: string) => Promise<void>): Promise<void> {
    await daemon.restart({})
    await pull()
    await daemon.kill9()
    const held = JSON.parse(await readFile(marker(), 'utf8'))
    await writeFile(marker(), JSON.stringify({ ...held, bootId: 'another' }))
    for (const folder of await layerNames()) {
      const fs = join(workspace.state, 'layers', folder, 'fs')
      const files: readonly string[] = await readdir(join(fs, 'etc')).catch(() => [])
      if (files.includes('two')) await damage(fs)
    }
    registry.seen.length = 0
    await daemon.restart({})
  }
  const trusted = () =>
    waitUntil(
      'all layers have been looked at',
      async () => JSON.parse(await readFile(marker(), 'utf8')).suspect === false,
      { withinMs: 10_000 },
    )

  it.each<[string, (fs: string) => Promise<void>]>([
    ['a missing file', (fs) => rm(join(fs, 'etc/two'))],
    ['a file that is cut short', (fs) => truncate(join(fs, 'etc/two'), 0)],
    ['another mode', (fs) => chmod(join(fs, 'etc/two'), 0o777)],
    ['a missing record', (fs) => rm(join(fs, '../layer.json'))],
  ])('%s: the image is not shown, and a pull fetches that layer alone', async (_what, damage) => {
    await powerFailure(damage)
    await trusted()
    expect(await status()).toBeNull()
    const { info } = await daemon.client.call('Status', { verbose: true })
    expect(info.problems).toContain(name)
    await pull()
    expect(asked()).toEqual([1])
    expect((await status())?.repoTags).toEqual([name])
    expect((await daemon.client.call('Status', { verbose: true })).info.problems).not.toContain(name)
    await expectEmptied()
  })

  it('nothing is damaged: nothing is fetched, and the next start trusts the disk again', async () => {
    await powerFailure(async () => {})
    expect((await status())?.repoTags).toEqual([name])
    await trusted()
    expect(asked()).toEqual([])
    expect((await status())?.repoTags).toEqual([name])
    await daemon.kill9()
    await daemon.restart({})
    expect(daemon.events('layers-to-verify').length).toBe(5)
    await expectEmptied()
    await daemon.stop()
    expect(await readdir(workspace.state)).not.toContain('running.json')
  })
})
