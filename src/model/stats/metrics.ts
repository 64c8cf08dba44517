// SPDX-License-Identifier: Apache-2.0
/**
 * The metrics that cAdvisor has of pods and containers, as one table: name, help, labels, and how a value follows
 * from what was read. A machine describes only what it can fill. Label values are text of any kind: it is the
 * scraper's exposition that quotes them. Pure.
 */
import type { HostFacts } from '../facts.ts'
import type { Resources } from '../resources.ts'
import type {
  CgroupUsage,
  Counter,
  DeviceIo,
  DiskUse,
  LinkUsage,
  ProcessCounts,
  Psi,
  WritableUse,
} from './usage.ts'

/** What is measured: a container, or a pod (whose container labels are empty). */
export interface Subject {
  readonly usage?: CgroupUsage | undefined
  readonly processes?: ProcessCounts | undefined
  readonly openFilesMax?: bigint | undefined
  readonly links?: readonly LinkUsage[] | undefined
  /** Of a container only. */
  readonly container?: ContainerFacts | undefined
  readonly atNs: bigint
}

export interface ContainerFacts {
  readonly startedAtNs: bigint
  readonly resources: Resources
  readonly writable: WritableUse | undefined
  readonly disk: DiskUse | undefined
}

export interface Metric {
  readonly name: string
  readonly kind: 'counter' | 'gauge'
  readonly labels: readonly string[]
  readonly value: bigint
}

type Sample = readonly [value: bigint | undefined, ...labels: string[]]

interface Row {
  readonly name: string
  readonly help: string
  readonly kind: Metric['kind']
  /** Beside those that all have. */
  readonly labels: readonly string[]
  readonly samples: (s: Subject) => readonly Sample[]
  readonly offered: (facts: MetricFacts) => boolean
}

/** What decides which metrics a machine has. */
export type MetricFacts = Pick<HostFacts, 'cgroupVersion' | 'hugepageSizes'>

/** Labels that every metric begins with: as the kubelet's cAdvisor has them. */
export const BASE_LABELS = ['container', 'id', 'image', 'name', 'namespace', 'pod'] as const
export type BaseLabels = Readonly<Record<(typeof BASE_LABELS)[number], string>>

const SECOND_NS = 1_000_000_000n
const seconds = (ns: bigint | undefined): bigint | undefined =>
  ns === undefined ? undefined : ns / SECOND_NS
const always = (): boolean => true

type Made = Pick<Row, 'labels' | 'samples'> & { readonly offered?: Row['offered'] }

const counted = (of: Counter, unit: typeof seconds = (v) => v): Made => ({
  labels: [],
  samples: ({ usage }) => [[unit(usage?.counters[of])]],
})
const ofContainer = (value: (c: ContainerFacts, s: Subject) => bigint | undefined): Made => ({
  labels: [],
  samples: (s) => [[s.container && value(s.container, s)]],
})
const ofDisk = (value: (disk: DiskUse, c: ContainerFacts) => bigint): Made => ({
  labels: ['device'],
  samples: ({ container: c }) => (c?.disk ? [[value(c.disk, c), c.disk.device]] : []),
})
const ofDevices = (value: keyof Omit<DeviceIo, 'major' | 'minor'>): Made => ({
  labels: ['device'],
  samples: ({ usage }) => (usage?.devices ?? []).map((d) => [d[value], `${d.major}:${d.minor}`]),
})
const ofLinks = (value: keyof Omit<LinkUsage, 'name'>): Made => ({
  labels: ['interface'],
  samples: ({ links = [] }) => links.map((l) => [l[value], l.name]),
})
const ofProcesses = (value: keyof ProcessCounts): Made => ({
  labels: [],
  samples: ({ processes }) => [[processes?.[value]]],
})
const pressure = (of: 'cpu' | 'memory' | 'io', line: keyof Psi): Made => ({
  labels: [],
  samples: ({ usage }) => [[seconds(usage?.psi[of]?.[line]?.totalNs)]],
  offered: ({ cgroupVersion }) => cgroupVersion === 2,
})
const hugetlb = (value: 'bytes' | 'maxBytes'): Made => ({
  labels: ['pagesize'],
  samples: ({ usage }) => (usage?.hugepages ?? []).map((h) => [h[value], h.pageSize]),
  offered: ({ cgroupVersion, hugepageSizes }) =>
    hugepageSizes.length > 0 && (value === 'bytes' || cgroupVersion === 1),
})

const reserved = ({ resources }: ContainerFacts): bigint => {
  const low = resources.unified['memory.low'] ?? ''
  return /^\d+$/.test(low) ? BigInt(low) : 0n
}

