// SPDX-License-Identifier: Apache-2.0
/**
 * Containers from create to exit over real runc: what the process is given, what it writes to its log, how it
 * ends and what is told of it, how it is stopped, what its limits do.
 */
import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { signalToCri } from '../../src/model/signals.ts'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { containerConfig, containerState, waitForExit } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { logLines, logText, waitForLog } from '../support/scenario-log.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../support/scenario-run.ts'

let s: Scenario
let pod: RunningPod

beforeAll(async () => {
  s = await startScenario({ images: [names.busybox, names.hello] })
  pod = await s.pod('containers')
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status
const stop = (containerId: string, timeout: bigint) =>
  s.client.call('StopContainer', { containerId, timeout }, { deadlineMs: 30_000 })

describe('the process', () => {
  it('has the command, arguments, environment and folder that were asked for', async () => {
    const { stdout } = await ran(s, pod, '', {
      command: ['sh', '-c', 'echo "$0|$1|$2"; echo "$A|$B|$PATH|$HOME"; pwd', 'zero'],
      args: ['one', 'two words'],
      envs: [
        { key: 'A', value: Buffer.from('first') },
        { key: 'B', value: Buffer.from('ä = "\n"') },
        { key: 'A', value: Buffer.from('last wins') },
      ],
      workingDir: '/var/lib',
    })
    const [args, ...rest] = stdout.split('\n')
    expect(args).toBe('zero|one|two words')
    expect(rest.join('\n')).toBe(
      'last wins|ä = "\n"|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|/root\n/var/lib\n',
    )
  })

  it('is the image’s own without a command, and its log has both streams in order', async () => {
    const id = await pod.start(containerConfig('hello', names.hello))
    expect(await waitForExit(s.client, id)).toMatchObject({ exitCode: 0, reason: 'Completed' })
    const lines = await logLines(s.logOf(pod, 'hello'))
    expect(lines.map((l) => [l.stream, l.tag])).toEqual([
      ['stdout', 'F'],
      ['stderr', 'F'],
    ])
  })

  it('starts with no signal blocked or ignored', async () => {
    const { stdout } = await ran(s, pod, '', {
      command: ['grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status'],
    })
    expect(stdout).toMatch(/^SigBlk:\t0{16}\nSigIgn:\t0{16}\n$/)
  })

  it('has an end to its standard input, and no descriptor beside the three', async () => {
    const { stdout } = await ran(s, pod, 'cat; ls /proc/self/fd')
    expect(stdout).toBe('0\n1\n2\n3\n') // the fourth is ls reading the folder
  })
})

describe('the log', () => {
  it('has every byte: long lines in parts, no newline invented, both streams', async () => {
    const script = `
      head -c 40000 /dev/zero | tr '\\0' x; echo
      echo to-stderr >&2
      printf '\\n\\ntab\\there\\n'
      printf unfinished`
    const { stdout, id } = await ran(s, pod, script, { container: 'bytes' })
    expect(stdout).toBe(`${'x'.repeat(40_000)}\n\n\ntab\there\nunfinished`)
    const lines = await logLines(s.logOf(pod, 'bytes'))
    const long = lines.filter((l) => l.text.startsWith('x'))
    expect(long.map((l) => [l.tag, l.text.length])).toEqual([
      ['P', 16_384],
      ['P', 16_384],
      ['F', 40_000 - 2 * 16_384],
    ])
    expect(lines.filter((l) => l.stream === 'stderr').map((l) => l.text)).toEqual(['to-stderr'])
    expect(lines.findLast((l) => l.stream === 'stdout')).toMatchObject({ tag: 'P', text: 'unfinished' })
    expect((await status(id))?.logPath).toBe(s.logOf(pod, 'bytes'))
  })

  it('is opened again after a rotation: nothing is lost, nothing is in both', async () => {
    const counting = 'i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); usleep 2500; done'
    const config = busybox({ container: 'rotated', command: ['sh', '-c', counting] })
    const id = await pod.start(config)
    const path = s.logOf(pod, 'rotated')
    for (const n of [1, 2, 3]) {
      await waitForLog(path, '\n')
      await rename(path, `${path}.${n}`)
      await s.client.call('ReopenContainerLog', { containerId: id })
    }
    await waitForExit(s.client, id)
    const parts = await Promise.all([`${path}.1`, `${path}.2`, `${path}.3`, path].map((p) => logText(p)))
    expect(parts.join('')).toBe(Array.from({ length: 400 }, (_, i) => `${i}\n`).join(''))
    expect(await refusalOf(s.client.call('ReopenContainerLog', { containerId: id }))).toMatchObject({
      code: 'FAILED_PRECONDITION',
    })
  })

  it('is not kept without a log path', async () => {
    const config = busybox({ command: ['sh', '-c', 'echo unheard'] })
    const silent = await pod.start({ ...config, logPath: '' })
    expect(await waitForExit(s.client, silent)).toMatchObject({ exitCode: 0, logPath: '' })
  })
})

describe('the end', () => {
  it.each([
    ['exit 0', 0, 'Completed'],
    ['exit 3', 3, 'Error'],
    ['exit 255', 255, 'Error'],
    ['kill -TERM $$; sleep 5', 143, 'Error'],
    ['kill -KILL $$; sleep 5', 137, 'Error'],
  ])('%s is code %i, %s', async (script, exitCode, reason) => {
    // PID 1 ignores signals that it has not asked for: the script runs in a child, whose end the shell passes on.
    const { status: ended } = await ran(s, pod, `sh -c '${script}'; exit $?`)
    expect(ended).toMatchObject({ state: containerState.exited, exitCode, reason })
    const times = [ended.createdAt, ended.startedAt, ended.finishedAt].map((t) => t ?? 0n)
    expect(times.every((t, i) => t > (times[i - 1] ?? 0n))).toBe(true)
  })

  it('for want of memory is OOMKilled, 137', async () => {
    const limit = 15n * 1024n * 1024n
    const { status: ended } = await ran(s, pod, '', {
      command: ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M', 'count=1'],
      linux: { resources: { memoryLimitInBytes: limit } },
    })
    expect(ended).toMatchObject({
      exitCode: 137,
      reason: 'OOMKilled',
      resources: { linux: { memoryLimitInBytes: limit } },
    })
  })

  it('of a program that cannot be executed is known at Start: 128, StartError', async () => {
    for (const command of [['/no/such/program'], ['/etc/passwd'], ['no-such-name-in-path']]) {
      const config = busybox({ command })
      const { containerId } = await s.client.call('CreateContainer', {
        podSandboxId: pod.podId,
        config,
        sandboxConfig: pod.config,
      })
      expect((await status(containerId))?.state).toBe(containerState.created)
      const { details } = await refusalOf(s.client.call('StartContainer', { containerId }))
      expect(details).toContain(command[0])
      expect(await status(containerId)).toMatchObject({
        state: containerState.exited,
        exitCode: 128,
        reason: 'StartError',
        startedAt: 0n,
        message: expect.stringContaining(command[0] ?? ''),
      })
      await s.client.call('RemoveContainer', { containerId })
    }
  })

  it('of a created container that is stopped or removed unstarted comes at once', async () => {
    for (const how of ['StopContainer', 'RemoveContainer'] as const) {
      const request = {
        podSandboxId: pod.podId,
        config: busybox({ command: ['sleep', '60'] }),
        sandboxConfig: pod.config,
      }
      const { containerId } = await s.client.call('CreateContainer', request)
      await s.client.call(how, { containerId, timeout: 30n })
      const after = await s.client.call('ListContainers', { filter: { id: containerId } })
      expect(after.containers?.map((c) => c.state)).toEqual(
        how === 'StopContainer' ? [containerState.exited] : [],
      )
    }
  })

  it('is once: a second Start of what has ended is refused, of what runs is fine', async () => {
    const c = await kept(s, pod)
    await s.client.call('StartContainer', { containerId: c.id })
    await stop(c.id, 0n)
    expect(await refusalOf(s.client.call('StartContainer', { containerId: c.id }))).toMatchObject({
      code: 'FAILED_PRECONDITION',
    })
  })
})

describe('stopping', () => {
  const trapping = (body: string) => ({
    command: ['sh', '-c', `trap '${body}' TERM; echo ready; while :; do sleep 0.1; done`],
  })
  const ready = async (container: string, fields = {}) => {
    const c = await kept(s, pod, { container, ...fields })
    await waitForLog(s.logOf(pod, container), 'ready')
    return c
  }

  it('sends TERM, which the program may use to end well', async () => {
    const c = await ready('polite', trapping('echo bye; exit 7'))
    const startedMs = performance.now()
    await stop(c.id, 30n)
    expect(performance.now() - startedMs).toBeLessThan(20_000)
    expect(await status(c.id)).toMatchObject({ exitCode: 7, reason: 'Error' })
    expect(await logText(s.logOf(pod, 'polite'))).toBe('ready\nbye\n')
  })

  it('kills after the grace time what does not end', async () => {
    const c = await ready('stubborn', trapping('echo no'))
    const startedMs = performance.now()
    await stop(c.id, 1n)
    expect(performance.now() - startedMs).toBeGreaterThan(900)
    expect(await status(c.id)).toMatchObject({ exitCode: 137 })
    expect(await logText(s.logOf(pod, 'stubborn'))).toBe('ready\nno\n')
  })

  it('with a shorter grace overtakes a stop that waits', async () => {
    const c = await ready('overtaken', trapping('echo no'))
    const slow = stop(c.id, 25n)
    await waitForLog(s.logOf(pod, 'overtaken'), 'no')
    const startedMs = performance.now()
    await stop(c.id, 0n)
    await slow
    expect(performance.now() - startedMs).toBeLessThan(15_000)
    await stop(c.id, 10n)
  })

  it('uses the signal that was asked for', async () => {
    const sigusr1 = 10
    const c = await ready('usr1', {
      command: ['sh', '-c', "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done"],
      stopSignal: signalToCri(sigusr1),
    })
    await stop(c.id, 30n)
    expect(await status(c.id)).toMatchObject({ exitCode: 9 })
  })

  it('leaves nobody of the container alive, whatever it forked', async () => {
    const c = await ready('forks', {
      command: ['sh', '-c', 'for i in 1 2 3; do setsid sleep 300 & done; echo ready; wait'],
    })
    const pid = await c.pid()
    const cgroup = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).match(/^\d+:pids:(.*)$/m)?.[1] ?? ''
    await stop(c.id, 0n)
    await waitUntil(
      'the cgroup is gone',
      async () => (await readFile(`/sys/fs/cgroup/pids${cgroup}/cgroup.procs`).catch(() => '')) === '',
      { withinMs: 5000 },
    )
  })
})

describe('resources', () => {
  it('are in the cgroup files at the start and after an update, and in the status', async () => {
    const MiB = 1024n * 1024n
    const c = await kept(s, pod, {
      linux: {
        resources: { memoryLimitInBytes: 64n * MiB, cpuShares: 512n, cpuQuota: 50_000n, cpuPeriod: 100_000n },
      },
    })
    const pid = await c.pid()
    const lines = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).split('\n')
    const file = async (controller: string, v1: string, v2: string): Promise<string> => {
      const own = lines.find((l) => l.split(':')[1]?.split(',').includes(controller))
      const at = own
        ? join('/sys/fs/cgroup', controller, own.split(':')[2] ?? '', v1)
        : join('/sys/fs/cgroup', lines.find((l) => l.startsWith('0::'))?.slice(3) ?? '', v2)
      return (await readFile(at, 'utf8')).trim()
    }
    expect(await file('memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(64n * MiB))
    expect(await file('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^50000/)
    const linux = { memoryLimitInBytes: 96n * MiB, cpuQuota: 70_000n }
    await s.client.call('UpdateContainerResources', { containerId: c.id, linux })
    expect(await file('memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(96n * MiB))
    expect(await file('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^70000/)
    expect((await status(c.id))?.resources?.linux).toMatchObject({
      ...linux,
      cpuPeriod: 100_000n,
      cpuShares: 512n,
    })
    const impossible = s.client.call('UpdateContainerResources', {
      containerId: c.id,
      linux: { cpusetCpus: '4000' },
    })
    expect((await refusalOf(impossible)).details).toMatch(/cpuset/)
    expect((await status(c.id))?.resources?.linux?.cpusetCpus).toBe('')
    await stop(c.id, 0n)
  })

  it('that the machine does not have are refused before anything is made', async () => {
    const tooMuch = { hugepageLimits: [{ pageSize: '3PB', limit: 1n }] }
    expect(await refusalOf(kept(s, pod, { linux: { resources: tooMuch } }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('3PB'),
    })
  })
})
