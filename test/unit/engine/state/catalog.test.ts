// SPDX-License-Identifier: Apache-2.0
/** The catalog: found by id, prefix and name; waiters are told of changes and leave nothing behind. */
import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import { silent } from '../../../../src/base/log.ts'
import { childScope } from '../../../../src/base/scope.ts'
import { catalog } from '../../../../src/engine/state/catalog.ts'
import { absPath, podId, unixNanos } from '../../../../src/model/ids.ts'
import { keyOfPod, type Pod, ready, stopped } from '../../../../src/model/pod.ts'
import { podConfig } from '../../../support/fake-host-requests.ts'

const pod = (hex: string, name = hex): Pod => ({
  record: {
    id: podId(hex.padEnd(64, '0')),
    handler: 'runc',
    config: { ...podConfig, metadata: { ...podConfig.metadata, name } },
    cgroup: { parent: absPath('/a'), sandbox: absPath('/a/b'), ownsParent: false },
    createdAt: unixNanos(1n),
    requestHash: '',
    bootId: '',
  },
  state: ready([]),
})
const open = () => childScope({ signal: new AbortController().signal, log: silent })

describe('finding', () => {
  const known = catalog()
  const [a, b] = [pod('ab1'), pod('ab2')]
  for (const p of [a, b]) known.pods.put(p.record.id, p)

  test('by id, by a prefix that only one has, by name', () => {
    expect(known.pod(a.record.id)).toBe(a)
    expect(known.pod('ab2')).toBe(b)
    expect(known.pods.named(keyOfPod(b.record))).toBe(b)
  })

  test('a prefix of several is refused and says how many', () => {
    expect(() => known.pod('ab')).toThrow('pod sandbox id "ab" is ambiguous: 2 begin with it')
  })

  test.each(['ff', '', 'AB1', 'x', '__proto__', `${'ab1'.padEnd(64, '0')}0`])('"%s" is unknown', (id) => {
    expect(() => known.pod(id)).toThrow(/is unknown/)
    expect(known.pods.find(id)).toBeUndefined()
  })

  test('an id is itself, also when it is the prefix of nothing else', () => {
    known.pods.drop(b.record.id)
    expect(known.pod('ab')).toBe(a)
    known.pods.put(b.record.id, b)
  })
})

test('a name belongs to who came last; the drop of the earlier one does not take it away', () => {
  const known = catalog()
  const [old, young] = [pod('a1', 'same'), pod('b1', 'same')]
  known.pods.put(old.record.id, old)
  known.pods.put(young.record.id, young)
  known.pods.drop(old.record.id)
  expect(known.pods.named(keyOfPod(young.record))).toBe(young)
  known.pods.drop(young.record.id)
  known.pods.drop(young.record.id)
  expect(known.pods.named(keyOfPod(young.record))).toBeUndefined()
})

describe('waiting for a change', () => {
  const isStopped = (p: Pod | undefined) => p === undefined || p.state.phase === 'stopped'

  test('ends at once when it is so already, and when it becomes so', async () => {
    const known = catalog()
    const p = pod('a1')
    using scope = open()
    await known.pods.until(scope, p.record.id, isStopped)
    known.pods.put(p.record.id, p)
    const waits = [1, 2].map(() => known.pods.until(scope, p.record.id, isStopped))
    known.pods.put(p.record.id, { ...p })
    known.pods.put(p.record.id, { ...p, state: stopped(unixNanos(2n)) })
    await Promise.all(waits)
    expect(getEventListeners(scope.signal, 'abort')).toHaveLength(0)
  })

  test('is told when it is gone', async () => {
    const known = catalog()
    const p = pod('a1')
    known.pods.put(p.record.id, p)
    const wait = known.pods.until(open(), p.record.id, isStopped)
    known.pods.drop(p.record.id)
    await expect(wait).resolves.toBeUndefined()
  })

  test('is ended by the caller, who leaves no listener', async () => {
    const known = catalog()
    const p = pod('a1')
    known.pods.put(p.record.id, p)
    const scope = open()
    const wait = known.pods.until(scope, p.record.id, isStopped)
    scope.abort(new Fault('timeout', 'enough'))
    await expect(wait).rejects.toMatchObject({ kind: 'timeout' })
    await expect(known.pods.until(scope, p.record.id, isStopped)).rejects.toMatchObject({ kind: 'timeout' })
    expect(getEventListeners(scope.signal, 'abort')).toHaveLength(0)
  })
})
