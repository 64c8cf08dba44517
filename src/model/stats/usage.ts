// SPDX-License-Identifier: Apache-2.0
/**
 * What a cgroup, a network namespace and a writable layer have used, as values; how a rate follows from two looks,
 * and a pod's figures from those of its containers. A figure that the kernel does not tell is absent, never zero.
 */

/** Sums since the beginning, and amounts now. Times are nanoseconds, sizes bytes. */
export type Counter =
  | 'cpuNs'
  | 'cpuUserNs'
  | 'cpuSystemNs'
  | 'cfsPeriods'
  | 'cfsThrottledPeriods'
  | 'cfsThrottledNs'
  | 'memoryBytes'
  | 'workingSetBytes'
  | 'rssBytes'
  | 'cacheBytes'
  | 'mappedBytes'
  | 'kernelBytes'
  | 'maxMemoryBytes'
  | 'memoryFailures'
  | 'availableBytes'
  | 'pageFaults'
  | 'majorPageFaults'
  | 'oomKills'
  | 'swapBytes'
  | 'swapAvailableBytes'
  | 'processes'
  | 'tasks'
  | 'tasksMax'

export type Counters = { readonly [K in Counter]?: bigint }

export interface PsiLine {
  readonly totalNs: bigint
  readonly avg10: number
  readonly avg60: number
  readonly avg300: number
}

/** Pressure: how long some tasks, or all of them, have waited. */
export interface Psi {
  readonly some?: PsiLine
  readonly full?: PsiLine
}

export interface DeviceIo {
  readonly major: string
  readonly minor: string
  readonly readBytes: bigint
  readonly writeBytes: bigint
  readonly reads: bigint
  readonly writes: bigint
}

export interface HugepageUse {
  readonly pageSize: string
  readonly bytes: bigint
  readonly maxBytes?: bigint
}

export interface CgroupUsage {
  readonly counters: Counters
  readonly psi: { readonly [K in 'cpu' | 'memory' | 'io']?: Psi }
  readonly devices: readonly DeviceIo[]
  readonly hugepages: readonly HugepageUse[]
}

export interface LinkUsage {
  readonly name: string
  readonly rxBytes: bigint
  readonly rxPackets: bigint
  readonly rxErrors: bigint
  readonly rxDropped: bigint
  readonly txBytes: bigint
  readonly txPackets: bigint
  readonly txErrors: bigint
  readonly txDropped: bigint
}

export interface ProcessCounts {
  readonly processes: bigint
  readonly descriptors: bigint
  readonly sockets: bigint
}

/** What a container has written, and when that was measured. */
export interface WritableUse {
  readonly bytes: bigint
  readonly inodes: bigint
  readonly atNs: bigint
}

/** The disk that writable layers are on. */
export interface DiskUse {
  /** As the mount table names it. */
  readonly device: string
  readonly totalBytes: bigint
  readonly totalInodes: bigint
  readonly freeInodes: bigint
}

/** One look at a CPU counter; `atNs` of a clock that never steps. */
export interface CpuPoint {
  readonly atNs: bigint
  readonly cpuNs: bigint
}

/** The last look, and the one before it: what a rate of the next one begins at. */
export interface CpuHistory {
  readonly last: CpuPoint
  readonly before?: CpuPoint
}

/** Shortest time over which a rate says something: two clients that ask at once do not spoil it for one another. */
const MIN_WINDOW_NS = 500_000_000n
const SECOND_NS = 1_000_000_000n

/** The rate at a new look; absent at the first, and after a counter that went back. */
export function nextCpu(
  history: CpuHistory | undefined,
  now: CpuPoint,
): { readonly history: CpuHistory; readonly nanoCores: bigint | undefined } {
  const last = history?.last
  if (!last || now.cpuNs < last.cpuNs || now.atNs < last.atNs)
    return { history: { last: now }, nanoCores: undefined }
  const fresh = now.atNs - last.atNs >= MIN_WINDOW_NS
  const from = fresh ? last : history.before
  return {
    history: fresh ? { last: now, before: last } : history,
    nanoCores: from && ((now.cpuNs - from.cpuNs) * SECOND_NS) / (now.atNs - from.atNs),
  }
}

const SUMMED: readonly Counter[] = [
  'cpuNs',
  'memoryBytes',
  'workingSetBytes',
  'rssBytes',
  'pageFaults',
  'majorPageFaults',
  'swapBytes',
  'tasks',
]

/** For a pod whose cgroup is not its own. */
export function sumUsage(all: readonly CgroupUsage[]): CgroupUsage | undefined {
  if (all.length === 0) return undefined
  const counters: { [K in Counter]?: bigint } = {}
  for (const { counters: one } of all)
    for (const name of SUMMED) {
      const value = one[name]
      if (value !== undefined) counters[name] = (counters[name] ?? 0n) + value
    }
  return { counters, psi: {}, devices: [], hugepages: [] }
}
