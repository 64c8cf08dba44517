// SPDX-License-Identifier: Apache-2.0
/** Exec and attach over SPDY/3.1: versions, streams, bytes both ways, ends, and clients that misbehave. */
import { createHash, randomBytes } from 'node:crypto'
import { finished } from 'node:stream/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { Channels, SessionEnd, TerminalSize } from '../../../../src/edge/streaming/channels.ts'
import { STREAMING } from '../../../../src/edge/streaming/limits.ts'
import {
  type ClientStream,
  controlFrame,
  dataFrame,
  headerWriter,
  type SpdyClient,
  spdyConnect,
  upgrade,
} from '../../../support/spdy-client.ts'
import { type Behaviour, put, type Serving, serve } from './fixture.ts'

const V4 = ['v4.channel.k8s.io']
let serving: Serving | undefined
const clients: SpdyClient[] = []

afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  await serving?.stop()
  serving = undefined
})

async function start(how: Behaviour): Promise<Serving> {
  serving = await serve(how)
  return serving
}

async function connectTo(url: string, protocols: readonly string[] = V4): Promise<SpdyClient> {
  const client = await spdyConnect(url, protocols)
  clients.push(client)
  return client
}

type Names = 'error' | 'stdin' | 'stdout' | 'stderr' | 'resize'

async function openAll(client: SpdyClient, names: readonly Names[]): Promise<Record<Names, ClientStream>> {
  const opened: [Names, ClientStream][] = []
  for (const name of names) opened.push([name, await client.open({ streamtype: name })])
  for (const [, stream] of opened) await stream.replied
  return Object.fromEntries(opened) as Record<Names, ClientStream>
}

const OUT = ['error', 'stdout', 'stderr'] as const

describe('a session', () => {
  it('carries output and says that it went well', async () => {
    const { url } = await start({
      async run({ stdout, stderr }) {
        stdout?.write('hello')
        stderr?.write('oops')
        return { is: 'success' }
      },
    })
    const client = await connectTo(url({}))
    const { stdout, stderr, error } = await openAll(client, OUT)
    expect(await Promise.all([stdout.ended, stderr.ended, error.ended])).toEqual(['fin', 'fin', 'fin'])
    expect(`${stdout.bytes} ${stderr.bytes}`).toBe('hello oops')
    expect(JSON.parse(error.bytes.toString())).toEqual({ metadata: {}, status: 'Success' })
    await client.goAway
    await client.closed
  })

  it.each<[string, SessionEnd, string, unknown]>([
    [
      'v4.channel.k8s.io',
      { is: 'exit', code: 137 },
      'json',
      {
        status: 'Failure',
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: '137' }] },
      },
    ],
    [
      'v5.channel.k8s.io',
      { is: 'failure', message: 'no such file' },
      'json',
      { status: 'Failure', message: 'no such file', reason: 'InternalError' },
    ],
    [
      'v3.channel.k8s.io',
      { is: 'exit', code: 3 },
      'text',
      'command terminated with non-zero exit code: exit status 3',
    ],
    ['v2.channel.k8s.io', { is: 'failure', message: 'no such file' }, 'text', 'no such file'],
    ['channel.k8s.io', { is: 'success' }, 'text', ''],
  ])('in %s tells the end %o as %s', async (protocol, end, form, expected) => {
    const { url } = await start({ run: async () => end })
    const { error } = await openAll(await connectTo(url({}), [protocol]), OUT)
    await error.ended
    if (form === 'json') expect(JSON.parse(error.bytes.toString())).toMatchObject(expected as object)
    else expect(error.bytes.toString()).toBe(expected)
  })

  it('that fails to run tells why', async () => {
    const { url } = await start({ run: () => Promise.reject(new Error('the monitor is gone')) })
    const { error } = await openAll(await connectTo(url({})), OUT)
    await error.ended
    expect(JSON.parse(error.bytes.toString())).toMatchObject({ message: expect.stringContaining('gone') })
  })

  it('ends while the client keeps stdin open', async () => {
    const { url } = await start({ run: async () => ({ is: 'success' }) })
    const client = await connectTo(url({ stdin: true }))
    const { error } = await openAll(client, ['error', 'stdin', 'stdout', 'stderr'])
    expect(await error.ended).toBe('fin')
    await client.closed
  })

  it('sees the end of stdin and goes on', async () => {
    const { url } = await start({
      async run({ stdin, stdout }) {
        let all = ''
        for await (const chunk of stdin ?? []) all += String(chunk)
        stdout?.write(all.toUpperCase())
        return { is: 'success' }
      },
    })
    const { stdin, stdout } = await openAll(await connectTo(url({ stdin: true })), [
      'error',
      'stdin',
      'stdout',
      'stderr',
    ])
    await stdin.write('abc')
    stdin.fin()
    await stdout.ended
    expect(stdout.bytes.toString()).toBe('ABC')
  })

  it('has one terminal stream and its sizes, also one that came early', async () => {
    const seen: TerminalSize[] = []
    const { url } = await start({
      run: ({ onResize, stderr }) =>
        new Promise((resolve) => {
          expect(stderr).toBeUndefined()
          onResize((size) => {
            seen.push(size)
            if (seen.length === 3) resolve({ is: 'success' })
          })
        }),
    })
    const client = await connectTo(url({ tty: true, stdin: true, stderr: false }))
    const resize = await client.open({ streamtype: 'resize' })
    await resize.write('{"Width":80,"Height":24}')
    const { error } = await openAll(client, ['error', 'stdin', 'stdout'])
    await resize.write('nonsense}{"Width":0,"Height":1}{"Width":70000,"Height":1}')
    await resize.write('{"Width":100,')
    await resize.write('"Height":30}\n{"Width":1,"Height":2}')
    await error.ended
    expect(seen).toEqual([
      { cols: 80, rows: 24 },
      { cols: 100, rows: 30 },
      { cols: 1, rows: 2 },
    ])
  })

  it('is byte-exact both ways at once, with a slow reader on each side', async () => {
    const size = 24 * 1024 * 1024
    const blob = randomBytes(size)
    const sum = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
    const { url } = await start({
      async run({ stdin, stdout }: Channels) {
        const got = createHash('sha256')
        const reading = (async () => {
          for await (const chunk of stdin ?? []) {
            got.update(chunk)
            if (Math.random() < 0.01) await new Promise((resolve) => setTimeout(resolve, 2))
          }
        })()
        if (stdout)
          for (let at = 0; at < size; at += 300_000) await put(stdout, blob.subarray(at, at + 300_000))
        await reading
        return { is: 'failure', message: got.digest('hex') }
      },
    })
    const client = await connectTo(url({ stdin: true }))
    const { stdin, stdout, error } = await openAll(client, ['error', 'stdin', 'stdout', 'stderr'])
    const got = createHash('sha256')
    stdout.onData = (piece) => {
      got.update(piece)
      if (Math.random() < 0.02) {
        client.wire.pause()
        setTimeout(() => client.wire.resume(), 2)
      }
    }
    for (let at = 0; at < size; at += 500_000) await stdin.write(blob.subarray(at, at + 500_000))
    stdin.fin()
    await Promise.all([stdout.ended, error.ended])
    expect(got.digest('hex')).toBe(sum(blob))
    expect(JSON.parse(error.bytes.toString()).message).toBe(sum(blob))
  })
})

