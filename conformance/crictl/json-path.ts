// SPDX-License-Identifier: Apache-2.0
/**
 * json-path: one value out of JSON of which no type is known, by its keys. What is not there is undefined; it
 * never throws, so that the assertion that follows says what was wrong.
 */

/** `at(value, 'status', 'conditions', 0)` */
export function at(value: unknown, ...keys: readonly (string | number)[]): unknown {
  let here = value
  for (const key of keys) {
    if (typeof here !== 'object' || here === null) return undefined
    here = Reflect.get(here, key)
  }
  return here
}

/** The list at those keys; an empty one when there is none. */
export function listAt(value: unknown, ...keys: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...keys)
  return Array.isArray(found) ? found : []
}
