// SPDX-License-Identifier: Apache-2.0
/**
 * Updates of resources on this machine's cgroups (v1 or v2): memory and swap in both directions, a pod's own
 * limits, oom_score_adj, and failures that leave everything as it was. cgroup v2 alone has more in test/vm.
 */
import { access, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunningPod } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { kept } from '../support/scenario-run.ts'
import { cgroupfs } from '../support/workspace.ts'

const MiB = 1024n * 1024n
let s: Scenario
let pod: RunningPod
let v1: boolean

beforeAll(async () => {
  s = await startScenario({ config: cgroupfs })
  pod = await s.pod('resources')
  v1 = await access('/sys/fs/cgroup/memory').then(
    () => true,
    () => false,
  )
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status
const update = (containerId: string, linux: object) =>
  s.client.call('UpdateContainerResources', { containerId, linux })

async function readOf(
  cgroup: string,
  controller: string,
  names: { v1: string; v2: string },
): Promise<string> {
  const path = v1 ? join(controller, cgroup, names.v1) : join(cgroup, names.v2)
  return (await readFile(join('/sys/fs/cgroup', path), 'utf8')).trim()
}
const memory = { v1: 'memory.limit_in_bytes', v2: 'memory.max' }
const quota = { v1: 'cpu.cfs_quota_us', v2: 'cpu.max' }

/** Limit and, where the machine counts swap, the sum of memory and swap. */
async function memoryOf(cgroup: string): Promise<readonly bigint[]> {
  const limit = BigInt(await readOf(cgroup, 'memory', memory))
  const swap = await readOf(cgroup, 'memory', { v1: 'memory.memsw.limit_in_bytes', v2: 'memory.swap.max' })
  return [limit, v1 ? BigInt(swap) : limit + BigInt(swap)]
}

describe('an update of a container', () => {
  it('moves memory and swap up and down, in whichever order the kernel takes them', async () => {
    const start = { memoryLimitInBytes: 64n * MiB, memorySwapLimitInBytes: 80n * MiB }
    const c = await kept(s, pod, { linux: { resources: start } })
    const cgroup = `${s.workspace.cgroupParent}/pod${pod.podId}/${c.id}`
    expect(await memoryOf(cgroup)).toEqual([64n * MiB, 80n * MiB])
    for (const [limit, sum] of [
      [256n, 512n],
      [32n, 40n],
      [32n, 32n],
      [128n, 128n],
    ] as const) {
      const linux = { memoryLimitInBytes: limit * MiB, memorySwapLimitInBytes: sum * MiB }
      await update(c.id, linux)
      expect(await memoryOf(cgroup)).toEqual([limit * MiB, sum * MiB])
      expect((await status(c.id))?.resources?.linux).toMatchObject(linux)
    }
    // No swap stays no swap when the limit alone is named.
    await update(c.id, { memoryLimitInBytes: 96n * MiB })
    expect(await memoryOf(cgroup)).toEqual([96n * MiB, 96n * MiB])
    await update(c.id, { memoryLimitInBytes: 200n * MiB })
    expect(await memoryOf(cgroup)).toEqual([200n * MiB, 200n * MiB])
  })

  it('changes cpu and cpuset, and keeps what it does not name', async () => {
    const c = await kept(s, pod, { linux: { resources: { cpuPeriod: 50_000n, cpuShares: 512n } } })
    const cgroup = `${s.workspace.cgroupParent}/pod${pod.podId}/${c.id}`
    await update(c.id, { cpuQuota: 20_000n, cpusetCpus: '0', cpusetMems: '0' })
    const files = { v1: 'cpuset.cpus', v2: 'cpuset.cpus' }
    expect(await readOf(cgroup, 'cpuset', files)).toBe('0')
    expect((await readOf(cgroup, 'cpu', quota)).split(' ')[0]).toBe('20000')
    expect(await readOf(cgroup, 'cpu', { v1: 'cpu.cfs_period_us', v2: 'cpu.max' })).toMatch(/50000$/)
    await update(c.id, { cpuShares: 2048n, cpuQuota: -1n })
    expect((await readOf(cgroup, 'cpu', quota)).split(' ')[0]).toBe(v1 ? '-1' : 'max')
    expect((await status(c.id))?.resources?.linux).toMatchObject({
      cpuPeriod: 50_000n,
      cpuQuota: -1n,
      cpuShares: 2048n,
      cpusetCpus: '0',
      cpusetMems: '0',
    })
  })

  it('that fails leaves files and status as they were, whichever field it was', async () => {
    const resources = {
      memoryLimitInBytes: 64n * MiB,
      cpuPeriod: 100_000n,
      cpuQuota: 50_000n,
      cpuShares: 512n,
    }
    const c = await kept(s, pod, { linux: { resources } })
    const cgroup = `${s.workspace.cgroupParent}/pod${pod.podId}/${c.id}`
    const held = async () => [await memoryOf(cgroup), await readOf(cgroup, 'cpu', quota)]
    const before = [await held(), (await status(c.id))?.resources]
    for (const bad of [
      { memoryLimitInBytes: 128n * MiB, cpuQuota: 20_000n, cpusetCpus: '4000' },
      { memoryLimitInBytes: 128n * MiB, memorySwapLimitInBytes: 1n * MiB },
      { memoryLimitInBytes: 128n * MiB, hugepageLimits: [{ pageSize: '3PB', limit: 1n }] },
      { cpuQuota: 20_000n, unified: { '../memory.max': '1' } },
      { cpuQuota: 20_000n, unified: { 'cgroup.procs': '1' } },
    ]) {
      const { details } = await refusalOf(update(c.id, bad))
      expect(details).toMatch(/cpuset|memory_swap|3PB|unified/)
      expect([await held(), (await status(c.id))?.resources]).toEqual(before)
    }
  })

  it('of an unknown container is NOT_FOUND, one for Windows is refused by the field', async () => {
    expect((await refusalOf(update('f'.repeat(64), {}))).code).toBe('NOT_FOUND')
    const windows = { containerId: 'f'.repeat(64), windows: { cpuShares: 1n } }
    const refusal = await refusalOf(s.client.call('UpdateContainerResources', windows))
    expect([refusal.code, refusal.details]).toEqual(['UNIMPLEMENTED', expect.stringContaining('windows')])
  })

  it('gives a new oom_score_adj to its processes and its execs, not to one that chose its own', async () => {
    const c = await kept(s, pod, { linux: { resources: { oomScoreAdj: 500n } } })
    // runc starts an exec with the first value: the monitor changes it a moment later.
    const adj = async (path: string) => (await c.sh(`sleep 0.2; cat ${path}`)).trim()
    const own = (await c.sh('sleep 7791 & echo 777 >/proc/$!/oom_score_adj; echo $!')).trim()
    expect([await adj('/proc/1/oom_score_adj'), await adj('/proc/self/oom_score_adj')]).toEqual([
      '500',
      '500',
    ])
    await update(c.id, { oomScoreAdj: 600n })
    expect([await adj('/proc/1/oom_score_adj'), await adj('/proc/self/oom_score_adj')]).toEqual([
      '600',
      '600',
    ])
    expect(await adj(`/proc/${own}/oom_score_adj`)).toBe('777')
    expect((await status(c.id))?.resources?.linux?.oomScoreAdj).toBe(600n)
  })
})

describe('a pod', () => {
  const limits = {
    resources: { memoryLimitInBytes: 100n * MiB, cpuPeriod: 100_000n, cpuQuota: 40_000n, cpuShares: 512n },
    overhead: { memoryLimitInBytes: 28n * MiB, cpuPeriod: 100_000n, cpuQuota: 10_000n },
  }
  const updatePod = (podSandboxId: string, more: object) =>
    s.client.call('UpdatePodSandboxResources', { podSandboxId, ...more })

  it('has the limits of its containers and its overhead, at its start, after updates and after a restart', async () => {
    const p = await s.pod('limited', { linux: limits })
    const own = `${s.workspace.cgroupParent}/pod${p.podId}`
    const held = async () => [
      await readOf(own, 'memory', memory),
      (await readOf(own, 'cpu', quota)).split(' ')[0],
    ]
    expect(await held()).toEqual([String(128n * MiB), '50000'])
    await updatePod(p.podId, { resources: { ...limits.resources, memoryLimitInBytes: 200n * MiB } })
    expect(await held()).toEqual([String(228n * MiB), '50000'])
    await updatePod(p.podId, { overhead: { memoryLimitInBytes: 10n * MiB } })
    expect(await held()).toEqual([String(210n * MiB), '40000'])
    await s.daemon.kill9()
    await s.daemon.restart()
    await updatePod(p.podId, { resources: { ...limits.resources, cpuQuota: 30_000n } })
    expect(await held()).toEqual([String(110n * MiB), '30000'])
    // A limit that is named no more is gone.
    await updatePod(p.podId, { resources: { cpuShares: 512n } })
    expect((await held())[1]).toBe(v1 ? '-1' : 'max')
    await p.remove()
  })

  it('keeps its limits when one of the new ones is refused, and its record', async () => {
    const p = await s.pod('kept', { linux: limits })
    const own = `${s.workspace.cgroupParent}/pod${p.podId}`
    const wrong = { resources: { memoryLimitInBytes: 300n * MiB, cpusetCpus: '4000' } }
    expect((await refusalOf(updatePod(p.podId, wrong))).details).toMatch(/cpuset/)
    expect(await readOf(own, 'memory', memory)).toBe(String(128n * MiB))
    const { info } = await s.client.call('PodSandboxStatus', { podSandboxId: p.podId, verbose: true })
    expect(info.info).toContain('104857600')
    expect(info.info).not.toContain('"4000"')
    await p.remove()
  })

  it('below a parent of the client’s leaves that as it is, which the kubelet has set', async () => {
    const parent = s.workspace.cgroupParent
    const p = await s.pod('of-kubelet', { linux: { cgroupParent: parent, ...limits } })
    const before = await readOf(parent, 'memory', memory)
    await updatePod(p.podId, { resources: { memoryLimitInBytes: 300n * MiB } })
    expect(await readOf(parent, 'memory', memory)).toBe(before)
    await p.remove()
  })

  it('that is unknown is NOT_FOUND, one that is stopped is refused', async () => {
    expect((await refusalOf(updatePod('f'.repeat(64), {}))).code).toBe('NOT_FOUND')
    const p = await s.pod('stopped')
    await s.client.call('StopPodSandbox', { podSandboxId: p.podId })
    expect((await refusalOf(updatePod(p.podId, limits))).code).toBe('FAILED_PRECONDITION')
    await p.remove()
  })
})

it('a systemd driver without systemd is an error of the start that says what to do', async () => {
  const there = await access('/run/systemd/system').then(
    () => true,
    () => false,
  )
  const config = await readFile(s.workspace.configFile, 'utf8')
  await s.daemon.kill9()
  await writeFile(s.workspace.configFile, config.replace('driver = "cgroupfs"', 'driver = "systemd"'))
  const started = await s.daemon.restart({ readyWithinMs: 20_000 }).then(
    () => 'it started',
    (e: unknown) => String(e),
  )
  await writeFile(s.workspace.configFile, config)
  await s.daemon.restart()
  if (there) expect(started).toBe('it started')
  else expect(started).toMatch(/systemd does not run this machine.*cgroupfs/s)
})
