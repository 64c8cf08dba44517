// SPDX-License-Identifier: Apache-2.0
/** Id mappings on the wire: of a user namespace and of a mount. One range each, from the container's 0 on. */
import type { IdRange, UserMapping } from '../../../model/pod.ts'
import type { v1 } from '../gen/api.js'
import type { Fields } from './fields.ts'

type Mappings = readonly v1.IDMapping.$Properties[] | null | undefined

/** Ids that the kernel has: the last one means "none". */
const IDS = 0xffff_ffff
const NONE: IdRange = { hostId: 0, length: 0 }

/** Undefined: nothing is said. */
export function userns(
  f: Fields,
  field: string,
  u: v1.UserNamespace.$Properties | null | undefined,
): UserMapping | 'node' | undefined {
  if (!u) return undefined
  const mode = f.oneOf(`${field}.mode`, u.mode, ['pod', undefined, 'node'] as const)
  if (mode === 'pod') return mapping(f, [`${field}.uids`, u.uids], [`${field}.gids`, u.gids])
  for (const [name, list] of [['uids', u.uids] as const, ['gids', u.gids] as const])
    if ((list?.length ?? 0) > 0) f.bad(`${field}.${name}`, 'mode NODE takes no mappings')
  return 'node'
}

/** Both mappings of a mount, or none. */
export function mountMapping(f: Fields, field: string, m: v1.Mount.$Properties): UserMapping | undefined {
  if ((m.uidMappings?.length ?? 0) === 0 && (m.gidMappings?.length ?? 0) === 0) return undefined
  return mapping(f, [`${field}.uidMappings`, m.uidMappings], [`${field}.gidMappings`, m.gidMappings])
}

function mapping(
  f: Fields,
  uids: readonly [string, Mappings],
  gids: readonly [string, Mappings],
): UserMapping {
  return { uids: range(f, ...uids), gids: range(f, ...gids) }
}

function range(f: Fields, field: string, list: Mappings): IdRange {
  const [one, ...more] = list ?? []
  if (!one || more.length > 0) {
    f.bad(field, `has ${(list ?? []).length} mappings, exactly one is needed`)
    return NONE
  }
  const { hostId, containerId, length } = {
    hostId: one.hostId ?? 0,
    containerId: one.containerId ?? 0,
    length: one.length ?? 0,
  }
  if (containerId !== 0) f.bad(`${field}[0].container_id`, `is ${containerId}: the mapping has to begin at 0`)
  if (length === 0) f.bad(`${field}[0].length`, 'is 0: nothing would be mapped')
  else if (hostId + length > IDS)
    f.bad(`${field}[0].host_id`, `${hostId} and the ${length} ids from there on go beyond the last id`)
  return { hostId, length }
}
