// SPDX-License-Identifier: Apache-2.0
/** The sink of the daemon's log: pino for JSON lines, plain text for people; both to stderr. */
import { pino } from 'pino'
import type { Log, LogFields } from './base/log.ts'

export type Level = 'debug' | 'info' | 'warn' | 'error'
const ORDER: readonly Level[] = ['debug', 'info', 'warn', 'error']

/** Fields of `with` are merged when a line is written, not before: most calls write none. */
function jsonLog(level: Level): Log {
  const formatters = { level: (label: string) => ({ level: label }) }
  const p = pino(
    { level, base: null, formatters, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  const wrap = (own: LogFields): Log => {
    const say = (at: Level) => (event: string, fields?: LogFields) => {
      if (p.isLevelEnabled(at)) p[at]({ ...own, ...fields }, event)
    }
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      with: (fields) => wrap({ ...own, ...fields }),
    }
  }
  return wrap({})
}

function textLog(level: Level): Log {
  const wrap = (own: LogFields): Log => {
    const say = (at: Level) => (event: string, fields?: LogFields) => {
      if (ORDER.indexOf(at) < ORDER.indexOf(level)) return
      const all = Object.entries({ ...own, ...fields }).map(
        ([k, v]) => `${k}=${typeof v === 'string' && !/[\s"=]/.test(v) ? v : JSON.stringify(v)}`,
      )
      process.stderr.write(
        `${[new Date().toISOString(), at.toUpperCase().padEnd(5), event, ...all].join(' ')}\n`,
      )
    }
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      with: (fields) => wrap({ ...own, ...fields }),
    }
  }
  return wrap({})
}

export function openLog(options: { level: Level; format: 'json' | 'text' }): Log {
  return options.format === 'json' ? jsonLog(options.level) : textLog(options.level)
}
