// SPDX-License-Identifier: Apache-2.0
/**
 * `linux.resources` of an OCI spec from the CRI's LinuxContainerResources, for cgroup v1 and v2. Owns the
 * rules for swap and huge pages. Numbers leave as JSON numbers: all of them are below 2^53 or refused.
 */
import { Fault } from '../../../base/fault.ts'
import type { Resources } from '../../resources.ts'
import type { OciResources } from './oci.ts'

function toNumber(name: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < -1n) {
    throw new Fault('invalid', `${name} ${value} is out of range`)
  }
  return Number(value)
}

/** memory.swap of the OCI spec is memory + swap together, as in the CRI; unset means "no swap beyond the limit". */
function memory(r: Resources, swapAccounting: boolean): Record<string, number> | undefined {
  const limit = r.memoryLimitBytes
  if (limit === 0n) {
    if (r.memorySwapLimitBytes > 0n)
      throw new Fault('invalid', 'memory_swap_limit_in_bytes needs memory_limit_in_bytes')
    return undefined
  }
  const out: Record<string, number> = { limit: toNumber('memory_limit_in_bytes', limit) }
  if (!swapAccounting) return out
  const swap = r.memorySwapLimitBytes === 0n ? limit : r.memorySwapLimitBytes
  if (swap !== -1n && limit !== -1n && swap < limit) {
    throw new Fault('invalid', `memory_swap_limit_in_bytes ${swap} is below memory_limit_in_bytes ${limit}`)
  }
  out.swap = toNumber('memory_swap_limit_in_bytes', swap)
  return out
}

function cpu(r: Resources): Record<string, number | string> | undefined {
  const out: Record<string, number | string> = {}
  if (r.cpuPeriod) out.period = toNumber('cpu_period', r.cpuPeriod)
  if (r.cpuQuota) out.quota = toNumber('cpu_quota', r.cpuQuota)
  if (r.cpuShares) out.shares = toNumber('cpu_shares', r.cpuShares)
  if (r.cpusetCpus) out.cpus = r.cpusetCpus
  if (r.cpusetMems) out.mems = r.cpusetMems
  return Object.keys(out).length > 0 ? out : undefined
}

function hugepages(r: Resources, sizes: readonly string[]): readonly { pageSize: string; limit: number }[] {
  const wanted = new Map(r.hugepages.map((h) => [h.pageSize, h.limitBytes]))
  for (const [size, limit] of wanted) {
    if (!sizes.includes(size) && limit > 0n) {
      throw new Fault(
        'invalid',
        `huge page size ${size.slice(0, 20)} cannot be limited on this machine (it offers ${sizes.join(', ') || 'none: no huge pages, or no hugetlb cgroup controller'})`,
      )
    }
  }
  return [...wanted]
    .filter(([size]) => sizes.includes(size))
    .map(([pageSize, limit]) => ({ pageSize, limit: toNumber('hugepage limit', limit) }))
}

export interface ResourceFacts {
  readonly cgroupVersion: 1 | 2
  readonly swapAccounting: boolean
  readonly hugepageSizes: readonly string[]
}

/** Everything but devices. `unified` is refused on cgroup v1, as it would be ignored there. */
export function ociResources(r: Resources, facts: ResourceFacts): OciResources {
  if (facts.cgroupVersion === 1 && Object.keys(r.unified).length > 0) {
    throw new Fault('invalid', 'unified resources need cgroup v2, this machine has v1')
  }
  const mem = memory(r, facts.swapAccounting)
  const cpuPart = cpu(r)
  const huge = hugepages(r, facts.hugepageSizes)
  return {
    ...(mem ? { memory: mem } : {}),
    ...(cpuPart ? { cpu: cpuPart } : {}),
    ...(huge.length > 0 ? { hugepageLimits: huge } : {}),
    ...(Object.keys(r.unified).length > 0 ? { unified: r.unified } : {}),
  }
}
