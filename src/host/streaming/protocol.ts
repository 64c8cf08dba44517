// SPDX-License-Identifier: Apache-2.0
/**
 * What the daemon and its stream worker say to each other: JSON lines. The daemon begins with the settings and
 * then sends tickets; the worker says where it listens, answers each ticket with its path, and says when it has
 * nothing to do. When its stdin closes it takes no more clients, lets the sessions end, and ends. Types and
 * parsers only.
 */
import type { FaultKind } from '../../base/fault.ts'
import { typedLine } from '../../base/json-line.ts'
import type { StreamTicket } from '../../model/streaming.ts'

export interface StreamSettings {
  /** A literal address, and a port or 0 for any. */
  readonly host: string
  readonly port: number
  /** Files with PEM in them; with `clientCaFile` a client has to show a certificate of that authority. */
  readonly tls?: {
    readonly certFile: string
    readonly keyFile: string
    readonly clientCaFile?: string | undefined
  }
  /** Absolute path. */
  readonly addon: string
  /** Without a session and without a token that waits: then it says `idle`. */
  readonly idleMs: number
}

export type ToWorker =
  | { readonly type: 'start'; readonly settings: StreamSettings }
  | { readonly type: 'offer'; readonly id: number; readonly ticket: StreamTicket }

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export type FromWorker =
  | { readonly type: 'ready'; readonly url: string }
  | { readonly type: 'failed'; readonly kind: FaultKind; readonly message: string }
  | { readonly type: 'offered'; readonly id: number; readonly path: string }
  | { readonly type: 'refused'; readonly id: number; readonly kind: FaultKind; readonly message: string }
  /** Nothing to do since a while; `offers` were asked for until now. */
  | { readonly type: 'idle'; readonly offers: number }
  | {
      readonly type: 'log'
      readonly level: LogLevel
      readonly event: string
      readonly fields: Readonly<Record<string, unknown>>
    }

const types = new Set<FromWorker['type']>(['ready', 'failed', 'offered', 'refused', 'idle', 'log'])

export function formatLine(message: ToWorker | FromWorker): string {
  return `${JSON.stringify(message)}\n`
}

/** A line on the worker's stdin. The daemon is of the same build: its own type comes back. */
export function parseToWorker(line: string): ToWorker {
  return JSON.parse(line) as ToWorker
}

/** A line of the worker's stdout. Both ends are of one build: only the frame is checked. Throws `internal`. */
export function parseFromWorker(line: string): FromWorker {
  return typedLine<FromWorker>(line, types, 'the stream worker')
}
