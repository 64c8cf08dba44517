// SPDX-License-Identifier: Apache-2.0
/** SharedTasks: who joins, who does not, when the work is given up, and that nothing is cached. */
import { getEventListeners } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { silent } from '../../../src/base/log.ts'
import { childScope, type Scope } from '../../../src/base/scope.ts'
import { SharedTasks } from '../../../src/base/shared-task.ts'

const root = (): Scope => ({ signal: new AbortController().signal, log: silent })
const gone = new Fault('cancelled', 'gone')

/** A piece of work that ends when told, and knows whether it was given up. */
function piece() {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const scopes: Scope[] = []
  const work = (scope: Scope) => {
    scopes.push(scope)
    return promise
  }
  return { work, scopes, resolve, reject }
}

test('callers of one key share one piece of work and its result; another key is another one', async () => {
  const tasks = new SharedTasks<string>(root())
  const [a, b] = [piece(), piece()]
  const all = [tasks.run(root(), 'a', a.work), tasks.run(root(), 'a', b.work), tasks.run(root(), 'b', b.work)]
  expect(tasks.size).toBe(2)
  a.resolve('A')
  b.resolve('B')
  expect(await Promise.all(all)).toEqual(['A', 'A', 'B'])
  expect([a.scopes.length, b.scopes.length, tasks.size]).toEqual([1, 1, 0])
})

test('a failure is everybody’s, and is not remembered', async () => {
  const tasks = new SharedTasks<string>(root())
  const a = piece()
  const all = [tasks.run(root(), 'a', a.work), tasks.run(root(), 'a', a.work)]
  a.reject(new Fault('denied', 'no'))
  for (const one of all) await expect(one).rejects.toMatchObject({ kind: 'denied' })
  expect(await tasks.run(root(), 'a', async () => 'again')).toBe('again')
})

test('one caller that leaves ends its own wait only', async () => {
  const tasks = new SharedTasks<string>(root())
  const a = piece()
  const [one, two] = [childScope(root()), childScope(root())]
  const [first, second] = [tasks.run(one, 'a', a.work), tasks.run(two, 'a', a.work)]
  one.abort(gone)
  await expect(first).rejects.toBe(gone)
  expect(a.scopes[0]?.signal.aborted).toBe(false)
  a.resolve('A')
  expect(await second).toBe('A')
  expect(getEventListeners(two.signal, 'abort')).toHaveLength(0)
})

test('the last one ends the work; a newcomer does not join what is being given up', async () => {
  const tasks = new SharedTasks<string>(root())
  const [a, b] = [piece(), piece()]
  const one = childScope(root())
  const first = tasks.run(one, 'a', a.work)
  one.abort(gone)
  await expect(first).rejects.toBe(gone)
  expect(a.scopes[0]?.signal.aborted).toBe(true)
  const next = tasks.run(root(), 'a', b.work)
  a.reject(gone)
  await turn()
  expect(tasks.size).toBe(1)
  b.resolve('B')
  expect(await next).toBe('B')
})

test('the end of the daemon ends all work', async () => {
  const daemon = childScope(root())
  const tasks = new SharedTasks<string>(daemon)
  const a = piece()
  const first = tasks.run(root(), 'a', a.work)
  daemon.abort(new Fault('unavailable', 'stopping'))
  expect(a.scopes[0]?.signal.aborted).toBe(true)
  a.reject(new Fault('unavailable', 'stopping'))
  await expect(first).rejects.toMatchObject({ kind: 'unavailable' })
  expect(getEventListeners(daemon.signal, 'abort')).toHaveLength(0)
})
