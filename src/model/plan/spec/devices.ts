// SPDX-License-Identifier: Apache-2.0
/** Devices of a container's OCI spec: which nodes exist in /dev, and the cgroup's rules for them. */
import { Fault } from '../../../base/fault.ts'
import type { DeviceRequest } from '../../container.ts'
import { clip } from '../../ids.ts'
import type { OciDevice, OciDeviceRule, OciMount } from './oci.ts'

/** A device node of the host, as *look* found it. */
export interface HostDevice {
  readonly path: string
  readonly type: 'b' | 'c'
  readonly major: number
  readonly minor: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

export interface DevicePlan {
  readonly nodes: readonly OciDevice[]
  readonly rules: readonly OciDeviceRule[]
  /** Where each node is on the host, by its path inside. */
  readonly hostPaths: ReadonlyMap<string, string>
}

/**
 * In a user namespace nobody makes nodes, and a runtime binds what the host has at the same path, whatever was meant:
 * nodes that have another path inside become mounts of their own.
 */
export function placed(
  plan: DevicePlan,
  userNamespace: boolean,
): DevicePlan & { readonly mounts: readonly OciMount[] } {
  const moved = (d: OciDevice) => userNamespace && d.type !== 'p' && plan.hostPaths.get(d.path) !== d.path
  const mounts = plan.nodes.filter(moved).map(({ path }) => ({
    destination: path,
    type: 'bind',
    source: plan.hostPaths.get(path) ?? path,
    options: ['bind', 'rprivate', 'nosuid', 'noexec', 'rw'],
  }))
  return { ...plan, nodes: plan.nodes.filter((d) => !moved(d)), mounts }
}

const rule = (
  type: string,
  major: number | undefined,
  minor: number | undefined,
  access: string,
): OciDeviceRule => ({
  allow: true,
  type,
  ...(major === undefined ? {} : { major }),
  ...(minor === undefined ? {} : { minor }),
  access,
})

/** null zero full random urandom tty ptmx console and pts: what every runtime lets through. */
const DEFAULT_RULES: readonly OciDeviceRule[] = [
  { allow: false, access: 'rwm' },
  rule('c', undefined, undefined, 'm'),
  rule('b', undefined, undefined, 'm'),
  ...[
    [1, 3],
    [1, 5],
    [1, 7],
    [1, 8],
    [1, 9],
    [5, 0],
    [5, 1],
    [5, 2],
  ].map(([major, minor]) => rule('c', major, minor, 'rwm')),
  rule('c', 136, undefined, 'rwm'),
]

function node(d: HostDevice, path: string): OciDevice {
  return {
    path,
    type: d.type,
    major: d.major,
    minor: d.minor,
    fileMode: d.mode & 0o777,
    uid: d.uid,
    gid: d.gid,
  }
}

/**
 * `hostDevices`: what the requested paths are on the host. `privileged`: the nodes that come without asking, and with
 * them leave to use any; undefined for a container that has no such leave.
 */
export function planDevices(
  wanted: readonly DeviceRequest[],
  hostDevices: ReadonlyMap<string, readonly HostDevice[]>,
  privileged: readonly HostDevice[] | undefined,
): DevicePlan {
  const nodes = new Map<string, OciDevice>()
  const hostPaths = new Map((privileged ?? []).map((d) => [d.path, d.path]))
  const rules: OciDeviceRule[] = privileged ? [{ allow: true, access: 'rwm' }] : [...DEFAULT_RULES]
  for (const d of privileged ?? []) nodes.set(d.path, node(d, d.path))
  for (const w of wanted) {
    const found = hostDevices.get(w.hostPath) ?? []
    if (found.length === 0)
      throw new Fault(
        'invalid',
        `device ${clip(w.hostPath)} is no device of this node, and no folder of devices`,
      )
    for (const d of found) {
      const inside =
        d.path === w.hostPath ? w.containerPath : `${w.containerPath}${d.path.slice(w.hostPath.length)}`
      nodes.set(inside, node(d, inside))
      hostPaths.set(inside, d.path)
      rules.push(rule(d.type, d.major, d.minor, w.permissions || 'rwm'))
    }
  }
  return { nodes: [...nodes.values()], rules, hostPaths }
}
