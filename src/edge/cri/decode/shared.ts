// SPDX-License-Identifier: Apache-2.0
/** What pods and containers have in common on the wire: profiles and resources. */

import { clip } from '../../../model/ids.ts'
import type { Resources } from '../../../model/resources.ts'
import type { SecurityProfile } from '../../../model/security.ts'
import type { v1 } from '../gen/api.js'
import type { Fields } from './fields.ts'

const MAX_INT64 = (1n << 63n) - 1n
const SIZES = { min: 0n, max: MAX_INT64 } as const
const OR_UNLIMITED = { min: -1n, max: MAX_INT64 } as const
/** The kernel takes no period and no quota below a millisecond. */
const MIN_CFS_US = 1000n
type Range = Parameters<Fields['int']>[2]
const CPU_LIST = /^[0-9,\- ]{0,1024}$/

type Profile = v1.SecurityProfile.$Properties | null | undefined

/**
 * A SecurityProfile over its deprecated string forms (`runtime/default`, `docker/default`, `unconfined`,
 * `localhost/NAME`); nothing said at all is `unset`.
 */
export function profile(
  f: Fields,
  field: string,
  value: { now: Profile; old: string | null | undefined; path: boolean },
): SecurityProfile {
  const { now, old } = value
  if (now) {
    const type = f.oneOf(`${field}.profile_type`, now.profileType, [
      'runtime-default',
      'unconfined',
      'localhost',
    ] as const)
    return type === 'localhost'
      ? localhost(f, `${field}.localhost_ref`, { ref: now.localhostRef ?? '', path: value.path })
      : { type }
  }
  if (!old) return { type: 'unset' }
  if (old === 'unconfined') return { type: 'unconfined' }
  if (old === 'runtime/default' || old === 'docker/default') return { type: 'runtime-default' }
  if (old.startsWith('localhost/'))
    return localhost(f, field, { ref: old.slice('localhost/'.length), path: value.path })
  f.bad(field, `"${clip(old)}" is not runtime/default, unconfined or localhost/…`)
  return { type: 'unset' }
}

function localhost(f: Fields, field: string, value: { ref: string; path: boolean }): SecurityProfile {
  const ref = value.path ? f.path(field, value.ref, true) : f.name(field, value.ref, { required: true })
  return { type: 'localhost', ref }
}

export function resources(
  f: Fields,
  field: string,
  r: v1.LinuxContainerResources.$Properties | null | undefined,
): Resources | undefined {
  if (!r) return undefined
  const cpus = (name: string, v: string | null | undefined) => {
    if (!CPU_LIST.test(v ?? '')) f.bad(`${field}.${name}`, `"${clip(v ?? '')}" is not a list of numbers`)
    return v ?? ''
  }
  const microseconds = (name: string, value: bigint | number | null | undefined, range: Range) => {
    const v = f.int(`${field}.${name}`, value, range)
    if (v > 0n && v < MIN_CFS_US) f.bad(`${field}.${name}`, `${v} is less than ${MIN_CFS_US} microseconds`)
    return v
  }
  return {
    cpuPeriod: microseconds('cpu_period', r.cpuPeriod, { min: 0n, max: 1_000_000n }),
    cpuQuota: microseconds('cpu_quota', r.cpuQuota, OR_UNLIMITED),
    cpuShares: f.int(`${field}.cpu_shares`, r.cpuShares, { min: 0n, max: 262_144n }),
    memoryLimitBytes: f.int(`${field}.memory_limit_in_bytes`, r.memoryLimitInBytes, OR_UNLIMITED),
    memorySwapLimitBytes: f.int(
      `${field}.memory_swap_limit_in_bytes`,
      r.memorySwapLimitInBytes,
      OR_UNLIMITED,
    ),
    oomScoreAdj: Number(f.int(`${field}.oom_score_adj`, r.oomScoreAdj, { min: -1000n, max: 1000n })),
    cpusetCpus: cpus('cpuset_cpus', r.cpusetCpus),
    cpusetMems: cpus('cpuset_mems', r.cpusetMems),
    hugepages: f.list(`${field}.hugepage_limits`, r.hugepageLimits, 16).map((h) => ({
      pageSize: f.name(`${field}.hugepage_limits.page_size`, h.pageSize, { required: true, max: 16 }),
      limitBytes: f.int(`${field}.hugepage_limits.limit`, h.limit, SIZES),
    })),
    unified: f.map(`${field}.unified`, r.unified),
  }
}
