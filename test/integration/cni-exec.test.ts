// SPDX-License-Identifier: Apache-2.0
/** Running programs through the addon: every way of ending, the first reason wins, nothing stays open. */
import { readFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { type RunOptions, run } from '../../src/host/exec.ts'
import { addon, openPipes, openScope, runs } from '../support/cni-fp.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'

const native = addon()
/** In the environment of every program here, so that one that is left over is known by it. */
const MARK = `/gt-exec-${process.pid}`
const sh = (script: string, extra: Partial<RunOptions> = {}): RunOptions => ({
  file: '/bin/sh',
  argv: ['sh', '-c', script],
  env: ['PATH=/usr/bin:/bin', `GT_MARK=${MARK}`],
  maxOutputBytes: 1024 * 1024,
  deadlineMs: 10_000,
  killGraceMs: 200,
  ...extra,
})
const go = (options: RunOptions, signal?: AbortSignal) => run(openScope(signal), { native }, options)

let atStart: Snapshot
beforeAll(async () => {
  atStart = await snapshot({ roots: [MARK], linkPrefixes: ['gtbr'] })
})
afterAll(async () => {
  await expectNoLeaks(atStart)
})

let before = 0
beforeEach(async () => {
  before = await openPipes()
})
afterEach(async () => {
  await vi.waitFor(async () => expect(await openPipes()).toBe(before), 2_000)
})

describe('ends by itself', () => {
  test('with code, output and input', async () => {
    const r = await go(sh('cat; echo oops >&2; exit 3', { stdin: Buffer.from('hello') }))
    expect(r).toMatchObject({ code: 3, signal: 0, reason: 'exited' })
    expect([r.stdout.toString(), r.stderr.toString()]).toEqual(['hello', 'oops\n'])
  })
  test('by a signal of its own', async () => {
    expect(await go(sh('kill -9 $$'))).toMatchObject({ code: -1, signal: 9, reason: 'exited' })
  })
  test('without input it reads end of file', async () => {
    expect((await go(sh('cat; echo end'))).stdout.toString()).toBe('end\n')
  })
  test('large input and output pass through', async () => {
    const stdin = Buffer.alloc(700_000, 'x')
    const r = await go(sh('cat', { stdin }))
    expect(r.stdout.equals(stdin)).toBe(true)
  })
  test('input that nobody reads is no failure', async () => {
    expect(await go(sh('exit 0', { stdin: Buffer.alloc(700_000) }))).toMatchObject({
      code: 0,
      reason: 'exited',
    })
  })
  test('with exactly the environment, folder and descriptors given', async () => {
    const [read, write] = native.pipe()
    try {
      const r = await go(
        sh('pwd; env | grep -c ^GT_; ls /proc/self/fd | wc -l; echo up >&3', {
          cwd: '/usr',
          env: ['PATH=/usr/bin:/bin', 'GT_A=1', 'OTHER=2'],
          fds: [write],
        }),
      )
      // 0, 1, 2, 3 and the one that ls itself opens.
      expect(r.stdout.toString()).toBe('/usr\n1\n5\n')
    } finally {
      native.close(read)
      native.close(write)
    }
  })
  test('a grandchild that holds the output open delays the result only shortly', async () => {
    const r = await go(sh('sleep 20 & echo $!'))
    expect(r).toMatchObject({ code: 0, reason: 'exited' })
    expect(r.durationMs).toBeLessThan(3_000)
    process.kill(Number(r.stdout.toString()), 'SIGKILL')
  })
})

describe('is ended', () => {
  test('by the deadline', async () => {
    const r = await go(sh('sleep 20', { deadlineMs: 100, wholeGroup: true }))
    expect(r).toMatchObject({ code: -1, signal: 15, reason: 'timed-out' })
  })
  test('by KILL when TERM does not do', async () => {
    const r = await go(
      sh("trap '' TERM; echo deaf; while :; do sleep 0.05; done", { deadlineMs: 300, wholeGroup: true }),
    )
    expect(r).toMatchObject({ code: -1, signal: 9, reason: 'timed-out' })
    expect(r.stdout.toString()).toBe('deaf\n')
  })
  test('by its caller, with its whole group', async () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Fault('cancelled', 'enough')), 200)
    const r = await go(sh('sleep 20 & echo $!; wait', { wholeGroup: true }), controller.signal)
    expect(r).toMatchObject({ reason: 'cancelled', signal: 15 })
    await vi.waitFor(async () => expect(await runs(Number(r.stdout.toString()))).toBe(false), 2_000)
  })
  test('for too much output, which is cut at the limit', async () => {
    const r = await go(sh('while :; do echo 0123456789; done', { maxOutputBytes: 1000 }))
    expect(r.reason).toBe('output-too-large')
    expect(r.stdout.length).toBe(1000)
  })
  test('for the first reason, whatever comes after', async () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Fault('cancelled', 'late')), 250)
    const r = await go(
      sh("trap '' TERM; while :; do sleep 0.05; done", {
        deadlineMs: 150,
        killGraceMs: 400,
        wholeGroup: true,
      }),
      controller.signal,
    )
    expect(r.reason).toBe('timed-out')
  })
  test('an end with failure that follows TERM keeps the reason', async () => {
    const r = await go(sh("trap 'exit 7' TERM; while :; do sleep 0.05; done", { deadlineMs: 200 }))
    expect(r).toMatchObject({ code: 7, signal: 0, reason: 'timed-out' })
  })
})

describe('is not started', () => {
  test.each([
    ['/nowhere/at/all', 'not-found'],
    ['/etc/passwd', 'denied'],
    ['/bin', 'denied'],
  ])('%s: %s', async (file, kind) => {
    await expect(go(sh('', { file, stdin: Buffer.from('x') }))).rejects.toMatchObject({ kind })
  })
  test('in a scope that has ended', async () => {
    const signal = AbortSignal.abort(new Fault('cancelled', 'gone'))
    await expect(go(sh('echo'), signal)).rejects.toMatchObject({ kind: 'cancelled', message: 'gone' })
  })
})

describe('onPid', () => {
  test('comes before the input', async () => {
    let comm = ''
    const r = await go(
      sh('cat', {
        stdin: Buffer.from('late'),
        onPid: async (pid) => {
          await new Promise((resolve) => setTimeout(resolve, 100))
          comm = await readFile(`/proc/${pid}/comm`, 'utf8')
        },
      }),
    )
    // Still waiting for its input then.
    expect(comm).toMatch(/^(cat|sh)\n$/)
    expect(r.stdout.toString()).toBe('late')
  })
  test('that fails ends the program without input, and is what is thrown', async () => {
    let pid = 0
    const failing = go(
      sh('cat; sleep 20', {
        stdin: Buffer.from('never'),
        wholeGroup: true,
        onPid: (p) => {
          pid = p
          throw new Error('disk full')
        },
      }),
    )
    await expect(failing).rejects.toThrow('disk full')
    expect(await runs(pid)).toBe(false)
  })
})
