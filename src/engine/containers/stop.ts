// SPDX-License-Identifier: Apache-2.0
/**
 * StopContainer: the stop signal, the grace time, then KILL to everything in the container. The wait holds no
 * lock, so that a second Stop with a shorter grace overtakes the first, and exec probes go on meanwhile.
 */

import { act } from '../../base/act.ts'
import { Fault, isFault } from '../../base/fault.ts'
import { childScope, type Scope } from '../../base/scope.ts'
import { type Container, containerLabel } from '../../model/container.ts'
import type { ContainerId } from '../../model/ids.ts'
import type { Context } from '../context.ts'
import { isConfigured, sharesPids } from './release.ts'

const WORK = 'stop-container'
const SIGKILL = 9
/** From KILL to giving up: a process in an uninterruptible sleep is reported, not waited for. */
const KILL_MS = 30_000

export interface StopContainer {
  readonly id: string
  readonly graceMs: number
}

const ended = (c: Container | undefined) => !c || (c.state.phase !== 'running' && c.state.phase !== 'created')

/** Success also for the unknown and the ended. @abort stops waiting; the signal stays sent, KILL does not follow */
export async function stopContainer(ctx: Context, scope: Scope, command: StopContainer): Promise<void> {
  const c = ctx.catalog.containers.find(command.id)
  if (!c || ended(c)) return
  const { id } = c.record
  if (c.state.phase === 'created' && c.state.startError !== undefined) return
  if (command.graceMs > 0 && c.state.phase === 'running') {
    await act(scope, { work: WORK, name: 'signal' }, async () => signal(ctx, c, c.record.stopSignal))
    if (await waitEnded(ctx, scope, { id, ms: command.graceMs })) return await killRest(ctx, scope, c)
  }
  await act(scope, { work: WORK, name: 'kill' }, async () => signal(ctx, c, endSignal(ctx, c)))
  if (await waitEnded(ctx, scope, { id, ms: KILL_MS })) return await killRest(ctx, scope, c)
  const stuck = await ctx.host.cgroups.processes(c.record.cgroup).catch(() => [])
  throw new Fault(
    'timeout',
    `container ${containerLabel(c.record)} did not end ${KILL_MS / 1000} s after SIGKILL: stuck in the kernel: ${stuck.join(', ') || 'its process'} (see /proc/PID/stack, dmesg; a file system that does not answer is the usual cause)`,
  )
}

/** The first process of a PID namespace takes the others along; in one that is shared they are on their own. */
async function killRest(ctx: Context, scope: Scope, { record }: Container): Promise<void> {
  if (!sharesPids(record)) return
  await act(scope, { work: WORK, name: 'kill-rest' }, () => ctx.host.cgroups.kill(scope, record.cgroup))
}

/** By which its process ends whatever it does. */
function endSignal(ctx: Context, { record: { handler } }: Container): number {
  return isConfigured(ctx, handler) ? ctx.host.runtime(handler).endSignal : SIGKILL
}

function signal(ctx: Context, c: Container, number: number): void {
  const state = ctx.catalog.containers.byId.get(c.record.id)?.state
  if (state?.phase !== 'running' && state?.phase !== 'created') return
  // Somebody may have frozen it, by the runtime's pause or by hand.
  ctx.host.cgroups.thaw(c.record.cgroup)
  if (state.process) ctx.host.processes.signal(state.process, number)
}

async function waitEnded(
  ctx: Context,
  scope: Scope,
  wait: { id: ContainerId; ms: number },
): Promise<boolean> {
  using limited = childScope(scope, { ms: wait.ms, doing: 'waiting for the container to end' })
  try {
    await ctx.catalog.containers.until(limited, wait.id, ended)
    return true
  } catch (e) {
    if (isFault(e, 'timeout') && !scope.signal.aborted) return false
    throw e
  }
}
