// SPDX-License-Identifier: Apache-2.0
/**
 * Every path, cgroup and socket name as a pure function of the roots and an id. Recovery depends on it: a
 * record in phase `creating` is enough to find all that its making may have left.
 */
import { Fault } from '../base/fault.ts'
import { type AbsPath, absPath, type ContainerId, clip, type PodId, under } from './ids.ts'

export interface Roots {
  /** Persistent: records, images, writable layers. */
  readonly root: AbsPath
  /** Gone after a reboot: sockets, namespaces, bundles. */
  readonly run: AbsPath
}

export interface PodPaths {
  readonly state: AbsPath
  readonly run: AbsPath
  readonly netns: AbsPath
  readonly ipcns: AbsPath
  readonly utsns: AbsPath
  readonly userns: AbsPath
  /** The layer store with its owners mapped, where nobody mapped gets; used only with a user namespace. */
  readonly layers: AbsPath
  readonly shm: AbsPath
  readonly resolvConf: AbsPath
  readonly hostname: AbsPath
  readonly hosts: AbsPath
  /** Bundle of the pause process; used only with a shared PID namespace. */
  readonly pauseBundle: AbsPath
  readonly pauseRootfs: AbsPath
  readonly pausePidFile: AbsPath
}

export function podPaths(roots: Roots, id: PodId): PodPaths {
  const run = under(roots.run, 'pods', id)
  return {
    state: under(roots.root, 'pods', id),
    run,
    netns: under(run, 'netns'),
    ipcns: under(run, 'ipcns'),
    utsns: under(run, 'utsns'),
    userns: under(run, 'userns'),
    layers: under(run, 'private', 'layers'),
    shm: under(run, 'shm'),
    resolvConf: under(run, 'resolv.conf'),
    hostname: under(run, 'hostname'),
    hosts: under(run, 'hosts'),
    pauseBundle: under(run, 'pause'),
    pauseRootfs: under(run, 'pause', 'rootfs'),
    pausePidFile: under(run, 'pause', 'pid'),
  }
}

export interface ContainerPaths {
  readonly state: AbsPath
  readonly exitFile: AbsPath
  readonly upper: AbsPath
  readonly work: AbsPath
  readonly run: AbsPath
  readonly bundle: AbsPath
  readonly rootfs: AbsPath
  /** Id-mapped volumes, by the index of their mount. */
  readonly mounts: AbsPath
  readonly control: AbsPath
}

export function containerPaths(roots: Roots, id: ContainerId): ContainerPaths {
  const state = under(roots.root, 'containers', id)
  const run = under(roots.run, 'containers', id)
  return {
    state,
    exitFile: under(state, 'exit.json'),
    upper: under(state, 'upper'),
    work: under(state, 'work'),
    run,
    bundle: under(run, 'bundle'),
    rootfs: under(run, 'bundle', 'rootfs'),
    mounts: under(run, 'mounts'),
    control: under(run, 'ctl.sock'),
  }
}

export const folders = (roots: Roots) => ({
  pods: under(roots.root, 'pods'),
  containers: under(roots.root, 'containers'),
  layers: under(roots.root, 'layers'),
  trash: under(roots.root, 'trash'),
  quarantine: under(roots.root, 'quarantine'),
  runPods: under(roots.run, 'pods'),
  runContainers: under(roots.run, 'containers'),
  imageVolumes: under(roots.run, 'image-volumes'),
  /** Where an OCI runtime keeps its own state, by handler. */
  runtime: (handler: string) => under(roots.run, 'oci', handler),
})

export interface ImageVolumePaths {
  readonly folder: AbsPath
  /** Where the image is mounted for all containers that have it as a volume. */
  readonly files: AbsPath
  /** Empty folders, to be layers where an image has fewer than an overlay needs. */
  readonly empty: readonly [AbsPath, AbsPath]
}

