// SPDX-License-Identifier: Apache-2.0
/**
 * Which files of a cgroup are read for its figures, and what they say (cgroup-v1/*.rst, cgroup-v2.rst). A file that
 * is missing, or says what cannot be (a negative or a wrapped counter), leaves its figures out. Reads nothing.
 */
import type { CgroupUsage, Counter, Counters, DeviceIo, HugepageUse, Psi, PsiLine } from './usage.ts'

/** `stats` for what every poll asks, `counted` with the processes beside, `metrics` for all that cAdvisor has. */
export type Detail = 'stats' | 'counted' | 'metrics'

/** A file by its controller, which on v2 is always `unified`. */
export type CgroupFile = readonly [controller: string, file: string]

const unified = (files: readonly string[]): readonly CgroupFile[] => files.map((f) => ['unified', f])

const FILES: Readonly<Record<1 | 2, Readonly<Record<Detail, readonly CgroupFile[]>>>> = {
  1: {
    stats: [
      ['cpuacct', 'cpuacct.usage'],
      ['memory', 'memory.usage_in_bytes'],
      ['memory', 'memory.stat'],
      ['pids', 'pids.current'],
    ],
    counted: [['pids', 'cgroup.procs']],
    metrics: [
      ['cpuacct', 'cpuacct.usage_user'],
      ['cpuacct', 'cpuacct.usage_sys'],
      ['cpu', 'cpu.stat'],
      ['memory', 'memory.kmem.usage_in_bytes'],
      ['memory', 'memory.max_usage_in_bytes'],
      ['memory', 'memory.failcnt'],
      ['memory', 'memory.oom_control'],
      ['blkio', 'blkio.throttle.io_service_bytes_recursive'],
      ['blkio', 'blkio.throttle.io_serviced_recursive'],
      ['pids', 'pids.max'],
    ],
  },
  2: {
    stats: unified([
      'cpu.stat',
      'cpu.pressure',
      'memory.current',
      'memory.stat',
      'memory.max',
      'memory.pressure',
      'memory.swap.current',
      'memory.swap.max',
      'io.pressure',
      'pids.current',
    ]),
    counted: unified(['cgroup.procs']),
    metrics: unified(['memory.peak', 'memory.events', 'io.stat', 'pids.max']),
  },
}

const HUGEPAGES = { 1: ['usage_in_bytes', 'max_usage_in_bytes'], 2: ['current'] } as const

export function cgroupFiles(
  version: 1 | 2,
  detail: Detail,
  hugepageSizes: readonly string[],
): readonly CgroupFile[] {
  const { stats, counted, metrics } = FILES[version]
  if (detail === 'stats') return stats
  if (detail === 'counted') return [...stats, ...counted]
  const controller = version === 1 ? 'hugetlb' : 'unified'
  const huge = hugepageSizes.flatMap((size) =>
    HUGEPAGES[version].map((of): CgroupFile => [controller, `hugetlb.${size}.${of}`]),
  )
  return [...stats, ...metrics, ...huge]
}

type Texts = ReadonlyMap<string, string>

/** Counters are 63 bits wide at most: what is beyond has gone below zero. */
const WRAPPED = 2n ** 63n
/** v1 writes "no limit" as the largest multiple of a page, v2 as `max`. */
const NO_LIMIT = 2n ** 62n
const US_NS = 1000n

function number(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^\d{1,20}\s*$/.test(text)) return undefined
  const value = BigInt(text.trim())
  return value < WRAPPED ? value : undefined
}

const lines = (text: string | undefined): bigint | undefined =>
  text === undefined ? undefined : BigInt(text.split('\n').length - 1)

/** The value of `key` in lines of `key value`. */
function field(text: string | undefined, key: string): bigint | undefined {
  if (text === undefined) return undefined
  const at = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1
  if (at === 0 && !text.startsWith(`${key} `)) return undefined
  const begin = at + key.length + 1
  const end = text.indexOf('\n', begin)
  return number(text.slice(begin, end < 0 ? undefined : end))
}

const limited = (limit: bigint | undefined): bigint | undefined =>
  limit !== undefined && limit < NO_LIMIT ? limit : undefined

