// SPDX-License-Identifier: Apache-2.0
/**
 * Frames of the monitor's socket: `u32 length of payload, big-endian | u8 type | payload`. Owns the numbers of
 * `native/monitor/PROTOCOL.md` on this side: encoders for what a client sends, an incremental bounded decoder,
 * and parsers for what the monitor sends. Pure: no socket, no clock.
 */
import { Fault } from '../../base/fault.ts'

export const FRAME_HEADER_BYTES = 5
/** The largest payload of a frame, in both directions. */
export const FRAME_MAX_BYTES = 1024 * 1024
/** Bytes of an EXEC frame that are not the process description. */
const EXEC_FIXED_BYTES = 9

export const FRAME = Object.freeze({
  statusGet: 0x01,
  reopenLog: 0x02,
  resize: 0x03,
  attach: 0x04,
  exec: 0x05,
  stdin: 0x06,
  stdinEof: 0x07,
  signal: 0x08,
  created: 0x81,
  failed: 0x82,
  status: 0x83,
  ok: 0x84,
  error: 0x85,
  started: 0x86,
  stdout: 0x87,
  stderr: 0x88,
  exit: 0x89,
})

const STAGES: Readonly<Record<number, FailStage>> = Object.freeze({
  1: 'setup',
  2: 'log',
  3: 'create',
  4: 'aborted',
  5: 'exec',
})
export type FailStage = 'setup' | 'log' | 'create' | 'aborted' | 'exec'

export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

export interface StreamFlags {
  readonly stdin?: boolean
  readonly stdout?: boolean
  readonly stderr?: boolean
}

export interface ExecFrame extends StreamFlags {
  readonly tty?: boolean
  /** Milliseconds until the exec is killed with everything it started; 0 or absent: never. */
  readonly timeoutMs?: number
  /** First size of the terminal; 0: leave it alone. */
  readonly cols?: number
  readonly rows?: number
  /** The OCI `process` object as JSON text. */
  readonly process: Buffer
}

export interface MonitorStatus {
  readonly state: 'creating' | 'live' | 'exited'
  readonly pid: number
  readonly startTicks: bigint
  readonly droppedLogLines: bigint
  readonly droppedLogBytes: bigint
  readonly execs: number
  /** Exit code and signal once `state` is `exited`. */
  readonly code: number
  readonly signal: number
}

export type MonitorFrame =
  | { readonly is: 'created'; readonly pid: number; readonly startTicks: bigint }
  | { readonly is: 'failed'; readonly stage: FailStage; readonly exitStatus: number; readonly log: string }
  | { readonly is: 'status'; readonly status: MonitorStatus }
  | { readonly is: 'ok' }
  | { readonly is: 'error'; readonly message: string }
  | { readonly is: 'started'; readonly pid: number }
  | { readonly is: 'stdout' | 'stderr'; readonly data: Buffer }
  | { readonly is: 'exit'; readonly code: number; readonly signal: number; readonly timedOut: boolean }

/** One frame. Throws `invalid` for a payload over the limit. */
export function encodeFrame(type: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  if (payload.length > FRAME_MAX_BYTES)
    throw new Fault('invalid', `a frame of ${payload.length} bytes is over the limit of ${FRAME_MAX_BYTES}`)
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length)
  frame.writeUInt32BE(payload.length, 0)
  frame.writeUInt8(type, 4)
  payload.copy(frame, FRAME_HEADER_BYTES)
  return frame
}

function flagBits(flags: StreamFlags & { readonly tty?: boolean }): number {
  return (flags.stdin ? 1 : 0) | (flags.stdout ? 2 : 0) | (flags.stderr ? 4 : 0) | (flags.tty ? 8 : 0)
}

export function encodeAttach(flags: StreamFlags): Buffer {
  return encodeFrame(FRAME.attach, Buffer.of(flagBits(flags)))
}

/** Throws `invalid` when the process description does not fit into a frame. */
export function encodeExec(exec: ExecFrame): Buffer {
  const fixed = Buffer.alloc(EXEC_FIXED_BYTES)
  fixed.writeUInt8(flagBits(exec), 0)
  fixed.writeUInt32BE(Math.min(Math.max(0, Math.ceil(exec.timeoutMs ?? 0)), 0xffff_ffff), 1)
  fixed.writeUInt16BE(clampCells(exec.cols ?? 0), 5)
  fixed.writeUInt16BE(clampCells(exec.rows ?? 0), 7)
  return encodeFrame(FRAME.exec, Buffer.concat([fixed, exec.process]))
}

