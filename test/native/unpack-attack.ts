// SPDX-License-Identifier: Apache-2.0
/** One hostile blob against `gantry-unpack`: the expected answer, what is left, and nothing touched outside. */
import { expect } from 'vitest'
import { type Answer, ground, look, type RunOptions, unpack } from './unpack-fixture.ts'

export interface Expected {
  /** `kind/stage` of the error; undefined: it must succeed. */
  readonly what?: string
  readonly says?: RegExp
  /** Paths in the layer afterwards. */
  readonly left?: readonly string[]
  readonly options?: RunOptions
}

/** Runs it in a ground of its own; a crash or a word on stderr fails whatever was expected. */
export async function attack(tar: Buffer, expected: Expected): Promise<Answer> {
  using g = ground()
  const answer = await unpack(g.layer, tar, expected.options)
  g.assertOutsideUntouched()
  expect({ signal: answer.signal, stderr: answer.stderr }).toEqual({ signal: null, stderr: '' })
  expect(answer.error?.what).toBe(expected.what)
  expect(answer.code).toBe(expected.what === undefined ? 0 : 1)
  if (expected.says) expect(`${answer.error?.path}: ${answer.error?.message}`).toMatch(expected.says)
  if (expected.left)
    expect([...look(g.layer).keys()].filter((p) => p !== '').sort()).toEqual([...expected.left].sort())
  return answer
}
