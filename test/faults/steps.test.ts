// SPDX-License-Identifier: Apache-2.0
/**
 * Every verb of the engine × every step that it takes on the host × every way in which that step can go wrong.
 * Then: the first error is the one that is told, nothing is left that a failed making had made, the same request
 * succeeds when it comes again, and after Remove the machine is empty.
 */
import { describe, expect, test } from 'vitest'
import { faultModes } from '../support/fake-host-steps.ts'
import { callWith, expectWhole, removeAll, stepsOf, withWorld } from './bench.ts'
import { making, verbs } from './verbs.ts'

const cases = await Promise.all(
  verbs.map(async (verb) => ({
    verb,
    at: (await stepsOf(verb)).flatMap((call) => faultModes(call).map((mode) => ({ key: call.key, mode }))),
  })),
)

describe.each(cases)('$verb.name', ({ verb, at }) => {
  test('takes steps on the host', () => {
    expect(at.length).toBeGreaterThan(0)
  })

  test.each(at)('$key $mode', async ({ key, mode }) => {
    await withWorld(async (w) => {
      const d = await w.boot()
      const made = await verb.prepare(d, w)
      await d.idle()
      const before = w.lines()
      const fault = await callWith(d, { [key]: mode }, (scope) => verb.call(d, scope, made, w))
      const expected = mode === 'hang' || mode === 'late' ? /caller went away|injected/ : /injected/
      if (fault) expect(fault.message).toMatch(expected)
      if (fault && making.includes(verb)) {
        expectWhole(d)
        // The write that makes it whole was on its way when the caller left: then it is there, and a retry finds it.
        if (!(mode === 'late' && key === verb.commit)) expect(w.lines()).toEqual(before)
      }
      d.steps.record()
      await verb.call(d, d.scope(), made, w)
      await d.idle()
      await verb.succeeded(d, made, w)
      await removeAll(d, verb.pods(d, made))
      await w.expectEmpty(d)
    })
  })
})
