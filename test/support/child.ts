// SPDX-License-Identifier: Apache-2.0
/**
 * child: programs that a test starts and owns, such as a registry or the daemon. A child dies with the test
 * process (its parent-death signal is KILL), its output is kept, and it is ended by its pid only. What the
 * child itself starts is not touched: that is for whoever knows it.
 */
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Exited {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface OwnedChild {
  readonly pid: number
  /** Settles once, when the process has ended and its output is closed. */
  readonly exited: Promise<Exited>
  /** Lines of stdout and stderr so far, in the order of their arrival. */
  readonly lines: readonly string[]
  /** The last `count` of them as one text, for a failure's message. */
  tail(count?: number): string
  /** Sends the signal; a process that has ended already is left alone. */
  signal(signal: NodeJS.Signals): void
  /** TERM, after `graceMs` KILL; resolves when it has ended. Idempotent. */
  end(graceMs?: number): Promise<Exited>
}

function keepLines(child: ChildProcess, lines: string[]): void {
  for (const stream of [child.stdout, child.stderr]) {
    let rest = ''
    stream?.setEncoding('utf8')
    stream?.on('data', (text: string) => {
      const parts = (rest + text).split('\n')
      rest = parts.pop() ?? ''
      lines.push(...parts)
      if (lines.length > 20_000) lines.splice(0, lines.length - 20_000)
    })
    stream?.on('end', () => {
      if (rest !== '') lines.push(rest)
    })
  }
}

/**
 * Starts `program` with its output captured. Rejects when it cannot be executed; that it starts and fails is
 * for the caller to see from `exited`.
 */
export async function startChild(
  program: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
): Promise<OwnedChild> {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  })
  const lines: string[] = []
  keepLines(child, lines)
  let ended = false
  const exited = new Promise<Exited>((resolve) => {
    child.on('exit', () => {
      ended = true
    })
    child.on('close', (code, signal) => resolve({ code, signal }))
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
  const { pid } = child
  if (pid === undefined || pid <= 1) throw new Error(`${program} has no pid`)
  const signal = (name: NodeJS.Signals): void => {
    if (!ended) child.kill(name)
  }
  return {
    pid,
    exited,
    lines,
    tail: (count = 40) => lines.slice(-count).join('\n'),
    signal,
    end: async (graceMs = 3000) => {
      signal('SIGTERM')
      const done = await Promise.race([exited, sleep(graceMs, undefined, { ref: false })])
      if (done !== undefined) return done
      signal('SIGKILL')
      return exited
    },
  }
}

/** A TCP port of 127.0.0.1 that nobody listened on a moment ago. Another process may take it meanwhile. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise<void>((resolve) => server.close(() => resolve()))
  if (address === null || typeof address === 'string') throw new Error('no TCP address')
  return address.port
}

/** Asks `ready` every `everyMs` until it says true. Rejects with `what` when it did not within `withinMs`. */
export async function waitUntil(
  what: string,
  ready: () => boolean | Promise<boolean>,
  times: { readonly withinMs: number; readonly everyMs?: number },
): Promise<void> {
  const endMs = performance.now() + times.withinMs
  for (;;) {
    if (await ready()) return
    if (performance.now() > endMs) throw new Error(`${what}: not within ${times.withinMs} ms`)
    await sleep(times.everyMs ?? 20)
  }
}
