// SPDX-License-Identifier: Apache-2.0
/**
 * UpdatePodSandboxResources, and the limits of a pod from its beginning. They are written where the pod's cgroup is
 * ours. A parent that the client named is the client's: the kubelet has set its limits before it calls, from more
 * than it tells us (a pod with one unlimited container has no limit, its sum here has one).
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { planResources } from '../../model/plan/container.ts'
import { limitFiles, openEnds } from '../../model/plan/limit-files.ts'
import { expectReady, type Pod, podLabel, podResources } from '../../model/pod.ts'
import { type PodResources, podLimits } from '../../model/resources.ts'
import type { Context } from '../context.ts'

const WORK = 'update-pod'

export interface UpdatePod extends PodResources {
  readonly id: string
}

/** What a pod's cgroup is to hold. Throws `invalid` for what no cgroup of this machine can. */
export function planPodLimits(ctx: Context, of: PodResources, { open = false } = {}) {
  if (!of.overhead && !of.resources) return []
  const { facts } = ctx.host
  const sum = open ? openEnds(podLimits(of)) : podLimits(of)
  // Unlike a container, a pod of which nothing is said of swap has no limit of it: its containers have theirs.
  const swapAccounting = facts.swapAccounting && sum.memorySwapLimitBytes !== 0n
  return limitFiles(planResources(sum, { ...facts, swapAccounting }), facts.cgroupVersion)
}

/** What `command` does not say stays. All or nothing; an equal call again is fine. Needs a ready pod. @abort finishes */
export async function updatePod(ctx: Context, scope: Scope, command: UpdatePod): Promise<void> {
  const { id } = ctx.catalog.pod(command.id).record
  using _ = await ctx.locks.exclusive(scope, id)
  const pod = ctx.catalog.pod(id)
  expectReady(pod)
  const { cgroup } = pod.record
  const now = podResources(pod)
  const resources: PodResources = {
    overhead: command.overhead ?? now.overhead,
    resources: command.resources ?? now.resources,
  }
  const next: Pod = { ...pod, resources }
  try {
    const limits = planPodLimits(ctx, resources, { open: true })
    const ours = cgroup.ownsParent ? limits : []
    const saved = ctx.host.cgroups.saved(cgroup.parent, ours)
    await act(scope, { work: WORK, name: 'limits' }, async () => ctx.host.cgroups.limit(cgroup.parent, ours))
    try {
      await act(scope, { work: WORK, name: 'record' }, () => ctx.store.putPod(next))
    } catch (e) {
      ctx.host.cgroups.restore(saved)
      throw e
    }
  } catch (e) {
    throw Fault.during(`update pod ${podLabel(pod.record)}`, e)
  }
  ctx.catalog.pods.put(id, next)
}
