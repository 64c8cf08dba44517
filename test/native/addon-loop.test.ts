// SPDX-License-Identifier: Apache-2.0
/** What the addon does for the daemon's own health: the thread that sees a blocked event loop, and sd_notify. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { notifySocket } from '../support/notify-socket.ts'
import { ADDON_PATH, native } from './addon-fixture.ts'

const run = promisify(execFile)
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-loop-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** A process whose loop turns every 10 ms, is blocked for `ms`, turns, is blocked again, and ends. */
const program = (json: boolean, ms: number) => `
  const native = require(${JSON.stringify(ADDON_PATH)})
  const beat = Buffer.alloc(128)
  beat.write('run-pod:network\\0', 4)
  native.watchLoop(beat, 300, ${json})
  setInterval(() => beat.writeUInt32LE(beat.readUInt32LE(0) + 1, 0), 10)
  const block = () => { const end = Date.now() + ${ms}; while (Date.now() < end); }
  setTimeout(block, 50)
  setTimeout(() => { beat.write('a"b\\nc\\0', 4); block(); process.exit(0) }, 150 + ${ms})`

describe('a blocked event loop', () => {
  it('is told once while it lasts, with what was begun last, and again the next time', async () => {
    const { stderr } = await run(process.execPath, ['-e', program(true, 1500)])
    const lines = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toMatchObject([
      { level: 'warn', msg: 'event-loop-blocked', last: 'run-pod:network' },
      { level: 'warn', msg: 'event-loop-blocked', last: 'a_b_c' },
    ])
    expect(lines[0].ms).toBeGreaterThanOrEqual(300)
    expect(Date.parse(lines[0].time)).toBeGreaterThan(Date.now() - 60_000)
  })

  it('is told as text where the log is text; one that only dawdles is not', async () => {
    const { stderr } = await run(process.execPath, ['-e', program(false, 1500)])
    expect(stderr).toMatch(/^\S+Z WARN {2}event-loop-blocked ms=\d+ last=run-pod:network\n/)
    expect((await run(process.execPath, ['-e', program(true, 60)])).stderr).toBe('')
  })

  it('of a process that was stopped as a whole is not blocked', async () => {
    const child = spawn(process.execPath, ['-e', program(true, 0)], { stdio: ['ignore', 'inherit', 'pipe'] })
    let text = ''
    child.stderr.on('data', (chunk) => {
      text += chunk
    })
    child.kill('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 1200))
    child.kill('SIGCONT')
    await once(child, 'exit')
    expect(text).toBe('')
  })

  it('the thread ends with its environment', async () => {
    const threads = async () =>
      (await run('sh', ['-c', `ls /proc/${process.pid}/task | wc -l`])).stdout.trim()
    const source = `require(${JSON.stringify(ADDON_PATH)}).watchLoop(Buffer.alloc(64), 1000, true)`
    const started = new Worker(source, { eval: true })
    await once(started, 'exit')
    const before = await threads()
    for (let i = 0; i < 5; i++) await once(new Worker(source, { eval: true }), 'exit')
    await waitUntil('the threads are gone', async () => (await threads()) === before, { withinMs: 5000 })
  })

  it.each([
    [[Buffer.alloc(4), 1000, true], 'beat'],
    [['x', 1000, true], 'beat'],
    [[Buffer.alloc(64), 1, true], 'limitMs'],
    [[Buffer.alloc(64), 1000, 1], 'json'],
  ])('%j is refused by name', (args, name) => {
    const call = native.watchLoop as (...all: unknown[]) => void
    expect(() => call(...args)).toThrow(`watchLoop: ${name}`)
  })
})

describe('notify', () => {
  it.each(['path', 'abstract'])('sends one datagram to a socket with a %s', async (kind) => {
    const name = kind === 'path' ? join(folder, 'notify') : `@gt-notify-${process.pid}`
    await using socket = await notifySocket(name)
    native.notify(name, 'READY=1\nSTATUS=ünï')
    await waitUntil('it is there', () => socket.said.length === 2, { withinMs: 5000 })
    expect(socket.said).toEqual(['READY=1', 'STATUS=ünï'])
  })

  it('to nobody is an error with the name', () => {
    expect(() => native.notify(join(folder, 'none'), 'x')).toThrow(/ENOENT.*none/)
    expect(() => native.notify('x'.repeat(108), 'x')).toThrow('notify: path')
    expect(() => native.notify('', 'x')).toThrow('notify: path')
  })
})
