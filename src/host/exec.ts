// SPDX-License-Identifier: Apache-2.0
/**
 * Running one program to its end: argv, environment, stdin, capped output, a deadline, and exactly one reason
 * for ending (the first that happened). Owns the pipes and the kill ladder TERM → KILL, and always waits for
 * the child to be reaped. Starts programs through the addon only. Does not judge exit codes, does not retry,
 * does not log what it was given: argv and environment may hold secrets.
 */
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { errnoCode, Fault } from '../base/fault.ts'
import { checkpoint, type Scope } from '../base/scope.ts'
import type { Fd, Native } from './native.ts'

export type EndReason = 'exited' | 'timed-out' | 'cancelled' | 'output-too-large'

export interface RunOptions {
  /** Absolute path. */
  readonly file: string
  /** argv with argv[0]. */
  readonly argv: readonly string[]
  /** The whole environment, `NAME=value`. */
  readonly env: readonly string[]
  readonly cwd?: string
  /** Written to the program's stdin, then closed; without it stdin is /dev/null. */
  readonly stdin?: Buffer
  /** Per stream; one byte more and the program is killed. */
  readonly maxOutputBytes: number
  readonly deadlineMs: number
  /** From TERM to KILL. */
  readonly killGraceMs: number
  /** Descriptors that the child gets as 3, 4, … They stay the caller's to close. */
  readonly fds?: readonly Fd[]
  /** Run in a session of its own, and kill that whole process group: for programs that start others. */
  readonly wholeGroup?: boolean
  /** Called with the pid before any stdin is delivered; its rejection kills the program and is thrown. */
  readonly onPid?: (pid: number) => Promise<void> | void
}

export interface RunResult {
  /** Exit code, or -1 when a signal ended it. */
  readonly code: number
  /** Signal number, or 0. */
  readonly signal: number
  readonly stdout: Buffer
  readonly stderr: Buffer
  readonly reason: EndReason
  readonly durationMs: number
}

export type Run = (scope: Scope, deps: ExecDeps, options: RunOptions) => Promise<RunResult>

export interface ExecDeps {
  readonly native: Native
}

/** A daemonized grandchild may hold the output open: after the program's end it is read at most this long. */
const DRAIN_MS = 500
const SIGTERM = 15
const SIGKILL = 9

/** Where systems keep programs. */
export const PROGRAM_DIRS: readonly string[] = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
]

/** The program `name` in the first folder that has it as an executable file. @abort finishes */
export async function findExecutable(dirs: readonly string[], name: string): Promise<string | undefined> {
  for (const dir of dirs) {
    const file = join(dir, name)
    try {
      await access(file, constants.X_OK)
      if ((await stat(file)).isFile()) return file
    } catch {
      // Not here: the next folder.
    }
  }
  return undefined
}

/**
 * Runs a program until it has been reaped. Resolves for every way of ending, also when it was killed: look at
 * `reason`. Rejects only when nothing was started (`not-found`, `denied`, `internal`, or the scope was already
 * aborted) or when `onPid` failed. @abort kills
 */
export async function run(scope: Scope, deps: ExecDeps, options: RunOptions): Promise<RunResult> {
  checkpoint(scope)
  const startedAt = performance.now()
  const child = start(deps.native, options)
  let reason: EndReason | undefined
  let killTimer: NodeJS.Timeout | undefined
  const finish = (why: EndReason) => {
    if (reason !== undefined) return
    reason = why
    if (why === 'exited') return
    child.kill(SIGTERM)
    killTimer = setTimeout(() => child.kill(SIGKILL), options.killGraceMs)
  }
  const onAbort = () => finish('cancelled')
  scope.signal.addEventListener('abort', onAbort, { once: true })
  const deadline = setTimeout(() => finish('timed-out'), options.deadlineMs)
  const tooLarge = () => finish('output-too-large')
  const stdout = collect(child.stdout, options.maxOutputBytes, tooLarge)
  const stderr = collect(child.stderr, options.maxOutputBytes, tooLarge)
  let gateError: unknown
  const gate = deliver(child, options).catch((e: unknown) => {
    gateError = e
    finish('cancelled')
  })
  try {
    const exit = await child.exited
    finish('exited')
    await gate
    await drained([stdout, stderr])
    if (gateError !== undefined) throw gateError
    return {
      ...exit,
      stdout: stdout.bytes(),
      stderr: stderr.bytes(),
      reason: reason ?? 'exited',
      durationMs: performance.now() - startedAt,
    }
  } finally {
    clearTimeout(deadline)
    clearTimeout(killTimer)
    scope.signal.removeEventListener('abort', onAbort)
    child.close()
  }
}

interface Child {
  readonly pid: number
  readonly stdin: Socket | undefined
  readonly stdout: Socket
  readonly stderr: Socket
  readonly exited: Promise<{ code: number; signal: number }>
  kill(signal: number): void
  close(): void
}

