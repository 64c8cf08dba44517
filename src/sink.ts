// SPDX-License-Identifier: Apache-2.0
/** The sink of the daemon's log: pino for JSON lines, plain text for people; both to stderr. */
import { pino } from 'pino'
import type { Log, LogFields } from './base/log.ts'

export type Level = 'debug' | 'info' | 'warn' | 'error'
const ORDER: readonly Level[] = ['debug', 'info', 'warn', 'error']

type Write = (at: Level, event: string, fields: LogFields) => void

/** Fields of `with` are merged when a line is written, not before: most calls write none. */
function logOf(enabled: (at: Level) => boolean, write: Write, own: LogFields = {}): Log {
  const say = (at: Level) => (event: string, fields?: LogFields) => {
    if (enabled(at)) write(at, event, { ...own, ...fields })
  }
  return {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    with: (fields) => logOf(enabled, write, { ...own, ...fields }),
  }
}

function jsonLog(level: Level): Log {
  const formatters = { level: (label: string) => ({ level: label }) }
  const p = pino(
    { level, base: null, formatters, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  return logOf(
    (at) => p.isLevelEnabled(at),
    (at, event, fields) => p[at](fields, event),
  )
}

function textLog(level: Level): Log {
  const plain = (v: unknown) => (typeof v === 'string' && !/[\s"=]/.test(v) ? v : JSON.stringify(v))
  return logOf(
    (at) => ORDER.indexOf(at) >= ORDER.indexOf(level),
    (at, event, fields) => {
      const words = Object.entries(fields).map(([k, v]) => `${k}=${plain(v)}`)
      const line = [new Date().toISOString(), at.toUpperCase().padEnd(5), event, ...words].join(' ')
      process.stderr.write(`${line}\n`)
    },
  )
}

export function openLog(options: { level: Level; format: 'json' | 'text' }): Log {
  return options.format === 'json' ? jsonLog(options.level) : textLog(options.level)
}
