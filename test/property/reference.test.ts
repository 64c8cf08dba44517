// SPDX-License-Identifier: Apache-2.0
/** References: parsing is the inverse of formatting, and no text makes it do anything but answer or refuse. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { formatReference, parseReference, writtenReference } from '../../src/model/reference.ts'

const word = (min = 1, max = 8) => fc.stringMatching(new RegExp(`^[a-z0-9]{${min},${max}}$`))
const part = fc
  .tuple(word(), fc.array(fc.tuple(fc.constantFrom('.', '_', '__', '-', '---'), word()), { maxLength: 2 }))
  .map(([first, more]) => first + more.map(([sep, w]) => sep + w).join(''))
const host = fc.oneof(
  fc.tuple(word(), word()).map(([a, b]) => `${a}.${b}`),
  fc.constantFrom('localhost', '127.0.0.1', '[::1]'),
)
const port = fc.option(fc.integer({ min: 1, max: 65535 }), { nil: undefined })
const hex = fc.stringMatching(/^[0-9a-f]{64}$/)
const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/)

const reference = fc
  .record({
    host: fc.option(fc.tuple(host, port), { nil: undefined }),
    path: fc.array(part, { minLength: 1, maxLength: 3 }),
    tag: fc.option(tag, { nil: undefined }),
    digest: fc.option(hex, { nil: undefined }),
  })
  .map((r) => {
    const [name, portNumber] = r.host ?? [undefined, undefined]
    const domain = name === undefined ? '' : `${name}${portNumber === undefined ? '' : `:${portNumber}`}/`
    // Without a host the first part must not look like one.
    const path = r.host === undefined && r.path.length > 1 ? ['plain', ...r.path.slice(1)] : r.path
    const digest = r.digest === undefined ? '' : `@sha256:${r.digest}`
    return `${domain}${path.join('/')}${r.tag === undefined ? '' : `:${r.tag}`}${digest}`
  })
  .filter((text) => !/^[0-9a-f]{64}$/.test(text))

test('a reference, formatted and parsed again, is the same reference', () => {
  fc.assert(
    fc.property(reference, (text) => {
      const parsed = parseReference(text)
      expect(parseReference(writtenReference(parsed))).toEqual(parsed)
      expect(parseReference(formatReference(parsed))).toEqual({ ...parsed, short: undefined })
      expect(formatReference(parseReference(formatReference(parsed)))).toBe(formatReference(parsed))
    }),
    { numRuns: 500 },
  )
})

test('any text is parsed or refused with a Fault', () => {
  const noise = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.stringMatching(/^[a-z0-9:@/._[\]-]{0,60}$/),
  )
  fc.assert(
    fc.property(noise, (text) => {
      try {
        expect(parseReference(text).path).toMatch(/^[a-z0-9._/-]+$/)
      } catch (e) {
        expect(e).toBeInstanceOf(Fault)
      }
    }),
    { numRuns: 1000 },
  )
})
