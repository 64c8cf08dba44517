// SPDX-License-Identifier: Apache-2.0
/** CPU rates from looks, whatever clocks and counters do; sums of containers; lines of links and processes. */
import { describe, expect, it } from 'vitest'
import { linksOf, processCounts, softOpenFiles } from '../../../../src/model/stats/process.ts'
import { type CpuHistory, nextCpu, sumUsage } from '../../../../src/model/stats/usage.ts'

const MS = 1_000_000n

/** Looks at these [milliseconds, CPU milliseconds] in turn: the rates, in thousandths of a core. */
function rates(
  ...looks: readonly (readonly [atMs: bigint, cpuMs: bigint])[]
): readonly (bigint | undefined)[] {
  let history: CpuHistory | undefined
  return looks.map(([at, cpu]) => {
    const next = nextCpu(history, { atNs: at * MS, cpuNs: cpu * MS })
    history = next.history
    return next.nanoCores === undefined ? undefined : next.nanoCores / MS
  })
}

describe('a rate', () => {
  it('needs two looks', () => {
    expect(rates([0n, 0n], [1000n, 500n], [2000n, 2500n])).toEqual([undefined, 500n, 2000n])
  })
  it('of two looks close together is over the time before them, which is not forgotten', () => {
    expect(rates([0n, 0n], [1000n, 1000n], [1010n, 1010n], [1020n, 1020n], [2000n, 1500n])).toEqual([
      ...[undefined, 1000n, 1000n, 1000n, 500n],
    ])
  })
  it('is absent when the second look comes at once', () => {
    expect(rates([0n, 0n], [0n, 5n], [100n, 10n])).toEqual([undefined, undefined, undefined])
  })
  it('begins anew when the counter or the clock went back', () => {
    expect(rates([0n, 900n], [1000n, 100n], [2000n, 600n])).toEqual([undefined, undefined, 500n])
    expect(rates([5000n, 0n], [1000n, 100n], [2000n, 600n])).toEqual([undefined, undefined, 500n])
  })
})

describe('the sum of containers', () => {
  const of = (counters: object) => ({ counters, psi: {}, devices: [], hugepages: [] })
  it('has what at least one of them tells', () => {
    expect(sumUsage([of({ cpuNs: 1n, tasks: 2n }), of({ cpuNs: 3n, availableBytes: 9n })])?.counters).toEqual(
      {
        cpuNs: 4n,
        tasks: 2n,
      },
    )
  })
  it('of none is nothing', () => expect(sumUsage([])).toBeUndefined())
})

it('links are read line by line, and what is no line is left out', () => {
  const found = linksOf(
    'lo 1 2 3 4 5 6 7 8\neth0 18446744073709551615 0 0 0 0 0 0 0\nbad 1 2\nx -1 2 3 4 5 6 7 8\n',
  )
  expect(found.map((l) => l.name)).toEqual(['lo', 'eth0'])
  expect(found[0]).toMatchObject({ rxBytes: 1n, rxDropped: 4n, txBytes: 5n, txDropped: 8n })
  expect(found[1]?.rxBytes).toBe(2n ** 64n - 1n)
})

it('processes and limits', () => {
  expect(processCounts('3 20 4')).toEqual({ processes: 3n, descriptors: 20n, sockets: 4n })
  expect(processCounts('')).toBeUndefined()
  expect(
    softOpenFiles('Limit Soft Hard Units\nMax open files            1024                 4096    files\n'),
  ).toBe(1024n)
  expect(softOpenFiles('Max open files            unlimited   unlimited    files\n')).toBeUndefined()
})
