// SPDX-License-Identifier: Apache-2.0
/**
 * StartContainer: opens the start gate. Idempotent for a running container, so that a retry after a lost answer
 * succeeds. A program that could not be executed ends here: exited, code 128, reason StartError.
 */
import { act } from '../../base/act.ts'
import { asFault, Fault } from '../../base/fault.ts'
import { cleanupScope, type Scope } from '../../base/scope.ts'
import { RELEASE_MS } from '../../base/undo.ts'
import { type Container, containerLabel, exited, expectPhase, running } from '../../model/container.ts'
import type { Context } from '../context.ts'
import { releaseAll } from '../pods/release.ts'
import { exitReleases } from './release.ts'

const WORK = 'start-container'
/** What the kubelet shows for a container whose program could not be started. */
const START_ERROR_CODE = 128

/** @abort stops while it waits for the lock, then finishes */
export async function startContainer(ctx: Context, scope: Scope, idOrPrefix: string): Promise<void> {
  const { id } = ctx.catalog.container(idOrPrefix).record
  using _ = await ctx.locks.exclusive(scope, id)
  const c = ctx.catalog.container(id)
  if (c.state.phase === 'running') return
  const state = expectPhase(c, 'created')
  if (state.startError !== undefined) await failStart(ctx, c, state.startError)
  const { process } = state
  if (!process) throw new Fault('internal', `container ${containerLabel(c.record)} has no process`)
  const startedAt = ctx.host.clock.now()
  try {
    await act(scope, { work: WORK, name: 'runtime' }, () =>
      ctx.host.runtime(c.record.handler).start(scope, id),
    )
  } catch (e) {
    // The process is still at the gate, or gone: if it could not be executed, end it as a failed start. A start
    // that an earlier daemon had begun may have opened the gate already.
    const f = asFault(e)
    if (f.reason === 'bad-command') await failStart(ctx, c, f.message)
    const status = await ctx.host
      .runtime(c.record.handler)
      .status(scope, id)
      .catch(() => undefined)
    if (status !== 'running') {
      throw Fault.during(`start container ${containerLabel(c.record)}`, f)
    }
  }
  const next: Container = { ...c, state: running(process, startedAt) }
  ctx.catalog.containers.put(id, next)
  // The answer need not wait for the disk: recovery asks the runtime about a container that is written down as
  // created, and finds it running. The store keeps the order with later states.
  act(childOfDaemon(ctx, scope), { work: WORK, name: 'running' }, () => ctx.store.putContainer(next)).catch(
    (e: unknown) => ctx.daemon.log.warn('state-not-written', { container: id, error: asFault(e).message }),
  )
}

/** For work that goes on after the answer: the daemon's end, not the caller's, is its end. */
function childOfDaemon(ctx: Context, scope: Scope): Scope {
  return { signal: ctx.daemon.signal, log: scope.log }
}

async function failStart(ctx: Context, c: Container, why: string): Promise<never> {
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  const exit = {
    code: START_ERROR_CODE,
    at: ctx.host.clock.now(),
    reason: 'StartError' as const,
    message: why,
  }
  const next: Container = { ...c, state: exited(c.state, exit) }
  ctx.catalog.containers.put(c.record.id, next)
  await releaseAll(ctx, exitReleases(ctx, c.record), scope)
  await ctx.store
    .putContainer(next)
    .catch((e: unknown) =>
      ctx.daemon.log.warn('state-not-written', { container: c.record.id, error: asFault(e).message }),
    )
  throw new Fault('invalid', `start container ${containerLabel(c.record)}: ${why}`, { reason: 'bad-command' })
}
