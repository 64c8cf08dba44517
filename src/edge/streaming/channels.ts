// SPDX-License-Identifier: Apache-2.0
/**
 * Channels: the one value behind SPDY and WebSocket, and what the server needs from whoever carries a session
 * out. Types only; nothing here knows a wire format, a container or a process.
 */
import type { Duplex, Readable, Writable } from 'node:stream'

export interface TerminalSize {
  readonly cols: number
  readonly rows: number
}

/** How a session ended, as the client is told. */
export type SessionEnd =
  | { readonly is: 'success' }
  /** The process ended with a code other than 0. */
  | { readonly is: 'exit'; readonly code: number }
  /** It never ran, or the way to it was lost. */
  | { readonly is: 'failure'; readonly message: string }

/** The client's ends of a session. Those that were not asked for are absent. All hold back who is faster. */
export interface Channels {
  readonly stdin?: Readable
  readonly stdout?: Writable
  readonly stderr?: Writable
  /** Calls back with each size of the client's terminal, also with one that came before the call. */
  onResize(tell: (size: TerminalSize) => void): void
  /** Ends the outputs, tells how the session ended, and resolves when all of it is with the kernel. Idempotent. */
  close(end: SessionEnd): Promise<void>
}

/** What a token stands for. `plan` is for whoever carries it out; the edge never looks into it. */
export interface Ticket<Plan> {
  readonly kind: 'exec' | 'attach' | 'portforward'
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  readonly tty: boolean
  /** Ports that a port-forward may name; any if empty. */
  readonly ports: readonly number[]
  readonly plan: Plan
}

/** One TCP connection of a port-forward. */
export interface Forwarded {
  readonly port: number
  /** Both directions, each ended on its own. */
  readonly data: Duplex
}

/** Who carries sessions out. The signal is aborted when the client has gone; then nothing of the session may stay. */
export interface Sessions<Plan> {
  /** Runs or joins the process; resolves when it is over and all output is in the channels. Never closes them. */
  run(plan: Plan, channels: Channels, signal: AbortSignal): Promise<SessionEnd>
  /** Connects and copies both ways until both directions have ended. Rejects with why it could not connect. */
  forward(plan: Plan, connection: Forwarded, signal: AbortSignal): Promise<void>
}
