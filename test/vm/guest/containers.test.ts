// SPDX-License-Identifier: Apache-2.0
/**
 * Containers on cgroup v2 alone, with runc and with crun: from create to exit, logs, exec, what becomes of a bad
 * command, stopping, shared PID namespaces, the network, AppArmor, and what the two are given to read.
 */
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { OUR_OCI_VERSION, olderVersion } from '../../../src/host/oci-runtime/features.ts'
import { waitUntil } from '../../support/child.ts'
import { containerState, execSync, namespaceMode } from '../../support/cri-requests.ts'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { PodKind, Scenario } from '../../support/scenario.ts'
import { logLines, waitForLog } from '../../support/scenario-log.ts'
import { refusalOf } from '../../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../../support/scenario-run.ts'
import { cgroupExists, cgroupFile, cgroupOf, handlers, startGuestScenario } from './guest.ts'

let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status

/** The `ociVersion` that a runtime may be given. Debian's crun has no `features` and knows nothing after 1.0. */
async function newestKnown(handler: string): Promise<string> {
  const told = await promisify(execFile)(handler, ['features']).catch(() => undefined)
  if (told === undefined) return '1.0.2'
  const features: { ociVersionMax: string } = JSON.parse(told.stdout)
  return olderVersion(features.ociVersionMax, OUR_OCI_VERSION)
}

it('the daemon offers both handlers and has no complaint', async () => {
  const { runtimeHandlers, info } = await s.client.call('Status', { verbose: true })
  expect(runtimeHandlers?.map((h) => h.name).sort()).toEqual(['', 'crun', 'runc'])
  expect(JSON.parse(info.problems ?? '')).toEqual({ problems: [] })
  expect(JSON.parse(info.host ?? '')).toMatchObject({ cgroupVersion: 2, defaultHandler: 'runc' })
})

