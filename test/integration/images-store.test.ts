// SPDX-License-Identifier: Apache-2.0
/** What the daemon says that images and containers take, held against the disk; and pinned images. */
import { randomBytes } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { loadNative } from '../../src/host/native.ts'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { pullRegistry } from '../support/pull-registry.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { kept } from '../support/scenario-run.ts'

const native = loadNative(join(import.meta.dirname, '../../native/build/gantry.node'))
const IMAGES = [names.busybox, names.hello, names.layers]
let s: Scenario

beforeAll(async () => {
  s = await startScenario({ images: IMAGES, config: { 'images.pinned': `["${names.hello}"]` } })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

/** Also of a link to nowhere. */
const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false }) !== undefined
const usage = () => s.client.call('ImageFsInfo', {})

it('ImageFsInfo is what the folder of layers takes on the disk', async () => {
  const layers = join(s.workspace.state, 'layers')
  const folders = await readdir(layers)
  // A mark, which is not counted, stands in each until the layers are known to be on the disk.
  const isSynced = async () => !folders.some((layer) => isThere(join(layers, layer, 'unsynced')))
  await waitUntil('the layers are synced', isSynced, { withinMs: 10_000 })
  const count = BigInt(folders.length)
  const disk = await native.treeUsage(layers)
  const [fs] = (await usage()).imageFilesystems ?? []
  expect(fs?.fsId?.mountpoint).toBe(layers)
  // Not counted are the folder itself and a block for the facts of each layer.
  const missing = disk.bytes - (fs?.usedBytes?.value ?? 0n)
  expect(missing).toBeGreaterThanOrEqual(0n)
  expect(missing).toBeLessThanOrEqual(4096n * (1n + count))
  expect(disk.inodes - (fs?.inodesUsed?.value ?? 0n)).toBe(1n)
})

it('containers take what they have written, on the same disk by the same name', async () => {
  const pod = await s.pod('writer')
  const { id } = await kept(s, pod)
  const cmd = ['dd', 'if=/dev/urandom', 'of=/file', 'bs=1M', 'count=2']
  await s.client.call('ExecSync', { containerId: id, cmd, timeout: 30n })
  // A new daemon measures when it is asked for the first time.
  await s.daemon.restart({})
  const written = async () => (await usage()).containerFilesystems?.[0]
  const twoMiB = 2n << 20n
  await waitUntil('it is measured', async () => ((await written())?.usedBytes?.value ?? 0n) >= twoMiB, {
    withinMs: 10_000,
  })
  const { imageFilesystems, containerFilesystems } = await usage()
  expect(containerFilesystems?.[0]?.fsId).toEqual(imageFilesystems?.[0]?.fsId)
  expect(containerFilesystems?.[0]?.usedBytes?.value).toBeLessThan(2n * twoMiB)
  await pod.remove()
})

it('ListImages and ImageStatus answer at once while a pull is unpacking', async () => {
  await using registry = await pullRegistry()
  const files = Array.from({ length: 3000 }, (_, i) => ({
    type: 'file' as const,
    path: `d${i % 50}/f${i}`,
    content: randomBytes(2048),
  }))
  registry.add('many/files', '1', buildImage({ layers: [await buildLayer(files)] }))
  const image = { image: `${registry.host}/many/files:1` }
  let isDone = false
  const pulling = s.client.call('PullImage', { image }).finally(() => {
    isDone = true
  })
  const took: number[] = []
  while (!isDone) {
    const begin = performance.now()
    await s.client.call('ListImages', {})
    await s.client.call('ImageStatus', { image: { image: names.busybox } })
    took.push((performance.now() - begin) / 2)
  }
  await pulling
  expect(took.length).toBeGreaterThan(20)
  const p99 = took.sort((a, b) => a - b)[Math.floor(took.length * 0.99)]
  // The budget is 10 ms and is held by the bench; here the client, too, competes with the unpacker.
  expect(p99).toBeLessThan(50)
  await s.client.call('RemoveImage', { image })
}, 30_000)

it('a pinned image says so, and is removed all the same when somebody names it', async () => {
  const image = { image: names.hello }
  const { images } = await s.client.call('ListImages', {})
  const pinned = images?.filter((i) => i.pinned).map((i) => i.repoTags)
  expect(pinned).toEqual([[names.hello]])
  await s.client.call('RemoveImage', { image })
  expect((await s.client.call('ImageStatus', { image })).image).toBeNull()
})

it('the details of an image hold its configuration as the registry has it', async () => {
  const { info } = await s.client.call('ImageStatus', { image: { image: names.busybox }, verbose: true })
  const shown = JSON.parse(info.info ?? '')
  expect(Object.keys(shown).sort()).toEqual(['chainID', 'imageSpec', 'labels'])
  expect(shown.imageSpec.rootfs.diff_ids).toHaveLength(1)
})