export function imageVolumePaths(roots: Roots, imageId: string): ImageVolumePaths {
  const folder = under(folders(roots).imageVolumes, imageId.slice(imageId.indexOf(':') + 1))
  return {
    folder,
    files: under(folder, 'files'),
    empty: [under(folder, 'empty', '1'), under(folder, 'empty', '2')],
  }
}

export type CgroupDriver = 'cgroupfs' | 'systemd'

/**
 * cgroup paths of a pod: relative to the root of each hierarchy, with a leading slash. `parent` is what the
 * kubelet made (or our default), `sandbox` is the pod's own, which cAdvisor finds also without a process.
 */
export interface PodCgroup {
  readonly parent: AbsPath
  readonly sandbox: AbsPath
  /** The parent is ours and goes with the pod. */
  readonly ownsParent: boolean
}

/** `kubepods-burstable-pod1.slice` is kept in `/kubepods.slice/kubepods-burstable.slice/…` (systemd.slice(5)). */
export function slicePath(slice: string): AbsPath {
  const stem = slice.replace(/\.slice$/, '')
  if (stem === '-' || stem === '') return absPath('/')
  const parts = stem.split('-')
  return absPath(`/${parts.map((_, i) => `${parts.slice(0, i + 1).join('-')}.slice`).join('/')}`)
}

/** systemd places scopes in slices only: the slice of pods that name none. */
export const DEFAULT_SLICE = 'gantry.slice'

/**
 * `requested` is the CRI's cgroup_parent: a path with cgroupfs, a slice with systemd. Without one a pod gets a
 * parent of its own below `defaultParent` (cgroupfs) or lives in DEFAULT_SLICE (systemd).
 */
export function podCgroup(
  driver: CgroupDriver,
  request: { readonly parent: string; readonly fallback: AbsPath },
  id: PodId,
): PodCgroup {
  const requested = request.parent === '' && driver === 'systemd' ? DEFAULT_SLICE : request.parent
  if (requested === '') {
    const defaultParent = request.fallback
    const parent = under(defaultParent, `pod${id}`)
    return { parent, sandbox: under(parent, id), ownsParent: true }
  }
  const base = requested.slice(requested.lastIndexOf('/') + 1)
  if (driver === 'systemd' && !base.endsWith('.slice')) {
    throw new Fault(
      'invalid',
      `config.linux.cgroup_parent: "${clip(requested)}" is not a slice, but the cgroup driver is systemd`,
    )
  }
  const parent = driver === 'systemd' ? slicePath(base) : absPath(requested)
  return { parent, sandbox: under(parent, `gantry-${id}`), ownsParent: false }
}

/**
 * `linux.cgroupsPath` for the runtime, and where the container's cgroup will be: with systemd a scope, or `subgroup`
 * below it for a runtime that keeps its limits there.
 */
export function containerCgroup(
  driver: CgroupDriver,
  pod: {
    readonly cgroup: PodCgroup
    readonly requestedParent: string
    readonly subgroup?: string | undefined
  },
  id: string,
): { readonly spec: string; readonly path: AbsPath } {
  if (driver === 'systemd') {
    const requested = pod.requestedParent || DEFAULT_SLICE
    const slice = requested.slice(requested.lastIndexOf('/') + 1)
    const scope = under(pod.cgroup.parent, `gantry-${id}.scope`)
    return { spec: `${slice}:gantry:${id}`, path: pod.subgroup ? under(scope, pod.subgroup) : scope }
  }
  const path = under(pod.cgroup.parent, id)
  return { spec: path, path }
}

/** What kubelet and CRI know a pod or container by; unique, and the key under which equal requests join. */
export function podKey(m: { name: string; namespace: string; uid: string; attempt: number }): string {
  return `${m.namespace}/${m.name}/${m.uid}/${m.attempt}`
}

export function containerKey(pod: PodId, m: { name: string; attempt: number }): string {
  return `${pod}/${m.name}/${m.attempt}`
}
