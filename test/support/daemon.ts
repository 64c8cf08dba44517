// SPDX-License-Identifier: Apache-2.0
/**
 * daemon: `bin/gantryd` started on a workspace, watched and ended. It is ready when its socket answers Version;
 * one that ends before that fails the test with the end of its log. What the daemon starts outlives it: that is
 * the workspace's to clear up.
 */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Exited, OwnedChild } from './child.ts'
import { startChild } from './child.ts'
import type { CriClient } from './cri-client.ts'
import { connect } from './cri-client.ts'
import type { Workspace } from './workspace.ts'

const program = join(dirname(fileURLToPath(import.meta.url)), '../../bin/gantryd')

export interface DaemonOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly flags?: readonly string[]
  /** How long it may take until Version is answered; 10 s. */
  readonly readyWithinMs?: number
}

export interface Daemon {
  /** Of the process that runs now. */
  readonly pid: number
  readonly socket: string
  /** A client of the socket; it connects again by itself after a restart. */
  readonly client: CriClient
  /** From the start of the process to the first answer. */
  readonly readyAfterMs: number
  /** The log of all its processes so far, line by line. */
  readonly log: readonly string[]
  /** Settles when the process that runs now has ended. */
  readonly exited: Promise<Exited>
  /** Log lines as objects whose `msg` or `event` is `event`. */
  events(event: string): readonly Readonly<Record<string, unknown>>[]
  /** SIGKILL; resolves when the process is gone. The containers stay. */
  kill9(): Promise<void>
  /** SIGTERM, KILL after `graceMs`; resolves with how it ended. Idempotent. Closes the client. */
  stop(graceMs?: number): Promise<Exited>
  /** Ends it (TERM, or `kill9` first by the caller) and starts it again, with other options if given. */
  restart(options?: DaemonOptions): Promise<void>
}

interface Started {
  readonly child: OwnedChild
  readonly readyAfterMs: number
}

async function startOnce(w: Workspace, client: CriClient, options: DaemonOptions): Promise<Started> {
  const startedMs = performance.now()
  const child = await startChild(program, ['--config', w.configFile, ...(options.flags ?? [])], {
    env: { PATH: process.env.PATH, ...options.env },
  })
  let ended: Exited | undefined
  void child.exited.then((e) => {
    ended = e
  })
  const endMs = startedMs + (options.readyWithinMs ?? 10_000)
  for (;;) {
    if (ended !== undefined)
      throw new Error(
        `gantryd ended with ${ended.signal ?? ended.code} before it was ready:\n${child.tail()}`,
      )
    const answer = await client
      .call('Version', {}, { deadlineMs: 500, waitForReady: true })
      .catch(() => undefined)
    if (answer !== undefined) return { child, readyAfterMs: performance.now() - startedMs }
    if (performance.now() > endMs) {
      await child.end()
      throw new Error(`gantryd did not answer Version in time:\n${child.tail()}`)
    }
  }
}

function matching(lines: readonly string[], event: string): Record<string, unknown>[] {
  return lines.flatMap((line) => {
    if (!line.startsWith('{')) return []
    const entry: Record<string, unknown> = JSON.parse(line)
    return entry.msg === event || entry.event === event ? [entry] : []
  })
}

/** Starts the daemon and waits until it answers. Rejects, with the daemon ended, when it does not. */
export async function startDaemon(w: Workspace, options: DaemonOptions = {}): Promise<Daemon> {
  const client = connect(w.socket)
  const earlier: string[] = []
  let now = await startOnce(w, client, options).catch((e: unknown) => {
    client.close()
    throw e
  })
  const log = (): readonly string[] => [...earlier, ...now.child.lines]
  return {
    get pid() {
      return now.child.pid
    },
    get readyAfterMs() {
      return now.readyAfterMs
    },
    get log() {
      return log()
    },
    get exited() {
      return now.child.exited
    },
    socket: w.socket,
    client,
    events: (event) => matching(log(), event),
    kill9: async () => {
      now.child.signal('SIGKILL')
      await now.child.exited
    },
    stop: async (graceMs = 15_000) => {
      client.close()
      return now.child.end(graceMs)
    },
    restart: async (again = options) => {
      await now.child.end(15_000)
      earlier.push(...now.child.lines)
      now = await startOnce(w, client, again)
    },
  }
}
