// SPDX-License-Identifier: Apache-2.0
/**
 * The sink of the daemon's log: pino for JSON lines, plain text for people; both to stderr. The level can be changed
 * while it is open. Where stderr is systemd's journal a line begins with its priority. What the protos mark
 * `debug_redact` is not written, whoever hands it over.
 */
import { fstatSync } from 'node:fs'
import { pino } from 'pino'
import { LEVELS, type Level, type Log, type LogFields } from './base/log.ts'
import { redacted as ofCri } from './edge/cri/gen/redact.ts'
import { redacted as ofNode } from './edge/node/gen/redact.ts'

/** sd-daemon(3): the priorities of syslog in front of a line. */
const PRIORITY: Readonly<Record<Level, string>> = { debug: '<7>', info: '<6>', warn: '<4>', error: '<3>' }

/** `identityToken`, `identity_token` and `Identity-Token` are one name. */
const nameOf = (key: string) => key.toLowerCase().replaceAll(/[_-]/g, '')
const SECRET = new Set([...ofCri, ...ofNode].map((field) => nameOf(field.slice(field.indexOf('.') + 1))))

/** A field's value without secrets, at any depth, and of types that JSON has. */
function shown(key: string, value: unknown): unknown {
  if (SECRET.has(nameOf(key))) return '[redacted]'
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((v) => shown('', v))
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown(k, v)]))
}

type Write = (at: Level, event: string, fields: LogFields) => void

/** Fields of `with` are merged when a line is written, not before: most calls write none. */
function logOf(enabled: (at: Level) => boolean, write: Write, own: LogFields = {}): Log {
  const say = (at: Level) => (event: string, fields?: LogFields) => {
    if (enabled(at)) write(at, event, shown('', { ...own, ...fields }) as LogFields)
  }
  return {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    with: (fields) => logOf(enabled, write, { ...own, ...fields }),
  }
}

/** Is our stderr the journal itself, and not something that a parent with a journal has put in its place? */
function isJournal(): boolean {
  const { dev, ino } = fstatSync(2, { bigint: true })
  return process.env.JOURNAL_STREAM === `${dev}:${ino}`
}

function jsonWriter(prefix: (at: Level) => string): Write {
  const formatters = { level: (label: string) => ({ level: label }) }
  const stderr = pino.destination({ fd: 2, sync: true })
  let before = ''
  const p = pino(
    { level: 'debug', base: null, formatters, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line: string) => stderr.write(before + line) },
  )
  return (at, event, fields) => {
    before = prefix(at)
    p[at](fields, event)
  }
}

function textWriter(prefix: (at: Level) => string): Write {
  const plain = (v: unknown) => (typeof v === 'string' && !/[\s"=]/.test(v) ? v : JSON.stringify(v))
  return (at, event, fields) => {
    const words = Object.entries(fields).map(([k, v]) => `${k}=${plain(v)}`)
    const line = [new Date().toISOString(), at.toUpperCase().padEnd(5), event, ...words].join(' ')
    process.stderr.write(`${prefix(at)}${line}\n`)
  }
}

export interface OpenLog {
  readonly log: Log
  /** The least important lines that are written; may be changed at any time. */
  level: Level
}

export function openLog(options: { level: Level; format: 'json' | 'text' }): OpenLog {
  const prefix = isJournal() ? (at: Level) => PRIORITY[at] : () => ''
  const sink: { level: Level } = { level: options.level }
  const enabled = (at: Level) => LEVELS.indexOf(at) >= LEVELS.indexOf(sink.level)
  const write = options.format === 'json' ? jsonWriter(prefix) : textWriter(prefix)
  return Object.assign(sink, { log: logOf(enabled, write) })
}