const times = (value: bigint | undefined, by: bigint): bigint | undefined =>
  value === undefined ? undefined : value * by

/** The rest of `whole`, which a counter that is read a moment later may be beyond. */
function less(whole: bigint | undefined, part: bigint | undefined): bigint | undefined {
  if (whole === undefined || part === undefined) return undefined
  return whole > part ? whole - part : 0n
}

type Found = { readonly [K in Counter]: bigint | undefined }

function v1(t: Texts): Found {
  const stat = t.get('memory.stat')
  const cpu = t.get('cpu.stat')
  const memoryBytes = number(t.get('memory.usage_in_bytes'))
  const workingSetBytes = less(memoryBytes, field(stat, 'total_inactive_file'))
  const limit = limited(field(stat, 'hierarchical_memory_limit'))
  const both = limited(field(stat, 'hierarchical_memsw_limit'))
  const swapBytes = field(stat, 'total_swap')
  return {
    cpuNs: number(t.get('cpuacct.usage')),
    cpuUserNs: number(t.get('cpuacct.usage_user')),
    cpuSystemNs: number(t.get('cpuacct.usage_sys')),
    cfsPeriods: field(cpu, 'nr_periods'),
    cfsThrottledPeriods: field(cpu, 'nr_throttled'),
    cfsThrottledNs: field(cpu, 'throttled_time'),
    memoryBytes,
    workingSetBytes,
    rssBytes: field(stat, 'total_rss'),
    cacheBytes: field(stat, 'total_cache'),
    mappedBytes: field(stat, 'total_mapped_file'),
    kernelBytes: number(t.get('memory.kmem.usage_in_bytes')),
    maxMemoryBytes: number(t.get('memory.max_usage_in_bytes')),
    memoryFailures: number(t.get('memory.failcnt')),
    availableBytes: less(limit, workingSetBytes),
    pageFaults: field(stat, 'total_pgfault'),
    majorPageFaults: field(stat, 'total_pgmajfault'),
    oomKills: field(t.get('memory.oom_control'), 'oom_kill'),
    swapBytes,
    swapAvailableBytes: less(less(both, limit), swapBytes),
    processes: lines(t.get('cgroup.procs')),
    tasks: number(t.get('pids.current')),
    tasksMax: number(t.get('pids.max')),
  }
}

/** Before Linux 5.18 there is no `kernel` in memory.stat, only its parts. */
function kernelBytes(stat: string | undefined): bigint | undefined {
  const whole = field(stat, 'kernel')
  if (whole !== undefined) return whole
  const parts = ['slab', 'kernel_stack', 'pagetables', 'percpu', 'sock'].map((key) => field(stat, key))
  return parts.reduce((sum, part) => (part === undefined ? sum : (sum ?? 0n) + part), undefined)
}

function v2(t: Texts): Found {
  const stat = t.get('memory.stat')
  const cpu = t.get('cpu.stat')
  const events = t.get('memory.events')
  const memoryBytes = number(t.get('memory.current'))
  const workingSetBytes = less(memoryBytes, field(stat, 'inactive_file'))
  const swapBytes = number(t.get('memory.swap.current'))
  return {
    cpuNs: times(field(cpu, 'usage_usec'), US_NS),
    cpuUserNs: times(field(cpu, 'user_usec'), US_NS),
    cpuSystemNs: times(field(cpu, 'system_usec'), US_NS),
    cfsPeriods: field(cpu, 'nr_periods'),
    cfsThrottledPeriods: field(cpu, 'nr_throttled'),
    cfsThrottledNs: times(field(cpu, 'throttled_usec'), US_NS),
    memoryBytes,
    workingSetBytes,
    rssBytes: field(stat, 'anon'),
    cacheBytes: field(stat, 'file'),
    mappedBytes: field(stat, 'file_mapped'),
    kernelBytes: kernelBytes(stat),
    maxMemoryBytes: number(t.get('memory.peak')) ?? memoryBytes,
    memoryFailures: field(events, 'max'),
    availableBytes: less(limited(number(t.get('memory.max'))), workingSetBytes),
    pageFaults: field(stat, 'pgfault'),
    majorPageFaults: field(stat, 'pgmajfault'),
    oomKills: field(events, 'oom_kill'),
    swapBytes,
    swapAvailableBytes: less(limited(number(t.get('memory.swap.max'))), swapBytes),
    processes: lines(t.get('cgroup.procs')),
    tasks: number(t.get('pids.current')),
    tasksMax: number(t.get('pids.max')),
  }
}

