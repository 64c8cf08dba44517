// SPDX-License-Identifier: Apache-2.0
/** Reading a JSON document of an image with suspicion: every complaint is `corrupt` and names the place. Pure. */
import { asFault, Fault } from '../base/fault.ts'
import { type Digest, parseDigest } from './reference.ts'

export type Json = Readonly<Record<string, unknown>>

/** A blob as a manifest or index names it. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
}

/** Any JSON value; `corrupt` for what is none. */
export function parseDocument(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (e) {
    throw new Fault('corrupt', `${where}: not JSON`, { cause: e })
  }
}

export function objectIn(value: unknown, where: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Fault('corrupt', `${where} is not an object`)
  return Object.fromEntries(Object.entries(value))
}

export function listIn(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Fault('corrupt', `${where} is not a list`)
  return value
}

export function textIn(value: unknown, where: string): string {
  if (typeof value !== 'string') throw new Fault('corrupt', `${where} is not a text`)
  return value
}

export function digestIn(value: unknown, where: string): Digest {
  try {
    return parseDigest(textIn(value, where))
  } catch (e) {
    const { kind, message } = asFault(e)
    throw new Fault(kind === 'invalid' ? 'corrupt' : kind, `${where}: ${message}`)
  }
}

export function descriptorIn(value: unknown, where: string): Descriptor {
  const one = objectIn(value, where)
  const size = one.size
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw new Fault('corrupt', `${where}: size is not a number of bytes`)
  return {
    mediaType: textIn(one.mediaType ?? '', `${where}: mediaType`),
    digest: digestIn(one.digest, `${where}: digest`),
    size,
  }
}
