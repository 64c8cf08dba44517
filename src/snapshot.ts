// SPDX-License-Identifier: Apache-2.0
/**
 * Snapshots of the daemon: the gauges for the metrics, and the dump for a person who looks at a daemon that seems
 * stuck. From memory and /proc/self only; no request, no secret, nothing waits.
 */
import { readdir, readlink } from 'node:fs/promises'
import { jobs } from './base/jobs.ts'
import { open } from './base/observer.ts'
import type { Context } from './engine/context.ts'
import type { Engine } from './engine/index.ts'
import type { DaemonState } from './observe-worker/protocol.ts'
import { VERSION } from './version.ts'

export interface SnapshotOf {
  readonly engine: Engine
  readonly context: Context
  /** Records in quarantine since the start. */
  readonly quarantined: number
}

/** How often the measurement of the loop looks, milliseconds: what it measures holds that too. */
export const LAG_EVERY_MS = 20

/** A measurement of the time between two looks, nanoseconds. */
export interface LoopLag {
  percentile(percent: number): number
  readonly max: number
  reset(): void
}

type Counts = Record<string, number>

function counted(words: Iterable<string>): Counts {
  const out: Counts = {}
  for (const word of words) out[word] = (out[word] ?? 0) + 1
  return out
}

const phases = (all: ReadonlyMap<string, { readonly state: { readonly phase: string } }>): Counts =>
  counted([...all.values()].map(({ state }) => state.phase))

function catalogCounts({ engine, context }: SnapshotOf) {
  const { pods, containers } = context.catalog
  const images = engine.images.list().map((image) => (image.pinned ? 'pinned' : 'ready'))
  return {
    pods: phases(pods.byId),
    containers: phases(containers.byId),
    images: counted(images),
  }
}

const NS = 1e9
const FDS = '/proc/self/fd'

/** None when there is none left to look with. */
const descriptors = (): Promise<string[]> => readdir(FDS).catch(() => [])

/** The gauges. Starts the measurement of `lag` anew. */
export async function daemonState(of: SnapshotOf, lag: LoopLag): Promise<DaemonState> {
  const { engine, context } = of
  const counts = catalogCounts(of)
  const { locks } = engine.work()
  const { rss, heapUsed } = process.memoryUsage()
  const late = (ns: number) => Math.max(0, ns / NS - LAG_EVERY_MS / 1000)
  const loopLag = { 0.5: late(lag.percentile(50)), 0.99: late(lag.percentile(99)), 1: late(lag.max) }
  lag.reset()
  const { created = 0, running = 0 } = counts.containers
  return {
    ...counts,
    loopLag,
    cpuSeconds: cpuSeconds(),
    values: {
      gantry_leftovers: (counts.pods.leftover ?? 0) + (counts.containers.leftover ?? 0),
      gantry_quarantined_records: of.quarantined,
      gantry_problems: engine.problems().length,
      gantry_open_calls: open.tasks.size,
      gantry_open_stages: open.stages.size,
      gantry_oldest_call_seconds: (jobs()[0]?.ageMs ?? 0) / 1000,
      gantry_monitors: created + running,
      gantry_pulls_in_flight: engine.images.inFlight().length,
      gantry_joined_calls: context.joins.size,
      gantry_locks_held: locks.length,
      gantry_lock_waiters: locks.reduce((sum, { waiting }) => sum + waiting, 0),
      gantry_process_resident_memory_bytes: rss,
      gantry_process_heap_used_bytes: heapUsed,
      gantry_process_open_fds: (await descriptors()).length,
      gantry_process_start_time_seconds: performance.timeOrigin / 1000,
    },
  }
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** `socket`, `pipe`, `file` and so on. */
async function descriptorKinds(): Promise<Counts> {
  const kinds = (await descriptors()).map(async (fd) => {
    const target = await readlink(`${FDS}/${fd}`).catch(() => 'closed since')
    return target.startsWith('/') ? 'file' : target.replace(/:\[\d+\]$/, '').replace(/^anon_inode:/, '')
  })
  return counted(await Promise.all(kinds))
}

/** For `gantry debug dump` and the log. Plain values. */
export async function dump(of: SnapshotOf) {
  const { engine, context } = of
  const { locks, joined } = engine.work()
  const left = [
    ...[...context.catalog.pods.byId.values()].map((pod) => ({ kind: 'pod', ...pod })),
    ...[...context.catalog.containers.byId.values()].map((c) => ({ kind: 'container', ...c })),
  ]
  return {
    version: VERSION,
    pid: process.pid,
    uptimeMs: Math.round(performance.now()),
    catalog: catalogCounts(of),
    jobs: jobs().map(({ of: _itself, ...job }) => job),
    locks,
    joined,
    pulls: engine.images.inFlight().map(({ reference, callers }) => ({ reference, callers })),
    leftovers: left.flatMap(({ kind, record, state }) =>
      state.phase === 'leftover'
        ? [{ kind, id: record.id, why: state.why, unfinished: state.unfinished }]
        : [],
    ),
    problems: engine.problems(),
    quarantined: of.quarantined,
    fds: await descriptorKinds(),
    memory: process.memoryUsage(),
    cpuSeconds: cpuSeconds(),
  }
}
