// SPDX-License-Identifier: Apache-2.0
/**
 * Statistics and metrics of real containers and pods: what they do shows up, filters hold, and nothing is kept open
 * for a pod that has ended. stats-trouble.test.ts has what is in trouble, test/vm more for cgroup v2 alone.
 */
import { spawnSync } from 'node:child_process'
import { readdir, readlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { containerState } from '../support/cri-requests.ts'
import { gantryCli } from '../support/gantry-cli.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, type Kept, kept, ran } from '../support/scenario-run.ts'
import { containerStats, idsOf as ids, listedStats, amountOf as value } from '../support/stats.ts'
import { cgroupfs } from '../support/workspace.ts'

const MiB = 1024n * 1024n
let s: Scenario
let pod: RunningPod
let quiet: Kept

beforeAll(async () => {
  s = await startScenario({ config: cgroupfs })
  pod = await s.pod('stats', { bridged: true, labels: { app: 'web' }, annotations: { why: 'to see' } })
  quiet = await kept(s, pod, { labels: { foo: 'bar' }, annotations: { note: 'x' } })
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 5000 })))

const statsOf = (containerId: string) => containerStats(s.client, containerId)
const listed = (filter: object = {}) => listedStats(s.client, filter)
const podStats = async (podSandboxId: string) =>
  (await s.client.call('PodSandboxStats', { podSandboxId })).stats ?? {}
async function every<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of messages) all.push(one)
  return all
}

describe('a container', () => {
  it('has its attributes and figures, and a new time with each look', async () => {
    const first = await statsOf(quiet.id)
    expect(first.attributes).toMatchObject({
      id: quiet.id,
      metadata: { name: quiet.config.metadata?.name },
      labels: { foo: 'bar' },
      annotations: { note: 'x' },
    })
    expect(value(first.memory?.workingSetBytes)).toBeGreaterThan(0n)
    expect(value(first.memory?.usageBytes)).toBeGreaterThanOrEqual(value(first.memory?.workingSetBytes))
    await sleep(1000)
    const second = await statsOf(quiet.id)
    expect(second.cpu?.timestamp).toBeGreaterThan(first.cpu?.timestamp ?? 0n)
    expect(second.memory?.timestamp).toBeGreaterThan(first.memory?.timestamp ?? 0n)
    expect(value(second.cpu?.usageCoreNanoSeconds)).toBeGreaterThanOrEqual(
      value(first.cpu?.usageCoreNanoSeconds),
    )
  })

  it('that is busy shows how much of a core it uses, in the pod too', async () => {
    const busy = await kept(s, pod, {
      command: ['sh', '-c', 'while :; do :; done'],
      linux: { resources: { cpuPeriod: 100_000n, cpuQuota: 50_000n } },
    })
    await podStats(pod.podId)
    await sleep(1500)
    const { linux } = await podStats(pod.podId)
    const one = linux?.containers?.find((c) => c.attributes?.id === busy.id)
    const cores = Number(value(one?.cpu?.usageNanoCores)) / 1e9
    expect(cores).toBeGreaterThan(0.2)
    expect(cores).toBeLessThan(0.7)
    const ofPod = Number(value(linux?.cpu?.usageNanoCores)) / 1e9
    expect(ofPod).toBeGreaterThan(cores - 0.1)
    expect(ofPod).toBeLessThan(cores + 0.3)
    await s.client.call('RemoveContainer', { containerId: busy.id })
  })

  it('that touches memory has it in its working set and less available', async () => {
    const linux = { resources: { memoryLimitInBytes: 64n * MiB, memorySwapLimitInBytes: 64n * MiB } }
    const c = await kept(s, pod, { linux })
    const before = await statsOf(c.id)
    await c.sh('dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null')
    const { memory, swap } = await statsOf(c.id)
    const grown = value(memory?.workingSetBytes) - value(before.memory?.workingSetBytes)
    expect(grown).toBeGreaterThan(19n * MiB)
    expect(grown).toBeLessThan(30n * MiB)
    expect(value(memory?.availableBytes)).toBe(64n * MiB - value(memory?.workingSetBytes))
    expect(value(memory?.pageFaults)).toBeGreaterThan(value(before.memory?.pageFaults))
    expect(value(swap?.swapUsageBytes)).toBe(0n)
    // Without a limit there is no such figure.
    expect((await statsOf(quiet.id)).memory?.availableBytes ?? null).toBeNull()
    await c.sh('rm /dev/shm/x')
    await s.client.call('RemoveContainer', { containerId: c.id })
  })

  it('that writes has it in its writable layer once that was measured again', async () => {
    const c = await kept(s, pod)
    await c.sh('dd if=/dev/zero of=/grown bs=1M count=5 2>/dev/null')
    await waitUntil(
      'the writable layer has grown',
      async () => value((await statsOf(c.id)).writableLayer?.usedBytes) >= 5n * MiB,
      { withinMs: 30_000, everyMs: 250 },
    )
    const { writableLayer } = await statsOf(c.id)
    expect(value(writableLayer?.inodesUsed)).toBeGreaterThan(1n)
    expect(writableLayer?.fsId?.mountpoint).toBe(`${s.workspace.state}/layers`)
    await s.client.call('RemoveContainer', { containerId: c.id })
  })

  it('that is unknown is NOT_FOUND, one that has ended keeps its attributes, and no list has it', async () => {
    expect(await refusalOf(s.client.call('ContainerStats', { containerId: 'f'.repeat(64) }))).toMatchObject({
      code: 'NOT_FOUND',
    })
    const { id } = await ran(s, pod, 'true')
    const { attributes, cpu } = await statsOf(id)
    expect(attributes?.id).toBe(id)
    expect(cpu ?? null).toBeNull()
    expect(ids(await listed())).not.toContain(id)
  })
})

