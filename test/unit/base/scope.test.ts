// SPDX-License-Identifier: Apache-2.0
/** Scopes: linked ends, deadlines, waiting for the first of two, and no listener or timer left behind. */
import { getEventListeners } from 'node:events'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { silent } from '../../../src/base/log.ts'
import {
  abortFault,
  checkpoint,
  childScope,
  cleanupScope,
  orAbort,
  type Scope,
  sleep,
} from '../../../src/base/scope.ts'

const open = () => {
  const controller = new AbortController()
  const scope: Scope = { signal: controller.signal, log: silent }
  return { scope, abort: (e?: unknown) => controller.abort(e), listeners: () => listeners(scope) }
}
const listeners = (scope: Scope) => getEventListeners(scope.signal, 'abort').length
afterEach(() => vi.useRealTimers())

describe('childScope', () => {
  test('ends with its parent and for the same reason', () => {
    const p = open()
    using child = childScope(p.scope)
    const why = new Fault('unavailable', 'stopping')
    p.abort(why)
    expect(child.signal.reason).toBe(why)
    expect(() => checkpoint(child)).toThrow(why)
  })

  test('of a parent that has ended has ended too', () => {
    const p = open()
    p.abort('gone')
    using child = childScope(p.scope)
    expect(child.signal.aborted).toBe(true)
  })

  test('ends after its time with a timeout that says of what', () => {
    vi.useFakeTimers()
    using child = childScope(open().scope, { ms: 50, doing: 'thinking' })
    vi.advanceTimersByTime(49)
    expect(child.signal.aborted).toBe(false)
    vi.advanceTimersByTime(1)
    expect(abortFault(child.signal)).toMatchObject({
      kind: 'timeout',
      message: 'thinking took longer than 50 ms',
    })
  })

  test('does not end its parent', () => {
    const p = open()
    using child = childScope(p.scope)
    child.abort(new Fault('cancelled', 'x'))
    expect(p.scope.signal.aborted).toBe(false)
  })

  test('closed, it takes its listener and its timer away, and does not look cancelled', () => {
    vi.useFakeTimers()
    const p = open()
    const child = childScope(p.scope, { ms: 50 })
    expect([p.listeners(), vi.getTimerCount()]).toEqual([1, 1])
    child.close()
    child.close()
    expect([p.listeners(), vi.getTimerCount(), child.signal.aborted]).toEqual([0, 0, false])
    p.abort()
    expect(child.signal.aborted).toBe(false)
  })
})

test('a clean-up scope has a deadline and no parent', () => {
  vi.useFakeTimers()
  using scope = cleanupScope(silent, 10)
  vi.advanceTimersByTime(10)
  expect(abortFault(scope.signal)).toMatchObject({ kind: 'timeout' })
})

test.each([
  ['a Fault stays', new Fault('timeout', 'late'), 'timeout'],
  ['anything else is a cancellation', 'because', 'cancelled'],
])('the reason of an abort: %s', (_what, reason, kind) => {
  expect(abortFault(AbortSignal.abort(reason))).toMatchObject({ kind })
})

describe('orAbort', () => {
  test('gives the value or the error of the work, and leaves no listener', async () => {
    const p = open()
    expect(await orAbort(p.scope, Promise.resolve(1))).toBe(1)
    await expect(orAbort(p.scope, Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(p.listeners()).toBe(0)
  })

  test('stops waiting at the abort, and hands a value that comes later over', async () => {
    const p = open()
    const late: number[] = []
    const { promise, resolve } = Promise.withResolvers<number>()
    const waiting = orAbort(p.scope, promise, (value) => late.push(value))
    p.abort(new Fault('timeout', 'enough'))
    await expect(waiting).rejects.toMatchObject({ kind: 'timeout' })
    resolve(7)
    await promise
    expect([late, p.listeners()]).toEqual([[7], 0])
  })

  test('an error that comes after the abort is nobody’s any more, and is not an unhandled one', async () => {
    const p = open()
    const { promise, reject } = Promise.withResolvers<number>()
    const waiting = orAbort(p.scope, promise)
    p.abort()
    await expect(waiting).rejects.toMatchObject({ kind: 'cancelled' })
    reject(new Error('late'))
    await expect(promise).rejects.toThrow('late')
  })

  test('of a scope that has ended before waits for nothing', async () => {
    const p = open()
    p.abort()
    await expect(orAbort(p.scope, new Promise(() => {}))).rejects.toMatchObject({ kind: 'cancelled' })
  })
})

describe('sleep', () => {
  test('wakes after its time and leaves no listener', async () => {
    const p = open()
    await sleep(p.scope, 1)
    expect(p.listeners()).toBe(0)
  })

  test('is ended by an abort, and takes its timer along', async () => {
    vi.useFakeTimers()
    const p = open()
    const sleeping = sleep(p.scope, 1000)
    p.abort()
    await expect(sleeping).rejects.toMatchObject({ kind: 'cancelled' })
    expect([vi.getTimerCount(), p.listeners()]).toEqual([0, 0])
    await expect(sleep(p.scope, 1)).rejects.toMatchObject({ kind: 'cancelled' })
  })
})
