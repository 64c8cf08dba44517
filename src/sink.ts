// SPDX-License-Identifier: Apache-2.0
/** The sink of the daemon's log: pino for JSON lines, plain text for people; both to stderr. */
import { pino } from 'pino'
import type { Log, LogFields } from './base/log.ts'

export type Level = 'debug' | 'info' | 'warn' | 'error'
const ORDER: readonly Level[] = ['debug', 'info', 'warn', 'error']

function jsonLog(level: Level): Log {
  const wrap = (p: pino.Logger): Log => ({
    debug: (event, fields) => p.debug(fields ?? {}, event),
    info: (event, fields) => p.info(fields ?? {}, event),
    warn: (event, fields) => p.warn(fields ?? {}, event),
    error: (event, fields) => p.error(fields ?? {}, event),
    with: (fields) => wrap(p.child(fields)),
  })
  const formatters = { level: (label: string) => ({ level: label }) }
  return wrap(
    pino(
      { level, base: null, formatters, timestamp: pino.stdTimeFunctions.isoTime },
      pino.destination({ fd: 2, sync: true }),
    ),
  )
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