const PSI_LINE = /^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d{1,18})$/gm

function psi(text: string | undefined): Psi | undefined {
  const lines: { [K in 'some' | 'full']?: PsiLine } = {}
  for (const [, which, avg10, avg60, avg300, total] of (text ?? '').matchAll(PSI_LINE))
    lines[which === 'some' ? 'some' : 'full'] = {
      totalNs: BigInt(total ?? 0) * US_NS,
      avg10: Number(avg10),
      avg60: Number(avg60),
      avg300: Number(avg300),
    }
  return lines.some || lines.full ? lines : undefined
}

type IoKey = 'readBytes' | 'writeBytes' | 'reads' | 'writes'
const IO_KEYS: Readonly<Record<string, IoKey>> = {
  rbytes: 'readBytes',
  wbytes: 'writeBytes',
  rios: 'reads',
  wios: 'writes',
}

/** v2 has `8:0 rbytes=1 wbytes=2 …`, v1 a file for bytes and one for operations, of lines `8:0 Read 1`. */
function deviceIo(t: Texts): readonly DeviceIo[] {
  const found = new Map<string, { [K in IoKey]: bigint }>()
  const put = (device: string, key: IoKey | undefined, value: string | undefined) => {
    const entry = found.get(device) ?? { readBytes: 0n, writeBytes: 0n, reads: 0n, writes: 0n }
    const amount = number(value)
    if (key === undefined || amount === undefined) return
    found.set(device, { ...entry, [key]: amount })
  }
  for (const [, device = '', rest = ''] of (t.get('io.stat') ?? '').matchAll(/^(\d+:\d+) (.*)$/gm))
    for (const [, key = '', value] of rest.matchAll(/(\w+)=(\d+)/g)) put(device, IO_KEYS[key], value)
  for (const [file, read, write] of [
    ['blkio.throttle.io_service_bytes_recursive', 'readBytes', 'writeBytes'],
    ['blkio.throttle.io_serviced_recursive', 'reads', 'writes'],
  ] as const)
    for (const [, device = '', what, value] of (t.get(file) ?? '').matchAll(
      /^(\d+:\d+) (Read|Write) (\d+)$/gm,
    ))
      put(device, what === 'Read' ? read : write, value)
  return [...found].map(([device, io]) => {
    const [major = '', minor = ''] = device.split(':')
    return { major, minor, ...io }
  })
}

function hugepages(t: Texts): readonly HugepageUse[] {
  return [...t].flatMap(([file, text]) => {
    const [, pageSize] = /^hugetlb\.(\w+)\.(?:usage_in_bytes|current)$/.exec(file) ?? []
    const bytes = number(text)
    if (pageSize === undefined || bytes === undefined) return []
    const maxBytes = number(t.get(`hugetlb.${pageSize}.max_usage_in_bytes`))
    return [{ pageSize, bytes, ...(maxBytes === undefined ? {} : { maxBytes }) }]
  })
}

/** The figures of one cgroup from the texts of its files, by file name. */
export function cgroupUsage(version: 1 | 2, texts: Texts): CgroupUsage {
  const found = Object.entries(version === 1 ? v1(texts) : v2(texts))
  const counters: Counters = Object.fromEntries(found.filter(([, value]) => value !== undefined))
  const pressures = (['cpu', 'memory', 'io'] as const).flatMap((of) => {
    const one = psi(texts.get(`${of}.pressure`))
    return one ? [[of, one] as const] : []
  })
  return {
    counters,
    psi: Object.fromEntries(pressures),
    devices: deviceIo(texts),
    hugepages: hugepages(texts),
  }
}
