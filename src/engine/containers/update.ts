// SPDX-License-Identifier: Apache-2.0
/** UpdateContainerResources and ReopenContainerLog: the two changes to a container that is there. */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { type Container, containerLabel, expectPhase } from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import { planResources } from '../../model/plan/container.ts'
import { mergeResources, type Resources } from '../../model/resources.ts'
import type { Context } from '../context.ts'

/** Zeros in `change` leave a resource as it is. All or nothing, as far as the runtime is. @abort finishes */
export async function updateContainer(
  ctx: Context,
  scope: Scope,
  command: { id: string; change: Resources },
): Promise<void> {
  const { id } = ctx.catalog.container(command.id).record
  using _ = await ctx.locks.exclusive(scope, id)
  const c = ctx.catalog.container(id)
  if (c.state.phase !== 'running' && c.state.phase !== 'created') expectPhase(c, 'running')
  const resources = mergeResources(c.resources, command.change)
  const planned = planResources(resources, ctx.host.facts)
  try {
    await act(scope, { work: 'update-container', name: 'runtime' }, () =>
      ctx.host.runtime(c.record.handler).update(scope, id, planned),
    )
  } catch (e) {
    throw Fault.during(`update container ${containerLabel(c.record)}`, e)
  }
  const next: Container = { ...c, resources }
  await act(scope, { work: 'update-container', name: 'record' }, () => ctx.store.putContainer(next))
  ctx.catalog.containers.put(id, next)
}

/** Success means that the new file exists and gets all further lines. Needs a running container. @abort stops */
export async function reopenLog(ctx: Context, scope: Scope, idOrPrefix: string): Promise<void> {
  const c = ctx.catalog.container(idOrPrefix)
  expectPhase(c, 'running')
  if (!c.record.logPath)
    throw new Fault('wrong-state', `container ${containerLabel(c.record)} has no log file`)
  await ctx.host.monitors.reopenLog(scope, containerPaths(ctx.options.roots, c.record.id))
}
