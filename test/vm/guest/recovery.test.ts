// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon killed outright on cgroup v2, with containers of runc and of crun: they go on, what they did meanwhile
 * is known afterwards, and all of it can be stopped and removed as if nothing had been.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { waitUntil } from '../../support/child.ts'
import { containerState, execSync, namespaceMode, type RunningPod } from '../../support/cri-requests.ts'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { logText, waitForLog } from '../../support/scenario-log.ts'
import { busybox, type Kept, kept } from '../../support/scenario-run.ts'
import { cgroupExists, cgroupOf, handlers, startGuestScenario } from './guest.ts'

let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status
const podIp = async ({ podId }: RunningPod) =>
  (await s.client.call('PodSandboxStatus', { podSandboxId: podId })).status?.network?.ip

interface Before {
  readonly handler: string
  readonly pod: RunningPod
  readonly ip: string
  readonly shared: RunningPod
  readonly runs: Kept
  readonly pid: number
  readonly ends: string
  readonly eats: string
  readonly created: string
}

/** A pod of every kind that matters to recovery, and containers in each phase. */
async function setUp(handler: string): Promise<Before> {
  const pod = await s.pod(`${handler}-killed`, { handler, bridged: true })
  const shared = await s.pod(`${handler}-shared`, { handler, pid: namespaceMode.pod })
  const counting = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done'
  const runs = await kept(s, pod, { container: 'runs', command: ['sh', '-c', counting] })
  const ends = await pod.start(
    busybox({ command: ['sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 23'] }),
  )
  const eats = await pod.start(
    busybox({
      command: [
        'sh',
        '-c',
        'while [ ! -e /tmp/go ]; do sleep 0.1; done; exec dd if=/dev/zero of=/dev/null bs=64M count=1',
      ],
      linux: { resources: { memoryLimitInBytes: 24n << 20n } },
    }),
  )
  // They end a while after the daemon does.
  for (const id of [ends, eats])
    await execSync(s.client, id, ['sh', '-c', '(sleep 4; touch /tmp/go) >/dev/null 2>&1 &'])
  const { containerId: created } = await s.client.call('CreateContainer', {
    podSandboxId: pod.podId,
    config: busybox({ command: ['sh', '-c', 'exit 5'] }),
    sandboxConfig: pod.config,
  })
  const ip = (await podIp(pod)) ?? ''
  return { handler, pod, ip, shared, runs, pid: await runs.pid(), ends, eats, created }
}

it('pods and containers of both runtimes outlive the daemon, and their ends are known', async () => {
  const all: Before[] = []
  for (const handler of handlers) all.push(await setUp(handler))
  for (const { ip, handler } of all) expect(ip, handler).toMatch(/^10\./)
  await s.daemon.kill9()
  const logs = all.map((b) => s.logOf(b.pod, 'runs'))
  const lengths = await Promise.all(logs.map(async (l) => (await logText(l)).length))
  await waitUntil(
    'both logs have grown without the daemon',
    async () => {
      const now = await Promise.all(logs.map(async (l) => (await logText(l)).length))
      return now.every((n, i) => n > (lengths[i] ?? 0) + 40)
    },
    { withinMs: 30_000 },
  )
  await s.daemon.restart({ readyWithinMs: 30_000 })
  for (const b of all) {
    const said = `handler ${b.handler}`
    expect(await status(b.runs.id), said).toMatchObject({ state: containerState.running })
    expect(await b.runs.pid(), said).toBe(b.pid)
    expect(await b.runs.sh('echo still there'), said).toBe('still there\n')
    await waitUntil(
      `${said}: both have ended`,
      async () => {
        const states = await Promise.all([b.ends, b.eats].map(async (id) => (await status(id))?.state))
        return states.every((state) => state === containerState.exited)
      },
      { withinMs: 30_000 },
    )
    expect(await status(b.ends), said).toMatchObject({ exitCode: 23, reason: 'Error' })
    expect(await status(b.eats), said).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
    expect(await podIp(b.pod), said).toBe(b.ip)
    await s.client.call('StartContainer', { containerId: b.created })
    await waitUntil(`${said}: the created one ran`, async () => (await status(b.created))?.exitCode === 5, {
      withinMs: 30_000,
    })
    expect((await s.client.call('PodSandboxStatus', { podSandboxId: b.shared.podId })).status?.state).toBe(0)
    const linux = { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } }
    expect(await (await kept(s, b.shared, { linux })).sh('cat /proc/1/comm'), said).toBe('gantry-pause\n')
  }
})

it.each(handlers)(
  'a container of %s whose monitor and runtime go on is stopped by the new daemon',
  async (handler) => {
    const pod = await s.pod(`${handler}-stop`, { handler })
    const c = await kept(s, pod, {
      container: 'traps',
      command: ['sh', '-c', "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"],
    })
    await waitForLog(s.logOf(pod, 'traps'), 'ready')
    const cgroup = await cgroupOf(await c.pid())
    await s.daemon.kill9()
    await s.daemon.restart({ readyWithinMs: 30_000 })
    await s.client.call('StopContainer', { containerId: c.id, timeout: 30n }, { deadlineMs: 60_000 })
    expect(await status(c.id)).toMatchObject({ exitCode: 9 })
    await pod.remove()
    expect(await cgroupExists(cgroup)).toBe(false)
  },
)
