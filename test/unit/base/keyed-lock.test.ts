// SPDX-License-Identifier: Apache-2.0
/** KeyedLock: shared and exclusive, first come first served, waiters that leave, no memory for idle keys. */
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { KeyedLock } from '../../../src/base/keyed-lock.ts'
import { silent } from '../../../src/base/log.ts'
import type { Scope } from '../../../src/base/scope.ts'

const free: Scope = { signal: new AbortController().signal, log: silent }

/** Takes a lock and says so; gives what frees it. */
function taker(lock: KeyedLock) {
  const order: string[] = []
  const take = (name: string, how: 'shared' | 'exclusive', scope = free, key = 'k') => {
    const held = lock[how](scope, key).then((h) => {
      order.push(name)
      return h
    })
    held.catch(() => {})
    return { release: () => held.then((h) => h[Symbol.dispose]()), held }
  }
  return { order, take }
}

test('an exclusive holder keeps all others out; they come in the order in which they asked', async () => {
  const lock = new KeyedLock()
  const { order, take } = taker(lock)
  const all = [take('w1', 'exclusive'), take('r1', 'shared'), take('r2', 'shared'), take('w2', 'exclusive')]
  await turn()
  expect([...order, lock.held()]).toEqual(['w1', [{ key: 'k', holders: ['the daemon'], waiting: 3 }]])
  await all[0]?.release()
  await turn()
  expect(order).toEqual(['w1', 'r1', 'r2'])
  await all[1]?.release()
  await turn()
  expect(order).toHaveLength(3)
  await all[2]?.release()
  await turn()
  expect(order.at(-1)).toBe('w2')
  await all[3]?.release()
  expect(lock.held()).toEqual([])
})

test('a reader that comes after a waiting writer waits behind it: writers do not starve', async () => {
  const { order, take } = taker(new KeyedLock())
  const first = take('r1', 'shared')
  take('w', 'exclusive')
  take('r2', 'shared')
  await turn()
  expect(order).toEqual(['r1'])
  await first.release()
  await turn()
  expect(order).toEqual(['r1', 'w'])
})

test('keys do not know of each other', async () => {
  const { order, take } = taker(new KeyedLock())
  take('a', 'exclusive', free, 'one')
  take('b', 'exclusive', free, 'two')
  await turn()
  expect(order).toEqual(['a', 'b'])
})

test('giving back twice frees once', async () => {
  const lock = new KeyedLock()
  const { order, take } = taker(lock)
  const first = take('w1', 'exclusive')
  take('w2', 'exclusive')
  take('w3', 'exclusive')
  await first.release()
  await first.release()
  await turn()
  expect(order).toEqual(['w1', 'w2'])
})

test('a waiter that leaves makes way: readers behind a writer that gave up join the reader before it', async () => {
  const { order, take } = taker(new KeyedLock())
  take('r1', 'shared')
  const stop = new AbortController()
  const writer = take('w', 'exclusive', { signal: stop.signal, log: silent })
  take('r2', 'shared')
  await turn()
  stop.abort(new Fault('timeout', 'enough'))
  await expect(writer.held).rejects.toMatchObject({ kind: 'timeout' })
  await turn()
  expect(order).toEqual(['r1', 'r2'])
})

test('a scope that has ended gets no lock, and an abort after the grant changes nothing', async () => {
  const lock = new KeyedLock()
  await expect(lock.exclusive({ signal: AbortSignal.abort('x'), log: silent }, 'k')).rejects.toMatchObject({
    kind: 'cancelled',
  })
  expect(lock.held()).toEqual([])
  const stop = new AbortController()
  const held = await lock.exclusive({ signal: stop.signal, log: silent }, 'k')
  stop.abort()
  expect(lock.held()).toEqual([{ key: 'k', holders: ['the daemon'], waiting: 0 }])
  held[Symbol.dispose]()
  expect(lock.held()).toEqual([])
})
