// SPDX-License-Identifier: Apache-2.0
/** Undo: releases run newest first under scopes of their own; failing ones are kept by name and hide nothing. */
import { expect, test } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { silent } from '../../../src/base/log.ts'
import { Undo } from '../../../src/base/undo.ts'

/** Arms three releases, of which those in `failing` fail, and ends with `end`. */
async function three(failing: readonly string[], end: (undo: Undo) => void) {
  const ran: string[] = []
  const undo = new Undo(silent)
  const error = await (async () => {
    try {
      await using _ = undo
      for (const name of ['first', 'second', 'third']) {
        undo.arm(name, async () => {
          ran.push(name)
          if (failing.includes(name)) throw new Fault('timeout', `${name} hangs`)
        })
      }
      end(undo)
      return undefined
    } catch (e) {
      return e
    }
  })()
  return { ran, error, leftovers: undo.leftovers.map((l) => `${l.name}: ${l.fault.message}`) }
}

const fail = () => {
  throw new Fault('invalid', 'the first error')
}

test.each([
  ['all releases run, newest first', [], []],
  ['one that fails does not stop the rest', ['second'], ['second: second hangs']],
  [
    'each that fails is left over, in the order of the releases',
    ['third', 'first'],
    ['third: third hangs', 'first: first hangs'],
  ],
])('%s, and the first error is the one that is thrown', async (_what, failing, leftovers) => {
  const got = await three(failing, fail)
  expect(got.ran).toEqual(['third', 'second', 'first'])
  expect(got.error).toMatchObject({ kind: 'invalid', message: 'the first error' })
  expect(got.leftovers).toEqual(leftovers)
})

test('after disarm nothing is taken back', async () => {
  expect(await three([], (undo) => undo.disarm())).toEqual({ ran: [], error: undefined, leftovers: [] })
})

test('without disarm the releases run also when nothing failed', async () => {
  expect((await three([], () => {})).ran).toEqual(['third', 'second', 'first'])
})

test('every release gets a fresh scope that is not aborted', async () => {
  const seen: AbortSignal[] = []
  {
    await using undo = new Undo(silent)
    for (const name of ['a', 'b']) undo.arm(name, async ({ signal }) => void seen.push(signal))
  }
  expect(seen.map((s) => s.aborted)).toEqual([false, false])
  expect(seen[0]).not.toBe(seen[1])
})

test('what is thrown and is no Fault is left over as internal', async () => {
  const undo = new Undo(silent)
  undo.arm('x', () => Promise.reject(new TypeError('oops')))
  await undo[Symbol.asyncDispose]()
  expect(undo.leftovers).toMatchObject([{ name: 'x', fault: { kind: 'internal', message: 'oops' } }])
})