function start(native: Native, options: RunOptions): Child {
  const stdio = openStdio(native, options.stdin !== undefined)
  const { promise: exited, resolve } = Promise.withResolvers<{ code: number; signal: number }>()
  let reaped = false
  let pid: number
  try {
    pid = native.spawn(
      {
        file: options.file,
        argv: options.argv,
        env: options.env,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        fds: [...stdio.theirs, ...(options.fds ?? [])],
        newSession: options.wholeGroup === true,
      },
      (code, signal) => {
        reaped = true
        resolve({ code, signal })
      },
    )
  } catch (e) {
    closeAll(native, [...stdio.theirs, ...stdio.ours])
    throw startFault(options.file, e)
  }
  closeAll(native, stdio.theirs)
  const [inWrite, outRead, errRead] = stdio.ours
  const stdin = inWrite < 0 ? undefined : ownSocket(inWrite, 'write')
  const stdout = ownSocket(outRead, 'read')
  const stderr = ownSocket(errRead, 'read')
  const signals = signaller(native, pid, options.wholeGroup === true)
  return {
    pid,
    stdin,
    stdout,
    stderr,
    exited,
    kill: (signal) => {
      if (!reaped) signals.send(signal)
    },
    close: () => {
      signals.close()
      for (const s of [stdin, stdout, stderr]) s?.destroy()
    },
  }
}

type Three = readonly [stdin: Fd, stdout: Fd, stderr: Fd]

/** Three pipes (or /dev/null as stdin), all or none. */
function openStdio(native: Native, withStdin: boolean): { theirs: Three; ours: Three } {
  const open: Fd[] = []
  const pipe = (): [Fd, Fd] => {
    const ends = native.pipe()
    open.push(...ends)
    return ends
  }
  try {
    const [inRead, inWrite] = withStdin ? pipe() : [-1, -1]
    const [outRead, outWrite] = pipe()
    const [errRead, errWrite] = pipe()
    return { theirs: [inRead, outWrite, errWrite], ours: [inWrite, outRead, errRead] }
  } catch (e) {
    closeAll(native, open)
    throw new Fault('exhausted', `cannot open pipes: ${e instanceof Error ? e.message : e}`, { cause: e })
  }
}

function closeAll(native: Native, fds: readonly Fd[]): void {
  for (const fd of fds) if (fd >= 0) native.close(fd)
}

function startFault(file: string, e: unknown): Fault {
  const code = errnoCode(e)
  const kind = code === 'ENOENT' ? 'not-found' : code === 'EACCES' || code === 'EPERM' ? 'denied' : 'internal'
  return new Fault(kind, `cannot start ${file}: ${e instanceof Error ? e.message : String(e)}`, { cause: e })
}

/** Nothing listens for the error of a pipe: a program that does not read its input is no failure of ours. */
function ownSocket(fd: Fd, way: 'read' | 'write'): Socket {
  const socket = new Socket({ fd, readable: way === 'read', writable: way === 'write' })
  socket.on('error', () => {})
  return socket
}

/**
 * Signals for a child that is not reaped yet (the caller sees to that), so that neither its pid nor its process
 * group id can belong to anybody else. Without a pidfd (no descriptors left) the pid itself will do for that.
 */
function signaller(
  native: Native,
  pid: number,
  wholeGroup: boolean,
): { send: (signal: number) => void; close: () => void } {
  let pidfd: Fd | undefined
  try {
    pidfd = native.pidfdOpen(pid)
  } catch {
    pidfd = undefined
  }
  return {
    send: (signal) => {
      if (pid <= 1) return
      try {
        if (wholeGroup) process.kill(-pid, signal)
        else if (pidfd !== undefined) native.pidfdSignal(pidfd, signal)
        else process.kill(pid, signal)
      } catch {
        // Gone already, or not ours to signal: in both cases all that is left is to wait for its end.
      }
    },
    close: () => {
      if (pidfd !== undefined) native.close(pidfd)
      pidfd = undefined
    },
  }
}

async function deliver(child: Child, options: RunOptions): Promise<void> {
  try {
    await options.onPid?.(child.pid)
  } catch (e) {
    child.stdin?.destroy()
    throw e
  }
  if (options.stdin !== undefined) child.stdin?.end(options.stdin)
}

interface Collected {
  readonly ended: Promise<void>
  bytes(): Buffer
}

function collect(socket: Socket, maxBytes: number, tooLarge: () => void): Collected {
  const chunks: Buffer[] = []
  let size = 0
  socket.on('data', (chunk: Buffer) => {
    const room = maxBytes - size
    if (chunk.length <= room) {
      chunks.push(chunk)
      size += chunk.length
      return
    }
    if (room > 0) chunks.push(chunk.subarray(0, room))
    size = maxBytes
    tooLarge()
    socket.destroy()
  })
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return { ended, bytes: () => Buffer.concat(chunks) }
}

async function drained(streams: readonly Collected[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, DRAIN_MS)
  })
  await Promise.race([Promise.all(streams.map((s) => s.ended)), enough])
  clearTimeout(timer)
}
