// SPDX-License-Identifier: Apache-2.0
/**
 * Pods whose containers run in a kernel of the pod's own, gVisor's: from create to exit, with logs, execs, streams,
 * signals and a restart of the daemon, and what such a pod refuses. The network is the pod's, by the node's kernel:
 * this version of runsc does not take over the interfaces of a new one.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { execSync, namespaceMode, podState, type RunningPod, waitForExit } from '../support/cri-requests.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { logText, waitForLog } from '../support/scenario-log.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, type Kept, kept, pidOf, ran } from '../support/scenario-run.ts'
import { attachSession, execSession } from '../support/stream-client.ts'

const handler = 'runsc'
let s: Scenario
let pod: RunningPod
let c: Kept

beforeAll(async () => {
  s = await startScenario({
    config: {
      'runtimes.runsc.kind': '"runsc"',
      'runtimes.runsc.args': '["--platform=ptrace", "--network=host"]',
    },
  })
  pod = await s.pod('sandboxed', { handler, bridged: true })
  c = await kept(s, pod)
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const sentries = async () =>
  (await processes()).filter((p) => p.text.startsWith('runsc-sandbox') && p.text.includes(s.workspace.run))
const stateOf = async ({ podId }: RunningPod) =>
  (await s.client.call('PodSandboxStatus', { podSandboxId: podId })).status?.state
const inside = async (word: string) => (await execSync(s.client, c.id, ['ps'])).stdout.includes(word)

describe('a container', () => {
  it('runs in the pod’s kernel, which all of the pod’s containers share, and has its hostname', async () => {
    expect(await c.sh('dmesg')).toContain('gVisor')
    const other = await kept(s, pod)
    expect(await sentries()).toHaveLength(1)
    expect(await other.sh('hostname')).toBe(await c.sh('hostname'))
    const { status } = await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })
    expect(status?.runtimeHandler).toBe(handler)
    const ip = status?.network?.ip ?? ''
    expect(await c.sh('ip -4 addr')).toContain(`inet ${ip}/`)
    await s.client.call('RemoveContainer', { containerId: other.id })
    expect(await c.sh('echo on')).toBe('on\n')
  })

  it('has its output logged by stream, and its exit code told', async () => {
    const { stdout, stderr, status } = await ran(s, pod, 'echo out; echo err >&2; exit 3')
    expect([stdout, stderr, status.exitCode, status.reason]).toEqual(['out\n', 'err\n', 3, 'Error'])
    expect((await ran(s, pod, 'kill -9 $$')).status.exitCode).toBe(137)
    expect((await ran(s, pod, 'true')).status).toMatchObject({ exitCode: 0, reason: 'Completed' })
  })

  it('whose program is missing fails at its start, with code 128', async () => {
    const { containerId } = await s.client.call('CreateContainer', {
      podSandboxId: pod.podId,
      config: busybox({ command: ['/no/such'] }),
      sandboxConfig: pod.config,
    })
    const refusal = await refusalOf(s.client.call('StartContainer', { containerId }))
    expect(refusal.details).toContain('/no/such')
    const { status } = await s.client.call('ContainerStatus', { containerId })
    expect(status).toMatchObject({ exitCode: 128, reason: 'StartError' })
  })

  it('gets the stop signal, and is killed after the grace', async () => {
    const config = busybox({
      command: ['sh', '-c', 'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.1; done'],
    })
    const containerId = await pod.start(config)
    const log = s.logOf(pod, config.metadata?.name ?? '')
    await waitForLog(log, 'up')
    await s.client.call('StopContainer', { containerId, timeout: 10n })
    expect((await waitForExit(s.client, containerId)).exitCode).toBe(7)
    expect(await logText(log)).toBe('up\nbye\n')

    const deaf = busybox({ command: ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.1; done'] })
    const id = await pod.start(deaf)
    await waitForLog(s.logOf(pod, deaf.metadata?.name ?? ''), 'up')
    await s.client.call('StopContainer', { containerId: id, timeout: 1n })
    expect((await waitForExit(s.client, id)).exitCode).toBe(137)
  })
})

describe('an exec', () => {
  it('gives both outputs and the exit code', async () => {
    const done = await execSync(s.client, c.id, ['sh', '-c', 'echo out; echo err >&2; exit 5'])
    expect([done.stdout, done.stderr, done.exitCode]).toEqual(['out\n', 'err\n', 5])
    const refusal = await refusalOf(
      s.client.call('ExecSync', { containerId: c.id, cmd: ['/no/such'], timeout: 10n }),
    )
    expect(refusal.details).toContain('/no/such')
  })

  it('that takes too long is killed with what it started, in the pod’s kernel', async () => {
    const cmd = ['sh', '-c', 'sleep 4711 & sleep 4712']
    const refusal = await refusalOf(s.client.call('ExecSync', { containerId: c.id, cmd, timeout: 1n }))
    expect(refusal.code).toBe('DEADLINE_EXCEEDED')
    expect([await inside('4711'), await inside('4712')]).toEqual([false, false])
  })

  it('streams, with a terminal and without, and ends when its client goes', async () => {
    const plain = await execSession(s.client, c.id, { cmd: ['sh', '-c', 'cat; exit 4'], stdin: true })
    await plain.stdin?.write('typed\n')
    plain.stdin?.fin()
    expect(await plain.exitCode()).toBe(4)
    expect(plain.text()).toBe('typed\n')
    const tty = await execSession(s.client, c.id, { cmd: ['sh', '-c', 'test -t 1 && echo tty'], tty: true })
    await tty.ended()
    expect(tty.text()).toContain('tty')
    const left = await execSession(s.client, c.id, { cmd: ['sleep', '4713'] })
    await waitUntil('it runs', () => inside('4713'), { withinMs: 10_000 })
    left.wire.close()
    await waitUntil('it has ended', async () => !(await inside('4713')), { withinMs: 10_000 })
  })

  it('and an attached client reach the container’s terminal', async () => {
    const id = await pod.start(busybox({ command: ['cat'], tty: true, stdin: true }))
    const session = await attachSession(s.client, id, { tty: true, stdin: true })
    await session.stdin?.write('hello\n')
    await waitUntil('the answer is there', async () => session.text().includes('hello'), {
      withinMs: 10_000,
    })
    session.wire.close()
    await s.client.call('RemoveContainer', { containerId: id })
  })
})

describe('what such a pod cannot do is refused', () => {
  it.each([
    ['linux.security_context.namespace_options.pid', { pid: namespaceMode.node }],
    ['linux.security_context.namespace_options.ipc', { ipc: namespaceMode.node }],
    ['linux.sysctls', { linux: { sysctls: { 'net.ipv4.ip_forward': '1' } }, bridged: true }],
  ])('%s', async (field, kind) => {
    expect(await refusalOf(s.pod('refused', { handler, ...kind }))).toEqual({
      code: 'UNIMPLEMENTED',
      details: expect.stringContaining(field),
    })
  })

  it('devices, and new limits for what runs', async () => {
    const devices = [{ hostPath: '/dev/null', containerPath: '/dev/x', permissions: 'rw' }]
    expect((await refusalOf(kept(s, pod, { devices }))).details).toMatch(/devices.*runsc/)
    const update = { containerId: c.id, linux: { memoryLimitInBytes: 64n << 20n } }
    expect((await refusalOf(s.client.call('UpdateContainerResources', update))).details).toMatch(/runsc/)
  })
})

describe('a pod', () => {
  it('is told among the handlers, with what it can do', async () => {
    const { runtimeHandlers } = await s.client.call('Status', {})
    const found = runtimeHandlers?.find((h) => h.name === handler)
    expect(found?.features).toMatchObject({ recursiveReadOnlyMounts: false, userNamespaces: false })
  })

  it('with a shared PID namespace shows its processes to one another', async () => {
    const shared = await s.pod('shared', { handler, pid: namespaceMode.pod })
    const linux = { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } }
    await kept(s, shared, { linux, command: ['sleep', '4714'] })
    const other = await kept(s, shared, { linux })
    expect(await other.sh('ps')).toMatch(/gantry-pause.*sleep 4714/s)
    await shared.remove()
  })

  it('has statistics of all that its kernel uses, which cannot be told apart by container', async () => {
    const { stats } = await s.client.call('PodSandboxStats', { podSandboxId: pod.podId })
    expect(stats?.linux?.memory?.workingSetBytes?.value).toBeGreaterThan(0n)
    expect(stats?.linux?.cpu?.usageCoreNanoSeconds?.value).toBeGreaterThan(0n)
    expect(stats?.linux?.network?.defaultInterface?.name).toBe('eth0')
    const own = (await s.client.call('ContainerStats', { containerId: c.id })).stats
    expect(own?.attributes?.id).toBe(c.id)
    expect([own?.cpu ?? undefined, own?.memory ?? undefined]).toEqual([undefined, undefined])
  })

  it('goes on without the daemon, which finds it again and learns of what ended meanwhile', async () => {
    const end = busybox({
      command: ['sh', '-c', 'while [ ! -e /end ]; do sleep 0.1; done; echo ended; exit 6'],
    })
    const id = await pod.start(end)
    await s.daemon.kill9()
    await s.daemon.restart()
    expect(await c.sh('echo still')).toBe('still\n')
    await execSync(s.client, id, ['touch', '/end'])
    expect((await waitForExit(s.client, id)).exitCode).toBe(6)
    await waitForLog(s.logOf(pod, end.metadata?.name ?? ''), 'ended')
  })

  it('whose kernel is killed is not ready, has no containers any more, and is removed without a trace', async () => {
    const other = await s.pod('killed', { handler, bridged: true })
    const { id } = await kept(s, other)
    await pidOf(s, id)
    const sentry = (await sentries()).find((p) => p.text.includes(other.podId))
    process.kill(sentry?.pid ?? 0, 'SIGKILL')
    await expect.poll(() => stateOf(other)).toBe(podState.notReady)
    expect((await waitForExit(s.client, id)).exitCode).toBe(137)
    await other.remove()
    expect((await sentries()).some((p) => p.text.includes(other.podId))).toBe(false)
  })

  it('that takes more memory than it may is not ready, and its containers were OOMKilled', async () => {
    const memoryLimitInBytes = 128n << 20n
    const other = await s.pod('greedy', { handler, linux: { resources: { memoryLimitInBytes } } })
    const { status } = await ran(s, other, 'tail /dev/zero')
    expect(status).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
    await expect.poll(() => stateOf(other)).toBe(podState.notReady)
    await other.remove()
  })

  it('is stopped with its containers', async () => {
    const other = await s.pod('stopped', { handler, bridged: true })
    const { id } = await kept(s, other)
    await s.client.call('StopPodSandbox', { podSandboxId: other.podId })
    expect((await waitForExit(s.client, id)).exitCode).toBe(137)
    await other.remove()
  })
})
