// SPDX-License-Identifier: Apache-2.0
/**
 * RemoveContainer: ends it if it runs, gives everything back, forgets it. The writable layer goes to the trash
 * by one rename and is deleted after the answer. Idempotent; also finishes what an earlier try left over.
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import { cleanupScope, type Scope } from '../../base/scope.ts'
import { RELEASE_MS } from '../../base/undo.ts'
import { containerLabel } from '../../model/container.ts'
import type { Context } from '../context.ts'
import { allReleases, leftoverReleases } from './release.ts'
import { stopContainer } from './stop.ts'

/** Success for the unknown. @abort finishes once the container has ended */
export async function removeContainer(ctx: Context, scope: Scope, idOrPrefix: string): Promise<void> {
  const found = ctx.catalog.containers.find(idOrPrefix)
  if (!found) return
  const { id } = found.record
  await stopContainer(ctx, scope, { id, graceMs: 0 })
  using _ = await ctx.locks.exclusive(scope, id)
  const c = ctx.catalog.containers.byId.get(id)
  if (!c || c.state.phase === 'creating') return
  const releases = c.state.phase === 'leftover' ? leftoverReleases(ctx, c.record) : allReleases(ctx, c.record)
  using cleanup = cleanupScope(scope.log, RELEASE_MS, scope.task)
  for (const [name, run] of releases) {
    try {
      await act(cleanup, { work: 'remove-container', name: name.replaceAll(' ', '-') }, () => run(cleanup))
    } catch (e) {
      throw Fault.during(`remove container ${containerLabel(c.record)}: release ${name}`, e)
    }
  }
  await act(cleanup, { work: 'remove-container', name: 'record' }, () => ctx.store.dropContainer(id))
  ctx.catalog.containers.drop(id)
}
