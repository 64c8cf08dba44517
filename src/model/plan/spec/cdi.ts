// SPDX-License-Identifier: Apache-2.0
/**
 * The edits of CDI devices in an OCI spec that is otherwise complete: what a vendor says about its device wins over
 * what request and image say of the same variable, path or node. Pure.
 */
import { Fault } from '../../../base/fault.ts'
import { type CdiDeviceNode, type CdiEdits, isWhole } from '../../cdi.ts'
import { clip } from '../../ids.ts'
import { type HostDevice, placed } from './devices.ts'
import { moreHooks } from './hooks.ts'
import { byDepth } from './mounts.ts'
import type { OciDevice, OciSpec } from './oci.ts'

/** `devices`: what the paths of the nodes are on the host that do not say it themselves. Throws `invalid`. */
export function withCdi(
  spec: OciSpec,
  edits: CdiEdits | undefined,
  devices: ReadonlyMap<string, readonly HostDevice[]>,
): OciSpec {
  if (!edits) return spec
  const { process: own, linux } = spec
  const { nodes, rules, mounts: bound } = nodesOf(spec, edits.deviceNodes, devices)
  const mounts = [
    ...bound,
    ...edits.mounts.map(({ containerPath: destination, hostPath: source, type, options }) => ({
      destination,
      type,
      source,
      options,
    })),
  ]
  const replaced = new Set(mounts.map((m) => m.destination))
  const hooks = edits.hooks.map(({ hookName: stage, ...hook }) => ({ stage, hook }))
  const gids = [...(own.user.additionalGids ?? []), ...edits.additionalGids]
  return {
    ...spec,
    process: {
      ...own,
      user: { ...own.user, additionalGids: [...new Set(gids)] },
      env: [...byKey([...own.env, ...edits.env], (e) => e.slice(0, e.indexOf('=')))],
    },
    mounts: [...spec.mounts.filter((m) => !replaced.has(m.destination)), ...mounts].sort(byDepth),
    ...(hooks.length > 0 ? { hooks: moreHooks(spec.hooks, hooks) } : {}),
    linux: {
      ...linux,
      ...(nodes.length > 0
        ? { devices: [...byKey([...(linux.devices ?? []), ...nodes], (d) => d.path)] }
        : {}),
      resources: { ...linux.resources, devices: [...(linux.resources.devices ?? []), ...rules] },
    },
  }
}

function nodesOf(
  { process: { user }, linux }: OciSpec,
  wanted: readonly CdiDeviceNode[],
  devices: ReadonlyMap<string, readonly HostDevice[]>,
): ReturnType<typeof placed> {
  const nodes = wanted.map((n) => node(n, devices, user))
  const rules = nodes.flatMap(({ type, major, minor }, i) => {
    const access = wanted[i]?.permissions || 'rwm'
    return type === 'p' ? [] : [{ allow: true, type: type === 'u' ? 'c' : type, major, minor, access }]
  })
  const hostPaths = new Map(wanted.map((n) => [n.path, n.hostPath]))
  return placed({ nodes, rules, hostPaths }, linux.uidMappings !== undefined)
}

/** The last of each key, in the place of the first. */
function byKey<T>(all: readonly T[], key: (item: T) => string): Iterable<T> {
  return new Map(all.map((item) => [key(item), item])).values()
}

/** Owner is the process, where nobody else is said; the runtime's own default is the mode. */
function node(
  n: CdiDeviceNode,
  devices: ReadonlyMap<string, readonly HostDevice[]>,
  user: { readonly uid: number; readonly gid: number },
): OciDevice {
  const { path, fileMode, uid = user.uid, gid = user.gid } = n
  const rest = { ...(fileMode === undefined ? {} : { fileMode }), uid, gid }
  if (isWhole(n)) return { path, type: n.type ?? '', major: n.major ?? 0, minor: n.minor ?? 0, ...rest }
  const found = devices.get(n.hostPath)?.find((d) => d.path === n.hostPath)
  if (!found) throw new Fault('invalid', `CDI device node ${clip(n.hostPath)} is not a device of this node`)
  if (n.type !== undefined && n.type !== found.type)
    throw new Fault(
      'invalid',
      `CDI device node ${clip(n.hostPath)} is of type ${found.type} here, its spec says ${n.type}`,
    )
  return { path, type: found.type, major: found.major, minor: found.minor, ...rest }
}
