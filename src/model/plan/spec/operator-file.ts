// SPDX-License-Identifier: Apache-2.0
/** JSON files that an operator writes for the specs of containers: one object each. Pure; knows no keys. */
import type { Fault } from '../../../base/fault.ts'

export type Tree = Readonly<Record<string, unknown>>

export const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The object that `text` holds. Throws what `bad`, which names the file, makes of the reason. */
export function parseTree(text: string, bad: (why: string) => Fault): Tree {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (e) {
    throw bad(`no JSON: ${e instanceof Error ? e.message : e}`)
  }
  if (!isTree(json)) throw bad('not an object')
  return json
}
