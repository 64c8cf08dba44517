// SPDX-License-Identifier: Apache-2.0
/** Figures from the texts of cgroup files, v1 and v2; what is missing or impossible is left out, never guessed. */
import { describe, expect, it } from 'vitest'
import { cgroupFiles, cgroupUsage } from '../../../../src/model/stats/cgroup.ts'

const texts = (files: Readonly<Record<string, string>>) => new Map(Object.entries(files))
const NO_LIMIT_V1 = '9223372036854771712'

const v1 = {
  'cpuacct.usage': '1234567890123\n',
  'cpuacct.usage_user': '1000\n',
  'cpuacct.usage_sys': '2000\n',
  'cpu.stat': 'nr_periods 7\nnr_throttled 3\nthrottled_time 400\n',
  'memory.usage_in_bytes': '1000000\n',
  'memory.stat': [
    'cache 1',
    'rss 2',
    'inactive_file 3',
    'hierarchical_memory_limit 4000000',
    'hierarchical_memsw_limit 6000000',
    'total_cache 300000',
    'total_rss 500000',
    'total_mapped_file 4096',
    'total_swap 1000',
    'total_pgfault 11',
    'total_pgmajfault 2',
    'total_inactive_file 200000',
    '',
  ].join('\n'),
  'memory.kmem.usage_in_bytes': '8192\n',
  'memory.max_usage_in_bytes': '2000000\n',
  'memory.failcnt': '5\n',
  'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
  'blkio.throttle.io_service_bytes_recursive': '8:0 Read 4096\n8:0 Write 100\n8:0 Total 4196\nTotal 4196\n',
  'blkio.throttle.io_serviced_recursive': '8:0 Read 2\n8:0 Write 1\nTotal 3\n',
  'pids.current': '9\n',
  'pids.max': 'max\n',
  'hugetlb.2MB.usage_in_bytes': '2097152\n',
  'hugetlb.2MB.max_usage_in_bytes': '4194304\n',
}

const v2 = {
  'cpu.stat': 'usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 3\nthrottled_usec 4\n',
  'cpu.pressure':
    'some avg10=1.50 avg60=0.25 avg300=0.00 total=1000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n',
  'memory.current': '1000000\n',
  'memory.stat':
    'anon 500000\nfile 300000\nkernel_stack 100\nslab 50\nfile_mapped 4096\ninactive_file 200000\npgfault 11\npgmajfault 2\n',
  'memory.max': '4000000\n',
  'memory.swap.current': '1000\n',
  'memory.swap.max': '2000\n',
  'memory.events': 'low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\n',
  'io.stat': '8:0 rbytes=4096 wbytes=100 rios=2 wios=1 dbytes=0 dios=0\n',
  'io.pressure': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n',
  'pids.current': '9\n',
  'pids.max': '100\n',
  'hugetlb.2MB.current': '2097152\n',
}

const device = { major: '8', minor: '0', readBytes: 4096n, writeBytes: 100n, reads: 2n, writes: 1n }

describe('cgroup v1', () => {
  it('is told whole', () => {
    const { counters, psi, devices, hugepages } = cgroupUsage(1, texts(v1))
    expect(counters).toEqual({
      cpuNs: 1_234_567_890_123n,
      cpuUserNs: 1000n,
      cpuSystemNs: 2000n,
      cfsPeriods: 7n,
      cfsThrottledPeriods: 3n,
      cfsThrottledNs: 400n,
      memoryBytes: 1_000_000n,
      workingSetBytes: 800_000n,
      rssBytes: 500_000n,
      cacheBytes: 300_000n,
      mappedBytes: 4096n,
      kernelBytes: 8192n,
      maxMemoryBytes: 2_000_000n,
      memoryFailures: 5n,
      availableBytes: 3_200_000n,
      pageFaults: 11n,
      majorPageFaults: 2n,
      oomKills: 1n,
      swapBytes: 1000n,
      swapAvailableBytes: 1_999_000n,
      tasks: 9n,
    })
    expect(psi).toEqual({})
    expect(devices).toEqual([device])
    expect(hugepages).toEqual([{ pageSize: '2MB', bytes: 2_097_152n, maxBytes: 4_194_304n }])
  })

  it('without a limit has nothing available', () => {
    const stat = `hierarchical_memory_limit ${NO_LIMIT_V1}\ntotal_inactive_file 0\ntotal_swap 0\n`
    const { counters } = cgroupUsage(1, texts({ ...v1, 'memory.stat': stat }))
    expect(counters.workingSetBytes).toBe(1_000_000n)
    expect(counters).not.toHaveProperty('availableBytes')
    expect(counters).not.toHaveProperty('swapAvailableBytes')
  })
})

