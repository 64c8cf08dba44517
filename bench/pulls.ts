// SPDX-License-Identifier: Apache-2.0
/**
 * The `images` suite: pulls of a large image by gzip and by zstd, of fifty small ones eight at a time, what the
 * daemon's cheap calls take meanwhile, and `tar` over the same layers beside it. Wall and CPU time; the disk is
 * synced before each. Nothing is removed before the bench is over (image-set.ts says why).
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { StoredImage } from './image-set.ts'
import { cpuMs } from './processes.ts'
import { pool, type Target, type Turn } from './suites.ts'

const run = promisify(execFile)
const SMALL_WIDTH = 8
const PROBE_EVERY_MS = 20

/** What the suite pulls: references that the bench's registry serves. */
export interface PullSet {
  readonly gzip: string
  readonly zstd: string
  readonly small: readonly string[]
  /** For `tar`: the same layers as files, and a folder on the disk that the runtimes use too. */
  readonly layers: readonly string[]
  readonly folder: string
}

/** Resident memory of the daemon alone, MiB. */
async function rssMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) / 1024
}

/** Asks for lists and statuses until `stop`, as the kubelet does, and notes what they took and the memory. */
function probe(target: Target, image: string): { stop(): Promise<{ times: number[]; rss: number }> } {
  let going = true
  const times: number[] = []
  let rss = 0
  const done = (async () => {
    while (going) {
      for (const [rpc, request] of [
        ['ListImages', {}],
        ['ImageStatus', { image: { image } }],
      ] as const)
        times.push((await target.client.call(rpc, request)).ms)
      rss = Math.max(rss, await rssMiB(target.daemonPid))
      await sleep(PROBE_EVERY_MS)
    }
  })()
  return {
    async stop() {
      going = false
      await done
      return { times, rss }
    },
  }
}

async function onePull(turn: Turn, figure: string, image: string): Promise<void> {
  const { target, round } = turn
  const add = (name: string, unit: 'ms' | 'MiB', value: number) =>
    target.samples.add(`images.${figure}${name}`, unit, { round, value })
  await run('sync')
  const rssBefore = await rssMiB(target.daemonPid)
  const cpuBefore = await cpuMs(target.daemonPid)
  const asking = probe(target, image)
  const began = performance.now()
  await target.client.call('PullImage', { image: { image } })
  add('', 'ms', performance.now() - began)
  const { times, rss } = await asking.stop()
  add('.cpu', 'ms', (await cpuMs(target.daemonPid)) - cpuBefore)
  add('.rss_growth', 'MiB', Math.max(0, rss - rssBefore))
  for (const ms of times) add('.asking', 'ms', ms)
}

async function smallPulls(turn: Turn, images: readonly string[]): Promise<void> {
  const { target, round } = turn
  await run('sync')
  const began = performance.now()
  await pool(images.length, SMALL_WIDTH, async (i) => {
    await target.client.call('PullImage', { image: { image: images[i] ?? '' } })
  })
  const seconds = (performance.now() - began) / 1000
  target.samples.add('images.small_per_second', '1/s', { round, value: images.length / seconds })
}

/** GNU tar over the layers, one after the other, on the same disk. Counted once a round, beside the first runtime. */
async function tarOnce(turn: Turn, set: PullSet): Promise<void> {
  const { target, round } = turn
  const into = await mkdtemp(join(set.folder, 'tar-'))
  await run('sync')
  const began = performance.now()
  for (const layer of set.layers) await run('tar', ['-xzf', layer, '-C', into])
  target.samples.add('images.tar', 'ms', { round, value: performance.now() - began })
}

/** One turn of the suite. A runtime that cannot unpack zstd fails it. */
export async function imagePulls(turn: Turn, sets: readonly PullSet[]): Promise<void> {
  const set = sets[turn.round]
  if (!set) throw new Error(`bench: there are no images for round ${turn.round + 1}`)
  await onePull(turn, 'gzip', set.gzip)
  if (turn.target.label === 'A') await tarOnce(turn, set)
  await onePull(turn, 'zstd', set.zstd)
  await smallPulls(turn, set.small)
}

/** Hands the images to the bench's registry. */
export function serveSet(
  images: { readonly gzip: StoredImage; readonly zstd: StoredImage; readonly small: readonly StoredImage[] },
  how: { readonly add: (image: StoredImage) => string; readonly folder: string },
): PullSet {
  return {
    gzip: how.add(images.gzip),
    zstd: how.add(images.zstd),
    small: images.small.map(how.add),
    layers: images.gzip.layers,
    folder: how.folder,
  }
}
