// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon is killed in the middle of a save, a load and a push, while bytes go. The worker ends by itself,
 * nothing half-made is left or shown, and the same request to the next daemon succeeds.
 */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { connectNode, type NodeClient } from '../../src/cli/node-client.ts'
import { waitUntil } from '../support/child.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { type PushRegistry, pushRegistry } from '../support/push-registry.ts'
import { outcomeOf } from '../support/scenario-refusal.ts'
import { makeWorkspace, type Workspace } from '../support/workspace.ts'

vi.setConfig({ testTimeout: 30_000 })

let w: Workspace
let from: PullRegistry
let to: PushRegistry
let daemon: Daemon
let before: Snapshot
let name: string
let archive: readonly Buffer[]

const never = new AbortController().signal

beforeAll(async () => {
  w = await makeWorkspace({ withoutNetwork: true })
  before = await snapshot(w.leakScope())
  from = await pullRegistry()
  to = await pushRegistry()
  // More than all buffers between a worker and a client hold.
  const content = randomBytes(12 * 2 ** 20)
  from.add(
    'a/b',
    '1',
    buildImage({ layers: [await buildLayer([{ type: 'file', path: 'big', content }], 'none')] }),
  )
  name = `${from.host}/a/b:1`
  daemon = await startDaemon(w)
  await pull()
  using client = await connectNode(w.socket)
  archive = await saved(client)
})
afterAll(async () => {
  await daemon?.stop()
  if (before !== undefined) await expectNoLeaks(before, { withinMs: 10_000 })
  await w?.remove()
  await from?.[Symbol.asyncDispose]()
  await to?.[Symbol.asyncDispose]()
})

const pull = () => daemon.client.call('PullImage', { image: { image: name } })
const status = async () => (await daemon.client.call('ImageStatus', { image: { image: name } })).image

const chunksOf = (client: NodeClient) =>
  client.stream('Save', { images: [name], format: 'oci' }, never)[Symbol.asyncIterator]()

async function saved(client: NodeClient): Promise<Buffer[]> {
  const parts: Buffer[] = []
  for await (const { chunk } of client.stream('Save', { images: [name], format: 'oci' }, never))
    if (chunk) parts.push(Buffer.from(chunk))
  return parts
}

async function lastOf(events: AsyncIterable<object>): Promise<object> {
  let last = {}
  for await (const event of events) last = event
  return last
}

/** Kills the daemon and starts the next when all its workers have ended. */
async function killAndRestart(): Promise<void> {
  const { pid } = daemon
  const workers = (await processes()).filter((p) => p.ppid === pid && p.text.includes('gantry-pull'))
  expect(workers.length).toBeGreaterThan(0)
  await daemon.kill9()
  const left = async () => (await processes()).filter((p) => workers.some((one) => one.pid === p.pid))
  await waitUntil('the workers have ended', async () => (await left()).length === 0, { withinMs: 10_000 })
  await daemon.restart({})
}

it('in the middle of a save', async () => {
  {
    using client = await connectNode(w.socket)
    const chunks = chunksOf(client)
    expect((await chunks.next()).value?.chunk?.length).toBeGreaterThan(0)
    await killAndRestart()
    const rest = (async () => {
      while (!(await chunks.next()).done);
    })()
    expect((await outcomeOf(rest))?.code).toBe('UNAVAILABLE')
  }
  using client = await connectNode(w.socket)
  expect(Buffer.concat(await saved(client)).equals(Buffer.concat(archive))).toBe(true)
})

it('in the middle of a load', async () => {
  await daemon.client.call('RemoveImage', { image: { image: name } })
  const half = archive.slice(0, archive.length / 2)
  {
    using client = await connectNode(w.socket)
    const { promise: reached, resolve } = Promise.withResolvers<void>()
    async function* stalling() {
      yield* half
      await new Promise<void>(() => {})
    }
    const loading = outcomeOf(
      (async () => {
        for await (const { progress } of client.load(stalling(), never))
          if (Number(progress?.readBytes ?? 0) > 2 ** 20) resolve()
      })(),
    )
    await reached
    await killAndRestart()
    expect((await loading)?.code).toBe('UNAVAILABLE')
  }
  expect(await status()).toBeNull()
  expect(await readdir(join(w.state, 'layers'))).toEqual([])
  async function* whole() {
    yield* archive
  }
  using client = await connectNode(w.socket)
  expect(await lastOf(client.load(whole(), never))).toMatchObject({ done: { images: [{ names: [name] }] } })
})

it('in the middle of a push', async () => {
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  to.intercept = (req, raw) => {
    if (req.method !== 'PATCH' && req.method !== 'PUT') return false
    raw.once('data', () => resolve())
    raw.on('data', () => raw.pause())
    return true
  }
  const target = `${to.host}/x/y:1`
  {
    using client = await connectNode(w.socket)
    const pushing = outcomeOf(lastOf(client.stream('Push', { image: name, target }, never)))
    await reached
    await killAndRestart()
    expect((await pushing)?.code).toBe('UNAVAILABLE')
  }
  expect([...to.manifests.keys()]).toEqual([])
  to.intercept = undefined
  using client = await connectNode(w.socket)
  expect(await lastOf(client.stream('Push', { image: name, target }, never))).toHaveProperty('done.digest')
  expect([...to.manifests.keys()]).toEqual(['x/y 1'])
})
