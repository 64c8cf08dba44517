// SPDX-License-Identifier: Apache-2.0
/**
 * Pods that have lost what they cannot be without: their pause process, and with it the PID namespace or the kernel
 * of all their containers, or with a reboot everything. Such a pod is not ready from the moment at which that is
 * known, so that the kubelet makes another one, and is then taken apart by the releases of Stop. Watches by pidfd,
 * in the daemon's scope: nothing is asked again and again, and a pod without a pause process costs nothing.
 */
import { asFault } from '../../base/fault.ts'
import { cleanupScope } from '../../base/scope.ts'
import { RELEASE_MS, type Release } from '../../base/undo.ts'
import type { PodId } from '../../model/ids.ts'
import { type Pod, stopped } from '../../model/pod.ts'
import { stopContainer } from '../containers/stop.ts'
import type { Context } from '../context.ts'
import { releaseAll, stopReleases } from './release.ts'

/** Leaves a watch behind, which Stop and Remove end as they end the process. Never throws; what goes wrong is logged. */
export function watchPause(ctx: Context, { record: { id }, state }: Pod): void {
  if (state.phase !== 'ready' || !state.pause) return
  const { pause } = state
  ctx.host.processes
    .gone(ctx.daemon, pause)
    .then(() => settleLost(ctx, id, pause.pid))
    .catch((e: unknown) => {
      if (!ctx.daemon.signal.aborted)
        ctx.daemon.log.error('pause-end-not-settled', { pod: id, error: asFault(e).message })
    })
}

async function settleLost(ctx: Context, id: PodId, pid: number): Promise<void> {
  // However long others hold it: a CreateContainer in flight fails by itself, a Stop or Remove has ended the process.
  using _ = await ctx.locks.exclusive(ctx.daemon, id)
  const now = ctx.catalog.pods.byId.get(id)
  if (now?.state.phase !== 'ready') return
  const lost: Pod = { ...now, state: stopped(ctx.host.clock.now()) }
  ctx.catalog.pods.put(id, lost)
  ctx.daemon.log.warn('pod-lost', { pod: id, pid, why: 'its pause process has ended' })
  await releaseLost(ctx, lost)
}

/**
 * Under the pod's lock, of a pod that is shown as stopped already: ends what is left of its containers, takes it apart
 * and writes it down. What cannot be released is logged, and waits for Stop or Remove. @abort finishes
 */
export async function releaseLost(ctx: Context, pod: Pod): Promise<void> {
  const containers = ctx.catalog.containersOf(pod.record.id).map(({ record: { id } }) => id)
  const ended = containers.map((id): readonly [string, Release] => [
    `container ${id}`,
    (within) => stopContainer(ctx, within, { id, graceMs: 0 }),
  ])
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  const left = await releaseAll(ctx, [...ended, ...stopReleases(ctx, pod.record)], scope)
  if (left.length > 0) ctx.catalog.pods.put(pod.record.id, { ...pod, unreleased: true })
  await ctx.store.putPod(pod)
}
