// SPDX-License-Identifier: Apache-2.0
/**
 * Frames of SPDY/3.1: a reader that takes bytes as they come and hands data on at once, and the few frames that
 * a server of streams sends. A control frame is held whole and bounded; data is never gathered. Knows frames
 * only: which streams there are is `session.ts`. Source: SPDY Protocol Draft 3.1, section 2.2 and 2.6.
 */
import { Fault } from '../../../base/fault.ts'
import { STREAMING } from '../limits.ts'

export const TYPE = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const

export const FIN = 0x01
const VERSION = 3
const HEAD_BYTES = 8
const ID = 0x7fffffff
const LENGTH = 0xffffff

/** Why a stream is reset (section 2.4.2). */
export const RESET = {
  protocolError: 1,
  invalidStream: 2,
  refusedStream: 3,
  cancel: 5,
  internalError: 6,
} as const

export interface FrameSink {
  /** Bytes of a data frame, in pieces; `fin` with the last. An empty frame is one empty piece. */
  data(streamId: number, piece: Buffer, fin: boolean): void
  synStream(streamId: number, block: Buffer, fin: boolean): void
  headers(streamId: number, block: Buffer, fin: boolean): void
  reset(streamId: number): void
  ping(id: number): void
  goAway(): void
}

interface DataFrame {
  readonly streamId: number
  readonly fin: boolean
  left: number
}

/** Throws `invalid` for bytes that are no SPDY/3.1; the connection cannot go on then. */
export function frameReader(sink: FrameSink): (chunk: Buffer) => void {
  let held: Buffer = Buffer.alloc(0)
  let inside: DataFrame | undefined

  /** The rest of `chunk` after what belongs to the data frame that is under way. */
  const passData = (frame: DataFrame, chunk: Buffer): Buffer => {
    const piece = chunk.subarray(0, frame.left)
    frame.left -= piece.length
    if (frame.left === 0) inside = undefined
    sink.data(frame.streamId, piece, frame.left === 0 && frame.fin)
    return chunk.subarray(piece.length)
  }

  return (chunk) => {
    let rest = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
    while (rest.length > 0) {
      if (inside) {
        rest = passData(inside, rest)
        continue
      }
      if (rest.length < HEAD_BYTES) break
      const first = rest.readUInt32BE(0)
      const flags = rest.readUInt8(4)
      const length = rest.readUInt32BE(4) & LENGTH
      if (first >>> 31 === 0) {
        inside = { streamId: first & ID, fin: (flags & FIN) !== 0, left: length }
        rest = rest.subarray(HEAD_BYTES)
        if (length === 0) rest = passData(inside, rest)
        continue
      }
      if (((first >>> 16) & 0x7fff) !== VERSION) throw bad(`has version ${(first >>> 16) & 0x7fff}`)
      if (length > STREAMING.controlBytes) throw bad(`has ${length} bytes`)
      if (rest.length < HEAD_BYTES + length) break
      control(sink, { type: first & 0xffff, flags, body: rest.subarray(HEAD_BYTES, HEAD_BYTES + length) })
      rest = rest.subarray(HEAD_BYTES + length)
    }
    // Less than a head or a control frame: bounded, and copied so that a large chunk is not kept for it.
    held = Buffer.from(rest)
  }
}

function control(
  sink: FrameSink,
  frame: { readonly type: number; readonly flags: number; readonly body: Buffer },
): void {
  const { type, flags, body } = frame
  const need = (bytes: number) => {
    if (body.length < bytes) throw bad(`of type ${type} has ${body.length} bytes`)
  }
  const id = () => body.readUInt32BE(0) & ID
  const fin = (flags & FIN) !== 0
  switch (type) {
    case TYPE.synStream:
      need(10)
      sink.synStream(id(), body.subarray(10), fin)
      break
    case TYPE.synReply:
    case TYPE.headers:
      need(4)
      sink.headers(id(), body.subarray(4), fin)
      break
    case TYPE.rstStream:
      need(8)
      sink.reset(id())
      break
    case TYPE.ping:
      need(4)
      sink.ping(body.readUInt32BE(0))
      break
    case TYPE.goAway:
      sink.goAway()
      break
    // Settings and windows: we open no streams, and clients of this protocol keep no windows. The rest is
    // unknown, and unknown control frames are ignored (section 2.2.1).
    default:
  }
}

function bad(what: string): Fault {
  return new Fault('invalid', `SPDY: a control frame ${what}`)
}

/** The head of a data frame; its bytes follow. */
export function dataHead(streamId: number, length: number, fin: boolean): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32BE(streamId, 0)
  head.writeUInt32BE((((fin ? FIN : 0) << 24) | length) >>> 0, 4)
  return head
}

function controlFrame(type: number, words: readonly number[], tail?: Buffer): Buffer {
  const body = words.length * 4 + (tail?.length ?? 0)
  const out = Buffer.alloc(HEAD_BYTES + body)
  out.writeUInt32BE(((0x8000 | VERSION) * 0x10000 + type) >>> 0, 0)
  out.writeUInt32BE(body, 4)
  for (const [i, word] of words.entries()) out.writeUInt32BE(word, HEAD_BYTES + i * 4)
  tail?.copy(out, HEAD_BYTES + words.length * 4)
  return out
}

export const synReply = (streamId: number, block: Buffer): Buffer =>
  controlFrame(TYPE.synReply, [streamId], block)
export const rstStream = (streamId: number, status: number): Buffer =>
  controlFrame(TYPE.rstStream, [streamId, status])
export const pingFrame = (id: number): Buffer => controlFrame(TYPE.ping, [id])
export const goAwayFrame = (lastStreamId: number, status = 0): Buffer =>
  controlFrame(TYPE.goAway, [lastStreamId, status])
