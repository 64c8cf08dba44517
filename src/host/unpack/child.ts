// SPDX-License-Identifier: Apache-2.0
/**
 * One run of `gantry-unpack` as a process: its pipes, its end, and its killing. The process is always reaped
 * before the promise of its end settles. Knows neither what it is asked nor what it answers.
 */
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import { abortFault, checkpoint, type Scope } from '../../base/scope.ts'
import type { Fd, Native } from '../native.ts'
import type { ProgramExit } from './result.ts'

export interface UnpackDeps {
  readonly native: Pick<Native, 'spawn' | 'pipe' | 'close' | 'pidfdOpen' | 'pidfdSignal'>
  /** Absolute path of `gantry-unpack`. */
  readonly program: string
}

export interface ProgramStart {
  /** For messages: `unpack layer sha256:…`. */
  readonly what: string
  /** Without the program's own name. */
  readonly argv: readonly string[]
  /** A pipe as its standard input; else there is none. */
  readonly input?: boolean
  /** Its standard output is data for the caller, and the answer comes on standard error. */
  readonly output?: boolean
}

export interface Program {
  readonly stdin: Writable | undefined
  readonly stdout: Readable | undefined
  /** Settles when the process has been reaped; rejects only with kind `cancelled`. */
  readonly exit: Promise<ProgramExit>
  /** Ends the process; `exit` then rejects. Idempotent. */
  kill(): void
}

const SIGTERM = 15
const SIGKILL = 9
const KILL_GRACE_MS = 2_000
const MAX_ANSWER = 32 * 1024 * 1024
const MAX_STDERR = 4 * 1024

/**
 * Starts the program. Throws a Fault when nothing could be started. The end of the scope kills the process and
 * is awaited by `exit`. @abort kills
 */
export function startProgram(scope: Scope, deps: UnpackDeps, start: ProgramStart): Program {
  checkpoint(scope)
  const child = spawn(deps, start)
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
  const finish = async (): Promise<ProgramExit> => {
    try {
      const exit = await child.exited
      const [answer, stderr] = await Promise.all([child.answer, child.stderr])
      if (cancelled !== undefined) throw Fault.during(start.what, cancelled)
      return { ...exit, answer, stderr }
    } finally {
      clearTimeout(killTimer)
      scope.signal.removeEventListener('abort', onAbort)
      child.close()
    }
  }
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    exit: finish(),
    kill: () => kill(new Fault('cancelled', 'it was stopped')),
  }
}

interface Child {
  readonly stdin: Socket | undefined
  readonly stdout: Socket | undefined
  readonly answer: Promise<string>
  readonly stderr: Promise<string>
  readonly exited: Promise<{ code: number; signal: number }>
  ended(): boolean
  signal(signal: number): void
  close(): void
}

function spawn({ native, program }: UnpackDeps, start: ProgramStart): Child {
  const open: Fd[] = []
  const pipe = (): [Fd, Fd] => {
    const ends = native.pipe()
    open.push(...ends)
    return ends
  }
  const { promise: exited, resolve } = Promise.withResolvers<{ code: number; signal: number }>()
  let ended = false
  try {
    const input = start.input ? pipe() : undefined
    const [outRead, outWrite] = pipe()
    const [errRead, errWrite] = pipe()
    const given = [outWrite, errWrite, ...(input ? [input[0]] : [])]
    const spawned = {
      file: program,
      argv: ['gantry-unpack', ...start.argv],
      env: [],
      fds: [input?.[0] ?? -1, outWrite, errWrite],
      newSession: true,
    }
    const pid = native.spawn(spawned, (code, signal) => {
      ended = true
      resolve({ code, signal })
    })
    for (const fd of given) native.close(fd)
    const pidfd = openPidfd(native, pid)
    const stdin = input && writer(input[1])
    const out = new Socket({ fd: outRead, writable: false })
    const err = new Socket({ fd: errRead, writable: false })
    const sockets = [stdin, err, ...(start.output ? [] : [out])]
    return {
      stdin,
      stdout: start.output ? out : undefined,
      answer: collect(start.output ? err : out, MAX_ANSWER),
      stderr: start.output ? Promise.resolve('') : collect(err, MAX_STDERR),
      exited,
      ended: () => ended,
      signal: (signal) => {
        if (!ended) send(native, { pid, pidfd, signal })
      },
      close: () => {
        for (const socket of sockets) socket?.destroy()
        if (pidfd !== undefined) native.close(pidfd)
      },
    }
  } catch (e) {
    for (const fd of open) native.close(fd)
    const message = e instanceof Error ? e.message : String(e)
    throw new Fault('internal', `${start.what}: cannot start ${program}: ${message}`, { cause: e })
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
