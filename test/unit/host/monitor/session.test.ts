// SPDX-License-Identifier: Apache-2.0
/** The TypeScript client against a stand-in monitor on a real socket: order, loss, back-pressure, cancelling. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import { silent } from '../../../../src/base/log.ts'
import { childScope, type Scope } from '../../../../src/base/scope.ts'
import { connectMonitor } from '../../../../src/host/monitor/client.ts'
import { monitorFailure } from '../../../../src/host/monitor/failure.ts'
import { encodeFrame, FRAME, type Frame, FrameDecoder } from '../../../../src/host/monitor/frames.ts'
import { monitorArgv } from '../../../../src/host/monitor/spawn.ts'

const scope: Scope = { signal: new AbortController().signal, log: silent }
const exitFrame = (code: number) => {
  const p = Buffer.alloc(9)
  p.writeInt32BE(code, 0)
  return encodeFrame(FRAME.exit, p)
}
const started = encodeFrame(FRAME.started, Buffer.from([0, 0, 0, 7]))
const failed = (text: string) =>
  encodeFrame(FRAME.failed, Buffer.concat([Buffer.from([5, 0, 0, 0, 1]), Buffer.from(text)]))

let dir: string
let path: string
let server: Server
let answer: (frame: Frame, socket: Socket) => void
const sockets = new Set<Socket>()
const seen: Frame[] = []

beforeEach(async () => {
  dir = mkdtempSync('/tmp/gt-client-')
  path = join(dir, 'ctl.sock')
  seen.length = 0
  answer = () => {}
  server = createServer((socket) => {
    const decoder = new FrameDecoder()
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (d) => {
      for (const f of decoder.push(d)) {
        seen.push(f)
        answer(f, socket)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
})

afterEach(() => {
  for (const s of sockets) s.destroy()
  sockets.clear()
  server.close()
  rmSync(dir, { recursive: true, force: true })
})

describe('a connection', () => {
  it('is refused with not-found where nobody listens', async () => {
    await expect(connectMonitor(scope, join(dir, 'other.sock'))).rejects.toMatchObject({ kind: 'not-found' })
    await expect(connectMonitor(scope, '/nowhere/ctl.sock')).rejects.toMatchObject({ kind: 'not-found' })
  })

  it('gives answers to the requests in their order, and an error as one', async () => {
    answer = (f, s) => {
      if (f.type === FRAME.reopenLog) s.write(encodeFrame(FRAME.error, Buffer.from('disk on fire')))
      else s.write(encodeFrame(FRAME.status, Buffer.from(`0101${'00'.repeat(40)}`, 'hex')))
    }
    const c = await connectMonitor(scope, path)
    const [a, b, d] = await Promise.allSettled([c.status(scope), c.reopenLog(scope), c.status(scope)])
    expect([a.status, b.status, d.status]).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(String(b.status === 'rejected' && b.reason)).toContain('disk on fire')
    c.close()
    await c.closed
  })

  it('that ends fails what is waiting and what comes later, and resolves closed', async () => {
    answer = (_f, s) => s.destroy()
    const c = await connectMonitor(scope, path)
    await expect(c.status(scope)).rejects.toMatchObject({ kind: 'unavailable', reason: 'monitor-gone' })
    await c.closed
    await expect(c.reopenLog(scope)).rejects.toMatchObject({ reason: 'monitor-gone' })
  })

  it('that talks nonsense is ended', async () => {
    answer = (_f, s) => s.write(Buffer.from('ffffffff00', 'hex'))
    const c = await connectMonitor(scope, path)
    await expect(c.status(scope)).rejects.toMatchObject({ reason: 'monitor-gone' })
  })

  it('a request can be given up', async () => {
    const c = await connectMonitor(scope, path)
    using short = childScope(scope, { ms: 20, doing: 'asking' })
    await expect(c.status(short)).rejects.toMatchObject({ kind: 'timeout' })
    c.close()
  })
})

describe('an exec', () => {
  it('tells the exit after the output, with the streams that were asked for', async () => {
    answer = (f, s) => {
      if (f.type !== FRAME.exec) return
      s.write(started)
      s.write(encodeFrame(FRAME.stdout, Buffer.from('a')))
      s.write(encodeFrame(FRAME.stderr, Buffer.from('unasked')))
      s.end(exitFrame(3))
    }
    const c = await connectMonitor(scope, path)
    const e = await c.exec(scope, { process: { args: ['x'] }, stdout: true })
    expect(e.pid).toBe(7)
    expect(e.stderr).toBeUndefined()
    expect(e.stdin).toBeUndefined()
    expect(Buffer.concat(await (e.stdout?.toArray() ?? [])).toString()).toBe('a')
    expect(await e.exit).toEqual({ code: 3, signal: 0, timedOut: false })
    expect(JSON.parse(seen[0]?.payload.toString('utf8', 9) ?? '')).toEqual({ args: ['x'] })
    c.close()
  })

  it('gives the first size of a terminal to the runtime', async () => {
    answer = (_f, s) => s.write(started)
    const c = await connectMonitor(scope, path)
    const e = await c.exec(scope, { process: { args: [] }, tty: true, stdout: true, cols: 80, rows: 24 })
    const sent: unknown = JSON.parse(seen[0]?.payload.toString('utf8', 9) ?? '')
    expect(sent).toEqual({ args: [], consoleSize: { height: 24, width: 80 } })
    e.close()
    c.close()
  })

  it('that the runtime refuses carries its words', async () => {
    answer = (_f, s) => s.end(failed('{"msg":"no such thing"}'))
    const c = await connectMonitor(scope, path)
    const error: unknown = await c.exec(scope, { process: {} }).catch((e: unknown) => e)
    expect(monitorFailure(error)).toEqual({ stage: 'exec', exitStatus: 1, log: '{"msg":"no such thing"}' })
    expect(monitorFailure(Fault.during('exec', error))).toEqual(monitorFailure(error))
    expect(monitorFailure(new Fault('internal', 'other'))).toBeUndefined()
    c.close()
  })

  it('whose monitor goes away rejects its exit and ends its streams', async () => {
    answer = (_f, s) => {
      s.write(started)
      setTimeout(() => s.destroy(), 20)
    }
    const c = await connectMonitor(scope, path)
    const e = await c.exec(scope, { process: {}, stdout: true })
    await expect(e.exit).rejects.toMatchObject({ reason: 'monitor-gone' })
    expect(await e.stdout?.toArray()).toEqual([])
    c.close()
  })

  it('ends its connection when the scope ends, before and after the start', async () => {
    const c = await connectMonitor(scope, path)
    using early = childScope(scope)
    const never = c.exec(early, { process: {} })
    await sleep(10)
    early.abort(new Fault('cancelled', 'enough'))
    await expect(never).rejects.toMatchObject({ kind: 'cancelled' })
    answer = (_f, s) => s.write(started)
    using late = childScope(scope)
    const e = await c.exec(late, { process: {}, stdout: true })
    late.abort(new Fault('cancelled', 'enough'))
    await expect(e.exit).rejects.toMatchObject({ kind: 'cancelled' })
    for (
      const end = Date.now() + 2000;
      Date.now() < end && [...sockets].filter((s) => !s.destroyed).length > 1;
    )
      await sleep(5)
    expect([...sockets].filter((s) => !s.destroyed)).toHaveLength(1) // the watch
    c.close()
  })

  it('stops the sender when its reader stops', async () => {
    let sent = 0
    answer = (_f, s) => {
      s.write(started)
      const more = () => {
        while (sent < 400) {
          sent++
          if (!s.write(encodeFrame(FRAME.stdout, Buffer.alloc(65536)))) return void s.once('drain', more)
        }
        s.end(exitFrame(0))
      }
      more()
    }
    const c = await connectMonitor(scope, path)
    const e = await c.exec(scope, { process: {}, stdout: true })
    await sleep(100)
    expect(sent).toBeLessThan(100)
    let size = 0
    for await (const chunk of e.stdout ?? []) size += chunk.length
    expect(size).toBe(400 * 65536)
    expect(await e.exit).toMatchObject({ code: 0 })
    c.close()
  })

  it('cuts stdin into frames and tells its end', async () => {
    answer = (f, s) => {
      if (f.type === FRAME.exec) s.write(started)
      if (f.type === FRAME.stdinEof) s.end(exitFrame(0))
    }
    const c = await connectMonitor(scope, path)
    const e = await c.exec(scope, { process: {}, stdin: true })
    e.stdin?.write(Buffer.alloc(150_000, 1))
    e.stdin?.end('end')
    await e.exit
    const data = seen.filter((f) => f.type === FRAME.stdin).map((f) => f.payload)
    expect(Math.max(...data.map((d) => d.length))).toBeLessThanOrEqual(65536)
    expect(Buffer.concat(data).toString('latin1')).toBe(`${'\x01'.repeat(150_000)}end`)
    c.close()
  })
})

describe('the argv of a monitor', () => {
  it('holds what was asked for and nothing else', () => {
    const base = { id: 'c', runtime: '/r', runtimeRoot: '/rr', bundle: '/b', runDir: '/run', exitFile: '/e' }
    const plain = '/m --id c --runtime /r --runtime-root /rr --bundle /b --run-dir /run --exit-file /e'
    expect(monitorArgv('/m', base).join(' ')).toBe(plain)
    const all = monitorArgv('/m', {
      ...base,
      ...{ runtimeArgs: ['--systemd-cgroup'], logPath: '/l', oomFiles: [{ path: '/o', key: 'oom_kill' }] },
      ...{ cgroupProcs: '/cg', tty: true, stdin: true, stdinOnce: true },
    })
    expect(all.join(' ')).toBe(
      '/m --id c --runtime /r --runtime-root /rr --runtime-arg --systemd-cgroup --bundle /b --run-dir /run ' +
        '--exit-file /e --log /l --oom-file /o:oom_kill --cgroup-procs /cg --tty --stdin --stdin-once',
    )
  })
})
