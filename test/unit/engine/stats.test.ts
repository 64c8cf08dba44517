// SPDX-License-Identifier: Apache-2.0
/** Figures over the real verbs and a fake host: rates whatever the clocks do, counters that wrap, what is stuck. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Context } from '../../../src/engine/context.ts'
import { stats } from '../../../src/engine/stats/collect.ts'
import type { Reading, ReadingRequest } from '../../../src/host/cgroup/readings.ts'
import { unixNanos } from '../../../src/model/ids.ts'
import { createContainer, runPod } from '../../support/fake-host-requests.ts'
import { type Daemon, type TestWorld, testWorld } from '../../support/fake-host-world.ts'

let w: TestWorld
let d: Daemon
beforeEach(async () => {
  w = await testWorld()
  d = await w.boot(undefined, { cgroupVersion: 1 })
})
afterEach(() => w.remove())

const SECOND = 1_000_000_000n

/** What the kernel says at a moment, by two clocks. */
interface Moment {
  readonly monotonic: bigint
  readonly wall: bigint
  readonly answer: (request: ReadingRequest) => Reading | 'gone' | 'stuck'
}

async function runs() {
  const pod = await d.engine.pods.run(d.scope(), runPod())
  const ids = []
  for (const name of ['one', 'two']) {
    const request = createContainer(pod)
    const metadata = { ...request.config.metadata, name }
    const id = await d.engine.containers.create(d.scope(), {
      ...request,
      config: { ...request.config, metadata },
    })
    await d.engine.containers.start(d.scope(), id)
    ids.push(id)
  }
  let now: Moment | undefined
  const at = (moment: Moment) => {
    now = moment
  }
  const readings = {
    ...d.host.readings,
    read: async (all: readonly ReadingRequest[]) => all.map((r) => now?.answer(r) ?? 'gone'),
    monotonicNs: () => now?.monotonic ?? 0n,
  }
  const host = { ...d.host, readings, clock: { now: () => unixNanos(now?.wall ?? 0n) } }
  const ctx: Context = { ...d.ctx, host }
  return { at, ids, figures: stats(ctx) }
}

const says = (cpuNs: string, procs = '1\n2\n') => ({
  texts: new Map([
    ['cpuacct.usage', `${cpuNs}\n`],
    ['memory.usage_in_bytes', '4096\n'],
    ['pids.current', '40\n'],
    ['cgroup.procs', procs],
  ]),
})

test('the rate of a core is by the clock that never steps, whatever the other one does', async () => {
  const { at, figures } = await runs()
  const looks: [bigint, bigint, string][] = [
    [0n, 1000n, '0'],
    [1n, 10n, `${SECOND / 2n}`],
    [2n, 1_000_000n, `${SECOND}`],
  ]
  const found = []
  for (const [monotonic, wall, cpu] of looks) {
    at({ monotonic: monotonic * SECOND, wall: wall * SECOND, answer: () => says(cpu) })
    const [one] = await figures.containers(d.scope(), d.engine.containers.list())
    found.push([one?.atNs, one?.nanoCores])
  }
  expect(found).toEqual([
    [1000n * SECOND, undefined],
    [10n * SECOND, SECOND / 2n],
    [1_000_000n * SECOND, SECOND / 2n],
  ])
})

test('a counter that has wrapped or went back gives no rate, and the rate comes again', async () => {
  const { at, figures } = await runs()
  const found = []
  for (const [i, cpu] of ['5000000000', '18446744073709551000', '-3', '100', '1000000100'].entries()) {
    at({ monotonic: BigInt(i) * SECOND, wall: BigInt(i), answer: () => says(cpu) })
    const [one] = await figures.containers(d.scope(), d.engine.containers.list())
    found.push([one?.usage?.counters.cpuNs, one?.nanoCores])
  }
  expect(found).toEqual([
    [5n * SECOND, undefined],
    [undefined, undefined],
    [undefined, undefined],
    [100n, undefined],
    [SECOND + 100n, SECOND],
  ])
})

test('a pod has the processes of its containers, not their threads, and no number if one of them is stuck', async () => {
  const { at, ids, figures } = await runs()
  const look = async (other: Reading | 'gone' | 'stuck') => {
    at({ monotonic: 0n, wall: 0n, answer: (r) => (r.id === ids[1] ? other : says('0')) })
    const [pod] = await figures.pods(d.scope(), d.engine.pods.list())
    return [pod?.processCount, pod?.containers.map((c) => c.usage?.counters.memoryBytes)]
  }
  expect(await look(says('0', '7\n8\n9\n'))).toEqual([5n, [4096n, 4096n]])
  expect(await look('gone')).toEqual([2n, [4096n]])
  expect(await look('stuck')).toEqual([undefined, [4096n, undefined]])
})
