// SPDX-License-Identifier: Apache-2.0
/** UpdateContainerResources and ReopenContainerLog: the two changes to a container that is there. */
import { act } from '../../base/act.ts'
import { asFault, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { type Container, containerLabel, expectPhase } from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import { clampOomScoreAdj, planResources } from '../../model/plan/container.ts'
import { hugepageFiles, limitFiles } from '../../model/plan/limit-files.ts'
import { mergeResources, type Resources } from '../../model/resources.ts'
import type { Context } from '../context.ts'

const WORK = 'update-container'

/**
 * Zeros in `change` leave a resource as it is. All or nothing: after a failure the cgroup holds its old values.
 * @abort finishes
 */
export async function updateContainer(
  ctx: Context,
  scope: Scope,
  command: { id: string; change: Resources },
): Promise<void> {
  const { id } = ctx.catalog.container(command.id).record
  using _ = await ctx.locks.exclusive(scope, id)
  const c = ctx.catalog.container(id)
  if (c.state.phase !== 'running' && c.state.phase !== 'created') expectPhase(c, 'running')
  const next: Container = { ...c, resources: mergeResources(c.resources, command.change) }
  try {
    await apply(ctx, scope, { before: c, next })
  } catch (e) {
    throw Fault.during(`update container ${containerLabel(c.record)}`, e)
  }
  ctx.catalog.containers.put(id, next)
}

/** The runtime writes what it knows of, and systemd learns of it by the runtime; the rest is written here. */
async function apply(
  ctx: Context,
  scope: Scope,
  change: { before: Container; next: Container },
): Promise<void> {
  const { host } = ctx
  const { record, resources } = change.next
  const { cgroupVersion } = host.facts
  const planned = planResources(resources, host.facts)
  if (resources.memoryLimitBytes !== change.before.resources.memoryLimitBytes) expectRoom(ctx, change.next)
  const saved = host.cgroups.saved(record.cgroup, limitFiles(planned, cgroupVersion))
  const oom = {
    from: clampOomScoreAdj(change.before.resources.oomScoreAdj, host.facts),
    to: clampOomScoreAdj(resources.oomScoreAdj, host.facts),
  }
  try {
    await act(scope, { work: WORK, name: 'runtime' }, () =>
      host.runtime(record.handler).update(scope, record.id, planned),
    )
    const huge = hugepageFiles(planned, cgroupVersion)
    if (huge.length > 0)
      await act(scope, { work: WORK, name: 'hugepages' }, async () => host.cgroups.limit(record.cgroup, huge))
    if (oom.from !== oom.to)
      await act(scope, { work: WORK, name: 'oom-score' }, () => host.cgroups.adjustOom(record.cgroup, oom))
    await act(scope, { work: WORK, name: 'record' }, () => ctx.store.putContainer(change.next))
  } catch (e) {
    await undo(ctx, { record, saved, oom: { from: oom.to, to: oom.from } })
    throw e
  }
}

/** Best effort, and never instead of the first error. */
async function undo(
  ctx: Context,
  {
    record,
    saved,
    oom,
  }: {
    record: Container['record']
    saved: ReturnType<Context['host']['cgroups']['saved']>
    oom: { from: number; to: number }
  },
): Promise<void> {
  try {
    ctx.host.cgroups.restore(saved)
    if (oom.from !== oom.to) await ctx.host.cgroups.adjustOom(record.cgroup, oom)
  } catch (e) {
    ctx.daemon.log.warn('limits-not-restored', { container: record.id, error: asFault(e).message })
  }
}

/** cgroup v2 takes a limit below what is in use, and kills. v1 refuses by itself. */
function expectRoom(ctx: Context, { record, resources: r }: Container): void {
  const held = r.memoryLimitBytes > 0n ? ctx.host.cgroups.heldMemory(record.cgroup) : undefined
  const swap = r.memorySwapLimitBytes === -1n || r.memorySwapLimitBytes > r.memoryLimitBytes
  if (held === undefined || swap || BigInt(held) <= r.memoryLimitBytes) return
  throw new Fault(
    'wrong-state',
    `memory_limit_in_bytes ${r.memoryLimitBytes} is below the ${held} bytes in use that cannot be reclaimed: the container would be killed`,
  )
}

/** Success means that the new file exists and gets all further lines. Needs a running container. @abort stops */
export async function reopenLog(ctx: Context, scope: Scope, idOrPrefix: string): Promise<void> {
  const c = ctx.catalog.container(idOrPrefix)
  expectPhase(c, 'running')
  if (!c.record.logPath)
    throw new Fault('wrong-state', `container ${containerLabel(c.record)} has no log file`)
  await ctx.host.monitors.reopenLog(scope, containerPaths(ctx.options.roots, c.record.id))
}
