// SPDX-License-Identifier: Apache-2.0
/**
 * Lines between a process of ours and its worker: one JSON object each, told apart by `type`. Both ends are of one
 * build, so only the frame is checked; what stands in it is the protocol's own business.
 */
import { Fault } from './fault.ts'

/** The object of a line whose `type` is one of these. Throws `internal`, naming who said something else. */
export function typedLine<T extends { readonly type: string }>(
  line: string,
  types: ReadonlySet<T['type']>,
  who: string,
): T {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    value = undefined
  }
  const type: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'type') : undefined
  if (!(types as ReadonlySet<unknown>).has(type))
    throw new Fault('internal', `${who} said something that is not of its protocol`)
  return value as T
}
