// SPDX-License-Identifier: Apache-2.0
/** Execs, terminals and attach through the monitor with a real runc; and clients that behave badly. */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope } from '../../src/base/scope.ts'
import { connectMonitor } from '../../src/host/monitor/client.ts'
import { monitorFailure } from '../../src/host/monitor/failure.ts'
import {
  encodeAttach,
  encodeExec,
  encodeFrame,
  FRAME,
  FrameDecoder,
  parseMonitorFrame,
} from '../../src/host/monitor/frames.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Container, collect, eventually, execText, Ground, pidsWith, scope } from './monitor-fixture.ts'

const ground = new Ground()
let before: Snapshot
let c: Container

const IDLE = 'trap "exit 0" TERM; while :; do sleep 1; done'

beforeAll(async () => {
  before = await snapshot(ground.leakScope)
  c = await ground.running({ command: IDLE })
})

afterAll(async () => {
  await ground.clear()
  await expectNoLeaks(before)
})

/** Nothing of an exec stays: no scratch file, no descriptor, nothing counted. */
async function nothingLeft(of: Container): Promise<void> {
  expect(readdirSync(of.runDir).sort()).toEqual(['container.pid', 'ctl.sock', 'runtime.log'])
  await eventually('descriptors given back', () => descriptors(of) <= 16)
  expect((await of.monitor.status(scope)).execs).toBe(0)
}

const descriptors = (of: Container) => readdirSync(`/proc/${of.monitor.monitorPid}/fd`).length

describe('exec', () => {
  it('gives both outputs apart, and the exit code', async () => {
    expect(await execText(c, 'echo out; echo err >&2; exit 7')).toEqual({
      ...{ stdout: 'out\n', stderr: 'err\n' },
      ...{ code: 7, signal: 0, timedOut: false },
    })
    expect(await execText(c, 'kill -TERM $$')).toMatchObject({ code: 143, signal: 15 })
    expect(await execText(c, 'exit 0')).toMatchObject({ code: 0, stdout: '', stderr: '' })
    await nothingLeft(c)
  })

  it('feeds stdin until its end', async () => {
    const session = await c.monitor.exec(scope, {
      process: c.process('cat; echo over'),
      stdin: true,
      stdout: true,
    })
    const sent = randomBytes(3_000_000)
    session.stdin?.end(sent)
    const got = await collect(session)
    expect(got.stdout === `${sent.toString('latin1')}over\n`).toBe(true)
    expect(got.code).toBe(0)
  })

  it('has an empty stdin and no output when none is asked for', async () => {
    expect(await execText(c, 'wc -c')).toMatchObject({ stdout: '0\n', stderr: '', code: 0 })
    const session = await c.monitor.exec(scope, {
      process: c.process('ls -l /proc/self/fd >/tmp/fds 2>/dev/null; exit 2'),
    })
    expect(await session.exit).toMatchObject({ code: 2 })
    const fds = (await execText(c, 'cat /tmp/fds')).stdout.match(/\d+ -> \S+/g)
    expect(fds).toEqual(['0 -> /dev/null', '1 -> /tmp/fds', '2 -> /dev/null'])
  })

  it('passes large output through a slow reader without loss', async () => {
    const session = await c.monitor.exec(scope, {
      process: c.process(
        'i=0; while [ $i -lt 64 ]; do head -c 65536 /dev/zero | tr "\\0" a; i=$((i+1)); done; echo end',
      ),
      stdout: true,
    })
    let size = 0
    let last = ''
    let reads = 0
    for await (const chunk of session.stdout ?? []) {
      size += chunk.length
      last = chunk.toString('latin1').slice(-4)
      if (reads++ < 20) await sleep(10)
    }
    expect(size).toBe(64 * 65536 + 4)
    expect(last).toBe('end\n')
    expect(await session.exit).toMatchObject({ code: 0 })
  })

  it('does not wait for a background process that holds its output', async () => {
    const start = performance.now()
    const got = await execText(c, '(sleep 30; echo late) & echo now')
    expect(got).toMatchObject({ stdout: 'now\n', code: 0 })
    expect(performance.now() - start).toBeLessThan(5000)
  })

  it('says in the words of the runtime why a command cannot be run', async () => {
    const error: unknown = await execText(c, ['nope']).catch((e: unknown) => e)
    expect(monitorFailure(error)).toMatchObject({ stage: 'exec', exitStatus: 255 })
    expect(monitorFailure(error)?.log).toMatch(/nope.*executable file not found/)
    await nothingLeft(c)
  })

  it('runs many at once', async () => {
    const all = await Promise.all(Array.from({ length: 24 }, (_, i) => execText(c, `echo ${i}; exit ${i}`)))
    expect(all.map((r) => [r.stdout, r.code])).toEqual(all.map((_, i) => [`${i}\n`, i]))
    await nothingLeft(c)
  })

  it('refuses a process description over the limit before anything is sent', async () => {
    await expect(execText(c, ['echo', 'x'.repeat(1 << 20)])).rejects.toMatchObject({ kind: 'invalid' })
  })

  it('gets no descriptor of the monitor', async () => {
    const got = await execText(c, 'ls /proc/self/fd')
    expect(got.stdout).toBe('0\n1\n2\n3\n')
  })
})

