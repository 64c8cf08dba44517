// SPDX-License-Identifier: Apache-2.0
/** The table of metrics: the names that conformance wants, label parity whatever the labels say, nothing empty. */
import { describe, expect, it } from 'vitest'
import { noResources } from '../../../../src/model/resources.ts'
import {
  type BaseLabels,
  metricDescriptors,
  metricsOf,
  type Subject,
} from '../../../../src/model/stats/metrics.ts'

const NEEDED = `cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total
cpu_system_seconds_total cpu_usage_seconds_total cpu_user_seconds_total file_descriptors fs_inodes_free
fs_inodes_total fs_limit_bytes fs_usage_bytes last_seen memory_cache memory_failcnt memory_failures_total
memory_kernel_usage memory_mapped_file memory_max_usage_bytes memory_rss memory_swap memory_usage_bytes
memory_working_set_bytes network_receive_bytes_total network_receive_errors_total
network_receive_packets_dropped_total network_receive_packets_total network_transmit_bytes_total
network_transmit_errors_total network_transmit_packets_dropped_total network_transmit_packets_total
oom_events_total processes sockets spec_cpu_period spec_cpu_shares spec_memory_limit_bytes
spec_memory_swap_limit_bytes start_time_seconds threads threads_max`
  .split(/\s+/)
  .map((n) => `container_${n}`)
const DEVICES = [
  'blkio_device_usage_total',
  'fs_reads_bytes_total',
  'fs_reads_total',
  'fs_writes_bytes_total',
  'fs_writes_total',
].map((n) => `container_${n}`)
const everyCounter = Object.fromEntries(
  `cpuNs cpuUserNs cpuSystemNs cfsPeriods cfsThrottledPeriods cfsThrottledNs memoryBytes workingSetBytes rssBytes
cacheBytes mappedBytes kernelBytes maxMemoryBytes memoryFailures pageFaults majorPageFaults oomKills tasks`
    .split(/\s+/)
    .map((n) => [n, 5_000_000_000n]),
)
const line = { totalNs: 3_000_000_000n, avg10: 0, avg60: 0, avg300: 0 }
const psi = { some: line, full: line }
const link = {
  rxBytes: 1n,
  rxPackets: 2n,
  rxErrors: 3n,
  rxDropped: 4n,
  txBytes: 5n,
  txPackets: 6n,
  txErrors: 7n,
  txDropped: 8n,
}
const full: Subject = {
  usage: {
    counters: everyCounter,
    psi: { cpu: psi, memory: psi, io: psi },
    devices: [{ major: '8', minor: '0', readBytes: 1n, writeBytes: 2n, reads: 3n, writes: 4n }],
    hugepages: [{ pageSize: '2MB', bytes: 1n, maxBytes: 2n }],
  },
  processes: { processes: 1n, descriptors: 2n, sockets: 3n },
  openFilesMax: 1024n,
  links: [{ name: 'eth0', ...link }],
  atNs: 9_000_000_000n,
  container: {
    startedAtNs: 4_000_000_000n,
    resources: { ...noResources, cpuQuota: 20_000n, unified: { 'memory.low': '4096' } },
    writable: undefined,
    disk: { device: '/dev/vda', totalBytes: 1n, totalInodes: 2n, freeInodes: 3n },
  },
}
const hostile: BaseLabels = {
  container: 'a "quoted"\nname\\',
  ...{ id: '/x', image: 'i{}', name: '', namespace: 'é\u0000', pod: '1'.repeat(10_000) },
}
const machines = [
  { cgroupVersion: 1, hugepageSizes: [] },
  { cgroupVersion: 1, hugepageSizes: ['2MB'] },
  { cgroupVersion: 2, hugepageSizes: ['2MB', '1GB'] },
] as const

describe.each(machines)('on a machine with %j', (facts) => {
  const descriptors = metricDescriptors(facts)
  const keys = new Map(descriptors.map((d) => [d.name, d.labelKeys.length]))
  const metrics = metricsOf(facts, hostile, full)

  it('the 45 names are there, once each and explained', () => {
    expect([...keys.keys()]).toEqual(expect.arrayContaining([...NEEDED, ...DEVICES]))
    expect(keys.size).toBe(descriptors.length)
    for (const d of descriptors) expect(d.help).toMatch(/^[A-Z].*\.$/)
  })
  it('every metric has the labels of its descriptor, as they were given', () => {
    for (const m of metrics) {
      expect(m.labels).toHaveLength(keys.get(m.name) ?? -1)
      expect(m.labels[0]).toBe(hostile.container)
    }
  })
  it('nothing is described that cannot be filled', () => {
    const filled = new Set(metrics.map((m) => m.name))
    expect([...keys.keys()].filter((name) => !filled.has(name))).toEqual([])
  })
})

it('pressure is told on cgroup v2 only, and huge pages where there are some', () => {
  const names = (facts: Parameters<typeof metricDescriptors>[0]) =>
    metricDescriptors(facts).map((d) => d.name)
  expect(names(machines[0]).filter((n) => /pressure|hugetlb/.test(n))).toEqual([])
  expect(names(machines[2]).filter((n) => /pressure/.test(n))).toHaveLength(6)
  expect(names(machines[2])).not.toContain('container_hugetlb_max_usage_bytes')
})

it('what is not known is not told', () => {
  const base = { container: '', id: '/x', image: '', name: '', namespace: 'n', pod: 'p' }
  expect(metricsOf(machines[0], base, { usage: undefined, atNs: 1n })).toEqual([])
})

it('seconds are whole ones', () => {
  const value = (name: string) => metricsOf(machines[0], hostile, full).find((m) => m.name === name)?.value
  expect(value('container_cpu_usage_seconds_total')).toBe(5n)
  expect(value('container_start_time_seconds')).toBe(4n)
  expect(value('container_spec_memory_reservation_limit_bytes')).toBe(4096n)
})
