// SPDX-License-Identifier: Apache-2.0
/**
 * The end of a container: waits for its monitor to go, reads what it wrote, makes the state `exited`, and gives
 * back what a dead container does not need. The socket's end is the event, the exit file is the truth. Runs in
 * the daemon's scope, never in a call's.
 */
import { asFault } from '../../base/fault.ts'
import { cleanupScope } from '../../base/scope.ts'
import { RELEASE_MS } from '../../base/undo.ts'
import type { MonitorLink } from '../../host/index.ts'
import {
  type Container,
  type ContainerRecord,
  containerLabel,
  type Exit,
  exited,
  exitOf,
  unknownExit,
} from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import type { Context } from '../context.ts'
import { releaseAll } from '../pods/release.ts'
import { exitReleases } from './release.ts'

const SIGKILL = 9

/** Leaves a watch behind that records the exit. Never throws; what goes wrong is logged. */
export function watchExit(ctx: Context, record: ContainerRecord, link: MonitorLink): void {
  link.closed
    .then(() => settleExit(ctx, record))
    .catch((e: unknown) =>
      ctx.daemon.log.error('exit-not-settled', { container: record.id, error: asFault(e).message }),
    )
}

/**
 * Records the exit of a container whose monitor has gone. Idempotent. A monitor that vanished without a word
 * leaves a process that nobody watches: it is killed and the exit is unknown (255). `mayHaveRun`: an earlier daemon
 * may have opened the gate of a container that is written down as created; what ran has a time of its start, and
 * the nearest that is known is that of its creation.
 */
export async function settleExit(
  ctx: Context,
  record: ContainerRecord,
  { mayHaveRun = false } = {},
): Promise<void> {
  // However long others hold the lock (an update, a slow start): an exit that is given up is never recorded.
  using _ = await ctx.locks.exclusive(ctx.daemon, record.id)
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  const now = ctx.catalog.containers.byId.get(record.id)
  if (!now || (now.state.phase !== 'running' && now.state.phase !== 'created')) return
  if (now.state.phase === 'created' && now.state.startError !== undefined) return
  const exit = await findExit(ctx, now)
  const state = exited(now.state, exit)
  const begun =
    mayHaveRun && state.phase === 'exited' ? { startedAt: state.startedAt ?? record.createdAt } : {}
  const next: Container = { ...now, state: { ...state, ...begun } }
  // The exit file is durable already, so memory may be first: a waiting Stop need not wait for the releases.
  ctx.catalog.containers.put(record.id, next)
  ctx.daemon.log.info('container-exited', { container: record.id, code: exit.code, reason: exit.reason })
  await releaseAll(ctx, exitReleases(ctx, record), scope)
  await ctx.store.putContainer(next)
}

async function findExit(ctx: Context, c: Container): Promise<Exit> {
  const paths = containerPaths(ctx.options.roots, c.record.id)
  // An exit that cannot be read is an unknown one: a container whose end nobody records could never be stopped.
  const file = await ctx.host.exitFile(paths).catch((e: unknown) => {
    ctx.daemon.log.warn('exit-file-not-read', { container: c.record.id, error: asFault(e).message })
    return undefined
  })
  if (file) return exitOf(file)
  const process = c.state.phase === 'running' || c.state.phase === 'created' ? c.state.process : undefined
  if (process && ctx.host.processes.alive(process)) {
    ctx.daemon.log.warn('monitor-lost', { container: c.record.id, pid: process.pid })
    using scope = cleanupScope(ctx.daemon.log, 10_000)
    ctx.host.processes.signal(process, SIGKILL)
    await ctx.host.processes.gone(scope, process).catch(() => {})
  }
  return unknownExit(
    ctx.host.clock.now(),
    `the monitor of container ${containerLabel(c.record)} ended without telling the exit code`,
  )
}
