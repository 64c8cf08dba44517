// SPDX-License-Identifier: Apache-2.0
/**
 * What no record owns: run folders, processes and addresses of objects whose record could not be read. Only
 * under our own folders, and only after the catalog is full. Every step is idempotent.
 */
import { asFault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { podId } from '../../model/ids.ts'
import { folders, podCgroup } from '../../model/names.ts'
import { pausedId } from '../../model/plan/pod.ts'
import { releaseVolume } from '../containers/volumes.ts'
import type { Context } from '../context.ts'

/** Ends and releases it all. One that fails is reported and does not stop the others. @abort finishes */
export async function sweepUnowned(ctx: Context, scope: Scope): Promise<void> {
  const { runPods, runContainers, imageVolumes, quarantine } = folders(ctx.options.roots)
  // Looked at right before each step, not once: calls are answered meanwhile, and what they make is in the catalog
  // before it has a folder.
  const pods: ReadonlyMap<string, unknown> = ctx.catalog.pods.byId
  const containers: ReadonlyMap<string, unknown> = ctx.catalog.containers.byId
  const attempt = async (what: string, work: () => Promise<void>) => {
    await work().catch((e: unknown) =>
      ctx.daemon.log.warn('recovery-left-over', { what, error: asFault(e).message }),
    )
  }
  for (const name of await ctx.host.files.names(runContainers)) {
    if (!containers.has(name)) await attempt(name, () => sweepContainer(ctx, scope, name))
  }
  // All of them: each is looked at under its lock, and stays if a container needs it.
  for (const name of await ctx.host.files.names(imageVolumes)) {
    await attempt(name, () => releaseVolume(ctx, scope, { imageId: `sha256:${name}` }))
  }
  // The intent of a network attachment is in the folder that was set aside: its address is given back from there,
  // before the namespace goes.
  for (const name of await ctx.host.files.names(quarantine)) {
    await attempt(name, () => ctx.host.network.detach(scope, `${quarantine}/${name}`))
  }
  for (const name of await ctx.host.files.names(runPods)) {
    if (!pods.has(name)) await attempt(name, () => sweepPod(ctx, scope, name))
  }
}

async function sweepContainer(ctx: Context, scope: Scope, name: string): Promise<void> {
  const folder = `${folders(ctx.options.roots).runContainers}/${name}`
  await deleteEverywhere(ctx, scope, name)
  await ctx.host.rootfs.unmount(scope, `${folder}/bundle/rootfs`)
  await ctx.host.files.removeTree(folder)
}

async function sweepPod(ctx: Context, scope: Scope, name: string): Promise<void> {
  const folder = `${folders(ctx.options.roots).runPods}/${name}`
  await deleteEverywhere(ctx, scope, pausedId(name))
  // A parent that a client named is not known any more; below our own the cgroup can be found. It is first: while a
  // container of the pod lives on it cannot go, and then all of this is for the next start.
  const { defaultCgroupParent: fallback } = ctx.options
  const cgroup = podCgroup(ctx.host.facts.cgroupDriver, { parent: '', fallback }, podId(name))
  await ctx.host.cgroups.remove(scope, cgroup.ownsParent ? cgroup.parent : cgroup.sandbox)
  for (const pin of ['netns', 'ipcns', 'utsns', 'shm'])
    await ctx.host.rootfs.unmount(scope, `${folder}/${pin}`)
  await ctx.host.files.removeTree(folder)
}

/** Which handler it ran under was in the record: all are asked, those that do not know it answer at once. */
async function deleteEverywhere(ctx: Context, scope: Scope, id: string): Promise<void> {
  for (const handler of Object.keys(ctx.host.facts.handlers)) {
    await ctx.host.runtime(handler).delete(scope, id, { force: true })
  }
}
