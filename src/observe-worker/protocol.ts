// SPDX-License-Identifier: Apache-2.0
/**
 * What the daemon and its observe worker say to each other: JSON lines. The daemon begins with the settings, sends
 * what has ended, and answers `ask` with its state; the worker says `took` when it has a batch, so that the daemon
 * never has more than one on the way. Names and numbers only. Types and parsers only.
 */
import { typedLine } from '../base/json-line.ts'
import type { TlsPaths } from '../edge/tls.ts'

export interface ObserveSettings {
  readonly version: string
  readonly nodeName: string
  /** `host:port` or `unix:///path`. */
  readonly metrics?: { readonly address: string; readonly tls?: TlsPaths }
  readonly traces?: { readonly endpoint: string; readonly ratio: number }
}

/** A call that has ended. Times are milliseconds since 1970. */
export interface EndedTask {
  readonly id: number
  readonly name: string
  /** gRPC status. */
  readonly code: number
  readonly beganMs: number
  readonly endedMs: number
  readonly traceparent?: string | undefined
}

/** A stage that has ended. A task's stages come before its end, if they end before it. */
export interface EndedStage {
  readonly work: string
  readonly name: string
  /** 0: of no task. */
  readonly task: number
  readonly beganMs: number
  readonly endedMs: number
  /** The kind of its fault; empty: it went well. */
  readonly fault: string
}

type Counts = Readonly<Record<string, number>>

/** The gauges. */
export interface DaemonState {
  readonly pods: Counts
  readonly containers: Counts
  readonly images: Counts
  readonly values: Readonly<Record<GaugeName, number>>
  /** Processor time of the daemon since its start. */
  readonly cpuSeconds: number
  /** Lag of the event loop since the last time, seconds by quantile. */
  readonly loopLag: Counts
}

/** Gauges of one value: name and help, also of the exposition. */
export const GAUGES = {
  gantry_leftovers: 'Pods and containers that could not be taken apart yet.',
  gantry_quarantined_records: 'Records that could not be read and wait for a person.',
  gantry_problems: 'Problems that gantry status lists.',
  gantry_open_calls: 'Calls that have not been answered yet.',
  gantry_open_stages: 'Acts and other stages that run now.',
  gantry_oldest_call_seconds: 'Age of the oldest call that is meant to end; 0 without one.',
  gantry_monitors: 'Containers that have a monitor.',
  gantry_pulls_in_flight: 'Pulls that run now.',
  gantry_joined_calls: 'Pieces of work that equal calls share.',
  gantry_locks_held: 'Objects whose lock is held.',
  gantry_lock_waiters: 'Calls that wait for a lock.',
  gantry_process_resident_memory_bytes: 'Resident memory of the daemon.',
  gantry_process_heap_used_bytes: 'Used heap of the daemon.',
  gantry_process_open_fds: 'Open descriptors of the daemon.',
  gantry_process_start_time_seconds: 'When the daemon was started, since 1970.',
} as const
export type GaugeName = keyof typeof GAUGES

export type ToWorker =
  | { readonly type: 'start'; readonly settings: ObserveSettings }
  | {
      readonly type: 'ended'
      readonly tasks: readonly EndedTask[]
      readonly stages: readonly EndedStage[]
      /** How many could not be kept since the last batch. */
      readonly dropped: number
    }
  | { readonly type: 'state'; readonly state: DaemonState }

export type FromWorker =
  | { readonly type: 'ready'; readonly url?: string | undefined }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'took' }
  | { readonly type: 'ask' }
  | { readonly type: 'warn'; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }

const types = new Set<FromWorker['type']>(['ready', 'failed', 'took', 'ask', 'warn'])

/** One line, its end included. */
export function formatLine(message: ToWorker | FromWorker): string {
  return `${JSON.stringify(message)}\n`
}

/** A line on the worker's stdin. The daemon is of the same build: its own type comes back. */
export function parseToWorker(line: string): ToWorker {
  return JSON.parse(line) as ToWorker
}

/** A line of the worker's stdout. Throws `internal`. */
export function parseFromWorker(line: string): FromWorker {
  return typedLine<FromWorker>(line, types, 'the observe worker')
}
