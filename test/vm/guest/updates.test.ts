// SPDX-License-Identifier: Apache-2.0
/**
 * Updates and ends on cgroup v2, with runc and with crun: memory and swap in both directions, limits too low for
 * what is in use, a pod's own limits, the whole cgroup killed for want of memory or by a stop, and what leaves its
 * exec's tree.
 */
import { readFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { execSync, namespaceMode, waitForExit } from '../../support/cri-requests.ts'
import { processes } from '../../support/host-view.ts'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { waitForLog } from '../../support/scenario-log.ts'
import { refusalOf } from '../../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../../support/scenario-run.ts'
import { cgroupFile, cgroupOf, handlers, startGuestScenario } from './guest.ts'

const MiB = 1024n * 1024n
let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status
const update = (containerId: string, linux: object) =>
  s.client.call('UpdateContainerResources', { containerId, linux })
const withWord = async (word: string) =>
  (await processes()).filter((p) => p.argv.includes(word) && !p.zombie).map((p) => p.pid)

describe.each(handlers)('with %s', (handler) => {
  let count = 0
  const pod = (more = {}) => s.pod(`${handler}-upd-${++count}`, { handler, ...more })
  const limits = async (cgroup: string, ...files: string[]) =>
    Promise.all(files.map((f) => cgroupFile(cgroup, f)))
  afterEach(() => s.removePods())

  it('memory and swap move up and down; no swap stays no swap', async () => {
    const c = await kept(s, await pod(), { linux: { resources: { memoryLimitInBytes: 64n * MiB } } })
    const cgroup = await cgroupOf(await c.pid())
    const held = () => limits(cgroup, 'memory.max', 'memory.swap.max')
    expect(await held()).toEqual([String(64n * MiB), '0'])
    for (const [limit, sum] of [
      [256n, 512n],
      [32n, 40n],
      [128n, 128n],
    ] as const) {
      await update(c.id, { memoryLimitInBytes: limit * MiB, memorySwapLimitInBytes: sum * MiB })
      expect(await held()).toEqual([String(limit * MiB), String((sum - limit) * MiB)])
    }
    await update(c.id, { memoryLimitInBytes: 200n * MiB })
    expect(await held()).toEqual([String(200n * MiB), '0'])
    await update(c.id, { unified: { 'memory.swap.max': 'max', 'memory.oom.group': '1' } })
    expect(await limits(cgroup, 'memory.swap.max', 'memory.oom.group')).toEqual(['max', '1'])
  })

  it('a failed update leaves every file and the status as they were', async () => {
    const resources = { memoryLimitInBytes: 64n * MiB, cpuPeriod: 100_000n, cpuQuota: 50_000n }
    const c = await kept(s, await pod(), { linux: { resources } })
    const cgroup = await cgroupOf(await c.pid())
    const held = () => limits(cgroup, 'memory.max', 'memory.swap.max', 'cpu.max', 'memory.high')
    const before = [await held(), (await status(c.id))?.resources]
    for (const bad of [
      { unified: { 'memory.high': '40000000', 'memory.no-such-file': '1' } },
      { unified: { 'memory.high': 'much' } },
      { hugepageLimits: [{ pageSize: '2MB', limit: 1n }] },
      { unified: { 'memory.max/../../memory.max': '1' } },
    ]) {
      const all = { memoryLimitInBytes: 128n * MiB, cpuQuota: 20_000n, ...bad }
      expect((await refusalOf(update(c.id, all))).details).toMatch(/memory|2MB/)
      expect([await held(), (await status(c.id))?.resources]).toEqual(before)
    }
    // What the kubelet says in every container, whatever the machine has.
    await update(c.id, { hugepageLimits: [{ pageSize: '2MB', limit: 0n }] })
  })

  it('a limit below what is in use is refused, and the container lives', async () => {
    const p = await pod()
    const c = await kept(s, p, {
      command: ['sh', '-c', 'head -c 24000000 /dev/zero >/dev/shm/full; echo full; sleep 3600'],
      container: 'full',
      linux: { resources: { memoryLimitInBytes: 256n * MiB } },
    })
    await waitForLog(s.logOf(p, 'full'), 'full', 60_000)
    const { code, details } = await refusalOf(update(c.id, { memoryLimitInBytes: 16n * MiB }))
    expect([code, details]).toEqual([
      'FAILED_PRECONDITION',
      expect.stringMatching(/16777216 is below the \d+ bytes in use/),
    ])
    expect(await c.sh('echo alive')).toBe('alive\n')
  })

  it('with memory.oom.group one process too many takes all of the container along', async () => {
    const { status: ended } = await ran(s, await pod(), '', {
      command: ['sh', '-c', 'dd if=/dev/zero of=/dev/null bs=64M count=1; exit 0'],
      linux: { resources: { memoryLimitInBytes: 15n * MiB, unified: { 'memory.oom.group': '1' } } },
    })
    expect(ended).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
  })

  it('want of memory in eight pods at once is OOMKilled for each', async () => {
    const pods = await Promise.all(Array.from({ length: 8 }, () => pod()))
    const command = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M', 'count=1']
    const resources = { memoryLimitInBytes: 15n * MiB }
    for (let round = 0; round < 2; round++) {
      const ends = await Promise.all(
        pods.map(async (p) => {
          const id = await p.start(busybox({ command, linux: { resources } }))
          const { exitCode, reason } = await waitForExit(s.client, id, 60_000)
          return `${exitCode} ${reason}`
        }),
      )
      expect(ends).toEqual(ends.map(() => '137 OOMKilled'))
    }
  })

  it('a new oom_score_adj is that of the processes and of new execs', async () => {
    const c = await kept(s, await pod(), { linux: { resources: { oomScoreAdj: 500n } } })
    // runc starts an exec with the first value: the monitor changes it a moment later.
    const both = 'sleep 1; cat /proc/1/oom_score_adj /proc/self/oom_score_adj'
    expect(await c.sh(both)).toBe('500\n500\n')
    await update(c.id, { oomScoreAdj: 600n })
    expect(await c.sh(both)).toBe('600\n600\n')
    expect(await readFile(`/proc/${await c.pid()}/oom_score_adj`, 'utf8')).toBe('600\n')
  })

  it('a pod of ours has the limits of its containers and its overhead, before and after an update', async () => {
    const resources = { memoryLimitInBytes: 100n * MiB, cpuPeriod: 100_000n, cpuQuota: 40_000n }
    const p = await pod({ linux: { resources, overhead: { memoryLimitInBytes: 28n * MiB } } })
    const own = `${s.workspace.cgroupParent}/pod${p.podId}`
    const held = () => limits(own, 'memory.max', 'cpu.max')
    expect(await held()).toEqual([String(128n * MiB), '40000 100000'])
    const more = {
      ...resources,
      memoryLimitInBytes: 200n * MiB,
      unified: { 'memory.high': String(150n * MiB) },
    }
    await s.client.call('UpdatePodSandboxResources', { podSandboxId: p.podId, resources: more })
    expect(await held()).toEqual([String(228n * MiB), '40000 100000'])
    expect(await cgroupFile(own, 'memory.high')).toBe(String(150n * MiB))
    const wrong = { ...more, memoryLimitInBytes: 300n * MiB, unified: { 'memory.high': 'much' } }
    await refusalOf(s.client.call('UpdatePodSandboxResources', { podSandboxId: p.podId, resources: wrong }))
    expect(await held()).toEqual([String(228n * MiB), '40000 100000'])
    await s.client.call('UpdatePodSandboxResources', { podSandboxId: p.podId, resources: { cpuShares: 2n } })
    expect(await held()).toEqual(['max', 'max 100000'])
  })

  it('a stop takes along what is left in the cgroup of a shared PID namespace, before it answers', async () => {
    const p = await pod({ pid: namespaceMode.pod })
    const c = await kept(s, p, {
      container: 'leaves',
      command: [
        'sh',
        '-c',
        'trap "exit 0" TERM; setsid sleep 77821 & (setsid sleep 77821 &); echo ready; wait',
      ],
      linux: { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } },
    })
    await waitForLog(s.logOf(p, 'leaves'), 'ready', 60_000)
    await s.client.call('StopContainer', { containerId: c.id, timeout: 30n }, { deadlineMs: 60_000 })
    expect(await withWord('77821')).toEqual([])
    expect((await status(c.id))?.exitCode).toBe(0)
  })

  it('a time-out takes along what left the tree of its exec', async () => {
    const c = await kept(s, await pod())
    const script = '(setsid sh -c "(setsid sleep 77831 &); sleep 77832" &); sleep 77833'
    const refusal = await refusalOf(execSync(s.client, c.id, ['sh', '-c', script], 3))
    expect(refusal.code).toBe('DEADLINE_EXCEEDED')
    for (const word of ['77831', '77832', '77833']) expect(await withWord(word)).toEqual([])
  })
})
