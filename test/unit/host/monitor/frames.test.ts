// SPDX-License-Identifier: Apache-2.0
/** Frames of the monitor's protocol, against the golden vectors that the C test reads too. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  encodeAttach,
  encodeExec,
  encodeFrame,
  encodeResize,
  encodeSignal,
  FRAME,
  FRAME_MAX_BYTES,
  FrameDecoder,
  type MonitorFrame,
  parseMonitorFrame,
} from '../../../../src/host/monitor/frames.ts'

const path = new URL('../../../vectors/monitor/frames.json', import.meta.url)
const vectors: { name: string; hex: string }[] = JSON.parse(readFileSync(path, 'utf8'))
const vector = (name: string): Buffer => {
  const found = vectors.find((v) => v.name === name)
  if (!found) throw new Error(`no vector ${name}`)
  return Buffer.from(found.hex, 'hex')
}

const sent: Readonly<Record<string, Buffer>> = {
  'status-get': encodeFrame(FRAME.statusGet),
  'reopen-log': encodeFrame(FRAME.reopenLog),
  'resize-80x24': encodeResize(80, 24),
  'attach-stdin-stdout': encodeAttach({ stdin: true, stdout: true }),
  'exec-tty': encodeExec({
    ...{ tty: true, stdin: true, stdout: true, timeoutMs: 1500, cols: 120, rows: 40 },
    process: Buffer.from('{}'),
  }),
  stdin: encodeFrame(FRAME.stdin, Buffer.from('hi\n')),
  'stdin-eof': encodeFrame(FRAME.stdinEof),
  'signal-15': encodeSignal(15),
}

const received: Readonly<Record<string, MonitorFrame>> = {
  created: { is: 'created', pid: 4711, startTicks: 177927n },
  'failed-create': { is: 'failed', stage: 'create', exitStatus: 1, log: 'no' },
  'failed-exec': { is: 'failed', stage: 'exec', exitStatus: -1, log: '' },
  status: {
    is: 'status',
    status: {
      ...{ state: 'exited', pid: 4711, startTicks: 177927n, droppedLogLines: 3n, droppedLogBytes: 4096n },
      ...{ execs: 2, code: 137, signal: 9 },
    },
  },
  ok: { is: 'ok' },
  error: { is: 'error', message: 'x' },
  started: { is: 'started', pid: 4712 },
  stdout: { is: 'stdout', data: Buffer.from('o') },
  stderr: { is: 'stderr', data: Buffer.from('e') },
  'exit-timed-out': { is: 'exit', code: 137, signal: 9, timedOut: true },
  'exit-zero': { is: 'exit', code: 0, signal: 0, timedOut: false },
}

describe('golden vectors', () => {
  it('are all used here', () => {
    expect(vectors.map((v) => v.name).sort()).toEqual([...Object.keys(sent), ...Object.keys(received)].sort())
  })

  it.each(Object.keys(sent))('%s is encoded exactly so', (name) => {
    expect(sent[name]?.toString('hex')).toBe(vector(name).toString('hex'))
  })

  it.each(Object.keys(received))('%s is understood', (name) => {
    const frames = new FrameDecoder().push(vector(name))
    expect(frames.map(parseMonitorFrame)).toEqual([received[name]])
  })
})

describe('the decoder', () => {
  const all = Buffer.concat(vectors.map((v) => Buffer.from(v.hex, 'hex')))
  const whole = new FrameDecoder().push(all)

  it('finds every frame of a stream', () => {
    expect(whole.map((f) => encodeFrame(f.type, f.payload).toString('hex'))).toEqual(
      vectors.map((v) => v.hex),
    )
  })

  it.each([1, 2, 3, 5, 7, 16, 64])('gives the same in pieces of %i bytes', (size) => {
    const decoder = new FrameDecoder()
    const frames = []
    for (let at = 0; at < all.length; at += size) frames.push(...decoder.push(all.subarray(at, at + size)))
    expect(frames).toEqual(whole)
  })

  it('takes the largest frame and refuses one byte more before it arrives', () => {
    const largest = encodeFrame(FRAME.stdout, Buffer.alloc(FRAME_MAX_BYTES))
    const decoder = new FrameDecoder()
    expect(decoder.push(largest.subarray(0, 1000))).toEqual([])
    expect(decoder.push(largest.subarray(1000))).toHaveLength(1)
    const header = Buffer.from([0x00, 0x10, 0x00, 0x01, FRAME.stdout])
    expect(() => new FrameDecoder().push(header)).toThrow(/over the limit/)
    expect(() => encodeFrame(FRAME.stdin, Buffer.alloc(FRAME_MAX_BYTES + 1))).toThrow(/over the limit/)
  })
})

describe('the parser', () => {
  it.each([
    ['an unknown type', 0x20, ''],
    ['a type of the client', FRAME.exec, '00'],
    ['CREATED too short', FRAME.created, '0011'],
    ['STATUS too short', FRAME.status, '00'.repeat(41)],
    ['EXIT too short', FRAME.exit, '00'.repeat(8)],
    ['FAILED too short', FRAME.failed, '00'.repeat(4)],
    ['STARTED too short', FRAME.started, '000000'],
  ])('refuses %s', (_what, type, hex) => {
    expect(() => parseMonitorFrame({ type, payload: Buffer.from(hex, 'hex') })).toThrow(/the monitor sent/)
  })

  it('keeps numbers within their fields', () => {
    expect(encodeResize(70000, -3).subarray(5).toString('hex')).toBe('ffff0000')
    const exec = encodeExec({ process: Buffer.from('x'), timeoutMs: 0.2 })
    expect(exec.readUInt32BE(6)).toBe(1) // a time-out never becomes "none" by rounding
    expect(encodeExec({ process: Buffer.from('x'), timeoutMs: 1e12 }).readUInt32BE(6)).toBe(0xffffffff)
  })
})
