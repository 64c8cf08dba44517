// SPDX-License-Identifier: Apache-2.0
/** gantry-pause as PID 1 of a PID namespace, and the self-check program. Needs root. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { eventually } from './monitor-fixture.ts'

const run = promisify(execFile)
const built = (name: string) => fileURLToPath(new URL(`../../native/build/${name}`, import.meta.url))
const started: ChildProcess[] = []

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

function exitOf(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
}

/** A PID namespace whose PID 1 is gantry-pause; the pid of that as the host sees it. */
async function paused(): Promise<{ pid: number; ended: ReturnType<typeof exitOf> }> {
  const child = spawn('unshare', ['--pid', '--fork', '--kill-child', '--mount-proc', built('gantry-pause')])
  started.push(child)
  const ended = exitOf(child)
  const pid = await eventually('gantry-pause', () => {
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
    const found = Number(children)
    if (found <= 1 || readFileSync(`/proc/${found}/comm`, 'utf8') !== 'gantry-pause\n') return false
    // A PID 1 that has not blocked its signals yet would not get them.
    return /^SigBlk:\s+f/m.test(readFileSync(`/proc/${found}/status`, 'utf8')) && found
  })
  return { pid, ended }
}

const inside = (pid: number, script: string) =>
  run('nsenter', ['--target', String(pid), '--pid', '--mount', 'sh', '-c', script])

describe('gantry-pause', () => {
  it('reaps orphans', async () => {
    const { pid } = await paused()
    await inside(pid, 'for i in 1 2 3 4 5; do (sleep 0.6 &) >/dev/null 2>&1; done')
    const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    await eventually('orphans', () => children() !== '')
    await eventually('their end', () => children() === '')
  })

  it.each(['TERM', 'INT'])('leaves with 0 on SIG%s, from inside and from outside', async (signal) => {
    const one = await paused()
    await inside(one.pid, `kill -${signal} 1`).catch(() => {}) // the shell dies with its namespace
    expect(await one.ended).toEqual({ code: 0, signal: null })
    const two = await paused()
    process.kill(two.pid, `SIG${signal}` as NodeJS.Signals)
    expect(await two.ended).toEqual({ code: 0, signal: null })
  })

  it('is not impressed by other signals', async () => {
    const { pid } = await paused()
    for (const s of ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGPIPE', 'SIGALRM', 'SIGCHLD'] as const)
      process.kill(pid, s)
    await inside(pid, 'kill -HUP 1; kill -USR1 1; sleep 0.05')
    expect(readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('gantry-pause\n')
  })

  it('takes next to no memory', async () => {
    const { pid } = await paused()
    const rss = Number(/^Rss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])
    expect(rss).toBeGreaterThan(0)
    expect(rss).toBeLessThanOrEqual(64)
  })
})

describe('gantry-hello', () => {
  it('says its line and leaves when told once', async () => {
    expect(await run(built('gantry-hello'), ['once'])).toEqual({ stdout: 'hello from gantry\n', stderr: '' })
    expect(statSync(built('gantry-hello')).size).toBeLessThan(16 * 1024)
  })

  it.each([['no argument'], ['onc'], ['once more']])('waits for SIGTERM with %s', async (arg) => {
    const child = spawn(built('gantry-hello'), arg === 'no argument' ? [] : [arg])
    started.push(child)
    const ended = exitOf(child)
    const line = await new Promise<string>((resolve) => child.stdout.once('data', (d) => resolve(String(d))))
    expect(line).toBe('hello from gantry\n')
    child.kill('SIGTERM')
    expect(await ended).toEqual({ code: 0, signal: null })
  })

  it('fails when nobody can hear it', async () => {
    await expect(run('sh', ['-c', `"${built('gantry-hello')}" once >/dev/full`])).rejects.toMatchObject({
      code: 1,
    })
  })
})