describe('the end of an exec', () => {
  it('comes with the time-out: the whole tree is killed and reaped before it is told', async () => {
    const tree = 'sleep 43210 & (sleep 43211 & wait) & sh -c "sleep 43212; true" & sleep 43213'
    const start = performance.now()
    const got = await execText(c, tree, { timeoutMs: 300 })
    expect(got).toMatchObject({ code: 137, signal: 9, timedOut: true })
    expect(performance.now() - start).toBeGreaterThanOrEqual(299)
    const inside = await execText(
      c,
      'for p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline; echo; done 2>/dev/null',
    )
    expect(inside.stdout).not.toContain('sleep 4321')
    for (let i = 0; i < 4; i++) expect(pidsWith(`sleep\x004321${i}`)).toEqual([])
    await nothingLeft(c)
  })

  it('leaves not even a zombie', async () => {
    const own = await ground.running({ command: 'read x' }, { stdin: true })
    const got = await execText(own, ['sleep', '4321'], { timeoutMs: 200 })
    expect(got.timedOut).toBe(true)
    const names = (await execText(own, ['cat', '/proc/1/comm', '/proc/self/comm'])).stdout
    expect(names).toBe('sh\ncat\n')
    expect((await execText(own, 'cat /proc/[0-9]*/comm')).stdout).not.toContain('sleep')
  })

  it('comes when its client goes away', async () => {
    const session = await c.monitor.exec(scope, {
      process: c.process('sleep 43221 & sleep 43222'),
      stdout: true,
    })
    await eventually('the tree', () => pidsWith('sleep\x004322').length === 2)
    session.close()
    await expect(session.exit).rejects.toMatchObject({ kind: 'unavailable' })
    await eventually('its end', () => pidsWith('sleep\x004322').length === 0)
    await eventuallyIdle()
    await nothingLeft(c)
  })

  it('comes when its caller is cancelled, also while the runtime is still at work', async () => {
    using early = childScope(scope)
    const starting = c.monitor.exec(early, { process: c.process('sleep 43231'), stdout: true })
    await sleep(4)
    early.abort(new Fault('cancelled', 'enough'))
    await expect(starting).rejects.toMatchObject({ kind: 'cancelled' })
    using late = childScope(scope)
    const session = await c.monitor.exec(late, { process: c.process('sleep 43232'), stdout: true })
    late.abort(new Fault('cancelled', 'enough'))
    await expect(session.exit).rejects.toMatchObject({ kind: 'cancelled' })
    await eventuallyIdle()
    expect(pidsWith('sleep\x004323')).toEqual([])
    await nothingLeft(c)
  })

  it('comes with the end of the container, and is told', async () => {
    const own = await ground.running({ command: IDLE, hostPid: true })
    const session = await own.monitor.exec(scope, {
      process: own.process('echo up; sleep 43241'),
      stdout: true,
    })
    await eventually('the exec', () => pidsWith('sleep\x0043241').length === 1)
    process.kill(own.monitor.pid, 'SIGTERM')
    expect(await collect(session)).toMatchObject({ stdout: 'up\n', code: 137, signal: 9 })
    expect(await own.exit()).toMatchObject({ code: 0 })
    expect(pidsWith('sleep\x0043241')).toEqual([])
    await expect(connectMonitor(scope, join(own.runDir, 'ctl.sock'))).rejects.toMatchObject({
      kind: 'not-found',
    })
  })

  it('can be a signal to its process', async () => {
    const session = await c.monitor.exec(scope, { process: c.process('exec sleep 43251'), stdout: true })
    session.signal(15)
    expect(await collect(session)).toMatchObject({ code: 143, signal: 15 })
  })
})