describe('filters', () => {
  it.each([
    ['nothing', () => ({}), true],
    ['its id', () => ({ id: quiet.id }), true],
    ['the beginning of it', () => ({ id: quiet.id.slice(0, 13) }), true],
    ['another id', () => ({ id: 'f'.repeat(64) }), false],
    ['its pod', () => ({ podSandboxId: pod.podId }), true],
    ['another pod', () => ({ podSandboxId: 'f'.repeat(64) }), false],
    ['its label', () => ({ labelSelector: { foo: 'bar' } }), true],
    ['another label', () => ({ labelSelector: { foo: 'baz' } }), false],
    ['id and another label', () => ({ id: quiet.id, labelSelector: { foo: 'baz' } }), false],
  ] as const)('by %s', async (_, filter, found) => {
    expect(ids(await listed(filter())).includes(quiet.id)).toBe(found)
  })

  it('of pods, and streams answer as lists do', async () => {
    const pods = async (filter: object) =>
      ((await s.client.call('ListPodSandboxStats', { filter })).stats ?? []).map((p) => p.attributes?.id)
    expect(await pods({ labelSelector: { app: 'web' } })).toEqual([pod.podId])
    expect(await pods({ labelSelector: { app: 'x' } })).toEqual([])
    const containerParts = await every(s.client.stream('StreamContainerStats', { filter: { id: quiet.id } }))
    expect(ids(containerParts.flatMap((m) => m.containerStats ?? []))).toEqual([quiet.id])
    const podParts = await every(s.client.stream('StreamPodSandboxStats', { filter: { id: pod.podId } }))
    expect(podParts.flatMap((m) => m.podSandboxStats ?? []).map((p) => p.attributes?.id)).toEqual([pod.podId])
  })
})

