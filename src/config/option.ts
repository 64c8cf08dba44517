// SPDX-License-Identifier: Apache-2.0
/**
 * Option: what one setting is, and how its value is read from TOML, a flag or the environment. A reader gives
 * the value or says in a few words what it expected; it never throws. Which options exist is in schema.ts.
 */
import { type AbsPath, absPath, clip } from '../model/ids.ts'

/** A value that was read, or what is wrong with it. */
export type Read<T> = { readonly value: T } | { readonly problem: string }

export interface Option<T> {
  /** How the documents name the type. */
  readonly type: string
  /** Undefined: it follows from other options (see `derived` of schema.ts). */
  readonly fallback: T | undefined
  /** One or two sentences for the operator. */
  readonly help: string
  /** Can change while the daemon runs. */
  readonly reloadable: boolean
  /** Flags take it without a value, and its `--no-` form. */
  readonly isSwitch: boolean
  /** A value from TOML, or text from a flag or the environment. */
  readonly read: (raw: unknown) => Read<T>
  /** The value as TOML shows it. */
  readonly toToml: (value: T) => string
}

interface About {
  readonly help: string
  readonly reloadable?: boolean
}

const quote = (text: string): string => JSON.stringify(text)

/** What was found, for a message. */
const shown = (raw: unknown): string =>
  typeof raw === 'object' && raw !== null
    ? Array.isArray(raw)
      ? 'a list'
      : 'a table'
    : clip(JSON.stringify(raw) ?? String(raw))

function make<T>(
  type: string,
  about: About,
  rest: Pick<Option<T>, 'read' | 'toToml' | 'fallback'>,
): Option<T> {
  return { type, help: about.help, reloadable: about.reloadable ?? false, isSwitch: false, ...rest }
}

function readText(raw: unknown, rule: (text: string) => string | undefined): Read<string> {
  if (typeof raw !== 'string') return { problem: `${shown(raw)} is not a string` }
  const wrong = rule(raw)
  return wrong === undefined ? { value: raw } : { problem: wrong }
}

/** A string; `rule` gives what is wrong with one, or undefined. */
export function text(
  fallback: string,
  about: About,
  rule: (text: string) => string | undefined = () => undefined,
): Option<string> {
  return make('string', about, { fallback, read: (raw) => readText(raw, rule), toToml: quote })
}

/** One of a few words. */
export function oneOf<const W extends string>(words: readonly W[], fallback: W, about: About): Option<W> {
  const read = (raw: unknown): Read<W> => {
    const value = words.find((w) => w === raw)
    return value === undefined ? { problem: `${shown(raw)} is not one of ${words.join(', ')}` } : { value }
  }
  return make(words.map((w) => `\`${w}\``).join(', '), about, { fallback, read, toToml: quote })
}

export function onOff(fallback: boolean, about: About): Option<boolean> {
  const read = (raw: unknown): Read<boolean> => {
    if (raw === true || raw === 'true') return { value: true }
    if (raw === false || raw === 'false') return { value: false }
    return { problem: `${shown(raw)} is not true or false` }
  }
  return { ...make('true or false', about, { fallback, read, toToml: String }), isSwitch: true }
}

function readPath(raw: unknown): Read<AbsPath> {
  if (typeof raw !== 'string') return { problem: `${shown(raw)} is not a string` }
  try {
    return { value: absPath(raw) }
  } catch {
    return { problem: `${shown(raw)} is not an absolute path without ".."` }
  }
}

/** A normalised absolute path of at most `maxBytes`. Without a fallback it follows from other options. */
export function path(fallback: string | undefined, about: About, maxBytes = 4095): Option<AbsPath> {
  const read = (raw: unknown): Read<AbsPath> => {
    const got = readPath(raw)
    if ('problem' in got || Buffer.byteLength(got.value) <= maxBytes) return got
    return {
      problem: `${Buffer.byteLength(got.value)} bytes are too long for this path, at most ${maxBytes}`,
    }
  }
  return make('path', about, {
    fallback: fallback === undefined ? undefined : absPath(fallback),
    read,
    toToml: quote,
  })
}

