// SPDX-License-Identifier: Apache-2.0
/** What pods and containers have in common on the wire: profiles and resources. */

import { clip } from '../../../model/ids.ts'
import { LIMITS } from '../../../model/limits.ts'
import { type Resources, unifiedProblem } from '../../../model/resources.ts'
import type { SecurityProfile, SelinuxOptions } from '../../../model/security.ts'
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
  value: { now: Profile; old: string | null | undefined; kind: 'seccomp' | 'apparmor' },
): SecurityProfile {
  const { now, old } = value
  if (now) {
    const type = f.oneOf(`${field}.profile_type`, now.profileType, [
      'runtime-default',
      'unconfined',
      'localhost',
    ] as const)
    return type === 'localhost'
      ? localhost(f, `${field}.localhost_ref`, { ref: now.localhostRef ?? '', kind: value.kind })
      : { type }
  }
  if (!old) return { type: 'unset' }
  if (old === 'unconfined') return { type: 'unconfined' }
  if (old === 'runtime/default' || old === 'docker/default') return { type: 'runtime-default' }
  if (old.startsWith('localhost/'))
    return localhost(f, field, { ref: old.slice('localhost/'.length), kind: value.kind })
  f.bad(field, `"${clip(old)}" is not runtime/default, unconfined or localhost/…`)
  return { type: 'unset' }
}

/**
 * A seccomp profile is a file, by its path or by one below the node's folder of profiles; an AppArmor profile is a
 * name, which clients write with and without `localhost/` in front, in the new field too.
 */
function localhost(
  f: Fields,
  field: string,
  value: { ref: string; kind: 'seccomp' | 'apparmor' },
): SecurityProfile {
  if (value.kind === 'apparmor') {
    // Profiles of programs are named by the path of the program.
    const ref = f.text(field, value.ref.replace(/^localhost\//, ''), LIMITS.nameBytes)
    if (ref === '') f.bad(field, 'is required')
    if (/[\n\r\t]/.test(ref)) f.bad(field, 'has control characters in it')
    return { type: 'localhost', ref }
  }
  if (value.ref === '') f.bad(field, 'is required')
  const ref = value.ref.startsWith('/') ? f.path(field, value.ref) : f.relative(field, value.ref)
  return { type: 'localhost', ref }
}

const LEVEL = /^s\d{1,3}(:c\d{1,4}([.,]c\d{1,4})*)?(-s\d{1,3}(:c\d{1,4}([.,]c\d{1,4})*)?)?$/

/** SELinux options, whose form is checked also where SELinux is off; undefined when there is nothing in them. */
export function selinux(
  f: Fields,
  field: string,
  o: v1.SELinuxOption.$Properties | null | undefined,
): SelinuxOptions | undefined {
  const part = (name: 'user' | 'role' | 'type') => {
    const v = o?.[name] ?? ''
    if (!/^[A-Za-z0-9_.]{0,255}$/.test(v))
      f.bad(`${field}.${name}`, `"${clip(v)}" is not a part of a context`)
    return v
  }
  const level = o?.level ?? ''
  if (level !== '' && (level.length > 255 || !LEVEL.test(level)))
    f.bad(`${field}.level`, `"${clip(level)}" is not a level such as s0:c1,c2`)
  const options = { user: part('user'), role: part('role'), type: part('type'), level }
  return Object.values(options).some((v) => v !== '') ? options : undefined
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
    unified: unified(f, `${field}.unified`, r.unified),
  }
}

/** Files of cgroup v2, by name: nothing that leaves the cgroup or steers it. */
function unified(f: Fields, field: string, value: v1.LinuxContainerResources.$Properties['unified']) {
  const out = f.map(field, value)
  for (const [key, text] of Object.entries(out)) {
    const problem = unifiedProblem(key, text)
    if (problem !== undefined) f.bad(`${field}["${clip(key)}"]`, problem)
  }
  return out
}
