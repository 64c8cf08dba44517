// SPDX-License-Identifier: Apache-2.0
/** strict-json: what JSON.parse takes and this does not, and that places are found. */
import { expect, test } from 'vitest'
import { keyPath, parseStrictJson } from '../../../src/model/strict-json.ts'

test.each([
  ['a key twice', '{\n"a": 1,\n"a": 2}', /line 3: a is there twice/],
  ['a key twice further in', '{"a": [{}, {"b": {"c": 1, "c": 2}}]}', /a\[1\]\.b\.c is there twice/],
  ['a key twice, once escaped', '{"a": 1, "\\u0061": 2}', /a is there twice/],
  ['a comment', '{"a": 1 /* no */}', /not JSON/],
  ['what follows the value', '{} {}', /not JSON/],
  ['depth', '['.repeat(100) + ']'.repeat(100), /nested more than/],
  ['nothing', '', /not JSON/],
])('%s is refused', (_, text, message) => {
  expect(() => parseStrictJson(text)).toThrow(message)
})

test('brackets, commas and quotes in strings are text', () => {
  const text = '{"a": "{\\"a\\": [,\\\\", "b": "}"}'
  expect(parseStrictJson(text).value).toEqual({ a: '{"a": [,\\', b: '}' })
})

test('the same key in two objects is fine', () => {
  expect(parseStrictJson('[{"a": 1}, {"a": 2}]').value).toEqual([{ a: 1 }, { a: 2 }])
})

test('a place has the line of its key, or of what is around it', () => {
  const { lineOf } = parseStrictJson('{\n "a": {\n  "b/c": [\n   1,\n   {\n    "d": 2}]}}')
  expect([lineOf('a'), lineOf('a["b/c"]'), lineOf('a["b/c"][1].d'), lineOf('a["b/c"][0]')]).toEqual([
    2, 3, 6, 3,
  ])
  expect(lineOf('nowhere')).toBe(1)
})

test.each([
  ['', 'a', 'a'],
  ['a', 'b_c-d', 'a.b_c-d'],
  ['a', 'b.c/d', 'a["b.c/d"]'],
])('%j and the key %j make %j', (path, key, want) => {
  expect(keyPath(path, key)).toBe(want)
})