/** The kernel's own, where nothing was said. */
const CPU_PERIOD_US = 100_000n
const CPU_SHARES = 1024n
const given = (value: bigint): bigint | undefined => (value > 0n ? value : undefined)

const count = (name: string, help: string, made: Made): Row => ({
  name: `container_${name}`,
  help,
  kind: 'counter',
  offered: always,
  ...made,
})
const gauge = (name: string, help: string, made: Made): Row => ({ ...count(name, help, made), kind: 'gauge' })

const CPU: readonly Row[] = [
  count('cpu_usage_seconds_total', 'CPU time used, in seconds.', {
    labels: ['cpu'],
    samples: ({ usage }) => [[seconds(usage?.counters.cpuNs), 'total']],
  }),
  count('cpu_user_seconds_total', 'CPU time used in user mode, in seconds.', counted('cpuUserNs', seconds)),
  count(
    'cpu_system_seconds_total',
    'CPU time used in the kernel, in seconds.',
    counted('cpuSystemNs', seconds),
  ),
  count('cpu_cfs_periods_total', 'Enforcement periods that have passed.', counted('cfsPeriods')),
  count('cpu_cfs_throttled_periods_total', 'Periods with throttling.', counted('cfsThrottledPeriods')),
  count(
    'cpu_cfs_throttled_seconds_total',
    'Time for which it was throttled, in seconds.',
    counted('cfsThrottledNs', seconds),
  ),
]

const MEMORY: readonly Row[] = [
  gauge('memory_usage_bytes', 'Memory in use, caches included.', counted('memoryBytes')),
  gauge('memory_working_set_bytes', 'Memory in use without inactive file pages.', counted('workingSetBytes')),
  gauge('memory_rss', 'Anonymous memory, in bytes.', counted('rssBytes')),
  gauge('memory_cache', 'Page cache, in bytes.', counted('cacheBytes')),
  gauge('memory_mapped_file', 'Mapped files, in bytes.', counted('mappedBytes')),
  gauge('memory_kernel_usage', 'Kernel memory, in bytes.', counted('kernelBytes')),
  gauge('memory_max_usage_bytes', 'The most memory that was in use.', counted('maxMemoryBytes')),
  gauge('memory_swap', 'Swap in use, in bytes.', {
    labels: [],
    samples: ({ usage }) => [[usage && (usage.counters.swapBytes ?? 0n)]],
  }),
  count('memory_failcnt', 'How often the memory limit was hit.', counted('memoryFailures')),
  count('memory_failures_total', 'Page faults.', {
    labels: ['failure_type', 'scope'],
    samples: ({ usage }) => [
      [usage?.counters.pageFaults, 'pgfault', 'hierarchy'],
      [usage?.counters.majorPageFaults, 'pgmajfault', 'hierarchy'],
    ],
  }),
  count('oom_events_total', 'Processes killed for want of memory.', counted('oomKills')),
  gauge('hugetlb_usage_bytes', 'Huge pages in use, in bytes.', hugetlb('bytes')),
  gauge('hugetlb_max_usage_bytes', 'The most huge pages that were in use, in bytes.', hugetlb('maxBytes')),
]

const DISK: readonly Row[] = [
  gauge(
    'fs_inodes_free',
    'Inodes that the disk of writable layers has left.',
    ofDisk((d) => d.freeInodes),
  ),
  gauge(
    'fs_inodes_total',
    'Inodes of the disk of writable layers.',
    ofDisk((d) => d.totalInodes),
  ),
  gauge(
    'fs_limit_bytes',
    'Size of the disk of writable layers.',
    ofDisk((d) => d.totalBytes),
  ),
  gauge(
    'fs_usage_bytes',
    'What the container has written, as last measured; a new one has written nothing.',
    ofDisk((_, { writable }) => writable?.bytes ?? 0n),
  ),
  count('fs_reads_bytes_total', 'Bytes read from block devices.', ofDevices('readBytes')),
  count('fs_reads_total', 'Reads of block devices.', ofDevices('reads')),
  count('fs_writes_bytes_total', 'Bytes written to block devices.', ofDevices('writeBytes')),
  count('fs_writes_total', 'Writes to block devices.', ofDevices('writes')),
  count('blkio_device_usage_total', 'Bytes by block device and operation.', {
    labels: ['major', 'minor', 'operation'],
    samples: ({ usage }) =>
      (usage?.devices ?? []).flatMap((d): readonly Sample[] => [
        [d.readBytes, d.major, d.minor, 'Read'],
        [d.writeBytes, d.major, d.minor, 'Write'],
      ]),
  }),
]

