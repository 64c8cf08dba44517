// SPDX-License-Identifier: Apache-2.0
/**
 * LinuxContainerResources, decoded, and how a change or a pod's overhead joins them. Zero and the empty string
 * mean "not said", as in the CRI. Pure arithmetic: what a cgroup's files then hold is `plan/limit-files.ts`.
 */

export interface Resources {
  readonly cpuPeriod: bigint
  readonly cpuQuota: bigint
  readonly cpuShares: bigint
  readonly memoryLimitBytes: bigint
  readonly memorySwapLimitBytes: bigint
  readonly oomScoreAdj: number
  readonly cpusetCpus: string
  readonly cpusetMems: string
  readonly hugepages: readonly { readonly pageSize: string; readonly limitBytes: bigint }[]
  readonly unified: Readonly<Record<string, string>>
}

/** What a pod has beside its containers: both are sums over the pod, as the kubelet reckons them. */
export interface PodResources {
  readonly overhead: Resources | undefined
  readonly resources: Resources | undefined
}

export const noResources: Resources = {
  cpuPeriod: 0n,
  cpuQuota: 0n,
  cpuShares: 0n,
  memoryLimitBytes: 0n,
  memorySwapLimitBytes: 0n,
  oomScoreAdj: 0,
  cpusetCpus: '',
  cpusetMems: '',
  hugepages: [],
  unified: {},
}

const UNIFIED_KEY = /^[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROL = /[\u0000-\u001f\u007f]/

/**
 * Why this entry of `unified` is no limit, if it is none. A key is the name of one file of the cgroup; the files
 * of the cgroup core move and freeze processes, and of them only the limits of the tree's size are limits.
 */
export function unifiedProblem(key: string, value: string): string | undefined {
  if (!UNIFIED_KEY.test(key)) return 'is not the name of a cgroup v2 file'
  if (key.startsWith('cgroup.') && !key.startsWith('cgroup.max.'))
    return 'is no limit: it steers the cgroup itself'
  return CONTROL.test(value) ? 'has control characters in its value' : undefined
}

/** The files of `unified` that a field of its own speaks of: the one said last holds. */
const SAME_FILE: readonly (readonly [string, readonly (keyof Resources)[]])[] = [
  ['memory.max', ['memoryLimitBytes']],
  ['memory.swap.max', ['memorySwapLimitBytes']],
  ['cpu.max', ['cpuQuota', 'cpuPeriod']],
  ['cpu.weight', ['cpuShares']],
  ['cpuset.cpus', ['cpusetCpus']],
  ['cpuset.mems', ['cpusetMems']],
]

function mergeUnified(now: Resources, change: Resources): Resources['unified'] {
  const kept = { ...now.unified }
  for (const [file, fields] of SAME_FILE) if (fields.some((f) => change[f])) delete kept[file]
  return { ...kept, ...change.unified }
}

/** Memory and swap together. A limit that moves takes a "no swap" with it, and lifts a sum that it would pass. */
function mergeSwap(now: Resources, change: Resources): bigint {
  if (change.memorySwapLimitBytes !== 0n || change.memoryLimitBytes === 0n)
    return change.memorySwapLimitBytes || now.memorySwapLimitBytes
  const [limit, before] = [change.memoryLimitBytes, now.memorySwapLimitBytes]
  if (before === 0n || before === -1n) return before
  return before === now.memoryLimitBytes || limit === -1n || before < limit ? limit : before
}

/** `now` with each field that `change` says; the rest stays. The CRI's zeros mean "leave as it is". */
export function mergeResources(now: Resources, change: Resources): Resources {
  const sizes = new Map([...now.hugepages, ...change.hugepages].map((h) => [h.pageSize, h]))
  return {
    cpuPeriod: change.cpuPeriod || now.cpuPeriod,
    cpuQuota: change.cpuQuota || now.cpuQuota,
    cpuShares: change.cpuShares || now.cpuShares,
    memoryLimitBytes: change.memoryLimitBytes || now.memoryLimitBytes,
    memorySwapLimitBytes: mergeSwap(now, change),
    oomScoreAdj: change.oomScoreAdj || now.oomScoreAdj,
    cpusetCpus: change.cpusetCpus || now.cpusetCpus,
    cpusetMems: change.cpusetMems || now.cpusetMems,
    hugepages: [...sizes.values()],
    unified: mergeUnified(now, change),
  }
}

const DEFAULT_PERIOD_US = 100_000n
const MAX_SHARES = 262_144n
const min = (a: bigint, b: bigint) => (a < b ? a : b)

/** A limit that is not there or unlimited stays so whatever is added. */
const addLimit = (limit: bigint, more: bigint) => (limit > 0n && more > 0n ? limit + more : limit)

function addHugepages(a: Resources, b: Resources): Resources['hugepages'] {
  const more = new Map(b.hugepages.map((h) => [h.pageSize, h.limitBytes]))
  return a.hugepages.map((h) => ({ ...h, limitBytes: h.limitBytes + (more.get(h.pageSize) ?? 0n) }))
}

/** The limits of a pod as a whole: its containers' sum and what its runtime needs beside them. */
export function podLimits({ overhead = noResources, resources = noResources }: PodResources): Resources {
  const period = resources.cpuPeriod || DEFAULT_PERIOD_US
  const overheadQuota =
    overhead.cpuQuota > 0n ? (overhead.cpuQuota * period) / (overhead.cpuPeriod || DEFAULT_PERIOD_US) : 0n
  return {
    ...resources,
    cpuQuota: addLimit(resources.cpuQuota, overheadQuota),
    cpuShares: min(resources.cpuShares + overhead.cpuShares, MAX_SHARES),
    memoryLimitBytes: addLimit(resources.memoryLimitBytes, overhead.memoryLimitBytes),
    // The overhead brings no swap along: the sum of memory and swap grows by the memory.
    memorySwapLimitBytes: addLimit(resources.memorySwapLimitBytes, overhead.memoryLimitBytes),
    hugepages: addHugepages(resources, overhead),
    unified: { ...overhead.unified, ...resources.unified },
  }
}
