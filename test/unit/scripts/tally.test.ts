// SPDX-License-Identifier: Apache-2.0
/** The verdict over all suites: what is green, what a skip means in CI, and the exact form of the last line. */
import { describe, expect, test } from 'vitest'
import { judge, type Outcome, type SuiteResult } from '../../../scripts/tally.ts'

const outcome = (state: Outcome['state'], reason?: string): Outcome => ({
  name: `a ${state} test`,
  state,
  reason,
})
const suite = (outcomes: Outcome[], cannot?: string): SuiteResult => ({
  suite: 'unit',
  outcomes,
  seconds: 1,
  cannot,
})

describe('judge', () => {
  test('all passed: green, and the last line has no word about skips', () => {
    const v = judge([suite([outcome('passed'), outcome('passed')])], true)
    expect(v.ok).toBe(true)
    expect(v.lines.at(-1)).toBe('2 passed, 0 failed')
  })

  test('one failure is named and turns the run red', () => {
    const v = judge([suite([outcome('passed'), outcome('failed')])], false)
    expect(v.ok).toBe(false)
    expect(v.lines.join('\n')).toContain('FAILED:  unit: a failed test')
    expect(v.lines.at(-1)).toBe('1 passed, 1 failed')
  })

  test('what a failure said follows its name, at the end and not without bound', () => {
    const detail = ['left behind:', '', ...Array.from({ length: 30 }, (_, i) => `  mount ${i}`)].join('\n')
    const skip = outcome('skipped', 'no KVM')
    const { lines } = judge([suite([{ ...outcome('failed'), detail }, skip, skip])], false)
    expect(lines.filter((l) => l.includes('skipped:'))).toEqual([
      '  skipped: unit: a skipped test and 1 more: no KVM',
    ])
    expect(lines.slice(-23, -20)).toEqual([
      '  FAILED:  unit: a failed test',
      '           left behind:',
      '             mount 0',
    ])
    expect(lines.at(-2)).toContain('and 11 lines more')
  })

  test('nothing ran: red', () => {
    expect(judge([], false).ok).toBe(false)
    expect(judge([suite([outcome('skipped', 'no KVM')])], false).ok).toBe(false)
    expect(judge([], false).lines.at(-1)).toBe('0 passed, 0 failed')
  })

  test('a skip with its reason is named and counted', () => {
    const v = judge([suite([outcome('passed'), outcome('skipped', 'needs cgroup v2')])], true)
    expect(v.ok).toBe(true)
    expect(v.lines.join('\n')).toContain('skipped: unit: a skipped test: needs cgroup v2')
    expect(v.lines.at(-1)).toBe('1 passed, 0 failed, 1 skipped')
  })

  test('a skip without a reason is red in CI, and named elsewhere', () => {
    const results = [suite([outcome('passed'), outcome('skipped')])]
    expect(judge(results, true).ok).toBe(false)
    expect(judge(results, true).lines.at(-1)).toBe('1 passed, 1 failed, 1 skipped')
    expect(judge(results, false).ok).toBe(true)
    expect(judge(results, false).lines.join('\n')).toContain('no reason given')
  })

  test('a suite that could run but was skipped whole is red in CI only', () => {
    const results = [suite([outcome('passed')]), suite([outcome('skipped', 'not today')])]
    expect(judge(results, true).ok).toBe(false)
    expect(judge(results, false).ok).toBe(true)
  })

  test('a suite that this machine cannot run is one skip with its reason', () => {
    const v = judge([suite([outcome('passed')]), suite([], 'this kernel has no overlay')], true)
    expect(v.ok).toBe(true)
    expect(v.lines.join('\n')).toContain('skipped: suite unit: this kernel has no overlay')
    expect(v.lines.at(-1)).toBe('1 passed, 0 failed, 1 skipped')
  })
})