describe('back-pressure', () => {
  it('holds back a client whose input is not read', async () => {
    const release = Promise.withResolvers<void>()
    const { url } = await start({
      async run({ stdin }) {
        await release.promise
        stdin?.resume()
        if (stdin) await finished(stdin, { writable: false })
        return { is: 'success' }
      },
    })
    const client = await connectTo(url({ stdin: true }))
    const { stdin, error } = await openAll(client, ['error', 'stdin', 'stdout', 'stderr'])
    const before = process.memoryUsage().arrayBuffers
    let sent = 0
    const chunk = Buffer.alloc(256 * 1024)
    const flood = (async () => {
      for (; sent < 256; sent++) await stdin.write(chunk)
      stdin.fin()
    })()
    // It stands still when the kernel's buffers and ours are full.
    let last = -1
    while (sent !== last) {
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(sent * chunk.length).toBeLessThan(48 * 1024 * 1024)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024)
    release.resolve()
    await flood
    expect(await error.ended).toBe('fin')
  })

  it('holds back a process whose output is not read', async () => {
    let sent = 0
    const { url } = await start({
      async run({ stdout }) {
        const chunk = Buffer.alloc(64 * 1024)
        for (; sent < 1024 && stdout; sent++) await put(stdout, chunk)
        return { is: 'success' }
      },
    })
    const client = await connectTo(url({}))
    const { stdout, error } = await openAll(client, OUT)
    let bytes = 0
    stdout.onData = (piece) => {
      bytes += piece.length
    }
    client.wire.pause()
    let last = -1
    while (sent !== last) {
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(sent).toBeLessThan(512)
    client.wire.resume()
    await error.ended
    expect(bytes).toBe(1024 * 64 * 1024)
  })
})

describe('a client that goes', () => {
  it.each(['while it is read', 'while it is not read'])('%s ends the session', async (when) => {
    const aborted = Promise.withResolvers<void>()
    const { url } = await start({
      run: ({ stdin }, signal) =>
        new Promise((resolve) => {
          if (when === 'while it is read') stdin?.resume()
          signal.addEventListener('abort', () => {
            aborted.resolve()
            resolve({ is: 'success' })
          })
        }),
    })
    const client = await connectTo(url({ stdin: true }))
    const { stdin } = await openAll(client, ['error', 'stdin', 'stdout', 'stderr'])
    void stdin.write(Buffer.alloc(8 * 1024 * 1024))
    await new Promise((resolve) => setTimeout(resolve, 200))
    client.close()
    await aborted.promise
  })
})

describe('what is no session', () => {
  it.each([
    ['no version at all', [], 400],
    ['no version that is known', ['v9.channel.k8s.io'], 403],
  ])('%s', async (_name, protocols, status) => {
    const { url } = await start({})
    const lines = ['Connection: Upgrade', 'Upgrade: SPDY/3.1']
    const reply = await upgrade(url({}), [
      ...lines,
      ...protocols.map((p) => `X-Stream-Protocol-Version: ${p}`),
    ])
    expect(reply.status).toBe(status)
    if (status === 403) expect(reply.head).toContain('X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io')
  })

  it('a token is good once, for its kind, and a plain request does not use it up', async () => {
    const { url } = await start({})
    const good = url({})
    expect((await fetch(good)).status).toBe(400)
    expect((await fetch(new URL('/', good))).status).toBe(404)
    const lines = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', 'X-Stream-Protocol-Version: v4.channel.k8s.io']
    const session = await upgrade(good, lines)
    expect(session.status).toBe(101)
    expect((await upgrade(good, lines)).status).toBe(404)
    expect((await upgrade(url({}).replace('/exec/', '/attach/'), lines)).status).toBe(404)
    expect((await upgrade(new URL('/exec/aaaaaaaaaaaaaaaaaaaaaa', good).href, lines)).status).toBe(404)
    expect((await upgrade(url({}), ['Connection: Upgrade', 'Upgrade: h2c'])).status).toBe(400)
    session.socket.destroy()
  })

  it('a second stream of a type, and one that was not asked for, are refused and the session goes on', async () => {
    const { url } = await start({ run: async () => ({ is: 'success' }) })
    const client = await connectTo(url({}))
    const first = await client.open({ streamtype: 'stdout' })
    for (const streamtype of ['stdout', 'stdin', 'resize', 'nonsense'])
      await expect((await client.open({ streamtype })).replied).rejects.toThrow('reset')
    await first.replied
    const { error } = await openAll(client, ['error', 'stderr'])
    expect(await error.ended).toBe('fin')
  })
})

describe('hostile frames end the connection and nothing else', () => {
  const block = async () => await headerWriter()({ streamtype: 'error' })
  const syn = (id: number, header: Buffer) => {
    const start = Buffer.alloc(10)
    start.writeUInt32BE(id, 0)
    return controlFrame(1, 0, Buffer.concat([start, header]))
  }
  const bomb = async () => await headerWriter()({ x: 'y'.repeat(STREAMING.headerBytes + 1) })
  const cases: readonly [string, () => Promise<Buffer>][] = [
    ['HTTP in the place of frames', async () => Buffer.from('\x80GET / HTTP/1.1\r\n\r\n')],
    ['an endless control frame', async () => controlFrame(1, 0, Buffer.alloc(STREAMING.controlBytes + 1))],
    ['a control frame that is too short', async () => controlFrame(1, 0, Buffer.alloc(4))],
    ['a header block that is no zlib', async () => syn(1, Buffer.from('garbage that is none'))],
    [
      'a header block without the dictionary',
      async () => syn(1, Buffer.from([0x78, 0x9c, 1, 0, 0, 255, 255])),
    ],
    ['a header block that inflates without end', async () => syn(1, await bomb())],
    ['an even stream id', async () => syn(2, await block())],
    [
      'a stream id that goes back',
      async () => {
        const write = headerWriter()
        const [a, b] = [await write({ streamtype: 'error' }), await write({ streamtype: 'stdout' })]
        return Buffer.concat([syn(5, a), syn(3, b)])
      },
    ],
  ]
  it.each(cases)('%s', async (_name, bytes) => {
    const { url, server } = await start({ run: async () => ({ is: 'success' }) })
    const bad = await connectTo(url({}))
    bad.wire.write(await bytes())
    await bad.closed
    await server.idle()
    const { error } = await openAll(await connectTo(url({})), OUT)
    expect(await error.ended).toBe('fin')
  })

  it('data for streams that never were, pings and unknown frames do no harm', async () => {
    const { url } = await start({ run: async () => ({ is: 'success' }) })
    const client = await connectTo(url({}))
    client.wire.write(dataFrame(77, 0, 'nobody'))
    client.wire.write(controlFrame(4, 0, Buffer.alloc(4)))
    client.wire.write(controlFrame(9, 0, Buffer.alloc(8)))
    client.wire.write(controlFrame(99, 0, Buffer.alloc(8)))
    await client.ping(1)
    const { error } = await openAll(client, OUT)
    expect(await error.ended).toBe('fin')
  })
})
