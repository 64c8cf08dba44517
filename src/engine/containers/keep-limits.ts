// SPDX-License-Identifier: Apache-2.0
/**
 * Limits of containers that systemd takes back when it reads its units again, because their runtime set them beside
 * it: written once more after every reload, and after the start of the daemon, who may have missed one.
 */
import { asFault } from '../../base/fault.ts'
import { cleanupScope } from '../../base/scope.ts'
import { RELEASE_MS } from '../../base/undo.ts'
import type { ContainerId } from '../../model/ids.ts'
import { planResources } from '../../model/plan/container.ts'
import { besideSystemd } from '../../model/plan/limit-files.ts'
import type { Context } from '../context.ts'

/** Nothing to do with the cgroupfs driver. Never throws; what fails is logged. @abort finishes */
export function keepLimits(ctx: Context): void {
  if (ctx.host.facts.cgroupDriver !== 'systemd') return
  const writeAll = async () => {
    for (const id of [...ctx.catalog.containers.byId.keys()]) await writeAgain(ctx, id)
  }
  ctx.host.cgroups.onReset(() => void writeAll())
  void writeAll()
}

async function writeAgain(ctx: Context, id: ContainerId): Promise<void> {
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  try {
    using _ = await ctx.locks.exclusive(scope, id)
    const c = ctx.catalog.containers.byId.get(id)
    if (c?.state.phase !== 'running' && c?.state.phase !== 'created') return
    const { facts, cgroups } = ctx.host
    cgroups.limit(c.record.cgroup, besideSystemd(planResources(c.resources, facts), facts.cgroupVersion))
  } catch (e) {
    ctx.daemon.log.warn('limits-not-kept', { container: id, error: asFault(e).message })
  }
}