const NETWORK: readonly Row[] = (
  [
    ['receive', 'rx'],
    ['transmit', 'tx'],
  ] as const
).flatMap(([way, key]) => [
  count(`network_${way}_bytes_total`, `Bytes, ${way}.`, ofLinks(`${key}Bytes`)),
  count(`network_${way}_packets_total`, `Packets, ${way}.`, ofLinks(`${key}Packets`)),
  count(`network_${way}_errors_total`, `Errors, ${way}.`, ofLinks(`${key}Errors`)),
  count(`network_${way}_packets_dropped_total`, `Packets dropped, ${way}.`, ofLinks(`${key}Dropped`)),
])

const PROCESSES: readonly Row[] = [
  gauge('processes', 'Processes.', ofProcesses('processes')),
  gauge('file_descriptors', 'Open file descriptors of all processes.', ofProcesses('descriptors')),
  gauge('sockets', 'Open sockets of all processes.', ofProcesses('sockets')),
  gauge('threads', 'Threads.', counted('tasks')),
  gauge('threads_max', 'Threads that are allowed; 0 for any number.', {
    labels: [],
    samples: ({ usage }) => [
      [usage?.counters.tasks === undefined ? undefined : (usage.counters.tasksMax ?? 0n)],
    ],
  }),
  gauge('ulimits_soft', 'Soft limits of the first process.', {
    labels: ['ulimit'],
    samples: ({ openFilesMax }) => [[openFilesMax, 'max_open_files']],
  }),
]

const SPEC: readonly Row[] = [
  gauge(
    'last_seen',
    'When the container was last looked at, in seconds since 1970.',
    ofContainer((_, s) => seconds(s.atNs)),
  ),
  gauge(
    'start_time_seconds',
    'When it started, in seconds since 1970.',
    ofContainer((c) => seconds(c.startedAtNs)),
  ),
  gauge(
    'spec_cpu_period',
    'CPU period, in microseconds.',
    ofContainer((c) => given(c.resources.cpuPeriod) ?? CPU_PERIOD_US),
  ),
  gauge(
    'spec_cpu_quota',
    'CPU time of a period, in microseconds.',
    ofContainer((c) => given(c.resources.cpuQuota)),
  ),
  gauge(
    'spec_cpu_shares',
    'CPU weight.',
    ofContainer((c) => given(c.resources.cpuShares) ?? CPU_SHARES),
  ),
  gauge(
    'spec_memory_limit_bytes',
    'Memory limit; 0 for none.',
    ofContainer((c) => given(c.resources.memoryLimitBytes) ?? 0n),
  ),
  gauge(
    'spec_memory_swap_limit_bytes',
    'Limit of memory and swap together; 0 for none.',
    ofContainer((c) => given(c.resources.memorySwapLimitBytes) ?? 0n),
  ),
  gauge(
    'spec_memory_reservation_limit_bytes',
    'Memory that is kept from reclaim; 0 for none.',
    ofContainer(reserved),
  ),
]

const PRESSURE: readonly Row[] = (['cpu', 'memory', 'io'] as const).flatMap((of) => [
  count(
    `pressure_${of}_waiting_seconds_total`,
    `Time in which some tasks waited for ${of}.`,
    pressure(of, 'some'),
  ),
  count(
    `pressure_${of}_stalled_seconds_total`,
    `Time in which all tasks waited for ${of}.`,
    pressure(of, 'full'),
  ),
])

const TABLE: readonly Row[] = [...CPU, ...MEMORY, ...DISK, ...NETWORK, ...PROCESSES, ...SPEC, ...PRESSURE]

export interface Descriptor {
  readonly name: string
  readonly help: string
  readonly labelKeys: readonly string[]
}

/** What this machine's metrics are; the same for the life of the daemon. */
export function metricDescriptors(facts: MetricFacts): readonly Descriptor[] {
  return TABLE.filter((row) => row.offered(facts)).map(({ name, help, labels }) => ({
    name,
    help,
    labelKeys: [...BASE_LABELS, ...labels],
  }))
}

/** Every metric that has a value, with as many label values as its descriptor has keys. */
export function metricsOf(facts: MetricFacts, base: BaseLabels, subject: Subject): readonly Metric[] {
  const common = BASE_LABELS.map((key) => base[key])
  return TABLE.filter((row) => row.offered(facts)).flatMap(({ name, kind, samples }) =>
    samples(subject).flatMap(([value, ...labels]) =>
      value === undefined ? [] : [{ name, kind, labels: [...common, ...labels], value }],
    ),
  )
}