export function encodeResize(cols: number, rows: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt16BE(clampCells(cols), 0)
  payload.writeUInt16BE(clampCells(rows), 2)
  return encodeFrame(FRAME.resize, payload)
}

export function encodeSignal(signal: number): Buffer {
  return encodeFrame(FRAME.signal, Buffer.of(signal & 0xff))
}

function clampCells(cells: number): number {
  return Math.min(Math.max(0, Math.trunc(cells)), 0xffff)
}

/** Cuts a byte stream into frames; holds at most one frame of the maximal size. */
export class FrameDecoder {
  #pieces: Buffer[] = []
  #held = 0

  /** The frames that are whole now. Throws `corrupt` for a length over the limit; the decoder is then of no use. */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = []
    this.#pieces.push(chunk)
    this.#held += chunk.length
    for (;;) {
      if (this.#held < FRAME_HEADER_BYTES) return frames
      const head = this.#joined(FRAME_HEADER_BYTES)
      const length = head.readUInt32BE(0)
      if (length > FRAME_MAX_BYTES)
        throw new Fault('corrupt', `a frame of ${length} bytes is over the limit of ${FRAME_MAX_BYTES}`)
      const whole = FRAME_HEADER_BYTES + length
      if (this.#held < whole) return frames
      const bytes = this.#joined(whole)
      frames.push({ type: bytes.readUInt8(4), payload: bytes.subarray(FRAME_HEADER_BYTES, whole) })
      const rest = bytes.subarray(whole)
      if (rest.length > 0) this.#pieces[0] = rest
      else this.#pieces.shift()
      this.#held -= whole
    }
  }

  /** The first piece, made at least `size` bytes long. */
  #joined(size: number): Buffer {
    const first = this.#pieces[0]
    if (first !== undefined && first.length >= size) return first
    const joined = Buffer.concat(this.#pieces)
    this.#pieces = [joined]
    return joined
  }
}

function sized(frame: Frame, size: number, name: string): Buffer {
  if (frame.payload.length < size)
    throw new Fault(
      'corrupt',
      `the monitor sent ${name} with ${frame.payload.length} bytes, expected ${size}`,
    )
  return frame.payload
}

function parseStatus(p: Buffer): MonitorStatus {
  const state = p.readUInt8(1)
  return Object.freeze({
    state: state === 0 ? 'creating' : state === 1 ? 'live' : 'exited',
    pid: p.readInt32BE(2),
    startTicks: p.readBigUInt64BE(6),
    droppedLogLines: p.readBigUInt64BE(14),
    droppedLogBytes: p.readBigUInt64BE(22),
    execs: p.readUInt32BE(30),
    code: p.readInt32BE(34),
    signal: p.readInt32BE(38),
  })
}

/** What the monitor said. Throws `corrupt` for an unknown type or a payload that is too short. */
export function parseMonitorFrame(frame: Frame): MonitorFrame {
  switch (frame.type) {
    case FRAME.created: {
      const p = sized(frame, 12, 'CREATED')
      return { is: 'created', pid: p.readInt32BE(0), startTicks: p.readBigUInt64BE(4) }
    }
    case FRAME.failed: {
      const p = sized(frame, 5, 'FAILED')
      const stage = STAGES[p.readUInt8(0)] ?? 'setup'
      return { is: 'failed', stage, exitStatus: p.readInt32BE(1), log: p.toString('utf8', 5) }
    }
    case FRAME.status:
      return { is: 'status', status: parseStatus(sized(frame, 42, 'STATUS')) }
    case FRAME.ok:
      return { is: 'ok' }
    case FRAME.error:
      return { is: 'error', message: frame.payload.toString('utf8') }
    case FRAME.started:
      return { is: 'started', pid: sized(frame, 4, 'STARTED').readInt32BE(0) }
    case FRAME.stdout:
      return { is: 'stdout', data: frame.payload }
    case FRAME.stderr:
      return { is: 'stderr', data: frame.payload }
    case FRAME.exit: {
      const p = sized(frame, 9, 'EXIT')
      return {
        is: 'exit',
        code: p.readInt32BE(0),
        signal: p.readInt32BE(4),
        timedOut: (p.readUInt8(8) & 1) === 1,
      }
    }
    default:
      throw new Fault('corrupt', `the monitor sent a frame of the unknown type 0x${frame.type.toString(16)}`)
  }
}