describe('a pod', () => {
  it('without a process has a network, whose bytes grow', async () => {
    const empty = await s.pod('empty', { bridged: true })
    const ip =
      (await s.client.call('PodSandboxStatus', { podSandboxId: empty.podId })).status?.network?.ip ?? ''
    const eth0 = async () => (await podStats(empty.podId)).linux?.network?.defaultInterface
    const before = await eth0()
    expect(before?.name).toBe('eth0')
    expect(
      spawnSync('bash', ['-c', `for i in 1 2 3 4 5; do echo hello > /dev/udp/${ip}/9; done`]).status,
    ).toBe(0)
    await waitUntil(
      'the bytes have grown',
      async () => value((await eth0())?.rxBytes) > value(before?.rxBytes),
      {
        withinMs: 5000,
      },
    )
    await empty.remove()
  })

  it('that has ended is not held open by what was read of it', async () => {
    const sockets = async () => {
      const folder = `/proc/${s.daemon.pid}/fd`
      const links = await Promise.all(
        (await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => '')),
      )
      return links.filter((l) => l.startsWith('socket:')).length
    }
    const many = await Promise.all([1, 2, 3].map((n) => s.pod(`short-${n}`, { bridged: true })))
    const before = await sockets()
    await s.client.call('ListPodSandboxStats', {})
    expect(await sockets()).toBe(before + many.length)
    for (const one of many) await one.remove()
    await waitUntil('the sockets are closed', async () => (await sockets()) === before, { withinMs: 5000 })
  })

  it('has the processes and figures of its own cgroup, and none of a network of the node’s', async () => {
    const { linux, attributes } = await podStats(pod.podId)
    expect(attributes).toMatchObject({
      id: pod.podId,
      labels: { app: 'web' },
      annotations: { why: 'to see' },
    })
    expect(value(linux?.process?.processCount)).toBe(1n)
    const many = await kept(s, pod, { command: ['sh', '-c', 'sleep 3600 & sleep 3600 & wait'] })
    await waitUntil(
      'three processes more',
      async () => value((await podStats(pod.podId)).linux?.process?.processCount) === 4n,
      { withinMs: 5000 },
    )
    await s.client.call('RemoveContainer', { containerId: many.id })
    expect(value(linux?.memory?.usageBytes)).toBeGreaterThan(0n)
    const host = await s.pod('host')
    await kept(s, host)
    const onNode = (await podStats(host.podId)).linux
    expect(onNode?.network ?? null).toBeNull()
    expect(value(onNode?.memory?.usageBytes)).toBeGreaterThan(0n)
    await host.remove()
    expect((await refusalOf(s.client.call('PodSandboxStats', { podSandboxId: host.podId }))).code).toBe(
      'NOT_FOUND',
    )
  })

  it('that shares its cgroup with another has the sum of its own containers', async () => {
    const linux = { cgroupParent: s.workspace.cgroupParent }
    const [one, other] = [await s.pod('one', { linux }), await s.pod('other', { linux })]
    const c = await kept(s, one)
    await kept(s, other, {
      command: ['sh', '-c', 'dd if=/dev/zero of=/dev/shm/y bs=1M count=20; sleep 3600'],
    })
    const usage = value((await podStats(one.podId)).linux?.memory?.usageBytes)
    const own = value((await statsOf(c.id)).memory?.usageBytes)
    expect(usage).toBeGreaterThan(0n)
    expect(usage).toBeLessThan(own + 5n * MiB)
    for (const p of [one, other]) await p.remove()
  })
})

describe('metrics', () => {
  it('are of every kind that is described, with its labels', async () => {
    const odd = await s.pod('odd', {
      bridged: true,
      metadata: { name: 'odd', namespace: 'default', uid: 'u', attempt: 0 },
    })
    const image = (await s.client.call('ListImages', {})).images?.[0]?.id
    const c = await kept(s, odd, { linux: { resources: { memoryLimitInBytes: 64n * MiB } } })
    const { descriptors = [] } = await s.client.call('ListMetricDescriptors', {})
    const keys = new Map((descriptors ?? []).map((d) => [d.name, d.labelKeys ?? []]))
    const { podMetrics } = await s.client.call('ListPodSandboxMetrics', {})
    const found = podMetrics?.find((p) => p.podSandboxId === odd.podId)
    const of = found?.containerMetrics?.find((m) => m.containerId === c.id)?.metrics ?? []
    for (const m of [...of, ...(found?.metrics ?? [])])
      expect(m.labelValues).toHaveLength(keys.get(m.name)?.length ?? -1)
    const labels = (name: string) => {
      const m = of.find((one) => one.name === name)
      return Object.fromEntries((keys.get(name) ?? []).map((key, i) => [key, m?.labelValues?.[i]]))
    }
    expect(labels('container_memory_rss')).toMatchObject({
      container: c.config.metadata?.name,
      name: c.id,
      pod: 'odd',
      namespace: 'default',
    })
    const metric = (name: string) => value(of.find((m) => m.name === name)?.value)
    expect(metric('container_processes')).toBe(1n)
    expect(metric('container_file_descriptors')).toBeGreaterThan(2n)
    expect(metric('container_spec_memory_limit_bytes')).toBe(64n * MiB)
    expect(metric('container_fs_inodes_total')).toBeGreaterThan(0n)
    expect(metric('container_ulimits_soft')).toBeGreaterThan(0n)
    const interfaces = (found?.metrics ?? []).filter(
      (m) => m.name === 'container_network_receive_bytes_total',
    )
    expect(interfaces.map((m) => m.labelValues?.at(-1)).sort()).toEqual(['eth0', 'lo'])
    expect(image).toBeDefined()
    const streamed = await every(s.client.stream('StreamPodSandboxMetrics', {}))
    expect(streamed.flatMap((m) => m.podSandboxMetrics ?? []).map((p) => p.podSandboxId)).toContain(odd.podId)
    await odd.remove()
  })

  it('asked for every 10 ms are right each time and hold up nobody else', async () => {
    const scrapes: Promise<unknown>[] = []
    const others: number[] = []
    for (let i = 0; i < 100; i++) {
      scrapes.push(
        s.client.call('ListPodSandboxMetrics', {}).then(({ podMetrics }) => {
          const own = podMetrics?.[0]?.containerMetrics?.find((m) => m.containerId === quiet.id)?.metrics
          expect(value(own?.find((m) => m.name === 'container_memory_rss')?.value)).toBeGreaterThan(0n)
        }),
      )
      const at = performance.now()
      await s.client.call('Version', {})
      others.push(performance.now() - at)
      await sleep(10)
    }
    await Promise.all(scrapes)
    expect(others.toSorted((a, b) => a - b)[50]).toBeLessThan(50)
  })

  it('asked for without end share their looks', async () => {
    const began = performance.now()
    const all = await Promise.all(
      Array.from({ length: 200 }, () => s.client.call('ListPodSandboxMetrics', {})),
    )
    expect(performance.now() - began).toBeLessThan(10_000)
    for (const { podMetrics } of all) expect(podMetrics?.map((p) => p.podSandboxId)).toEqual([pod.podId])
  })
})

