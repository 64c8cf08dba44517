// SPDX-License-Identifier: Apache-2.0
/**
 * Taking a container apart: the one path for it, with its callers failure, exit, Remove and recovery. Each
 * release is idempotent and accepts "never was". Killing the process is the caller's first step.
 */
import type { Release } from '../../base/undo.ts'
import type { ContainerRecord } from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import type { Context } from '../context.ts'

/** The runtime's container and its cgroup. `force` kills what still runs. */
export function releaseRuntime(ctx: Context, record: ContainerRecord, force: boolean): Release {
  return (scope) => ctx.host.runtime(record.handler).delete(scope, record.id, { force })
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
    ['runtime container', releaseRuntime(ctx, record, false)],
    ['rootfs', releaseRootfs(ctx, record)],
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
    ['run folder', releaseRunFolder(ctx, record)],
  ]
}
