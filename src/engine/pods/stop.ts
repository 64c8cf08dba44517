// SPDX-License-Identifier: Apache-2.0
/**
 * StopPodSandbox and RemovePodSandbox: end the containers, give the network back, keep the record until Remove.
 * Both are idempotent and succeed for the unknown; both finish what an earlier try left over.
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import { cleanupScope, type Scope } from '../../base/scope.ts'
import { RELEASE_MS } from '../../base/undo.ts'
import type { PodId } from '../../model/ids.ts'
import { type Pod, podLabel, stopped } from '../../model/pod.ts'
import { removeContainer } from '../containers/remove.ts'
import { stopContainer } from '../containers/stop.ts'
import type { Context } from '../context.ts'
import * as release from './release.ts'

/** Success also for an unknown or a stopped pod. @abort finishes once the containers have ended */
export async function stopPod(ctx: Context, scope: Scope, idOrPrefix: string): Promise<void> {
  const pod = ctx.catalog.pods.find(idOrPrefix)
  if (!pod) return
  await Promise.all(
    ctx.catalog
      .containersOf(pod.record.id)
      .map((c) => stopContainer(ctx, scope, { id: c.record.id, graceMs: 0 })),
  )
  using _ = await ctx.locks.exclusive(scope, pod.record.id)
  await stopLocked(ctx, scope, pod.record.id)
}

async function stopLocked(ctx: Context, scope: Scope, id: PodId): Promise<void> {
  const pod = ctx.catalog.pods.byId.get(id)
  if (
    !pod ||
    (pod.state.phase === 'stopped' && !pod.unreleased) ||
    pod.state.phase === 'leftover' ||
    pod.state.phase === 'creating'
  )
    return
  // A container that came while we waited for the lock; under the lock no further one can come.
  for (const c of ctx.catalog.containersOf(id))
    await stopContainer(ctx, scope, { id: c.record.id, graceMs: 0 })
  using cleanup = cleanupScope(scope.log, RELEASE_MS, scope.task)
  for (const [name, run] of release.stopReleases(ctx, pod.record)) {
    try {
      await act(cleanup, { work: 'stop-pod', name: name.replaceAll(' ', '-') }, () => run(cleanup))
    } catch (e) {
      throw Fault.during(`stop pod ${podLabel(pod.record)}: release ${name}`, e)
    }
  }
  const { unreleased: _, ...rest } = pod
  const next: Pod = { ...rest, state: stopped(ctx.host.clock.now()) }
  await act(cleanup, { work: 'stop-pod', name: 'stopped' }, () => ctx.store.putPod(next))
  ctx.catalog.pods.put(id, next)
}

/** Stops and forgets a pod and all its containers. Success for the unknown. @abort finishes once begun */
export async function removePod(ctx: Context, scope: Scope, idOrPrefix: string): Promise<void> {
  const pod = ctx.catalog.pods.find(idOrPrefix)
  if (!pod) return
  const { id } = pod.record
  await stopPod(ctx, scope, id)
  await Promise.all(ctx.catalog.containersOf(id).map((c) => removeContainer(ctx, scope, c.record.id)))
  using _ = await ctx.locks.exclusive(scope, id)
  const now = ctx.catalog.pods.byId.get(id)
  if (!now || now.state.phase === 'creating') return
  for (const c of ctx.catalog.containersOf(id)) await removeContainer(ctx, scope, c.record.id)
  using cleanup = cleanupScope(scope.log, RELEASE_MS, scope.task)
  for (const [name, run] of release.allReleases(ctx, now.record)) {
    try {
      await act(cleanup, { work: 'remove-pod', name: name.replaceAll(' ', '-') }, () => run(cleanup))
    } catch (e) {
      throw Fault.during(`remove pod ${podLabel(now.record)}: release ${name}`, e)
    }
  }
  await act(cleanup, { work: 'remove-pod', name: 'record' }, () => ctx.store.dropPod(id))
  ctx.catalog.pods.drop(id)
}
