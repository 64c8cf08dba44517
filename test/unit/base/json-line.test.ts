// SPDX-License-Identifier: Apache-2.0
/** Lines of workers: only objects of a known type pass. */
import { expect, test } from 'vitest'
import { typedLine } from '../../../src/base/json-line.ts'

const types = new Set(['done'])

test('a known type passes with all that stands beside it', () => {
  expect(typedLine('{"type":"done","n":1}', types, 'the worker')).toEqual({ type: 'done', n: 1 })
})

test.each(['', 'null', '"done"', '[]', '{}', '{"type":1}', '{"type":"else"}', '{"type":"done"'])(
  '%j is not of the protocol',
  (line) => {
    expect(() => typedLine(line, types, 'the worker')).toThrow(
      'the worker said something that is not of its protocol',
    )
  },
)
