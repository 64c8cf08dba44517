// SPDX-License-Identifier: Apache-2.0
/** Resources as values: what an update changes and keeps, what a pod needs in all, and which keys are limits. */
import { describe, expect, test } from 'vitest'
import { limitFiles, openEnds } from '../../../src/model/plan/limit-files.ts'
import { ociResources } from '../../../src/model/plan/spec/resources.ts'
import {
  mergeResources,
  noResources,
  podLimits,
  type Resources,
  unifiedProblem,
} from '../../../src/model/resources.ts'

const of = (r: Partial<Resources>): Resources => ({ ...noResources, ...r })

describe('an update', () => {
  test('changes what it says, and leaves what it says nothing of', () => {
    const now = of({
      cpuShares: 2n,
      cpuQuota: 5n,
      oomScoreAdj: 7,
      unified: { 'io.weight': '1', 'pids.max': '1' },
    })
    const change = of({ cpuShares: 3n, oomScoreAdj: 9, unified: { 'pids.max': '2' } })
    const unified = { 'io.weight': '1', 'pids.max': '2' }
    expect(mergeResources(now, change)).toEqual({ ...now, cpuShares: 3n, oomScoreAdj: 9, unified })
    expect(mergeResources(now, noResources)).toEqual(now)
  })

  test.each([
    ['without swap grows without swap', { limit: 10n, swap: 10n }, { limit: 20n }, 20n],
    ['without swap shrinks without swap', { limit: 10n, swap: 10n }, { limit: 5n }, 5n],
    ['whose swap was left open keeps it open', { limit: 10n, swap: 0n }, { limit: 20n }, 0n],
    ['with more swap keeps the sum', { limit: 10n, swap: 30n }, { limit: 20n }, 30n],
    ['that passes the sum lifts it', { limit: 10n, swap: 15n }, { limit: 20n }, 20n],
    ['without a limit has none of swap', { limit: 10n, swap: 15n }, { limit: -1n }, -1n],
    ['with unlimited swap keeps it', { limit: 10n, swap: -1n }, { limit: 20n }, -1n],
    ['with a new sum of swap has that', { limit: 10n, swap: 10n }, { limit: 20n, swap: 25n }, 25n],
    ['that names swap alone changes it alone', { limit: 10n, swap: 10n }, { swap: 25n }, 25n],
  ])('of memory %s', (_what, now, change: { limit?: bigint; swap?: bigint }, swap) => {
    const memory = ({ limit = 0n, swap: sum = 0n }) =>
      of({ memoryLimitBytes: limit, memorySwapLimitBytes: sum })
    expect(mergeResources(memory(now), memory(change)).memorySwapLimitBytes).toBe(swap)
  })

  test('by a field of its own beats an older unified of the same file, and the other way round', () => {
    const now = of({ unified: { 'memory.max': '10', 'memory.high': '8', 'cpu.max': '1 2' } })
    const typed = mergeResources(now, of({ memoryLimitBytes: 20n, cpuQuota: 7n }))
    expect(typed.unified).toEqual({ 'memory.high': '8' })
    expect(mergeResources(typed, of({ unified: { 'memory.max': '5' } })).unified).toMatchObject({
      'memory.max': '5',
    })
  })

  test('of one page size keeps the others', () => {
    const now = of({
      hugepages: [
        { pageSize: '2MB', limitBytes: 1n },
        { pageSize: '1GB', limitBytes: 2n },
      ],
    })
    const { hugepages } = mergeResources(now, of({ hugepages: [{ pageSize: '2MB', limitBytes: 5n }] }))
    expect(hugepages).toEqual([
      { pageSize: '2MB', limitBytes: 5n },
      { pageSize: '1GB', limitBytes: 2n },
    ])
  })
})

