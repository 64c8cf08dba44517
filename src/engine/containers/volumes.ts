// SPDX-License-Identifier: Apache-2.0
/**
 * Image volumes of containers (KEP-4639): an image is mounted read-only once, under a name that its id gives, and
 * every container that has it as a volume gets a bind mount of that. Which containers need it follows from their
 * records: it is mounted with the first and goes with the last, and no count is kept that a crash could spoil.
 *
 * And the volumes that a container's own image declares (`VOLUME`), which are folders in its writable layer.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { Release } from '../../base/undo.ts'
import {
  type ContainerConfig,
  type ContainerRecord,
  type ImageVolume,
  type MountRequest,
  volumeImages,
} from '../../model/container.ts'
import { clip } from '../../model/ids.ts'
import { LIMITS } from '../../model/limits.ts'
import { imageVolumePaths } from '../../model/names.ts'
import { declaredVolumes } from '../../model/plan/spec/mounts.ts'
import type { OciMount, OciSpec } from '../../model/plan/spec/oci.ts'
import type { Context, ImageSource } from '../context.ts'

/** By which the kubelet knows the reason (k8s.io/cri-api/pkg/errors). */
const REASON = 'ImageVolumeMountFailed'

/** An image volume with its image, which is held. */
export interface FoundVolume extends ImageVolume {
  readonly image: ReturnType<ImageSource['resolve']>
}

/** The images of all image volumes, held by `holds` and whole. Faults of the look-up, naming mount and image. */
export async function findVolumes(
  ctx: Context,
  config: ContainerConfig,
  holds: DisposableStack,
): Promise<readonly FoundVolume[]> {
  const found: FoundVolume[] = []
  for (const [mount, request] of config.mounts.entries()) {
    if (!request.image) continue
    try {
      const image = ctx.images.resolve(request.image.image)
      holds.use(image.hold())
      await image.whole()
      found.push({ mount, imageId: image.id, image })
    } catch (e) {
      throw volumeFault(request, e)
    }
  }
  return found
}

/** Where the files of an image volume will be, before anyone has looked: what `mountVolumes` has the answer for. */
export function plannedSource(ctx: Context, imageId: string, request: MountRequest): string {
  const { files } = imageVolumePaths(ctx.options.roots, imageId)
  return request.image?.subPath ? `${files}/${request.image.subPath}` : files
}

/** Mounts the images of a container's volumes. Returns for each planned source the real one. @abort finishes */
export async function mountVolumes(
  ctx: Context,
  scope: Scope,
  of: { readonly config: ContainerConfig; readonly volumes: readonly FoundVolume[] },
): Promise<ReadonlyMap<string, string>> {
  const sources = new Map<string, string>()
  for (const { mount, image } of of.volumes) {
    const request = of.config.mounts[mount]
    if (!request?.image) continue
    const paths = imageVolumePaths(ctx.options.roots, image.id)
    try {
      using _ = await ctx.locks.exclusive(scope, lockOf(image.id))
      // Nobody else on the node gets at what is in there, set-user-ID programs above all.
      await ctx.host.files.ensureFolders([paths.files])
      await ctx.host.files.ensureFolders(paths.empty, 0o755)
      await ctx.host.imageVolumes.mount(scope, paths, image.lowerDirs)
      const { subPath } = request.image
      const source =
        subPath === '' ? paths.files : await ctx.host.imageVolumes.resolve(scope, paths.files, subPath)
      sources.set(plannedSource(ctx, image.id, request), source)
    } catch (e) {
      throw volumeFault(request, e)
    }
  }
  return sources
}

/** The mounts of a container's image volumes, as far as no other container needs them. */
export function releaseVolumes(ctx: Context, record: ContainerRecord): Release {
  return async (scope) => {
    for (const imageId of volumeImages(record)) await releaseVolume(ctx, scope, { imageId, by: record.id })
  }
}

/** Unmounts an image unless a container, other than `by`, needs it. Success if it is not mounted. @abort finishes */
export async function releaseVolume(
  ctx: Context,
  scope: Scope,
  { imageId, by }: { readonly imageId: string; readonly by?: string },
): Promise<void> {
  using _ = await ctx.locks.exclusive(scope, lockOf(imageId))
  const needs = (c: { record: ContainerRecord; state: { phase: string } }) =>
    c.record.id !== by && c.state.phase !== 'exited' && volumeImages(c.record).includes(imageId)
  if ([...ctx.catalog.containers.byId.values()].some(needs)) return
  const { files, folder } = imageVolumePaths(ctx.options.roots, imageId)
  await ctx.host.rootfs.unmount(scope, files)
  await ctx.host.files.removeTree(folder)
}

/** What the image declares, if that can be carried out. Throws `invalid`. */
export function checkDeclared({ volumes }: Pick<FoundVolume['image'], 'volumes'>): readonly string[] {
  if (volumes.length > LIMITS.declaredVolumes)
    throw new Fault('invalid', `the image declares more than ${LIMITS.declaredVolumes} volumes`)
  const odd = volumes.find((path) => path.includes('\0'))
  if (odd !== undefined)
    throw new Fault('invalid', `the image declares a volume at ${clip(odd)}, which is no path`)
  return volumes
}

/** Makes the folders of declared volumes. The mounts of those that a read-only rootfs would make so. @abort finishes */
export async function declaredMounts(
  ctx: Context,
  scope: Scope,
  of: { readonly declared: readonly string[]; readonly rootfs: string; readonly spec: OciSpec },
  owner: { readonly uid: number; readonly gid: number },
): Promise<readonly OciMount[]> {
  const { declared, rootfs, spec } = of
  const inside: string[] = []
  for (const path of declared) inside.push(await ctx.host.rootfs.folder(scope, { rootfs, path }, owner))
  return spec.root.readonly ? declaredVolumes(inside, rootfs, spec.mounts) : []
}

/** Between a look at who needs the mount and what is done about it nobody else comes. */
const lockOf = (imageId: string) => `image-volume/${imageId}`

function volumeFault({ containerPath, image }: MountRequest, error: unknown): Fault {
  const { kind, message } = Fault.during(
    `image volume "${clip(image?.image ?? '')}" at ${clip(containerPath)}`,
    error,
  )
  return new Fault(kind, message, { cause: error, reason: REASON })
}
