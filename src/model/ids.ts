// SPDX-License-Identifier: Apache-2.0
/**
 * Branded identifiers. A value of these types has passed its parser; nothing else makes one.
 */
import { Fault } from '../base/fault.ts'

export type PodId = string & { readonly __brand: 'PodId' }
export type ContainerId = string & { readonly __brand: 'ContainerId' }
export type AbsPath = string & { readonly __brand: 'AbsPath' }
export type UnixNanos = bigint & { readonly __brand: 'UnixNanos' }

const HEX64 = /^[0-9a-f]{64}$/
/** What a client may send where an id is expected: an id or a prefix of one, as crictl prints them. */
const ID_PREFIX = /^[0-9a-f]{1,64}$/

export function podId(text: string): PodId {
  if (!HEX64.test(text)) throw new Fault('invalid', `"${clip(text)}" is not a pod sandbox id`)
  return text as PodId
}

export function containerId(text: string): ContainerId {
  if (!HEX64.test(text)) throw new Fault('invalid', `"${clip(text)}" is not a container id`)
  return text as ContainerId
}

export function isIdPrefix(text: string): boolean {
  return ID_PREFIX.test(text)
}

export function unixNanos(value: bigint): UnixNanos {
  return value as UnixNanos
}

/** A normalised absolute path: no NUL, no `.` or `..` components, no doubled or trailing slashes. */
export function absPath(text: string): AbsPath {
  if (!text.startsWith('/') || text.includes('\0'))
    throw new Fault('invalid', `"${clip(text)}" is not an absolute path`)
  const parts = text.split('/').filter((p) => p !== '' && p !== '.')
  if (parts.includes('..')) throw new Fault('invalid', `"${clip(text)}" has ".." in it`)
  return `/${parts.join('/')}` as AbsPath
}

/** `base` and further plain components; the components may hold slashes but no `..`. */
export function under(base: AbsPath, ...parts: string[]): AbsPath {
  return absPath(`${base}/${parts.join('/')}`)
}

/** Text of a client as it may stand in a message: no control characters, at most 100 characters. */
export function clip(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const plain = text.replace(/[\u0000-\u001f\u007f]/g, '?')
  return plain.length > 100 ? `${plain.slice(0, 100)}…` : plain
}