describe.each(handlers)('with %s', (handler) => {
  let count = 0
  const pod = (more: PodKind = {}) => s.pod(`${handler}-${++count}`, { handler, ...more })
  afterEach(() => s.removePods())

  it('a container runs, writes its log and ends with its code', async () => {
    const {
      stdout,
      stderr,
      status: ended,
    } = await ran(s, await pod(), 'echo "$X"; echo bad >&2; exit 7', {
      envs: [{ key: 'X', value: Buffer.from('to stdout') }],
    })
    expect({ stdout, stderr }).toEqual({ stdout: 'to stdout\n', stderr: 'bad\n' })
    expect(ended).toMatchObject({ state: containerState.exited, exitCode: 7, reason: 'Error' })
    const lines = await logLines(ended.logPath ?? '')
    expect(lines.map((l) => [l.stream, l.tag, l.text])).toEqual(
      expect.arrayContaining([
        ['stdout', 'F', 'to stdout'],
        ['stderr', 'F', 'bad'],
      ]),
    )
  })

  it('a signal is 128 and its number', async () => {
    const { status: ended } = await ran(s, await pod(), "sh -c 'kill -KILL $$'; exit $?")
    expect(ended).toMatchObject({ exitCode: 137, reason: 'Error' })
  })

  it('exec gives output and code, ends in time, and runs in the container’s cgroup and namespaces', async () => {
    const c = await kept(s, await pod())
    const done = await execSync(s.client, c.id, ['sh', '-c', 'echo out; echo err >&2; exit 42'])
    expect(done).toEqual({ stdout: 'out\n', stderr: 'err\n', exitCode: 42 })
    expect(await c.sh('cat /proc/self/cgroup')).toBe('0::/\n')
    const late = execSync(s.client, c.id, ['sh', '-c', 'sleep 303 & sleep 303'], 1)
    expect(await refusalOf(late)).toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    const cgroup = await cgroupOf(await c.pid())
    await waitUntil(
      'the commands are gone',
      async () => (await cgroupFile(cgroup, 'cgroup.procs')).split('\n').length === 1,
      { withinMs: 10_000 },
    )
    const missing = execSync(s.client, c.id, ['/no/such/program'])
    expect((await refusalOf(missing)).details).toContain('/no/such/program')
  })

  it.each(['/no/such/program', '/etc/passwd', 'no-such-name-in-path'])(
    'the command %s is known to be bad at Start: 128, StartError',
    async (word) => {
      const { podId, config: sandboxConfig } = await pod()
      const config = busybox({ command: [word] })
      const { containerId } = await s.client.call('CreateContainer', {
        podSandboxId: podId,
        config,
        sandboxConfig,
      })
      expect((await status(containerId))?.state).toBe(containerState.created)
      expect((await refusalOf(s.client.call('StartContainer', { containerId }))).details).toContain(word)
      expect(await status(containerId)).toMatchObject({
        state: containerState.exited,
        exitCode: 128,
        reason: 'StartError',
        message: expect.stringContaining(word),
      })
      await s.client.call('RemoveContainer', { containerId })
    },
  )

  it('StopContainer sends TERM, kills what does not end, and leaves nobody in the cgroup', async () => {
    const p = await pod()
    const trap = (body: string) => [
      'sh',
      '-c',
      `for i in 1 2; do setsid sleep 304 & done; trap '${body}' TERM; echo ready; while :; do sleep 0.1; done`,
    ]
    for (const [container, body, timeout, exitCode] of [
      ['polite', 'exit 9', 30n, 9],
      ['stubborn', 'echo no', 1n, 137],
    ] as const) {
      const c = await kept(s, p, { container, command: trap(body) })
      await waitForLog(s.logOf(p, container), 'ready')
      const cgroup = await cgroupOf(await c.pid())
      await s.client.call('StopContainer', { containerId: c.id, timeout }, { deadlineMs: 60_000 })
      expect(await status(c.id)).toMatchObject({ state: containerState.exited, exitCode })
      await waitUntil('the cgroup is gone', async () => !(await cgroupExists(cgroup)), { withinMs: 10_000 })
    }
  })

  it('a shared PID namespace has gantry-pause as its first process', async () => {
    const p = await pod({ pid: namespaceMode.pod })
    const inPod = { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } }
    const one = await kept(s, p, { linux: inPod, command: ['sleep', '305'] })
    expect(await one.sh('cat /proc/1/comm')).toBe('gantry-pause\n')
    const { stdout } = await ran(s, p, 'ps -o args', { linux: inPod })
    expect(stdout).toContain('sleep 305')
  })

  it('pods on a bridge reach each other, and their names and addresses go with them', async () => {
    const prefix = s.workspace.subnet.replace(/0\/24$/, '')
    const one = await pod({ bridged: true })
    const { status: seen } = await s.client.call('PodSandboxStatus', { podSandboxId: one.podId })
    const ip = seen?.network?.ip ?? ''
    expect(ip.startsWith(prefix)).toBe(true)
    const server = await kept(s, one)
    expect(await server.sh('hostname')).toBe(`${one.config.metadata?.name}\n`)
    await server.sh('echo reached | nc -l -p 7000 >/dev/null 2>&1 &')
    const client = await ran(s, await pod({ bridged: true }), `nc -w 10 ${ip} 7000 </dev/null`)
    expect([client.stdout, client.status.exitCode]).toEqual(['reached\n', 0])
  })

  it('is given a specification it knows, and the runtime’s seccomp profile', async () => {
    const seccomp = { profileType: 0 }
    const c = await kept(s, await pod(), { linux: { securityContext: { seccomp } } })
    const bundle = join(s.workspace.run, 'containers', c.id, 'bundle/config.json')
    const spec: { ociVersion?: string } = JSON.parse(await readFile(bundle, 'utf8'))
    expect(spec.ociVersion).toBe(await newestKnown(handler))
    expect(await c.sh('grep ^Seccomp: /proc/self/status')).toBe('Seccomp:\t2\n')
    const said = s.daemon.log.filter((line) => /unknown version/i.test(line))
    expect(said).toEqual([])
  })

  it('an AppArmor profile of the node confines the container, and one that is not loaded is an error', async () => {
    const name = `gt-${handler}`
    const file = join(s.workspace.root, name)
    await writeFile(
      file,
      `profile ${name} flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  network,\n  deny /etc/group r,\n}\n`,
    )
    await promisify(execFile)('apparmor_parser', ['--replace', '--skip-cache', file])
    const confined = (localhostRef: string) => ({
      linux: { securityContext: { apparmor: { profileType: 2, localhostRef } } },
    })
    const p = await pod()
    const c = await kept(s, p, confined(name))
    expect(await c.sh('cat /proc/1/attr/current')).toBe(`${name} (enforce)\n`)
    expect(await c.sh('cat /proc/self/attr/current')).toBe(`${name} (enforce)\n`)
    const refused = await execSync(s.client, c.id, ['cat', '/etc/group'])
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringMatching(/Permission denied/)])
    expect(await refusalOf(kept(s, p, confined('gt-not-loaded')))).toEqual({
      code: 'INVALID_ARGUMENT',
      details: expect.stringMatching(/apparmor: profile gt-not-loaded is not loaded/),
    })
  })
})