describe('the limits of a pod', () => {
  test('are the sum of its containers and its overhead, in the period of the containers', () => {
    const resources = of({ cpuPeriod: 50_000n, cpuQuota: 10_000n, cpuShares: 100n, memoryLimitBytes: 1000n })
    const overhead = of({ cpuPeriod: 100_000n, cpuQuota: 10_000n, cpuShares: 20n, memoryLimitBytes: 24n })
    expect(podLimits({ resources, overhead })).toEqual(
      of({ cpuPeriod: 50_000n, cpuQuota: 15_000n, cpuShares: 120n, memoryLimitBytes: 1024n }),
    )
  })

  test('are none where the containers have none: an overhead alone limits nothing', () => {
    const overhead = of({ cpuQuota: 5n, memoryLimitBytes: 24n, cpuShares: 7n })
    expect(podLimits({ resources: undefined, overhead })).toEqual(of({ cpuShares: 7n }))
    expect(podLimits({ resources: of({ memoryLimitBytes: -1n }), overhead }).memoryLimitBytes).toBe(-1n)
  })
})

describe('a key of unified', () => {
  test.each([
    'memory.high',
    'memory.oom.group',
    'hugetlb.2MB.max',
    'cpu.max.burst',
    'cgroup.max.depth',
    'misc.max',
  ])('%s is one', (key) => expect(unifiedProblem(key, '1')).toBeUndefined())
  test.each([
    ['../other/memory.max', /not the name/],
    ['memory/max', /not the name/],
    ['memory.max/../../x', /not the name/],
    ['.hidden', /not the name/],
    ['', /not the name/],
    ['memory..max', /not the name/],
    ['memory.max\0', /not the name/],
    ['cgroup.procs', /steers/],
    ['cgroup.kill', /steers/],
    ['cgroup.subtree_control', /steers/],
  ])('%j is none', (key, why) => expect(unifiedProblem(key, '1')).toMatch(why))
  test('and its value is one line', () => {
    expect(unifiedProblem('memory.high', '1\n2')).toMatch(/control characters/)
  })
})

describe('limits as files', () => {
  const facts = (cgroupVersion: 1 | 2) => ({ cgroupVersion, swapAccounting: true, hugepageSizes: ['2MB'] })
  const files = (r: Partial<Resources>, version: 1 | 2) =>
    limitFiles(ociResources(of(r), facts(version)), version).map(
      (l) => `${l.controller} ${l.file} ${l.value}`,
    )
  const some = {
    cpuPeriod: 50_000n,
    cpuQuota: 25_000n,
    cpuShares: 1024n,
    memoryLimitBytes: 100n,
    memorySwapLimitBytes: 150n,
    cpusetCpus: '0-1',
    hugepages: [{ pageSize: '2MB', limitBytes: 4n }],
  }

  test('of cgroup v1', () => {
    expect(files(some, 1)).toEqual([
      'memory memory.limit_in_bytes 100',
      'memory memory.memsw.limit_in_bytes 150',
      'cpu cpu.cfs_period_us 50000',
      'cpu cpu.cfs_quota_us 25000',
      'cpu cpu.shares 1024',
      'cpuset cpuset.cpus 0-1',
      'hugetlb hugetlb.2MB.limit_in_bytes 4',
    ])
  })

  test('of cgroup v2: swap alone, quota and period in one, unified last', () => {
    expect(files({ ...some, unified: { 'memory.max': '7' } }, 2)).toEqual([
      'memory memory.swap.max 50',
      'memory memory.max 100',
      'cpu cpu.max 25000 50000',
      'cpu cpu.weight 39',
      'cpuset cpuset.cpus 0-1',
      'hugetlb hugetlb.2MB.max 4',
      'memory memory.max 7',
    ])
  })

  test('nothing said is nothing written; with open ends it is said that there is no limit', () => {
    expect([files({}, 1), files({}, 2)]).toEqual([[], []])
    expect(files(openEnds(noResources), 2)).toEqual([
      'memory memory.swap.max max',
      'memory memory.max max',
      'cpu cpu.max max 100000',
      'cpu cpu.weight 1',
    ])
    expect(files(openEnds(noResources), 1)).toContain('memory memory.limit_in_bytes -1')
  })
})
