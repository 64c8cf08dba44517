// SPDX-License-Identifier: Apache-2.0
/**
 * Two things go wrong with an image one after the other: the write that makes it whole, and what takes that back.
 * The first error is the one that is told; the collector, a retry or the next daemon finishes.
 */
import { expect, test } from 'vitest'
import type { Mode } from '../support/fake-host-steps.ts'
import { callWith, reboot, removeAll, withWorld } from './bench.ts'
import { pullVerb as verb } from './verbs.ts'

const commit = verb.commit ?? ''
const second: readonly (readonly [string, Mode])[] = [
  ['records.remove#1', 'before'],
  ['records.remove#1', 'after'],
  ['layers.drop#1', 'before'],
  ['layers.drop#1', 'after'],
  ['layers.drop#2', 'before'],
  ['layers.emptyTrash#1', 'before'],
]

async function failedTwice(at: readonly [string, Mode], then: 'collect' | 'retry' | 'reboot'): Promise<void> {
  await withWorld(async (w) => {
    const d = await w.boot()
    const made = await verb.prepare(d, w)
    const before = w.lines()
    const call = (scope: Parameters<typeof verb.call>[1]) => verb.call(d, scope, made, w)
    const fault = await callWith(d, { [commit]: 'after', [at[0]]: at[1] }, call)
    expect(fault?.message).toContain(`injected: ${commit}`)
    expect(d.engine.images.list()).toEqual([])
    d.steps.record()
    if (then === 'reboot') {
      const next = await reboot(w, d)
      expect(w.lines()).toEqual(before)
      expect(next.engine.problems()).toEqual([])
      await w.expectEmpty(next)
      return
    }
    if (then === 'retry') await call(d.scope())
    await d.engine.images.collect()
    if (then === 'retry') {
      await verb.succeeded(d, made, w)
      await removeAll(d, [])
      await w.expectEmpty(d)
    } else if (at[0] !== 'records.remove#1') expect(w.lines()).toEqual(before)
  })
}

test.each(second)('%s %s, then a retry', (...at) => failedTwice(at, 'retry'))
test.each(second)('%s %s, then a collection', (...at) => failedTwice(at, 'collect'))
test.each(second)('%s %s, then the next daemon', (...at) => failedTwice(at, 'reboot'))
