// SPDX-License-Identifier: Apache-2.0
/**
 * ExecSync as probes use it: both streams apart, exit codes, a time limit that takes the whole tree down, output
 * that is too much, many at once, and one that is caught by the end of its container.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { execSync, namespaceMode } from '../support/cri-requests.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { outcomeOf, refusalOf } from '../support/scenario-refusal.ts'
import { type Kept, kept } from '../support/scenario-run.ts'

let s: Scenario
let pod: RunningPod
let c: Kept
const shared = { namespaceOptions: { pid: namespaceMode.pod } }
/** With the container running and one exec behind it. */
let quiet: Snapshot

beforeAll(async () => {
  s = await startScenario()
  // With gantry-pause as PID 1 orphans are reaped; a container's own `sleep` would leave them as zombies.
  pod = await s.pod('exec', { pid: namespaceMode.pod })
  c = await kept(s, pod, {
    workingDir: '/tmp',
    envs: [{ key: 'WHO', value: Buffer.from('container') }],
    linux: { securityContext: { ...shared, runAsUser: { value: 33n } } },
  })
  await c.sh('true')
  quiet = await snapshot(s.workspace.leakScope({ daemonPid: s.daemon.pid }))
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const exec = (cmd: string[], timeoutS = 20) => execSync(s.client, c.id, cmd, timeoutS)
const sh = (script: string, timeoutS = 20) => exec(['sh', '-c', script], timeoutS)
/** Processes of the host whose argv has this word. */
const withWord = async (word: string) =>
  (await processes()).filter((p) => p.argv.includes(word) && !p.zombie).map((p) => p.argv.join(' '))

describe('a command', () => {
  it('gives back both streams, apart and to the byte, and its exit code', async () => {
    expect(await sh('printf "out\\nno end"; printf "err\\n" >&2; exit 5')).toEqual({
      stdout: 'out\nno end',
      stderr: 'err\n',
      exitCode: 5,
    })
    expect(await exec(['true'])).toEqual({ stdout: '', stderr: '', exitCode: 0 })
    expect((await sh('kill -9 $$')).exitCode).toBe(137)
  })

  it('runs as the container’s process does: user, environment, folder', async () => {
    expect((await sh('id -u; echo $WHO; pwd')).stdout).toBe('33\ncontainer\n/tmp\n')
  })

  it('that is not there is a refusal that names it, or the code that shells give', async () => {
    const refusal = await refusalOf(exec(['/no/such/program']))
    expect(refusal.details).toContain('/no/such/program')
    expect(refusal.code).not.toBe('UNKNOWN')
    expect((await sh('/no/such/program')).exitCode).toBe(127)
  })

  it('without words, or with a NUL, is refused by the field', async () => {
    expect(await refusalOf(exec([]))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('cmd'),
    })
    expect(await refusalOf(exec(['a\0b']))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('cmd'),
    })
  })

  it('may write much: what is above 16 MiB is dropped, the rest is whole', async () => {
    const { stdout, exitCode } = await sh('yes 0123456789abcde | head -c 18000000; exit 3', 60)
    expect([stdout.length, exitCode]).toEqual([16 * 1024 * 1024, 3])
    expect(stdout === '0123456789abcde\n'.repeat(1024 * 1024)).toBe(true)
  }, 90_000)

  it('is not held up by what it leaves in the background', async () => {
    const startedMs = performance.now()
    expect((await sh('sleep 7771 & echo done')).stdout).toBe('done\n')
    expect(performance.now() - startedMs).toBeLessThan(15_000)
    await sh("kill $(ps -o pid,args | awk '/[s]leep 7771/ { print $1 }')")
    await waitUntil('it is gone', async () => (await withWord('7771')).length === 0, { withinMs: 5000 })
  })

  it('runs beside many others', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, (_, i) => sh(`echo ${i}; exit ${i}`, 60)))
    expect(replies).toEqual(
      Array.from({ length: 20 }, (_, i) => ({ stdout: `${i}\n`, stderr: '', exitCode: i })),
    )
  })
})

describe('a time limit', () => {
  it('is DEADLINE_EXCEEDED, and nobody of the tree is left', async () => {
    const startedMs = performance.now()
    const refusal = await refusalOf(sh('sleep 7772 & setsid sleep 7772 & (sleep 7772 &) ; sleep 7772', 1))
    expect(refusal).toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    const tookMs = performance.now() - startedMs
    expect(tookMs).toBeGreaterThan(950)
    expect(tookMs).toBeLessThan(20_000)
    expect(await withWord('7772')).toEqual([])
    expect((await sh('echo still here')).stdout).toBe('still here\n')
  })

  it('of the client ends it as well', async () => {
    const request = { containerId: c.id, cmd: ['sleep', '7773'], timeout: 0n }
    const refusal = await refusalOf(s.client.call('ExecSync', request, { deadlineMs: 500 }))
    expect(refusal.code).toBe('DEADLINE_EXCEEDED')
    await waitUntil('it is gone', async () => (await withWord('7773')).length === 0, { withinMs: 10_000 })
  })

  it('that is out of range is refused by the field', async () => {
    expect(
      await refusalOf(s.client.call('ExecSync', { containerId: c.id, cmd: ['true'], timeout: -1n })),
    ).toMatchObject({ code: 'INVALID_ARGUMENT', details: expect.stringContaining('timeout') })
  })
})

it('leaves nothing: no process, no descriptor, no scratch file', async () => {
  await expectNoLeaks(quiet, { withinMs: 10_000 })
})

describe('a container that is not running', () => {
  it('ends with an exec in it: the exec is told, Stop does not wait for it', async () => {
    const other = await kept(s, pod, { linux: { securityContext: shared } })
    const going = outcomeOf(execSync(s.client, other.id, ['sleep', '7774'], 60))
    await waitUntil('it runs', async () => (await withWord('7774')).length > 0, { withinMs: 10_000 })
    const startedMs = performance.now()
    await s.client.call('StopContainer', { containerId: other.id, timeout: 0n })
    expect(performance.now() - startedMs).toBeLessThan(15_000)
    // Whether the exec's own end or the container's is noticed first is up to the kernel.
    expect((await going)?.code ?? 'FAILED_PRECONDITION').toBe('FAILED_PRECONDITION')
    expect(await withWord('7774')).toEqual([])
    expect((await refusalOf(execSync(s.client, other.id, ['true']))).code).toBe('FAILED_PRECONDITION')
  })

  it('takes none before its start', async () => {
    const request = {
      podSandboxId: pod.podId,
      config: { ...c.config, metadata: { name: 'unstarted', attempt: 0 } },
    }
    const { containerId } = await s.client.call('CreateContainer', { ...request, sandboxConfig: pod.config })
    expect((await refusalOf(execSync(s.client, containerId, ['true']))).code).toBe('FAILED_PRECONDITION')
    expect((await refusalOf(execSync(s.client, 'f'.repeat(64), ['true']))).code).toBe('NOT_FOUND')
  })
})