async function eventuallyIdle(): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(10))
    if ((await c.monitor.status(scope)).execs === 0) return
  throw new Error('an exec did not end within 10 s')
}

describe('a terminal', () => {
  it('of an exec has its size, is resized, and ends with the process', async () => {
    const session = await c.monitor.exec(scope, {
      process: c.process('stty size; read x; stty size; echo "got $x"; exit 5', { terminal: true }),
      ...{ tty: true, stdin: true, stdout: true, cols: 100, rows: 30 },
    })
    let text = ''
    session.stdout?.on('data', (d: Buffer) => {
      text += d.toString()
    })
    await eventually('the first size', () => text.includes('30 100\r\n'))
    session.resize(132, 50)
    session.stdin?.write('word\n')
    expect(await session.exit).toMatchObject({ code: 5 }) // although stdin stays open
    await eventually('the rest', () => text.includes('50 132\r\n') && text.includes('got word\r\n'))
    await nothingLeft(c)
  })

  it('keeps what is typed before it is there', async () => {
    const process = c.process('read x; echo "<$x>"', { terminal: true })
    const connection = createConnection(join(c.runDir, 'ctl.sock'))
    connection.write(
      encodeExec({ tty: true, stdin: true, stdout: true, process: Buffer.from(JSON.stringify(process)) }),
    )
    connection.write(encodeFrame(FRAME.stdin, Buffer.from('early\n')))
    const decoder = new FrameDecoder()
    let text = ''
    connection.on('data', (d) => {
      for (const f of decoder.push(d).map(parseMonitorFrame)) if (f.is === 'stdout') text += f.data
    })
    await new Promise((resolve) => connection.once('close', resolve))
    expect(text).toContain('<early>\r\n')
  })

  it('of a container is logged, attached to and resized', async () => {
    const own = await ground.running(
      { command: 'stty -echo; read x; stty size; echo "got $x"', tty: true },
      { stdin: true },
    )
    const a = await own.monitor.attach(scope, { stdin: true, stdout: true })
    const output = collect(a)
    a.resize(91, 17)
    await sleep(100)
    a.stdin?.write('hello\n')
    expect((await output).stdout).toContain('17 91\r\ngot hello\r\n')
    expect(await own.exit()).toMatchObject({ code: 0 })
    expect(own.log().map((l) => l.content)).toEqual(expect.arrayContaining(['17 91\r', 'got hello\r']))
  })

  it('keeps working while no process has it open', async () => {
    const command = 'exec </dev/null >/dev/null 2>&1; sleep 0.3; echo again >/dev/console; sleep 0.1; exit 6'
    const own = await ground.running({ command, tty: true })
    expect(await own.exit()).toMatchObject({ code: 6 })
    expect(own.log().map((l) => l.content)).toEqual(['again\r'])
  })
})

describe('attach', () => {
  it('joins stdin and both outputs; with stdin-once the end of stdin ends the shell', async () => {
    const own = await ground.running({ command: ['sh'] }, { stdin: true, stdinOnce: true })
    const a = await own.monitor.attach(scope, { stdin: true, stdout: true, stderr: true })
    a.stdin?.write('echo -n hello\n')
    a.stdin?.end('echo bad >&2\nexit 3\n')
    expect(await collect(a)).toMatchObject({ stdout: 'hello', stderr: 'bad\n', code: 3 })
    expect(await own.exit()).toMatchObject({ code: 3 })
  })

  it('with stdin-once, an attached client that just goes away ends stdin too', async () => {
    const own = await ground.running({ command: ['sh'] }, { stdin: true, stdinOnce: true })
    const a = await own.monitor.attach(scope, { stdin: true })
    a.close()
    expect(await own.exit()).toMatchObject({ code: 0 })
  })

  it('without stdin-once stdin outlives its clients', async () => {
    const own = await ground.running({ command: ['cat'] }, { stdin: true })
    for (const word of ['one', 'two']) {
      const a = await own.monitor.attach(scope, { stdin: true, stdout: true })
      a.stdin?.end(`${word}\n`)
      await eventually(word, () => own.log().some((l) => l.content === word))
      a.close()
    }
    expect((await own.monitor.status(scope)).state).toBe('live')
  })

  it('of several clients gives each the same', async () => {
    const own = await ground.running({ command: 'read x; seq 1 2000; exit 1' }, { stdin: true })
    const sessions = await Promise.all([1, 2, 3].map(() => own.monitor.attach(scope, { stdout: true })))
    const texts = Promise.all(sessions.map(collect))
    const a = await own.monitor.attach(scope, { stdin: true })
    a.stdin?.write('\n')
    const want = Array.from({ length: 2000 }, (_, i) => `${i + 1}\n`).join('')
    expect(await texts).toEqual(
      [1, 2, 3].map(() => ({ stdout: want, stderr: '', code: 1, signal: 0, timedOut: false })),
    )
  })

  it('drops a client that does not read, and never blocks the container', async () => {
    const own = await ground.running(
      { command: 'read x; head -c 8000000 /dev/zero; exit 4' },
      { stdin: true },
    )
    const stuck = createConnection(join(own.runDir, 'ctl.sock'))
    stuck.on('error', () => {})
    stuck.write(encodeAttach({ stdout: true }))
    await new Promise((resolve) => stuck.once('data', resolve))
    stuck.pause()
    const a = await own.monitor.attach(scope, { stdin: true })
    a.stdin?.write('\n')
    expect(await own.exit()).toMatchObject({ code: 4 })
    let got = 0
    stuck.on('data', (d) => {
      got += d.length
    })
    stuck.resume()
    await new Promise((resolve) => stuck.once('close', resolve))
    expect(got).toBeLessThan(4_000_000)
  })
})

