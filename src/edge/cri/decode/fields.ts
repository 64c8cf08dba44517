// SPDX-License-Identifier: Apache-2.0
/**
 * Reading fields of a request: every rule that a single value can break, and the list of all that are broken.
 * A decoder reads everything it wants, then calls `done`: the client hears of all bad fields at once.
 */
import { Fault } from '../../../base/fault.ts'
import { clip } from '../../../model/ids.ts'
import { LIMITS } from '../../../model/limits.ts'

type Maybe<T> = T | null | undefined

export class Fields {
  readonly #bad: string[] = []
  #unsupported = false

  bad(field: string, why: string): void {
    if (this.#bad.length < 20) this.#bad.push(`${field}: ${why}`)
  }

  /** A field that has a meaning which gantry does not carry out: refused, never ignored. */
  unsupported(field: string, why: string): void {
    this.#unsupported = true
    this.bad(field, why)
  }

  /** Throws one Fault that names every bad field, if there is any. */
  done(what: string): void {
    if (this.#bad.length === 0) return
    throw new Fault(
      this.#unsupported && this.#bad.length === 1 ? 'unsupported' : 'invalid',
      `${what}: ${this.#bad.join('; ')}`,
    )
  }

  /** Text that becomes part of names, keys and log lines: no control characters, bounded. */
  name(field: string, value: Maybe<string>, options: { required?: boolean; max?: number } = {}): string {
    const v = value ?? ''
    if (v === '' && options.required) this.bad(field, 'is required')
    const max = options.max ?? LIMITS.nameBytes
    if (Buffer.byteLength(v) > max) this.bad(field, `is longer than ${max} bytes`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    if (/[\u0000-\u001f\u007f]/.test(v)) this.bad(field, 'has control characters in it')
    if (v.includes('/')) this.bad(field, 'has a slash in it')
    return v
  }

  /** Text without NUL, bounded. */
  text(field: string, value: Maybe<string>, max: number = LIMITS.pathBytes): string {
    const v = value ?? ''
    if (v.includes('\0')) this.bad(field, 'has a NUL in it')
    if (Buffer.byteLength(v) > max) this.bad(field, `is longer than ${max} bytes`)
    return v
  }

  /** An absolute path without `..`, normalised; '' stays ''. */
  path(field: string, value: Maybe<string>, required = false): string {
    const v = this.text(field, value)
    if (v === '') {
      if (required) this.bad(field, 'is required')
      return ''
    }
    if (!v.startsWith('/')) this.bad(field, `"${clip(v)}" is not an absolute path`)
    const parts = v.split('/').filter((p) => p !== '' && p !== '.')
    if (parts.includes('..')) this.bad(field, `"${clip(v)}" has ".." in it`)
    return `/${parts.join('/')}`
  }

  /** A relative path that stays below its folder. */
  relative(field: string, value: Maybe<string>): string {
    const v = this.text(field, value)
    if (v.startsWith('/') || v.split('/').includes('..')) this.bad(field, `"${clip(v)}" leaves its folder`)
    return v
  }

  map(field: string, value: Maybe<{ [k: string]: string }>): Readonly<Record<string, string>> {
    const v = value ?? {}
    let bytes = 0
    for (const [key, text] of Object.entries(v)) bytes += Buffer.byteLength(key) + Buffer.byteLength(text)
    if (bytes > LIMITS.mapBytes) this.bad(field, `is larger than ${LIMITS.mapBytes} bytes`)
    return v
  }

  int(field: string, value: Maybe<bigint | number>, range: { min: bigint; max: bigint }): bigint {
    const v = BigInt(value ?? 0)
    if (v < range.min || v > range.max) this.bad(field, `${v} is not within ${range.min}…${range.max}`)
    return v
  }

  list<T>(field: string, value: Maybe<readonly T[]>, max: number): readonly T[] {
    const v = value ?? []
    if (v.length > max) this.bad(field, `has more than ${max} entries`)
    return v.length > max ? [] : v
  }

  oneOf<T extends string>(field: string, value: Maybe<number>, names: readonly (T | undefined)[]): T {
    const found = names[value ?? 0]
    if (found !== undefined) return found
    this.bad(field, `${value ?? 0} is not allowed here`)
    const [first] = names.filter((n) => n !== undefined)
    if (first === undefined) throw new Fault('internal', `${field}: no value is allowed at all`)
    return first
  }
}

/** An id or a prefix of one in a request. */
export function requiredId(field: string, value: Maybe<string>): string {
  const fields = new Fields()
  const id = fields.name(field, value, { required: true })
  fields.done('invalid request')
  return id
}
