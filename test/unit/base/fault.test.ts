// SPDX-License-Identifier: Apache-2.0
/** Fault, act and fault points: kinds survive context, the hook is the act's failure, and its language is strict. */
import { afterEach, describe, expect, test } from 'vitest'
import { act } from '../../../src/base/act.ts'
import { asFault, errnoCode, Fault, isFault } from '../../../src/base/fault.ts'
import { faultPoint, hookFromEnvironment, setFaultHook } from '../../../src/base/fault-point.ts'
import { silent } from '../../../src/base/log.ts'
import type { Scope } from '../../../src/base/scope.ts'

const scope: Scope = { signal: new AbortController().signal, log: silent }
afterEach(() => setFaultHook(undefined))

describe('Fault', () => {
  test('context goes in front and keeps kind, reason and cause', () => {
    const inner = new Fault('not-found', 'no image', { reason: 'gone' })
    const outer = Fault.during('pull x', inner)
    expect(outer).toMatchObject({
      kind: 'not-found',
      reason: 'gone',
      message: 'pull x: no image',
      cause: inner,
    })
    expect(Fault.during('again', outer).message).toBe('again: pull x: no image')
  })

  test.each([
    ['an error', new TypeError('oops'), 'oops'],
    ['text', 'oops', 'oops'],
    ['nothing', undefined, 'undefined'],
  ])('%s that is thrown is internal', (_what, thrown, message) => {
    expect(asFault(thrown)).toMatchObject({ kind: 'internal', message })
    expect(Fault.during('x', thrown)).toMatchObject({ kind: 'internal', message: `x: ${message}` })
  })

  test('isFault asks for the kind only when told', () => {
    const fault = new Fault('timeout', 'x')
    expect([
      isFault(fault),
      isFault(fault, 'timeout'),
      isFault(fault, 'denied'),
      isFault(new Error('x')),
    ]).toEqual([true, true, false, false])
  })

  test('errnoCode is the code of a system error and nothing else', () => {
    const error = Object.assign(new Error('x'), { code: 'ENOENT' })
    const numbered = Object.assign(new Error('x'), { code: 5 })
    expect([
      errnoCode(error),
      errnoCode(numbered),
      errnoCode(new Error('x')),
      errnoCode({ code: 'E' }),
    ]).toEqual(['ENOENT', undefined, undefined, undefined])
  })
})

describe('act', () => {
  const at = { work: 'work', name: 'step' }

  test('passes a point before and one after, and gives the value', async () => {
    const seen: string[] = []
    setFaultHook((name) => void seen.push(name))
    expect(await act(scope, at, async () => seen.push('done'))).toBe(2)
    expect(seen).toEqual(['work:step:before', 'done', 'work:step:after'])
  })

  test('of a scope that has ended does nothing', async () => {
    const ran: string[] = []
    const over: Scope = { signal: AbortSignal.abort(), log: silent }
    await expect(act(over, at, async () => ran.push('x'))).rejects.toMatchObject({ kind: 'cancelled' })
    expect(ran).toEqual([])
  })

  test('a hook that throws before keeps the act from happening', async () => {
    const ran: string[] = []
    setFaultHook(() => {
      throw new Fault('internal', 'hook')
    })
    await expect(act(scope, at, async () => ran.push('x'))).rejects.toThrow('hook')
    expect(ran).toEqual([])
  })
})

describe('GANTRY_FAULT', () => {
  const run = async (text: string, name: string) => {
    const did: string[] = []
    setFaultHook(
      hookFromEnvironment(text, {
        kill: () => void did.push('kill'),
        fail: (at) => {
          throw new Fault('internal', at)
        },
      }),
    )
    const begin = performance.now()
    const error = await faultPoint(name).catch((e: unknown) => e)
    return { did, error, ms: performance.now() - begin }
  }

  test('names points and what happens at them', async () => {
    const text = 'a:b:before=kill,a:b:after=error,c:d:after=delay:20,'
    expect(await run(text, 'a:b:before')).toMatchObject({ did: ['kill'], error: undefined })
    expect((await run(text, 'a:b:after')).error).toMatchObject({ message: 'a:b:after' })
    expect((await run(text, 'c:d:after')).ms).toBeGreaterThan(10)
    expect(await run(text, 'other')).toMatchObject({ did: [], error: undefined })
  })

  test.each(['a=explode', 'a', 'a=delay', 'a=delay:x'])('%s is refused', (text) => {
    const effects = {
      kill: () => {},
      fail: (): never => {
        throw new Error()
      },
    }
    expect(() => hookFromEnvironment(text, effects)).toThrow(/GANTRY_FAULT/)
  })

  test('without a hook a point does nothing', async () => {
    await expect(faultPoint('any')).resolves.toBeUndefined()
  })
})
