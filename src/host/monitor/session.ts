// SPDX-License-Identifier: Apache-2.0
/**
 * Sessions with a container through its monitor: exec and attach, each on its own connection. Owns the streams
 * of a session and their back-pressure in both directions: a reader that stops stops the socket, and with it an
 * exec's pipes. Whoever asks for stdout and stderr must read both. Ending the connection ends an exec, with
 * everything it started.
 */
import { Readable, Writable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import { abortFault, checkpoint, type Scope } from '../../base/scope.ts'
import { failureFault } from './failure.ts'
import {
  encodeAttach,
  encodeExec,
  encodeFrame,
  encodeResize,
  encodeSignal,
  FRAME,
  type MonitorFrame,
  type StreamFlags,
} from './frames.ts'
import { connectWire, type Wire } from './wire.ts'

const STDIN_PIECE_BYTES = 64 * 1024

export interface ExecRequest extends StreamFlags {
  /** The OCI `process` object. */
  readonly process: object
  readonly tty?: boolean
  /** Killed with everything it started after this many milliseconds, counted from the request; absent: never. */
  readonly timeoutMs?: number
  readonly cols?: number
  readonly rows?: number
}

export type AttachRequest = StreamFlags

export interface SessionExit {
  /** 128 + signal for a process that was killed. */
  readonly code: number
  readonly signal: number
  /** The process was killed because its time was over; it has been reaped. */
  readonly timedOut: boolean
}

export interface Session {
  /** The process of an exec as the host sees it; 0 for attach, and when output came before it was known. */
  readonly pid: number
  /** Only what was asked for. Ending `stdin` is end of file for the process (not on a terminal). */
  readonly stdin?: Writable
  readonly stdout?: Readable
  readonly stderr?: Readable
  /** After all output. Rejects when the connection was lost or closed first. */
  readonly exit: Promise<SessionExit>
  resize(cols: number, rows: number): void
  /** Only for an exec: to its process alone. */
  signal(signal: number): void
  /** Ends the session; an exec that still runs is killed with everything it started. Idempotent. */
  close(): void
}

interface Outputs {
  readonly stdout?: Readable
  readonly stderr?: Readable
}

function makeOutputs(
  wire: Wire,
  flags: StreamFlags,
): Outputs & { push(frame: MonitorFrame): void; end(): void } {
  const full = new Set<Readable>()
  const make = () => {
    const stream: Readable = new Readable({
      read() {
        if (full.delete(stream) && full.size === 0) wire.resume()
      },
      destroy(error, done) {
        if (full.delete(stream) && full.size === 0) wire.resume()
        done(error)
      },
    })
    return stream
  }
  const stdout = flags.stdout ? make() : undefined
  const stderr = flags.stderr ? make() : undefined
  return {
    ...(stdout ? { stdout } : {}),
    ...(stderr ? { stderr } : {}),
    push(frame) {
      const stream = frame.is === 'stdout' ? stdout : frame.is === 'stderr' ? stderr : undefined
      if (!stream || stream.destroyed || (frame.is !== 'stdout' && frame.is !== 'stderr')) return
      if (stream.push(frame.data)) return
      full.add(stream)
      wire.pause()
    },
    end() {
      for (const stream of [stdout, stderr]) if (stream && !stream.destroyed) stream.push(null)
    },
  }
}

function makeStdin(wire: Wire): Writable {
  return new Writable({
    write(data: Buffer, _encoding, done) {
      let open = true
      for (let at = 0; at < data.length; at += STDIN_PIECE_BYTES)
        open = wire.send(encodeFrame(FRAME.stdin, data.subarray(at, at + STDIN_PIECE_BYTES)))
      if (open) done()
      else {
        let called = false
        const once = () => {
          if (!called) done()
          called = true
        }
        wire.onDrain(once)
        void wire.closed.then(once)
      }
    },
    final(done) {
      wire.send(encodeFrame(FRAME.stdinEof))
      done()
    },
  })
}

/** Sends the first frame and waits for the answer to it; then the wire belongs to the session. */
async function open(
  scope: Scope,
  ctlPath: string,
  setup: { first: Buffer; flags: StreamFlags },
): Promise<Session> {
  checkpoint(scope)
  const wire = await connectWire(scope, ctlPath)
  const outputs = makeOutputs(wire, setup.flags)
  const stdin = setup.flags.stdin ? makeStdin(wire) : undefined
  const started = Promise.withResolvers<number>()
  const exit = Promise.withResolvers<SessionExit>()
  started.promise.catch(() => {})
  exit.promise.catch(() => {})
  const fail = (fault: Fault) => {
    started.reject(fault)
    exit.reject(fault)
    wire.close()
  }
  const onAbort = () => fail(abortFault(scope.signal))
  scope.signal.addEventListener('abort', onAbort, { once: true })
  wire.onFrame((frame) => {
    if (frame.is === 'started') started.resolve(frame.pid)
    else if (frame.is === 'ok') started.resolve(0)
    else if (frame.is === 'failed') fail(failureFault('exec', frame))
    else if (frame.is === 'error') fail(new Fault('wrong-state', frame.message))
    else if (frame.is === 'exit') {
      started.resolve(0)
      exit.resolve({ code: frame.code, signal: frame.signal, timedOut: frame.timedOut })
    } else {
      // The process may write before the runtime that started it has ended.
      started.resolve(0)
      outputs.push(frame)
    }
  })
  void wire.closed.then(() => {
    scope.signal.removeEventListener('abort', onAbort)
    fail(
      new Fault('unavailable', `the session with the monitor at ${ctlPath} ended`, {
        reason: 'monitor-gone',
      }),
    )
    outputs.end()
    stdin?.destroy()
  })
  if (scope.signal.aborted) onAbort()
  else wire.send(setup.first)
  const pid = await started.promise
  return Object.freeze({
    pid,
    ...(stdin ? { stdin } : {}),
    ...(outputs.stdout ? { stdout: outputs.stdout } : {}),
    ...(outputs.stderr ? { stderr: outputs.stderr } : {}),
    exit: exit.promise,
    resize: (cols: number, rows: number) => void wire.send(encodeResize(cols, rows)),
    signal: (signal: number) => void wire.send(encodeSignal(signal)),
    close: () => wire.close(),
  })
}

/**
 * Runs a process. Faults: `internal` with reason `monitor-exec` when the runtime refused (see `monitorFailure`),
 * `invalid` when the process description is too large, `not-found` when there is no monitor. @abort kills
 */
export function openExec(scope: Scope, ctlPath: string, request: ExecRequest): Promise<Session> {
  const { process, ...rest } = request
  const { cols = 0, rows = 0 } = request
  // The runtime sets this before the process runs; the monitor could only do so a moment later.
  const sized = request.tty && cols > 0 && rows > 0
  const described = sized ? { ...process, consoleSize: { height: rows, width: cols } } : process
  const first = encodeExec({ ...rest, process: Buffer.from(JSON.stringify(described)) })
  const flags = request.tty ? { ...rest, stderr: false } : rest
  return open(scope, ctlPath, { first, flags })
}

/** Joins the container's stdio; output that was written earlier is not repeated. @abort stops */
export function openAttach(scope: Scope, ctlPath: string, request: AttachRequest): Promise<Session> {
  return open(scope, ctlPath, { first: encodeAttach(request), flags: request })
}
