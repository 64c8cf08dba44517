// SPDX-License-Identifier: Apache-2.0
/**
 * A client of SPDY/3.1 as the ones in the field are: odd stream ids, one compressor for its header blocks, no
 * windows. Written beside the server and not with its code, but for the dictionary, so that a mistake in the
 * frames of one is seen by the other.
 */
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { constants, createDeflate, type Deflate } from 'node:zlib'
import { DICTIONARY } from '../../src/edge/streaming/spdy/headers.ts'

export interface ClientStream {
  readonly id: number
  /** All that came so far. */
  bytes: Buffer
  /** Resolves with FIN or RST, or with the end of the connection. */
  readonly ended: Promise<'fin' | 'reset' | 'gone'>
  /** Resolves when the server has answered the opening: rejects when it refused. */
  readonly replied: Promise<void>
  onData?: (piece: Buffer) => void
  write(bytes: Buffer | string): Promise<void>
  fin(): void
  reset(): void
}

export interface SpdyClient {
  readonly wire: Duplex
  open(headers: Readonly<Record<string, string>>, fin?: boolean): Promise<ClientStream>
  ping(id: number): Promise<number>
  readonly goAway: Promise<void>
  /** Resolves when the server has closed. */
  readonly closed: Promise<void>
  close(): void
}

interface Incoming extends ClientStream {
  settle(how: 'fin' | 'reset' | 'gone'): void
  answer(refused: boolean): void
}

function head(type: number, flags: number, length: number): Buffer {
  const out = Buffer.alloc(8)
  out.writeUInt16BE(0x8003, 0)
  out.writeUInt16BE(type, 2)
  out.writeUInt32BE(((flags << 24) | length) >>> 0, 4)
  return out
}

/** A control frame of any content: for hostile ones too. */
export function controlFrame(type: number, flags: number, body: Buffer): Buffer {
  return Buffer.concat([head(type, flags, body.length), body])
}

export function dataFrame(id: number, flags: number, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body)
  const out = Buffer.alloc(8)
  out.writeUInt32BE(id, 0)
  out.writeUInt32BE(((flags << 24) | bytes.length) >>> 0, 4)
  return Buffer.concat([out, bytes])
}

function pairs(headers: Readonly<Record<string, string>>): Buffer {
  const word = (n: number) => {
    const out = Buffer.alloc(4)
    out.writeUInt32BE(n)
    return out
  }
  const texts = Object.entries(headers)
    .flat()
    .flatMap((text) => [word(Buffer.byteLength(text)), Buffer.from(text)])
  return Buffer.concat([word(Object.keys(headers).length), ...texts])
}

/** Header blocks of one connection, compressed one after the other. */
export function headerWriter(): (headers: Readonly<Record<string, string>>) => Promise<Buffer> {
  const deflate: Deflate = createDeflate({ dictionary: DICTIONARY })
  let out: Buffer[] = []
  deflate.on('data', (chunk: Buffer) => out.push(chunk))
  return (headers) =>
    new Promise((resolve) => {
      deflate.write(pairs(headers))
      deflate.flush(constants.Z_SYNC_FLUSH, () => {
        resolve(Buffer.concat(out))
        out = []
      })
    })
}

