// SPDX-License-Identifier: Apache-2.0
/**
 * The files that a policy names: keys and certificates, of a size that such files have. A file that is missing
 * or cannot be used is an error with its path, never a key less.
 */
import { readFile, stat } from 'node:fs/promises'
import { Fault } from '../../base/fault.ts'
import { TRUST } from '../../model/limits.ts'
import type { KeySource } from '../../model/trust-policy.ts'

const textOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))

/** The bytes of one source; throws `invalid` for a file that cannot be read. @abort finishes */
export async function bytesOf(source: KeySource): Promise<Buffer> {
  if ('data' in source) return Buffer.from(source.data, 'base64')
  try {
    const { size } = await stat(source.path)
    if (size > TRUST.keyFileBytes) throw new Error(`it is larger than ${TRUST.keyFileBytes} bytes`)
    return await readFile(source.path)
  } catch (e) {
    throw new Fault('invalid', `the signature policy names ${source.path}: ${textOf(e)}`, { cause: e })
  }
}

/** Each source as `read` understands its text; throws `invalid` naming the one that it does not. @abort finishes */
export async function readSource<T>(sources: readonly KeySource[], read: (pem: string) => T): Promise<T[]> {
  const found: T[] = []
  for (const source of sources) {
    const text = (await bytesOf(source)).toString('utf8')
    try {
      found.push(read(text))
    } catch (e) {
      const name = 'path' in source ? source.path : 'data'
      throw new Fault('invalid', `the signature policy names ${name}: ${textOf(e)}`, { cause: e })
    }
  }
  return found
}