describe('bad clients', () => {
  const raw = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = createConnection(join(c.runDir, 'ctl.sock'), () => resolve(socket))
      socket.on('error', reject) // after the connection was made it has no effect
    })

  it('random bytes end their connection and nothing else', async () => {
    for (let i = 0; i < 200; i++) {
      const socket = await raw()
      const bytes = randomBytes(1 + (i % 64))
      if (i % 2) bytes.fill(0, 0, Math.min(3, bytes.length)) // a plausible length
      if (i % 4 === 1 && bytes.length > 4) bytes[4] = 1 + (i % 9) // a type that exists
      socket.end(bytes)
      socket.resume()
      await new Promise((resolve) => socket.once('close', resolve))
    }
    await eventuallyIdle()
    expect(await execText(c, 'echo fine')).toMatchObject({ stdout: 'fine\n', code: 0 })
    await nothingLeft(c)
  })

  it('a frame over the limit, half a frame and a type without meaning are no harm', async () => {
    const huge = await raw()
    huge.write(Buffer.from([0x7f, 0xff, 0xff, 0xff, FRAME.stdin]))
    huge.resume()
    await new Promise((resolve) => huge.once('close', resolve))
    const half = await raw()
    half.end(Buffer.from([0, 0, 0, 9, FRAME.exec, 1]))
    const odd = await raw()
    odd.write(encodeFrame(0x55))
    const answer = await new Promise<Buffer>((resolve) => odd.once('data', resolve))
    expect(answer.toString('latin1')).toContain('frame type 0x55 has no meaning here')
    odd.destroy()
    await nothingLeft(c)
  })

  it('that hold too many connections leave the container and its watch alone', async () => {
    const sockets = await Promise.all(Array.from({ length: 300 }, raw))
    expect((await c.monitor.status(scope)).state).toBe('live')
    for (const s of sockets) s.destroy()
    await nothingLeft(c)
    expect(await execText(c, 'echo fine')).toMatchObject({ stdout: 'fine\n' })
  })

  it('that ask without reading the answers are dropped', async () => {
    const socket = await raw()
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.pause()
    const asks = Buffer.concat(Array.from({ length: 1000 }, () => encodeFrame(FRAME.statusGet)))
    for (const end = Date.now() + 10_000; Date.now() < end && !socket.destroyed; ) {
      if (!socket.write(asks)) await sleep(2)
    }
    expect(socket.destroyed).toBe(true)
    expect((await c.monitor.status(scope)).state).toBe('live')
    socket.destroy()
    await closed
    await nothingLeft(c)
  })

  it('are kept out by the mode of the socket', async () => {
    expect(statSync(join(c.runDir, 'ctl.sock')).mode & 0o777).toBe(0o600)
    expect(existsSync(join(c.runDir, 'monitor.log'))).toBe(false)
    expect(readFileSync(join(c.runDir, 'container.pid'), 'utf8')).toBe(String(c.monitor.pid))
  })
})