/** Speaks over a byte stream that is upgraded already. */
export function spdyOver(wire: Duplex): SpdyClient {
  const streams = new Map<number, Incoming>()
  const pings = new Map<number, (ms: number) => void>()
  const goAway = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<void>()
  const headers = headerWriter()
  let next = 1
  let held: Buffer = Buffer.alloc(0)

  const control = (type: number, body: Buffer) => {
    const id = body.length >= 4 ? body.readUInt32BE(0) : 0
    if (type === 2) streams.get(id)?.answer(false)
    else if (type === 3) streams.get(id)?.settle('reset')
    else if (type === 6) {
      const answered = pings.get(id)
      if (answered) answered(performance.now())
      else wire.write(controlFrame(6, 0, body))
    } else if (type === 7) goAway.resolve()
  }
  wire.on('data', (chunk: Buffer) => {
    held = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
    while (held.length >= 8) {
      const length = held.readUInt32BE(4) & 0xffffff
      if (held.length < 8 + length) return
      const body = held.subarray(8, 8 + length)
      if (held.readUInt8(0) & 0x80) control(held.readUInt16BE(2), body)
      else {
        const stream = streams.get(held.readUInt32BE(0))
        if (stream?.onData) stream.onData(body)
        else if (stream) stream.bytes = Buffer.concat([stream.bytes, body])
        if (held.readUInt8(4) & 1) stream?.settle('fin')
      }
      held = held.subarray(8 + length)
    }
  })
  const over = () => {
    for (const stream of streams.values()) stream.settle('gone')
    closed.resolve()
  }
  wire.on('error', over).on('close', over).on('end', over)

  return {
    wire,
    async open(wanted, fin = false) {
      const id = next
      next += 2
      const ended = Promise.withResolvers<'fin' | 'reset' | 'gone'>()
      const replied = Promise.withResolvers<void>()
      replied.promise.catch(() => {})
      const stream: Incoming = {
        id,
        bytes: Buffer.alloc(0),
        ended: ended.promise,
        replied: replied.promise,
        settle: (how) => {
          replied.reject(new Error(`stream ${id}: ${how} before a reply`))
          ended.resolve(how)
        },
        answer: () => replied.resolve(),
        write: (bytes) => new Promise((done) => void wire.write(dataFrame(id, 0, bytes), () => done())),
        fin: () => void wire.write(dataFrame(id, 1, '')),
        reset: () => {
          const body = Buffer.alloc(8)
          body.writeUInt32BE(id, 0)
          body.writeUInt32BE(5, 4)
          wire.write(controlFrame(3, 0, body))
        },
      }
      streams.set(id, stream)
      const block = await headers(wanted)
      const start = Buffer.alloc(10)
      start.writeUInt32BE(id, 0)
      wire.write(controlFrame(1, fin ? 1 : 0, Buffer.concat([start, block])))
      return stream
    },
    ping: (id) =>
      new Promise((resolve) => {
        pings.set(id, resolve)
        const body = Buffer.alloc(4)
        body.writeUInt32BE(id)
        wire.write(controlFrame(6, 0, body))
      }),
    goAway: goAway.promise,
    closed: closed.promise,
    close: () => wire.destroy(),
  }
}

export interface UpgradeReply {
  readonly status: number
  readonly head: string
  readonly socket: Socket
  /** What came behind the head. */
  readonly rest: Buffer
}

/** Sends a request with these header lines and reads the answer's head. */
export async function upgrade(url: string, lines: readonly string[], method = 'POST'): Promise<UpgradeReply> {
  const { hostname, port, pathname, search } = new URL(url)
  const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) })
  socket.on('error', () => {})
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  socket.write(
    [`${method} ${pathname}${search} HTTP/1.1`, `Host: ${hostname}`, ...lines, '', ''].join('\r\n'),
  )
  let all = Buffer.alloc(0)
  const { promise, resolve } = Promise.withResolvers<void>()
  const read = (chunk: Buffer) => {
    all = Buffer.concat([all, chunk])
    if (all.includes('\r\n\r\n')) resolve()
  }
  socket.on('data', read).once('close', resolve)
  await promise
  socket.off('data', read)
  socket.pause()
  const end = all.indexOf('\r\n\r\n') + 4
  const text = all.toString('latin1', 0, end)
  return { status: Number(text.split(' ')[1]), head: text, socket, rest: all.subarray(end) }
}

/** A SPDY connection to a streaming URL, in the given version of the protocol. */
export async function spdyConnect(url: string, protocols: readonly string[]): Promise<SpdyClient> {
  const lines = ['Connection: Upgrade', 'Upgrade: SPDY/3.1']
  const reply = await upgrade(url, [...lines, ...protocols.map((p) => `X-Stream-Protocol-Version: ${p}`)])
  if (reply.status !== 101) throw new Error(`${reply.head}${reply.rest}`)
  if (reply.rest.length > 0) reply.socket.unshift(reply.rest)
  const client = spdyOver(reply.socket)
  reply.socket.resume()
  return client
}
