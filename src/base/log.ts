// SPDX-License-Identifier: Apache-2.0
/**
 * Log: what the code below the edge needs of a logger. An event name and fields, nothing else; the sink and
 * its format are chosen by `compose.ts`. Secrets never enter: a field is a plain value that somebody chose.
 */

export type LogFields = Readonly<Record<string, unknown>>

/** The least important first. */
export const LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type Level = (typeof LEVELS)[number]

export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** The same log with `fields` on each line. */
  with(fields: LogFields): Log
}

/** A log that says nothing: for tests and for short tools. */
export const silent: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  with: () => silent,
}
