// SPDX-License-Identifier: Apache-2.0
/**
 * `mounts` of a container's OCI spec: the file systems every container has, the pod's files, and the mounts
 * of the request, which win over both. Also says what the rootfs propagation has to be.
 */
import { Fault } from '../../../base/fault.ts'
import type { MountRequest } from '../../container.ts'
import { clip } from '../../ids.ts'
import type { IdRange, UserMapping } from '../../pod.ts'
import type { OciMount } from './oci.ts'

export interface BaseMounts {
  readonly privileged: boolean
  readonly readonlyRootfs: boolean
  readonly cgroupVersion: 1 | 2
  readonly hostIpc: boolean
  readonly hostNetwork: boolean
  /** In a user namespace of the pod's own. */
  readonly userNamespace: boolean
  readonly shm: string
  readonly resolvConf: string
  readonly hostname: string
  readonly hosts: string
}

const NODEV = ['nosuid', 'noexec', 'nodev']

/** The kernel gives a sysfs only to those who own the network namespace: the others get the node's, bound. */
function sysfs(o: BaseMounts): OciMount {
  const mode = o.privileged ? 'rw' : 'ro'
  if (o.userNamespace && o.hostNetwork) {
    const options = ['rbind', 'rprivate', ...NODEV, mode]
    return { destination: '/sys', type: 'bind', source: '/sys', options }
  }
  return { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...NODEV, mode] }
}

/** What each container has without asking. */
export function baseMounts(o: BaseMounts): readonly OciMount[] {
  const file = (destination: string, source: string): OciMount => ({
    destination,
    type: 'bind',
    source,
    options: ['bind', 'rprivate', ...NODEV, o.readonlyRootfs ? 'ro' : 'rw'],
  })
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: NODEV },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: NODEV },
    sysfs(o),
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: [...NODEV, 'relatime', o.privileged ? 'rw' : 'ro'],
    },
    {
      destination: '/dev/shm',
      type: 'bind',
      source: o.hostIpc ? '/dev/shm' : o.shm,
      options: ['rbind', 'rprivate', ...NODEV, 'rw'],
    },
    file('/etc/resolv.conf', o.resolvConf),
    file('/etc/hostname', o.hostname),
    file('/etc/hosts', o.hosts),
  ]
}

const PROPAGATION = { private: 'rprivate', 'host-to-container': 'rslave', bidirectional: 'rshared' } as const

/**
 * One mount of the request as an OCI bind mount. `source` has its links resolved already. What is in an image is not
 * the node's: set-user-ID bits and device nodes mean nothing there; programs may be run (KEP-4639 as of v1.36).
 */
function requested(m: MountRequest, source: string): OciMount {
  const attributes = new Set([...(m.image ? ['nosuid', 'nodev'] : []), ...(m.options ?? [])])
  const options = [
    'rbind',
    PROPAGATION[m.propagation],
    m.recursiveReadOnly ? 'rro' : m.readonly ? 'ro' : 'rw',
    ...attributes,
  ]
  return { destination: m.containerPath, type: 'bind', source, options }
}

export interface ResolvedMount {
  readonly request: MountRequest
  /** host_path with its symlinks followed; of an image volume where it will be, its sub path as it was asked for. */
  readonly source: string
}

/**
 * Base and requested mounts in the order in which they have to be made: parents before children, a later
 * request after an earlier one. A request over a base mount replaces it and what lies below it.
 */
export function allMounts(base: readonly OciMount[], wanted: readonly ResolvedMount[]): readonly OciMount[] {
  const kept = base.filter((b) => !wanted.some((w) => covers(w.request.containerPath, b.destination)))
  return [...kept, ...wanted.map((w) => requested(w.request, w.source)).sort(byDepth)]
}

const covers = (parent: string, path: string) => path === parent || path.startsWith(`${parent}/`)
const depth = (path: string) => path.split('/').filter((p) => p !== '').length

/** Parents before children. */
export function byDepth(a: OciMount, b: OciMount): number {
  return depth(a.destination) - depth(b.destination)
}

/**
 * The volumes that an image declares, in a container whose rootfs is read-only: each a piece of its own rootfs,
 * writable, where `mounts` put nothing over it. `paths` have no links in them; '' is the root, which stays as it is.
 */
export function declaredVolumes(
  paths: readonly string[],
  rootfs: string,
  mounts: readonly OciMount[],
): readonly OciMount[] {
  const free = paths.filter((p) => p !== '' && !mounts.some((m) => covers(m.destination, p)))
  const options = ['rbind', 'rprivate', 'rw']
  return [...new Set(free)]
    .map((destination) => ({ destination, type: 'bind', source: `${rootfs}${destination}`, options }))
    .sort(byDepth)
}

/** `mounts` with the sources that are known only now: of image volumes, once these are mounted. */
export function withSources(
  mounts: readonly OciMount[],
  sources: ReadonlyMap<string, string>,
): readonly OciMount[] {
  return mounts.map((m) => {
    const source = m.source === undefined ? undefined : sources.get(m.source)
    return source === undefined ? m : { ...m, source }
  })
}

/** The widest propagation that any mount needs of the rootfs; undefined leaves the runtime's default. */
export function rootfsPropagation(wanted: readonly MountRequest[]): string | undefined {
  if (wanted.some((m) => m.propagation === 'bidirectional')) return 'rshared'
  if (wanted.some((m) => m.propagation === 'host-to-container')) return 'rslave'
  return undefined
}

/** Is the mount made by us, with other owners, before the runtime binds it? So are image volumes in a user namespace. */
export function isMapped(m: MountRequest, user: UserMapping | undefined): boolean {
  return m.idmap !== undefined || (m.image !== undefined && user !== undefined)
}

export function sameMapping(a: UserMapping, b: UserMapping): boolean {
  const same = (x: IdRange, y: IdRange) => x.hostId === y.hostId && x.length === y.length
  return same(a.uids, b.uids) && same(a.gids, b.gids)
}

export interface MountRules {
  readonly recursiveReadOnly: boolean
  readonly privileged: boolean
  /** That of the pod, if it has one. */
  readonly user?: UserMapping | undefined
}

/** The rules of the CRI for one mount; throws `invalid` naming the container path. */
export function checkMount(m: MountRequest, features: MountRules): void {
  const name = `mount at ${clip(m.containerPath)}`
  if (m.recursiveReadOnly && !features.recursiveReadOnly) {
    throw new Fault(
      'unsupported',
      `${name}: recursive_read_only is not offered by this runtime handler or kernel`,
    )
  }
  if (m.recursiveReadOnly && !m.readonly)
    throw new Fault('invalid', `${name}: recursive_read_only needs readonly`)
  if (m.recursiveReadOnly && m.propagation !== 'private') {
    throw new Fault('invalid', `${name}: recursive_read_only needs private propagation`)
  }
  const { user } = features
  if (m.idmap && !(user && sameMapping(m.idmap, user))) {
    throw new Fault(
      'invalid',
      `${name}: uidMappings and gidMappings have to be those of the pod's user namespace${user ? '' : ', and it has none'}`,
    )
  }
  if (user && m.propagation === 'bidirectional') {
    throw new Fault(
      'invalid',
      `${name}: no mount gets out of a user namespace: propagation can be private or host to container`,
    )
  }
}
