// SPDX-License-Identifier: Apache-2.0
/**
 * What a container of a pod with a user namespace needs beside others: its layers and volumes with the owners that
 * the pod's ids stand for. The volumes are mounted so in the container's run folder, where the runtime takes them
 * from: no runtime has to know of id mappings. Image volumes get an overlay of their own over the pod's layers.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { Release } from '../../base/undo.ts'
import type { ContainerRecord, MountRequest } from '../../model/container.ts'
import { absPath, clip } from '../../model/ids.ts'
import {
  type ContainerPaths,
  containerPaths,
  folders,
  imageVolumePaths,
  podPaths,
} from '../../model/names.ts'
import { isMapped, type ResolvedMount } from '../../model/plan/spec/mounts.ts'
import type { PodRecord } from '../../model/pod.ts'
import type { Context } from '../context.ts'
import type { FoundVolume } from './volumes.ts'

export interface MappedMount {
  readonly index: number
  readonly request: MountRequest
  readonly source: string
  readonly target: string
}

/** All mounts as the runtime has to make them, and those of them that are mounted by us before. Pure. */
export function splitMapped(
  pod: PodRecord,
  paths: ContainerPaths,
  mounts: readonly ResolvedMount[],
): { readonly mounts: readonly ResolvedMount[]; readonly mapped: readonly MappedMount[] } {
  const { user } = pod.config.namespaces
  const mapped = mounts.flatMap(({ request, source }, index) =>
    isMapped(request, user) ? [{ index, request, source, target: `${paths.mounts}/${index}` }] : [],
  )
  const targets = new Map(mapped.map((m) => [m.index, m.target]))
  return { mapped, mounts: mounts.map((m, i) => ({ ...m, source: targets.get(i) ?? m.source })) }
}

/** The layers of an image as the pod has them. */
export function layersFor(ctx: Context, pod: PodRecord, lowerDirs: readonly string[]): readonly string[] {
  if (!pod.config.namespaces.user) return lowerDirs
  const store = folders(ctx.options.roots).layers
  const { layers } = podPaths(ctx.options.roots, pod.id)
  return lowerDirs.map((path) => {
    if (path.startsWith(`${store}/`)) return `${layers}${path.slice(store.length)}`
    throw new Fault('internal', `layer ${path} is not below ${store}`)
  })
}

/** Mounts them. Faults name the mount. @abort finishes */
export async function mountMapped(
  ctx: Context,
  scope: Scope,
  of: {
    readonly pod: PodRecord
    readonly id: ContainerRecord['id']
    readonly mapped: readonly MappedMount[]
    readonly volumes: readonly FoundVolume[]
  },
): Promise<void> {
  const { host, options } = ctx
  const { userns } = podPaths(options.roots, of.pod.id)
  await host.files.ensureFolders([containerPaths(options.roots, of.id).mounts])
  for (const { index, request, source, target } of of.mapped) {
    const volume = of.volumes.find((v) => v.mount === index)
    try {
      if (!volume) {
        await host.idmaps.bind(scope, { source, target, userns })
        continue
      }
      const paths = { ...imageVolumePaths(options.roots, volume.imageId), files: absPath(`${target}.image`) }
      await host.files.ensureFolders([paths.files])
      await host.imageVolumes.mount(scope, paths, layersFor(ctx, of.pod, volume.image.lowerDirs))
      const subPath = request.image?.subPath ?? ''
      const found =
        subPath === '' ? paths.files : await host.imageVolumes.resolve(scope, paths.files, subPath)
      await host.idmaps.bind(scope, { source: found, target })
    } catch (e) {
      throw Fault.during(`mount at ${clip(request.containerPath)}`, e)
    }
  }
}

/** All that `mountMapped` mounted, by what is in the folder. */
export function releaseMapped(ctx: Context, { id }: ContainerRecord): Release {
  return async (scope) => {
    const { mounts } = containerPaths(ctx.options.roots, id)
    const names = await ctx.host.files.names(mounts)
    // Each waits for the kernel to see nobody on it.
    await Promise.all(names.map((name) => ctx.host.rootfs.unmount(scope, `${mounts}/${name}`)))
  }
}
