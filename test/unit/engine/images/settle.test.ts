// SPDX-License-Identifier: Apache-2.0
// When a Settler syncs: soon, once for many, at the latest after its limit, at the end, and again after a failure.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { silent } from '../../../../src/base/log.ts'
import { Settler } from '../../../../src/engine/images/settle.ts'
import { PULL } from '../../../../src/model/pull-policy.ts'
import { digestOf } from '../../../support/image-record.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const id = digestOf

function settler(settle: () => Promise<void> = async () => {}) {
  const syncs = vi.fn(settle)
  return { syncs, settler: new Settler({ settle: syncs }, silent) }
}

test('syncs once for many pulls, when no more has come for a moment', async () => {
  const { syncs, settler: s } = settler()
  for (let i = 0; i < 5; i++) {
    s.soon([id('a')])
    await vi.advanceTimersByTimeAsync(PULL.settleAfterMs - 1)
  }
  expect(syncs).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(1)
  await vi.advanceTimersByTimeAsync(PULL.settleWithinMs)
  expect(syncs).toHaveBeenCalledOnce()
})

test('does not wait for ever while pulls go on', async () => {
  const { syncs, settler: s } = settler()
  for (let ms = 0; ms < PULL.settleWithinMs; ms += 100) {
    s.soon([id('a')])
    await vi.advanceTimersByTimeAsync(100)
  }
  expect(syncs).toHaveBeenCalledOnce()
})

test('syncs at the end what is left, and nothing if there is nothing', async () => {
  const { syncs, settler: s } = settler()
  s.soon([id('a')])
  await s.end()
  await s.end()
  await vi.runAllTimersAsync()
  expect(syncs).toHaveBeenCalledOnce()
})

test('tries again after a failure, and waits for a sync that runs', async () => {
  const first = Promise.withResolvers<void>()
  const { syncs, settler: s } = settler(() =>
    syncs.mock.calls.length === 1 ? first.promise : Promise.resolve(),
  )
  s.soon([id('a')])
  await vi.advanceTimersByTimeAsync(PULL.settleAfterMs)
  s.soon([id('a')])
  const ended = s.end()
  expect(syncs).toHaveBeenCalledOnce()
  first.reject(new Error('EIO'))
  await ended
  expect(syncs).toHaveBeenCalledTimes(2)
  expect(syncs).toHaveBeenLastCalledWith([id('a')])
  s.soon([id('a')])
  await vi.advanceTimersByTimeAsync(PULL.settleAfterMs)
  expect(syncs).toHaveBeenCalledTimes(3)
})
