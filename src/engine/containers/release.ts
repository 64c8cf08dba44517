// SPDX-License-Identifier: Apache-2.0
/**
 * Taking a container apart: the one path for it, with its callers failure, exit, Remove and recovery. Each
 * release is idempotent and accepts "never was". Killing the process is the caller's first step.
 */
import type { Scope } from '../../base/scope.ts'
import type { Release } from '../../base/undo.ts'
import type { ContainerRecord } from '../../model/container.ts'
import { under } from '../../model/ids.ts'
import { containerPaths, folders } from '../../model/names.ts'
import type { Context } from '../context.ts'
import { releaseMapped } from './mapped.ts'
import { releaseVolumes } from './volumes.ts'

/** The runtime's container and its cgroup. `force` kills what still runs. */
export function releaseRuntime(ctx: Context, record: ContainerRecord, force: boolean): Release {
  return async (scope) => {
    const at = { handler: record.handler, id: record.id, cgroup: record.cgroup }
    if (!isConfigured(ctx, record.handler)) return await releaseByHand(ctx, scope, at)
    await ctx.host.runtime(record.handler).delete(scope, record.id, { force })
  }
}

/** A handler can be taken out of the configuration while there are pods of it. */
export function isConfigured(ctx: Context, handler: string): boolean {
  return Object.hasOwn(ctx.host.facts.handlers, handler)
}

/** What `delete --force` of a runtime that nobody can ask any more would have done. */
export async function releaseByHand(
  ctx: Context,
  scope: Scope,
  at: { readonly handler: string; readonly id: string; readonly cgroup: string },
): Promise<void> {
  await ctx.host.cgroups.kill(scope, at.cgroup)
  await ctx.host.cgroups.remove(scope, at.cgroup)
  await ctx.host.files.removeTree(under(folders(ctx.options.roots).runtime(at.handler), at.id))
}

/** What a container leaves in a PID namespace that is not its own, whose first process does not take it along. */
function releaseProcesses(ctx: Context, record: ContainerRecord): Release {
  return (scope) => ctx.host.cgroups.kill(scope, record.cgroup)
}

export function sharesPids(record: ContainerRecord): boolean {
  return record.config.security.pid.mode !== 'container'
}

/** The monitor of a container that will not live: killed, with the runtime that it may be running. */
export function releaseMonitor(ctx: Context, record: ContainerRecord): Release {
  return async (scope) => {
    const known: ReadonlyMap<string, unknown> = ctx.catalog.containers.byId
    const keep = { has: (id: string) => id !== record.id && known.has(id) }
    await ctx.host.monitors.sweep(scope, keep)
  }
}

export function releaseRootfs(ctx: Context, record: ContainerRecord): Release {
  return (scope) => ctx.host.rootfs.unmount(scope, containerPaths(ctx.options.roots, record.id).rootfs)
}

export function releaseRunFolder(ctx: Context, record: ContainerRecord): Release {
  return () => ctx.host.files.removeTree(containerPaths(ctx.options.roots, record.id).run)
}

/** What goes when the process has ended: runtime state with the cgroup, and the mount. */
export function exitReleases(ctx: Context, record: ContainerRecord): readonly (readonly [string, Release])[] {
  return [
    ...(sharesPids(record) ? [['processes', releaseProcesses(ctx, record)] as const] : []),
    ['runtime container', releaseRuntime(ctx, record, false)],
    ['rootfs', releaseRootfs(ctx, record)],
    ...volumeReleases(ctx, record),
  ]
}

/** Of a container without image volumes and id mappings there is nothing to do. */
function volumeReleases(ctx: Context, record: ContainerRecord): readonly (readonly [string, Release])[] {
  const mapped = record.config.mounts.some((m) => m.idmap !== undefined || m.image !== undefined)
  return [
    ...(mapped ? [['mapped mounts', releaseMapped(ctx, record)] as const] : []),
    ...(record.volumes ? [['image volumes', releaseVolumes(ctx, record)] as const] : []),
  ]
}

/** What a crash or a failed release may have left, the monitor included. */
export function leftoverReleases(
  ctx: Context,
  record: ContainerRecord,
): readonly (readonly [string, Release])[] {
  return [['monitor', releaseMonitor(ctx, record)], ...allReleases(ctx, record)]
}

/** Everything of a container but its record. */
export function allReleases(ctx: Context, record: ContainerRecord): readonly (readonly [string, Release])[] {
  return [
    ['runtime container', releaseRuntime(ctx, record, true)],
    ['rootfs', releaseRootfs(ctx, record)],
    ...volumeReleases(ctx, record),
    ['run folder', releaseRunFolder(ctx, record)],
  ]
}
