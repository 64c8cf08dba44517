// SPDX-License-Identifier: Apache-2.0
/**
 * A worker: a Node program of ours in a process of its own, which is talked to by lines on its stdin and stdout.
 * Owns the pipes, the spawn and the end (TERM, then KILL, always awaited). Whatever is secret goes through the
 * pipe: never argv, environment, log or error. Does not know what the lines mean.
 */
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { Fault } from '../base/fault.ts'
import type { Fd, Native } from './native.ts'

export interface WorkerProgram {
  readonly native: Pick<Native, 'spawn' | 'pipe' | 'close' | 'pidfdOpen' | 'pidfdSignal'>
  /** Absolute paths: node itself, the worker's entry file. */
  readonly node: string
  readonly worker: string
}

export interface WorkerStart extends WorkerProgram {
  /** What it is called, in the list of processes and in errors. */
  readonly name: string
  /** For node. */
  readonly flags: readonly string[]
  /** The folder it is in; `/` when absent. */
  readonly cwd?: string
  /** Become the worker's descriptors 3, 4, …; they stay the caller's to close. */
  readonly extra?: readonly Fd[]
}

export interface WorkerProcess {
  readonly pid: number
  /** The next line; undefined when it has ended. One reader at a time. */
  nextLine(): Promise<string | undefined>
  readonly exited: Promise<{ readonly code: number; readonly signal: number }>
  /** One or more whole lines. Without effect once the pipe is closed. */
  write(lines: string): void
  /** The beginning of what it wrote there. */
  stderr(): string
  /** Closes its stdin, which tells it to end by itself. Idempotent. */
  closeInput(): void
  /** Ends and reaps it; true if it ended by itself, so that it has tidied up. Idempotent. @abort finishes */
  end(): Promise<boolean>
}

const SIGTERM = 15
const SIGKILL = 9
const KILL_GRACE_MS = 3_000
const STDERR_MAX = 4_096
/** What a worker may need of the daemon's environment: proxies and certificate stores. */
const PASSED_ENV = /^(?:https?_proxy|no_proxy|all_proxy|SSL_CERT_(?:FILE|DIR)|NODE_EXTRA_CA_CERTS|TZ)$/i

/** Throws `internal`. */
export function startWorkerProcess(options: WorkerStart): WorkerProcess {
  const { native } = options
  const open: Fd[] = []
  const pipe = () => {
    const ends = native.pipe()
    open.push(...ends)
    return ends
  }
  const { promise: exited, resolve } = Promise.withResolvers<{ code: number; signal: number }>()
  let pid: number
  let ours: readonly [Fd, Fd, Fd]
  try {
    const [inRead, inWrite] = pipe()
    const [outRead, outWrite] = pipe()
    const [errRead, errWrite] = pipe()
    pid = native.spawn(
      {
        file: options.node,
        argv: [options.name, ...options.flags, options.worker],
        env: Object.entries(process.env).flatMap(([k, v]) =>
          PASSED_ENV.test(k) && v !== undefined ? [`${k}=${v}`] : [],
        ),
        cwd: options.cwd ?? '/',
        fds: [inRead, outWrite, errWrite, ...(options.extra ?? [])],
        newSession: true,
      },
      (code, signal) => resolve({ code, signal }),
    )
    ours = [inWrite, outRead, errRead]
  } catch (e) {
    for (const fd of open) native.close(fd)
    const why = e instanceof Error ? e.message : String(e)
    throw new Fault('internal', `cannot start ${options.name}: ${why}`, { cause: e })
  }
  for (const fd of open) if (!ours.includes(fd)) native.close(fd)
  return own(native, { pid, ours, exited })
}

function own(
  native: WorkerProgram['native'],
  child: { pid: number; ours: readonly [Fd, Fd, Fd]; exited: Promise<{ code: number; signal: number }> },
): WorkerProcess {
  const [inFd, outFd, errFd] = child.ours
  const stdin = new Socket({ fd: inFd, readable: false, writable: true })
  const stdout = new Socket({ fd: outFd, readable: true, writable: false })
  const stderr = new Socket({ fd: errFd, readable: true, writable: false })
  let said = ''
  for (const socket of [stdin, stdout, stderr]) socket.on('error', () => {})
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < STDERR_MAX) said += chunk.toString('utf8')
  })
  let reaped = false
  child.exited.then(() => {
    reaped = true
  })
  const kill = (signal: number) => {
    if (reaped) return
    try {
      const pidfd = native.pidfdOpen(child.pid)
      try {
        native.pidfdSignal(pidfd, signal)
      } finally {
        native.close(pidfd)
      }
    } catch {
      // It has just ended: its exit is on the way.
    }
  }
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  return {
    pid: child.pid,
    nextLine: async () => {
      const step = await lines.next()
      return step.done === true ? undefined : step.value
    },
    exited: child.exited,
    write: (text) => {
      if (!stdin.destroyed) stdin.write(text)
    },
    stderr: () => said.slice(0, STDERR_MAX).trim(),
    closeInput: () => void stdin.destroy(),
    async end() {
      stdin.destroy()
      const ladder = [setTimeout(() => kill(SIGTERM), 0), setTimeout(() => kill(SIGKILL), KILL_GRACE_MS)]
      const { signal } = await child.exited
      for (const rung of ladder) clearTimeout(rung)
      stdout.destroy()
      stderr.destroy()
      return signal === 0
    },
  }
}
