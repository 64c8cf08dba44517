// SPDX-License-Identifier: Apache-2.0
/** Devices of a container's OCI spec: which nodes exist in /dev, and the cgroup's rules for them. */
import { Fault } from '../../../base/fault.ts'
import type { DeviceRequest } from '../../container.ts'
import { clip } from '../../ids.ts'
import type { OciDevice, OciDeviceRule } from './oci.ts'

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

/** `hostDevices`: what the requested paths are on the host; for privileged containers, all of the host's. */
export function planDevices(
  wanted: readonly DeviceRequest[],
  hostDevices: ReadonlyMap<string, readonly HostDevice[]>,
  privileged: readonly HostDevice[] | undefined,
): DevicePlan {
  const nodes = new Map<string, OciDevice>()
  const rules: OciDeviceRule[] = privileged ? [{ allow: true, access: 'rwm' }] : [...DEFAULT_RULES]
  for (const d of privileged ?? []) nodes.set(d.path, node(d, d.path))
  for (const w of wanted) {
    const found = hostDevices.get(w.hostPath) ?? []
    if (found.length === 0)
      throw new Fault('invalid', `device ${clip(w.hostPath)} is not a device or folder of devices`)
    for (const d of found) {
      const inside =
        d.path === w.hostPath ? w.containerPath : `${w.containerPath}${d.path.slice(w.hostPath.length)}`
      nodes.set(inside, node(d, inside))
      rules.push(rule(d.type, d.major, d.minor, w.permissions || 'rwm'))
    }
  }
  return { nodes: [...nodes.values()], rules }
}