describe('cgroup v2', () => {
  it('is told whole, microseconds as nanoseconds', () => {
    const { counters, psi, devices, hugepages } = cgroupUsage(2, texts(v2))
    expect(counters).toMatchObject({
      ...{ cpuNs: 5000n, cpuUserNs: 3000n, cpuSystemNs: 2000n, cfsThrottledNs: 4000n },
      ...{ workingSetBytes: 800_000n, availableBytes: 3_200_000n, rssBytes: 500_000n, kernelBytes: 150n },
      ...{ swapBytes: 1000n, swapAvailableBytes: 1000n, memoryFailures: 5n, oomKills: 1n },
      // A kernel without memory.peak: what is in use now is the most that is known.
      ...{ maxMemoryBytes: 1_000_000n, tasks: 9n, tasksMax: 100n },
    })
    expect(psi.cpu?.some).toEqual({ totalNs: 1_000_000n, avg10: 1.5, avg60: 0.25, avg300: 0 })
    expect(psi.cpu?.full?.totalNs).toBe(7000n)
    expect(psi.io).toEqual({ some: { totalNs: 3000n, avg10: 0, avg60: 0, avg300: 0 } })
    expect(psi).not.toHaveProperty('memory')
    expect(devices).toEqual([device])
    expect(hugepages).toEqual([{ pageSize: '2MB', bytes: 2_097_152n }])
  })
})

describe('what cannot be', () => {
  it.each([
    ['negative', '-4096\n'],
    ['wrapped around', '18446744073709547520\n'],
    ['too long', '123456789012345678901234\n'],
    ['empty', ''],
    ['words', 'unsupported\n'],
  ])('a counter that is %s is left out', (_, text) => {
    expect(cgroupUsage(1, texts({ ...v1, 'cpuacct.usage': text })).counters).not.toHaveProperty('cpuNs')
    const without = cgroupUsage(2, texts({ ...v2, 'memory.current': text })).counters
    expect(without).not.toHaveProperty('memoryBytes')
    expect(without).not.toHaveProperty('workingSetBytes')
    expect(without).toHaveProperty('cpuNs')
  })

  it('processes are lines, and threads something else', () => {
    const { counters } = cgroupUsage(1, texts({ ...v1, 'cgroup.procs': '7\n12\n' }))
    expect(counters).toMatchObject({ processes: 2n, tasks: 9n })
    expect(cgroupUsage(2, texts({ 'cgroup.procs': '' })).counters).toEqual({ processes: 0n })
  })

  it('files that are missing leave their figures out and no others', () => {
    expect(cgroupUsage(1, texts({}))).toEqual({ counters: {}, psi: {}, devices: [], hugepages: [] })
    expect(cgroupUsage(2, texts({ 'pids.current': '3\n' })).counters).toEqual({ tasks: 3n })
  })

  it('more inactive pages than memory in use is a working set of nothing', () => {
    const { counters } = cgroupUsage(2, texts({ ...v2, 'memory.current': '1000\n' }))
    expect(counters.workingSetBytes).toBe(0n)
  })

  it('a key is not found in another that ends or begins like it', () => {
    const stat = 'xanon 1\nanon_thp 2\ninactive_file 3\n'
    expect(cgroupUsage(2, texts({ 'memory.stat': stat })).counters).not.toHaveProperty('rssBytes')
  })
})

describe('the files', () => {
  it('of a poll are few, and metrics read more', () => {
    expect(cgroupFiles(1, 'stats', [])).toHaveLength(4)
    expect(cgroupFiles(2, 'stats', ['2MB'])).toHaveLength(10)
    expect(cgroupFiles(1, 'counted', ['2MB']).slice(4)).toEqual([['pids', 'cgroup.procs']])
    expect(cgroupFiles(2, 'counted', []).slice(10)).toEqual([['unified', 'cgroup.procs']])
    expect(cgroupFiles(2, 'metrics', ['2MB'])).toContainEqual(['unified', 'hugetlb.2MB.current'])
    expect(cgroupFiles(1, 'metrics', ['1GB'])).toContainEqual(['hugetlb', 'hugetlb.1GB.max_usage_in_bytes'])
  })
})
