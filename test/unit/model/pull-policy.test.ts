// SPDX-License-Identifier: Apache-2.0
/** When a request is sent again, and that sealed values do not show. */
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isPassingStatus, PULL, retryDelayMs, seal } from '../../../src/model/pull-policy.ts'

const at = (next: number, retryAfter?: string, jitter = 0.5) =>
  retryDelayMs(next, { retryAfter, nowMs: Date.parse('2026-01-01T00:00:00Z'), jitter })

describe('the wait before a repetition', () => {
  test('doubles, has a ceiling, and ends', () => {
    expect([2, 3, 4, 5].map((n) => at(n))).toEqual([250, 500, 1000, 2000])
    expect(at(PULL.attempts + 1)).toBeUndefined()
  })
  test.each([
    ['2', 2000],
    ['0', 250],
    ['Thu, 01 Jan 2026 00:00:05 GMT', 5000],
    ['Thu, 01 Jan 2025 00:00:05 GMT', 250],
    ['nonsense', 250],
    ['3600', undefined],
    ['999999999999', 250],
  ])('follows Retry-After: %s is %s', (header, ms) => {
    expect(at(2, header)).toBe(ms)
  })

  test('is as short as the caller has patience, who has another host to ask', () => {
    const how = { nowMs: 0, jitter: 0.5, attempts: 2, maxWaitMs: 8000 }
    expect(retryDelayMs(2, { ...how, retryAfter: '8' })).toBe(8000)
    expect(retryDelayMs(2, { ...how, retryAfter: '9' })).toBeUndefined()
    expect(retryDelayMs(3, how)).toBeUndefined()
  })
})

test.each([
  [429, true],
  [503, true],
  [500, true],
  [408, true],
  [501, false],
  [404, false],
  [401, false],
])('HTTP %i passes by itself: %s', (status, passes) => {
  expect(isPassingStatus(status)).toBe(passes)
})

test('a sealed value shows nothing wherever it is printed', () => {
  const box = seal({ password: 'hunter22' })
  for (const shown of [
    JSON.stringify({ box }),
    `${box}`,
    inspect(box),
    inspect({ deep: { box } }, { depth: 9 }),
  ]) {
    expect(shown).not.toContain('hunter22')
    expect(shown).toContain('[redacted]')
  }
  expect(box.reveal().password).toBe('hunter22')
})
