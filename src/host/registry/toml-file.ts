// SPDX-License-Identifier: Apache-2.0
/**
 * Typed access to a TOML file that a person wrote. Every complaint is a Fault `invalid` that names file, line and
 * key. Reads and judges types only; what the keys mean is known by who asks.
 */
import { readFile } from 'node:fs/promises'
import { parse, TomlError } from 'smol-toml'
import { errnoCode, Fault } from '../../base/fault.ts'

type Table = Readonly<Record<string, unknown>>

/** The text of a file, or undefined if there is none; any other failure is `unavailable`. @abort finishes */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return undefined
    throw new Fault('unavailable', `${path} cannot be read: ${e instanceof Error ? e.message : String(e)}`, {
      cause: e,
    })
  }
}

/** The file's top level. Throws `invalid` with file, line and column for what is not TOML. */
export function parseTomlFile(file: string, text: string): TomlSection {
  try {
    return new TomlSection({ file, lines: text.split(/\r?\n/) }, { path: [], at: -1 }, parse(text))
  } catch (e) {
    if (!(e instanceof TomlError)) throw e
    const why = e.message.split('\n', 1)[0]
    throw new Fault('invalid', `${file}:${e.line}:${e.column}: ${why}: correct the file or remove it`)
  }
}

interface Source {
  readonly file: string
  readonly lines: readonly string[]
}

/** One table of a file. */
export class TomlSection {
  readonly #source: Source
  readonly #path: readonly string[]
  /** Index of the line with the table's header; -1 at the top level. */
  readonly #at: number
  readonly #values: Table

  constructor(
    source: Source,
    where: { readonly path: readonly string[]; readonly at: number },
    values: Table,
  ) {
    this.#source = source
    this.#path = where.path
    this.#at = where.at
    this.#values = values
  }

  get keys(): readonly string[] {
    return Object.keys(this.#values)
  }

  has(key: string): boolean {
    return this.#values[key] !== undefined
  }

  /** `file:line` of the table, or of a key in it. */
  place(key?: string): string {
    const line = key === undefined ? this.#at : this.#lineOf(key)
    return `${this.#source.file}:${Math.max(line, 0) + 1}`
  }

  bad(key: string, why: string): Fault {
    return new Fault('invalid', `${this.place(key)}: ${this.#named(key)}: ${why}`)
  }

  /** One sentence for each key that is none of `known`: it has no effect, which may be a slip of the pen. */
  unknown(known: ReadonlySet<string>): string[] {
    return this.keys
      .filter((key) => !known.has(key))
      .map((key) => `${this.place(key)}: ${this.#named(key)}: unknown, it has no effect`)
  }

  text(key: string): string | undefined {
    const value = this.#values[key]
    if (value === undefined || typeof value === 'string') return value
    throw this.bad(key, 'must be a string')
  }

  flag(key: string): boolean | undefined {
    const value = this.#values[key]
    if (value === undefined || typeof value === 'boolean') return value
    throw this.bad(key, 'must be true or false')
  }

  /** The entries of a list, or a single value as a list of one; undefined if the key is not there. */
  list(key: string): readonly unknown[] | undefined {
    const value = this.#values[key]
    if (value === undefined) return undefined
    return Array.isArray(value) ? value : [value]
  }

  texts(key: string): readonly string[] | undefined {
    const list = this.list(key)
    if (list === undefined || list.every((v) => typeof v === 'string')) return list
    throw this.bad(key, 'must be a string or a list of strings')
  }

  /** A table in this one; empty if the key is not there. */
  table(key: string): TomlSection {
    const value = this.#values[key]
    if (value !== undefined && !isTable(value)) throw this.bad(key, 'must be a table')
    return this.#child(key, value ?? {}, 0)
  }

  /** The tables of an array of tables, in order. */
  tables(key: string): readonly TomlSection[] {
    const value = this.#values[key]
    if (value === undefined) return []
    if (!Array.isArray(value))
      throw this.bad(key, `must be an array of tables: write [[${this.#named(key)}]]`)
    return value.map((entry: unknown, i) => {
      if (!isTable(entry)) throw this.bad(key, 'must be an array of tables')
      return this.#child(key, entry, i)
    })
  }

  #named(key: string): string {
    return [...this.#path, key].map((p) => (/^[\w-]+$/.test(p) ? p : JSON.stringify(p))).join('.')
  }

  #child(key: string, values: Table, nth: number): TomlSection {
    const path = [...this.#path, key]
    const wanted = path.join('\0')
    let seen = 0
    const at = this.#source.lines.findIndex(
      (line, i) => i > this.#at && headerOf(line) === wanted && seen++ === nth,
    )
    return new TomlSection(this.#source, { path, at: at < 0 ? this.#lineOf(key) : at }, values)
  }

  /** The line of a key between this header and the next; the header itself if the key is not written so. */
  #lineOf(key: string): number {
    const { lines } = this.#source
    for (let i = this.#at + 1; i < lines.length; i++) {
      const line = lines[i] ?? ''
      if (headerOf(line) !== undefined) break
      const first = keyParts(line.split('=', 1)[0] ?? '')[0]
      if (first === key) return i
    }
    return this.#at
  }
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** The parts of a line's table header joined by NUL, or undefined for any other line. */
function headerOf(line: string): string | undefined {
  const match = /^\s*\[\[?(.+?)\]?\]\s*(?:#.*)?$/.exec(line)
  return match ? keyParts(match[1] ?? '').join('\0') : undefined
}

function keyParts(text: string): string[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|([\w-]+)/g)].map((m) => m[1] ?? m[2] ?? m[3] ?? '')
}