it('1000 label pairs, and values with newlines and quotes, come back as they were given', async () => {
  const odd = 'a "b"\nc\\d{}\u00e9'
  const labels = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`key-${i}`, `${odd} ${i}`]))
  const large = await s.pod('labels', { labels, annotations: { why: odd } })
  const config = { labels, annotations: labels, image: { image: names.busybox, userSpecifiedImage: odd } }
  const c = await kept(s, large, config)
  expect((await statsOf(c.id)).attributes).toMatchObject({ labels, annotations: labels })
  expect((await podStats(large.podId)).attributes).toMatchObject({ labels, annotations: { why: odd } })
  expect(ids(await listed({ labelSelector: { 'key-7': `${odd} 7` } }))).toEqual([c.id])
  expect(ids(await listed({ labelSelector: labels }))).toEqual([c.id])
  const { podMetrics } = await s.client.call('ListPodSandboxMetrics', {})
  const found = podMetrics?.find((m) => m.podSandboxId === large.podId)?.containerMetrics?.[0]?.metrics
  expect(found?.find((m) => m.name === 'container_memory_rss')?.labelValues).toContain(odd)
  const { stdout } = await gantryCli([`--socket=${s.workspace.socket}`]).run(['stats', '--json', c.id])
  expect(JSON.parse(stdout)).toMatchObject([{ id: c.id }])
  await large.remove()
})

it('a created container has figures already, and no place in the list', async () => {
  const config = busybox({ command: ['sleep', '3600'] })
  const request = { podSandboxId: pod.podId, config, sandboxConfig: pod.config }
  const { containerId } = await s.client.call('CreateContainer', request)
  const { status } = await s.client.call('ContainerStatus', { containerId })
  expect(status?.state).toBe(containerState.created)
  expect(value((await statsOf(containerId)).memory?.usageBytes)).toBeGreaterThan(0n)
  expect(ids(await listed())).not.toContain(containerId)
  await s.client.call('RemoveContainer', { containerId })
})

describe('gantry stats and gantry top', () => {
  const cli = () => gantryCli([`--socket=${s.workspace.socket}`])

  it('tell what the pod and its container use, for scripts and for people', async () => {
    const { code, stdout } = await cli().run(['stats', '--json', 'stats'])
    expect(code).toBe(0)
    const rows: { kind: string; id: string; cpuCores: number; memoryBytes: number }[] = JSON.parse(stdout)
    expect(rows.map((r) => [r.kind, r.id])).toEqual([
      ['pod', pod.podId],
      ['container', quiet.id],
    ])
    for (const row of rows) {
      expect(row.cpuCores).toBeGreaterThanOrEqual(0)
      expect(row.memoryBytes).toBeGreaterThan(0)
    }
    const table = await cli().run(['top', '--once', quiet.id.slice(0, 12)])
    expect(table.stdout).toMatch(
      new RegExp(`^ {2}${quiet.config.metadata?.name} +${quiet.id.slice(0, 12)} `, 'm'),
    )
    expect(await cli().run(['stats', 'nobody'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('nobody'),
    })
  })

  it('draw again and again on a terminal, until Ctrl-C', async () => {
    const top = cli().onTerminal(['top', '--interval=0.5'])
    await waitUntil('two pictures', async () => top.seen().split('POD / CONTAINER').length > 2, {
      withinMs: 15_000,
    })
    top.stdin.write('\x03')
    expect((await top.ended).code).toBe(0)
    expect(top.seen()).toContain('\x1b[?25h')
  })
})
