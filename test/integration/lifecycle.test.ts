// SPDX-License-Identifier: Apache-2.0
/**
 * The end of containers under hard conditions: stops that are given up, execs and leftovers in the grace time,
 * want of memory in many pods at once, a daemon that dies at the wrong moment, a handler that is gone.
 * GANTRY_TEST_OOM_ROUNDS sets the rounds of the memory test (10 by default).
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import {
  containerState,
  execSync,
  namespaceMode,
  type RunningPod,
  waitForExit,
} from '../support/cri-requests.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { logText, waitForLog } from '../support/scenario-log.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../support/scenario-run.ts'
import { cgroupfs } from '../support/workspace.ts'

let s: Scenario
let pod: RunningPod

beforeAll(async () => {
  s = await startScenario({
    config: { ...cgroupfs, 'runtimes.mine.kind': '"runc"', 'runtimes.mine.path': '"/usr/sbin/runc"' },
  })
  pod = await s.pod('lifecycle')
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status
const stop = (containerId: string, timeout: bigint, deadlineMs = 30_000) =>
  s.client.call('StopContainer', { containerId, timeout }, { deadlineMs })
const withWord = async (word: string) =>
  (await processes()).filter((p) => p.argv.includes(word) && !p.zombie).map((p) => p.pid)
const stubborn = { command: ['sh', '-c', 'trap "echo no" TERM; echo ready; while :; do sleep 0.1; done'] }
const inPods = (mode: number) => ({ linux: { securityContext: { namespaceOptions: { pid: mode } } } })

describe('StopContainer', () => {
  it('that its client gives up sends no KILL: the container goes on, and a later stop ends it', async () => {
    const c = await kept(s, pod, { container: 'given-up', ...stubborn })
    await waitForLog(s.logOf(pod, 'given-up'), 'ready')
    expect((await refusalOf(stop(c.id, 1n, 400))).code).toBe('DEADLINE_EXCEEDED')
    await waitForLog(s.logOf(pod, 'given-up'), 'no')
    // Past the grace time of the stop that was given up.
    await c.sh('sleep 1.2')
    expect((await status(c.id))?.state).toBe(containerState.running)
    await stop(c.id, 0n)
    expect(await status(c.id)).toMatchObject({ state: containerState.exited, exitCode: 137, reason: 'Error' })
  })

  it('ends a container that somebody has frozen, and lets it end well', async () => {
    for (const [grace, code] of [
      [0n, 137],
      [20n, 5],
    ] as const) {
      const container = `frozen-${grace}`
      const script = 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done'
      const c = await kept(s, pod, { container, command: ['sh', '-c', script] })
      await waitForLog(s.logOf(pod, container), 'ready')
      const v1 = join(
        '/sys/fs/cgroup/freezer',
        s.workspace.cgroupParent,
        `pod${pod.podId}`,
        c.id,
        'freezer.state',
      )
      const v2 = join('/sys/fs/cgroup', s.workspace.cgroupParent, `pod${pod.podId}`, c.id, 'cgroup.freeze')
      await writeFile(v1, 'FROZEN', { flag: 'r+' }).catch(() => writeFile(v2, '1', { flag: 'r+' }))
      await stop(c.id, grace)
      expect((await status(c.id))?.exitCode).toBe(code)
    }
  })

  it('names what does not end although it was killed, and where it is stuck', async ({ skip }) => {
    const freezer = join(
      '/sys/fs/cgroup/freezer',
      s.workspace.cgroupParent,
      `pod${pod.podId}`,
      'freezer.state',
    )
    // What cgroup v2 has frozen can be killed. Only here a process can be had at will that cannot.
    if (!existsSync(freezer)) skip('no cgroup v1 freezer')
    const c = await kept(s, pod, { container: 'stuck' })
    const pid = await c.pid()
    // Of the pod's whole cgroup: to thaw the container's own, which a stop does, is of no use.
    await writeFile(freezer, 'FROZEN')
    try {
      const { code, details } = await refusalOf(stop(c.id, 0n, 60_000))
      expect(code).toBe('DEADLINE_EXCEEDED')
      expect(details).toMatch(new RegExp(`did not end 30 s after SIGKILL: .*${pid} sleep \\(D`))
      expect((await status(c.id))?.state).toBe(containerState.running)
    } finally {
      await writeFile(freezer, 'THAWED')
    }
    await waitForExit(s.client, c.id, 10_000)
    expect(await status(c.id)).toMatchObject({ exitCode: 137, reason: 'Error' })
  }, 90_000)

  it('lets probes and hooks run in the grace time', async () => {
    const c = await kept(s, pod, { container: 'probed', ...stubborn })
    await waitForLog(s.logOf(pod, 'probed'), 'ready')
    const slow = stop(c.id, 20n)
    await waitForLog(s.logOf(pod, 'probed'), 'no')
    expect(await execSync(s.client, c.id, ['echo', 'alive'])).toMatchObject({
      stdout: 'alive\n',
      exitCode: 0,
    })
    await stop(c.id, 0n)
    await slow
  })

  it.each([
    ['NODE', namespaceMode.node],
    ['POD', namespaceMode.pod],
  ] as const)(
    'takes along what the first process leaves in a PID namespace of mode %s, before it answers',
    async (name, pid) => {
      const shared = await s.pod(`leaves-${name}`, { pid })
      const script = 'trap "exit 0" TERM; setsid sleep 77811 & (setsid sleep 77811 &); echo ready; wait'
      for (const grace of [20n, 0n]) {
        const container = `leaves-${name}-${grace}`
        const c = await kept(s, shared, { container, command: ['sh', '-c', script], ...inPods(pid) })
        await waitForLog(s.logOf(shared, container), 'ready')
        expect(await withWord('77811')).toHaveLength(2)
        await stop(c.id, grace)
        expect(await withWord('77811')).toEqual([])
        expect((await status(c.id))?.exitCode).toBe(grace === 0n ? 137 : 0)
      }
      await shared.remove()
    },
  )
})

it('open files are limited as for a service, not as for the daemon: soft 1024, in execs too', async () => {
  const ask = 'ulimit -Sn; ulimit -Hn'
  const hard = /^Max open files +\S+ +(\d+)/m.exec(
    await readFile(`/proc/${s.daemon.pid}/limits`, 'utf8'),
  )?.[1]
  expect((await ran(s, pod, ask)).stdout).toBe(`1024\n${hard}\n`)
  const c = await kept(s, pod)
  expect(await c.sh(ask)).toBe(`1024\n${hard}\n`)
  await stop(c.id, 0n)
})

it('want of memory in many pods at once is OOMKilled for each, and for nobody else', async () => {
  const rounds = Number(process.env.GANTRY_TEST_OOM_ROUNDS ?? 10)
  const resources = { memoryLimitInBytes: 15n * 1024n * 1024n }
  const hungry = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M']
  // Two beside them end with the same code of their own accord.
  const commands = [
    ...Array.from({ length: 8 }, () => hungry),
    ['sh', '-c', 'exit 137'],
    ['sh', '-c', 'exit 137'],
  ]
  const pods = await Promise.all(commands.map((_, i) => s.pod(`oom-${i}`)))
  const seen = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      commands.map(async (command, i) => {
        const id = (await pods[i]?.start(busybox({ command, linux: { resources } }))) ?? ''
        const { exitCode, reason } = await waitForExit(s.client, id, 60_000)
        const key = `${command[0]} ${exitCode} ${reason}`
        seen.set(key, (seen.get(key) ?? 0) + 1)
        await s.client.call('RemoveContainer', { containerId: id })
      }),
    )
  }
  expect(Object.fromEntries(seen)).toEqual({ 'dd 137 OOMKilled': 8 * rounds, 'sh 137 Error': 2 * rounds })
  await Promise.all(pods.map((p) => p.remove()))
}, 600_000)

describe('a daemon that dies', () => {
  it('between the start and the record of it: what ran meanwhile to its end has a time of its start', async () => {
    const c = await kept(s, pod, { command: ['sh', '-c', 'sleep 1; exit 4'] })
    const pid = await c.pid()
    const file = join(s.workspace.state, 'containers', c.id, 'state.json')
    await waitUntil(
      'the start is written down',
      async () => (await readFile(file, 'utf8')).includes('"running"'),
      {
        withinMs: 5000,
      },
    )
    await s.daemon.kill9()
    const written: { state: object } = JSON.parse(await readFile(file, 'utf8'))
    await writeFile(file, JSON.stringify({ ...written, state: { ...written.state, phase: 'created' } }))
    await waitUntil('it has ended', async () => (await processes()).every((p) => p.pid !== pid), {
      withinMs: 10_000,
    })
    await s.daemon.restart()
    const after = await waitForExit(s.client, c.id)
    expect(after).toMatchObject({ exitCode: 4, reason: 'Error' })
    expect(after.startedAt).toBeGreaterThanOrEqual(after.createdAt ?? 0n)
    expect(after.finishedAt).toBeGreaterThan(after.startedAt ?? 0n)
  })
})

it('pods of a handler that is configured no more can be stopped and removed', async () => {
  const orphan = await s.pod('orphan', { handler: 'mine', pid: namespaceMode.pod })
  const c = await kept(s, orphan, inPods(namespaceMode.pod))
  const config = await readFile(s.workspace.configFile, 'utf8')
  expect(config).toContain('[runtimes.mine]')
  await writeFile(s.workspace.configFile, config.replace(/\n\[runtimes\.mine\][^[]*/, '\n'))
  await s.daemon.restart()
  expect(await c.sh('echo probed')).toBe('probed\n')
  await s.client.call('StopPodSandbox', { podSandboxId: orphan.podId })
  expect((await status(c.id))?.state).toBe(containerState.exited)
  await s.client.call('RemovePodSandbox', { podSandboxId: orphan.podId })
  expect((await refusalOf(s.client.call('PodSandboxStatus', { podSandboxId: orphan.podId }))).code).toBe(
    'NOT_FOUND',
  )
  expect(await logText(s.logOf(orphan, c.config.metadata?.name ?? ''))).toBe('')
})
