// SPDX-License-Identifier: Apache-2.0
/**
 * Limits as what the files of a cgroup are to hold, for cgroup v1 and v2 (Documentation/admin-guide/cgroup-v1,
 * cgroup-v2.rst). For cgroups that gantry makes itself, and for what OCI runtimes leave out of an update; the
 * rest of a container's cgroup is written by its runtime. Pure.
 */
import type { Resources } from '../resources.ts'
import type { OciResources } from './spec/oci.ts'

export interface LimitFile {
  /** Where the file is on cgroup v1; v2 has one tree. */
  readonly controller: string
  readonly file: string
  readonly value: string
}

const limitOf = (value: number | string | undefined) =>
  value === undefined || value === -1 ? 'max' : String(value)

/** The conversion of shares (2…262144) to a weight (1…10000) that Kubernetes and runtimes used first (KEP-2254). */
export function cpuWeight(shares: number): number {
  return 1 + Math.floor(((shares - 2) * 9999) / 262_142)
}

function v2Files(r: OciResources): readonly LimitFile[] {
  const { cpu = {}, memory = {} } = r
  const out: LimitFile[] = []
  const put = (controller: string, file: string, value: string) => out.push({ controller, file, value })
  if (memory.limit !== undefined) {
    if (memory.swap !== undefined) {
      const both = memory.swap === -1 || memory.limit === -1
      put('memory', 'memory.swap.max', both ? 'max' : String(memory.swap - memory.limit))
    }
    put('memory', 'memory.max', limitOf(memory.limit))
  }
  if (cpu.quota !== undefined || cpu.period !== undefined)
    put('cpu', 'cpu.max', `${limitOf(cpu.quota)} ${cpu.period ?? 100_000}`)
  if (typeof cpu.shares === 'number') put('cpu', 'cpu.weight', String(cpuWeight(cpu.shares)))
  if (cpu.cpus !== undefined) put('cpuset', 'cpuset.cpus', String(cpu.cpus))
  if (cpu.mems !== undefined) put('cpuset', 'cpuset.mems', String(cpu.mems))
  return out
}

function v1Files(r: OciResources): readonly LimitFile[] {
  const { cpu = {}, memory = {} } = r
  const wanted: readonly (readonly [string, string, number | string | undefined])[] = [
    ['memory', 'memory.limit_in_bytes', memory.limit],
    ['memory', 'memory.memsw.limit_in_bytes', memory.swap],
    ['cpu', 'cpu.cfs_period_us', cpu.period],
    ['cpu', 'cpu.cfs_quota_us', cpu.quota],
    ['cpu', 'cpu.shares', cpu.shares],
    ['cpuset', 'cpuset.cpus', cpu.cpus],
    ['cpuset', 'cpuset.mems', cpu.mems],
  ]
  return wanted.flatMap(([controller, file, value]) =>
    value === undefined ? [] : [{ controller, file, value: String(value) }],
  )
}

/** Huge page limits alone: what `runc update` leaves as it is. */
export function hugepageFiles(r: OciResources, version: 1 | 2): readonly LimitFile[] {
  const end = version === 2 ? 'max' : 'limit_in_bytes'
  return (r.hugepageLimits ?? []).map(({ pageSize, limit }) => ({
    controller: 'hugetlb',
    file: `hugetlb.${pageSize}.${end}`,
    value: String(limit),
  }))
}

/** Every file that the resources speak of; `unified` last, as it has the last word. */
export function limitFiles(r: OciResources, version: 1 | 2): readonly LimitFile[] {
  const unified = Object.entries(r.unified ?? {}).map(([file, value]) => ({
    controller: file.slice(0, file.indexOf('.')),
    file,
    value,
  }))
  return [...(version === 2 ? v2Files(r) : v1Files(r)), ...hugepageFiles(r, version), ...unified]
}

/**
 * What OCI runtimes write beside systemd, which sets it to its own idea at every reload: no swap at all (they tell it
 * only of some), and `unified`, of which it does not know everything (memory.oom.group). v1 has neither.
 */
export function besideSystemd(r: OciResources, version: 1 | 2): readonly LimitFile[] {
  if (version === 1) return []
  return limitFiles(r, version).filter(
    ({ file: f }) => f === 'memory.swap.max' || r.unified?.[f] !== undefined,
  )
}

/** The same with "unlimited" said where nothing is: for a cgroup whose earlier limits are to go. */
export function openEnds(r: Resources): Resources {
  return {
    ...r,
    memoryLimitBytes: r.memoryLimitBytes || -1n,
    memorySwapLimitBytes: r.memorySwapLimitBytes || -1n,
    cpuQuota: r.cpuQuota || -1n,
    cpuShares: r.cpuShares || 2n,
  }
}
