// SPDX-License-Identifier: Apache-2.0
/**
 * Starts `gantry-unpack` for one layer and waits for it: hands out the pipe that takes the compressed blob, and
 * a promise of the verified result. Owns the pipes and the process; it is always reaped before the promise
 * settles. Whatever goes wrong, the directory is half-made and the caller throws it away. Parses no archive.
 */
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import { abortFault, checkpoint, type Scope } from '../../base/scope.ts'
import type { Fd, Native } from '../native.ts'
import { readResult, type UnpackResult } from './result.ts'

export interface UnpackDeps {
  readonly native: Pick<Native, 'spawn' | 'pipe' | 'close' | 'pidfdOpen' | 'pidfdSignal'>
  /** Absolute path of `gantry-unpack`. */
  readonly program: string
}

export interface UnpackOptions {
  /** An existing, empty directory. */
  readonly into: string
  /** `sha256:` or `sha512:` and hex, of the compressed blob. */
  readonly digest: string
  /** Bytes of the compressed blob: one more and the blob is refused at once. */
  readonly size: number
  /** Of the tar stream, from the image's configuration; without it the digest is only computed. */
  readonly diffId?: string
  /** Limits; the program has its defaults. Bytes of the tar stream, headers, expansion beyond the first GiB. */
  readonly maxBytes?: number
  readonly maxEntries?: number
  readonly maxRatio?: number
}

export interface Unpacking {
  /**
   * Takes the blob; end it after the last byte. It may break (EPIPE) when the program has refused the layer:
   * `result` then has the reason, so prefer its rejection to the writer's.
   */
  readonly stdin: Writable
  /** Settles when the process has been reaped: `corrupt`, `unsupported`, `exhausted`, `internal`, `cancelled`. */
  readonly result: Promise<UnpackResult>
  /** Ends the process; `result` then rejects with kind `cancelled`. Idempotent. */
  kill(): void
}

const SIGTERM = 15
const SIGKILL = 9
const KILL_GRACE_MS = 2_000
const MAX_STDOUT = 32 * 1024 * 1024
const MAX_STDERR = 4 * 1024

/**
 * Starts unpacking. Throws a Fault when nothing could be started; every later failure is the result's. The end
 * of the scope kills the process and is awaited by `result`. @abort kills
 */
export function startUnpack(scope: Scope, deps: UnpackDeps, options: UnpackOptions): Unpacking {
  checkpoint(scope)
  const child = start(deps, options)
  let cancelled: Fault | undefined
  let killTimer: NodeJS.Timeout | undefined
  const kill = (why: Fault) => {
    if (cancelled !== undefined || child.ended()) return
    cancelled = why
    child.signal(SIGTERM)
    killTimer = setTimeout(() => child.signal(SIGKILL), KILL_GRACE_MS)
  }
  const onAbort = () => kill(abortFault(scope.signal))
  scope.signal.addEventListener('abort', onAbort, { once: true })
  const finish = async (): Promise<UnpackResult> => {
    try {
      const exit = await child.exited
      const [stdout, stderr] = await Promise.all([child.stdout, child.stderr])
      if (cancelled !== undefined) throw Fault.during(`unpack layer ${options.digest}`, cancelled)
      return readResult(options.digest, { ...exit, stdout, stderr })
    } finally {
      clearTimeout(killTimer)
      scope.signal.removeEventListener('abort', onAbort)
      child.close()
    }
  }
  const result = finish()
  result.catch(() => {}) // a caller that first awaits its own writing must not meet an unhandled rejection
  return {
    stdin: child.stdin,
    result,
    kill: () => kill(new Fault('cancelled', 'the unpacking was stopped')),
  }
}

interface Child {
  readonly stdin: Socket
  readonly stdout: Promise<string>
  readonly stderr: Promise<string>
  readonly exited: Promise<{ code: number; signal: number }>
  ended(): boolean
  signal(signal: number): void
  close(): void
}

function argvOf(options: UnpackOptions): string[] {
  const argv = [
    'gantry-unpack',
    '--into',
    options.into,
    '--digest',
    options.digest,
    '--size',
    `${options.size}`,
  ]
  if (options.diffId !== undefined) argv.push('--diff-id', options.diffId)
  if (options.maxBytes !== undefined) argv.push('--max-bytes', `${options.maxBytes}`)
  if (options.maxEntries !== undefined) argv.push('--max-entries', `${options.maxEntries}`)
  if (options.maxRatio !== undefined) argv.push('--max-ratio', `${options.maxRatio}`)
  return argv
}

function start({ native, program }: UnpackDeps, options: UnpackOptions): Child {
  const open: Fd[] = []
  const pipe = (): [Fd, Fd] => {
    const ends = native.pipe()
    open.push(...ends)
    return ends
  }
  const { promise: exited, resolve } = Promise.withResolvers<{ code: number; signal: number }>()
  let ended = false
  try {
    const [inRead, inWrite] = pipe()
    const [outRead, outWrite] = pipe()
    const [errRead, errWrite] = pipe()
    const fds = [inRead, outWrite, errWrite]
    const spawned = { file: program, argv: argvOf(options), env: [], fds, newSession: true }
    const pid = native.spawn(spawned, (code, signal) => {
      ended = true
      resolve({ code, signal })
    })
    for (const fd of fds) native.close(fd)
    const pidfd = openPidfd(native, pid)
    const stdin = writer(inWrite)
    const [out, err] = [
      new Socket({ fd: outRead, writable: false }),
      new Socket({ fd: errRead, writable: false }),
    ]
    return {
      stdin,
      stdout: collect(out, MAX_STDOUT),
      stderr: collect(err, MAX_STDERR),
      exited,
      ended: () => ended,
      signal: (signal) => {
        if (!ended) send(native, { pid, pidfd, signal })
      },
      close: () => {
        for (const socket of [stdin, out, err]) socket.destroy()
        if (pidfd !== undefined) native.close(pidfd)
      },
    }
  } catch (e) {
    for (const fd of open) native.close(fd)
    const message = e instanceof Error ? e.message : String(e)
    throw new Fault('internal', `unpack layer ${options.digest}: cannot start ${program}: ${message}`, {
      cause: e,
    })
  }
}

/** A program that refuses the layer stops reading: no failure of ours, its verdict says why. */
function writer(fd: Fd): Socket {
  const socket = new Socket({ fd, readable: false, writable: true })
  socket.on('error', () => {})
  return socket
}

function openPidfd(native: UnpackDeps['native'], pid: number): Fd | undefined {
  try {
    return native.pidfdOpen(pid)
  } catch {
    return undefined // no descriptors left: the pid will do, it is ours until it is reaped
  }
}

function send(
  native: UnpackDeps['native'],
  to: { pid: number; pidfd: Fd | undefined; signal: number },
): void {
  if (to.pid <= 1) return
  try {
    if (to.pidfd !== undefined) native.pidfdSignal(to.pidfd, to.signal)
    else process.kill(to.pid, to.signal)
  } catch {
    // Gone already: all that is left is to wait for its end.
  }
}

/** All that the pipe says, at most `max` bytes of it; the rest is read and dropped. */
function collect(from: Socket, max: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  from.on('data', (piece: Buffer) => {
    if (size >= max) return
    parts.push(piece.subarray(0, max - size))
    size += piece.length
  })
  const { promise, resolve } = Promise.withResolvers<string>()
  from.on('error', () => {})
  from.on('close', () => resolve(Buffer.concat(parts).toString('utf8')))
  return promise
}