/** A list of absolute paths; a flag or variable separates them by commas. */
export function paths(fallback: readonly string[], about: About): Option<readonly AbsPath[]> {
  const read = (raw: unknown): Read<readonly AbsPath[]> => {
    const items: unknown = typeof raw === 'string' ? raw.split(',').filter((p) => p !== '') : raw
    if (!Array.isArray(items)) return { problem: `${shown(raw)} is not a list of paths` }
    const values: AbsPath[] = []
    for (const item of items) {
      const got = readPath(item)
      if ('problem' in got) return got
      values.push(got.value)
    }
    return { value: Object.freeze(values) }
  }
  return make('list of paths', about, {
    fallback: Object.freeze(fallback.map(absPath)),
    read,
    toToml: (value) => `[${value.map(quote).join(', ')}]`,
  })
}

/** A list of strings; `rule` gives what is wrong with one. A flag or variable separates them by commas. */
export function texts(
  fallback: readonly string[],
  about: About,
  rule: (text: string) => string | undefined,
): Option<readonly string[]> {
  const read = (raw: unknown): Read<readonly string[]> => {
    const items: unknown = typeof raw === 'string' ? raw.split(',').filter((p) => p !== '') : raw
    if (!Array.isArray(items)) return { problem: `${shown(raw)} is not a list of strings` }
    const values: string[] = []
    for (const item of items) {
      const got = readText(item, rule)
      if ('problem' in got) return got
      values.push(got.value)
    }
    return { value: Object.freeze(values) }
  }
  return make('list of strings', about, {
    fallback: Object.freeze([...fallback]),
    read,
    toToml: (value) => `[${value.map(quote).join(', ')}]`,
  })
}

interface Range {
  readonly min: number
  readonly max: number
}

interface Unit {
  readonly name: string
  readonly suffixes: Readonly<Record<string, number>>
}

function readNumber(raw: unknown, range: Range, unit: Unit | undefined): Read<number> {
  const found = typeof raw === 'string' ? /^(-?\d{1,15})\s*([a-zA-Z]*)$/.exec(raw) : undefined
  const factor = found?.[2] ? unit?.suffixes[found[2]] : 1
  const value = typeof raw === 'number' ? raw : Number(found?.[1] ?? Number.NaN) * (factor ?? Number.NaN)
  const units =
    unit === undefined ? '' : ` of ${unit.name} (or a string as "1${Object.keys(unit.suffixes).at(-1)}")`
  if (!Number.isSafeInteger(value)) return { problem: `${shown(raw)} is not a whole number${units}` }
  if (value < range.min || value > range.max)
    return { problem: `${value} is not between ${range.min} and ${range.max}` }
  return { value }
}

export function integer(fallback: number, range: Range, about: About): Option<number> {
  return make(`whole number, ${range.min} to ${range.max}`, about, {
    fallback,
    read: (raw) => readNumber(raw, range, undefined),
    toToml: String,
  })
}

/** Milliseconds; TOML may also say "90s". */
export function millis(fallback: number, range: Range, about: About): Option<number> {
  const unit = { name: 'milliseconds', suffixes: { ms: 1, m: 60_000, h: 3_600_000, s: 1000 } }
  return make(`milliseconds, ${range.min} to ${range.max}, or a string as \`"90s"\``, about, {
    fallback,
    read: (raw) => readNumber(raw, range, unit),
    toToml: String,
  })
}

/** Bytes; TOML may also say "80MiB". */
export function bytes(fallback: number, range: Range, about: About): Option<number> {
  const unit = { name: 'bytes', suffixes: { B: 1, KiB: 1024, GiB: 1024 ** 3, MiB: 1024 ** 2 } }
  return make(`bytes, ${range.min} to ${range.max}, or a string as \`"80MiB"\``, about, {
    fallback,
    read: (raw) => readNumber(raw, range, unit),
    toToml: String,
  })
}

/** What is wrong with the path of a file that need not be given. */
export function fileProblem(s: string): string | undefined {
  return s === '' || s.startsWith('/') ? undefined : `${JSON.stringify(s)} is not an absolute path`
}
