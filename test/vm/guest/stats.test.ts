// SPDX-License-Identifier: Apache-2.0
/** Statistics and metrics on cgroup v2 alone, with runc and with crun: figures, limits, swap, pressure, a frozen one. */
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { v1 } from '../../../src/edge/cri/gen/api.js'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { kept } from '../../support/scenario-run.ts'
import { cgroupOf, cgroupRoot, handlers, startGuestScenario } from './guest.ts'

const MiB = 1024n * 1024n
let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const statsOf = async (containerId: string) =>
  (await s.client.call('ContainerStats', { containerId })).stats ?? {}
const value = (of: v1.UInt64Value.$Properties | null | undefined) => BigInt(of?.value ?? -1n)

describe.each(handlers)('with %s', (handler) => {
  afterEach(() => s.removePods())

  it('a busy container and its pod show cores, memory and pressure', async () => {
    const pod = await s.pod(`${handler}-busy`, { handler, bridged: true })
    const limit = { memoryLimitInBytes: 64n * MiB, cpuPeriod: 100_000n, cpuQuota: 50_000n }
    const c = await kept(s, pod, {
      command: ['sh', '-c', 'dd if=/dev/zero of=/dev/shm/x bs=1M count=8; while :; do :; done'],
      linux: { resources: limit },
    })
    const first = await statsOf(c.id)
    await sleep(2000)
    const { cpu, memory, swap, io } = await statsOf(c.id)
    expect(cpu?.timestamp).toBeGreaterThan(first.cpu?.timestamp ?? 0n)
    expect(value(cpu?.usageCoreNanoSeconds)).toBeGreaterThan(value(first.cpu?.usageCoreNanoSeconds))
    expect(Number(value(cpu?.usageNanoCores)) / 1e9).toBeGreaterThan(0.1)
    expect(Number(value(cpu?.usageNanoCores)) / 1e9).toBeLessThan(0.8)
    expect(value(memory?.workingSetBytes)).toBeGreaterThan(8n * MiB)
    expect(value(memory?.availableBytes)).toBe(64n * MiB - value(memory?.workingSetBytes))
    expect(value(memory?.pageFaults)).toBeGreaterThan(0n)
    expect(io?.timestamp).toBe(cpu?.timestamp)
    const { stats } = await s.client.call('PodSandboxStats', { podSandboxId: pod.podId })
    expect(stats?.linux?.network?.defaultInterface?.name).toBe('eth0')
    expect(value(stats?.linux?.process?.processCount)).toBeGreaterThan(0n)
    expect(value(stats?.linux?.memory?.workingSetBytes)).toBeGreaterThan(8n * MiB)
    expect(swap?.timestamp).toBe(cpu?.timestamp)
  })

  it('pressure is told where the kernel keeps it, in stats and in metrics', async () => {
    const pod = await s.pod(`${handler}-psi`, { handler })
    const c = await kept(s, pod)
    const { cpu, memory, io } = await statsOf(c.id)
    const { podMetrics } = await s.client.call('ListPodSandboxMetrics', {})
    const metrics = podMetrics?.[0]?.containerMetrics?.[0]?.metrics ?? []
    const names = metrics.filter((m) => m.name?.startsWith('container_pressure_')).map((m) => m.name)
    const has = cpu?.psi?.Some !== undefined && cpu.psi.Some !== null
    expect(memory?.psi?.Some != null).toBe(has)
    expect(io?.psi?.Full != null).toBe(has)
    expect(names).toHaveLength(has ? 6 : 0)
  })

  it('a frozen one is told like any other, and one that is gone is left out', async () => {
    const pod = await s.pod(`${handler}-frozen`, { handler })
    const [frozen, going] = [await kept(s, pod), await kept(s, pod)]
    const cgroup = await cgroupOf(await frozen.pid())
    await writeFile(`${cgroupRoot}${cgroup}/cgroup.freeze`, '1')
    const listed = async () =>
      ((await s.client.call('ListContainerStats', {})).stats ?? []).map((one) => one.attributes?.id)
    expect((await listed()).sort()).toEqual([frozen.id, going.id].sort())
    await s.client.call('RemoveContainer', { containerId: going.id })
    expect(await listed()).toEqual([frozen.id])
    await writeFile(`${cgroupRoot}${cgroup}/cgroup.freeze`, '0')
  })
})

it('what is described can be filled', async () => {
  const pod = await s.pod('filled', { bridged: true })
  const c = await kept(s, pod, { linux: { resources: { memoryLimitInBytes: 64n * MiB, cpuQuota: 20_000n } } })
  await c.sh('echo x > /x; sync')
  const { descriptors } = await s.client.call('ListMetricDescriptors', {})
  const { podMetrics } = await s.client.call('ListPodSandboxMetrics', {})
  const all = [
    ...(podMetrics?.[0]?.metrics ?? []),
    ...(podMetrics?.[0]?.containerMetrics?.[0]?.metrics ?? []),
  ]
  const filled = new Set(all.map((m) => m.name))
  const optional = /_(blkio|fs_reads|fs_writes|pressure|hugetlb)_?/
  const empty = (descriptors ?? []).map((d) => d.name ?? '').filter((name) => !filled.has(name))
  expect(empty.filter((name) => !optional.test(name))).toEqual([])
})
