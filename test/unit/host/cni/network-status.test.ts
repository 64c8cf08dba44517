// SPDX-License-Identifier: Apache-2.0
/** What the network says over played plugins: check, garbage collection, readiness, changes, and faults. */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import { type Answer, faultOf } from './fixture.ts'
import { conf, names, request, setUp } from './network-fixture.ts'

describe('check', () => {
  test('goes forward with the final result', async () => {
    const t = await setUp()
    const { result } = await t.network.attach(t.scope, request, t.stateDir)
    t.calls.length = 0
    await t.network.check(t.scope, t.stateDir)
    expect(names(t.calls)).toEqual(['CHECK first', 'CHECK second'])
    expect(t.calls[0]?.input.prevResult).toEqual(result)
  })
  test('is not called where the list forbids it, nor without an attachment', async () => {
    const t = await setUp({ conf: conf('1.0.0', { disableCheck: true }) })
    expect(await faultOf(t.network.check(t.scope, t.stateDir))).toMatchObject({ kind: 'wrong-state' })
    await t.network.attach(t.scope, request, t.stateDir)
    t.calls.length = 0
    await t.network.check(t.scope, t.stateDir)
    expect(t.calls).toEqual([])
  })
})

describe('gc', () => {
  const valid = [{ containerID: 'p1', ifname: 'eth0' }]
  test('tells every plugin what is valid, and goes on after a failure', async () => {
    const t = await setUp({
      conf: conf('1.1.0'),
      spoil: (c) => (c.command === 'GC' && c.plugin === 'first' ? { code: 1 } : undefined),
    })
    await t.network.gc(t.scope, ['p1'])
    expect(names(t.calls)).toEqual(['GC first', 'GC second'])
    expect(t.calls[0]?.input).toMatchObject({
      'cni.dev/valid-attachments': valid,
      'cni.dev/attachments': valid,
    })
    expect(t.calls[0]?.env).not.toHaveProperty('CNI_CONTAINERID')
    expect(t.log.lines.filter((l) => l.event === 'cni-gc-failed')).toHaveLength(1)
  })
  test.each([
    ['below 1.1', conf('1.0.0')],
    ['forbidden', conf('1.1.0', { disableGC: true })],
  ])('does nothing where it is %s', async (_, c) => {
    const t = await setUp({ conf: c })
    await t.network.gc(t.scope, ['p1'])
    expect(t.calls).toEqual([])
  })
})

describe('status', () => {
  test('ready with its name; asked once in a few seconds, again after a change', async () => {
    const t = await setUp({ conf: conf('1.1.0') })
    const ready = { ready: true, reason: '', message: '', networkName: 'net' }
    expect(await Promise.all([t.network.status(t.scope), t.network.status(t.scope)])).toEqual([ready, ready])
    expect(await t.network.status(t.scope)).toEqual(ready)
    expect(names(t.calls)).toEqual(['STATUS first', 'STATUS second'])
    await writeFile(join(t.confDir, '10-test.conflist'), JSON.stringify(conf('1.1.0', { name: 'changed' })))
    expect(await t.network.status(t.scope)).toEqual({ ...ready, networkName: 'changed' })
  })
  test('a plugin that says no', async () => {
    const t = await setUp({
      conf: conf('1.1.0'),
      spoil: () => ({ code: 1, stdout: { code: 50, msg: 'no datastore' } }),
    })
    expect(await t.network.status(t.scope)).toEqual({
      ready: false,
      reason: 'NetworkPluginNotReady',
      message: expect.stringContaining('CNI plugin first (STATUS): no datastore (code 50)'),
      networkName: 'net',
    })
  })
  test('programs that are missing or not executable, delegates too, are named', async () => {
    const t = await setUp()
    await rm(join(t.binDir, 'ipam'))
    await chmod(join(t.binDir, 'second'), 0o644)
    expect(await t.network.status(t.scope)).toMatchObject({
      ready: false,
      message: expect.stringMatching(/needs the CNI plugins ipam, second, which are in none of/),
    })
  })
  test('broken files are named with their reason', async () => {
    const t = await setUp({ conf: { name: 'x' } })
    expect(await t.network.status(t.scope)).toMatchObject({
      ready: false,
      message: expect.stringMatching(/10-test\.conflist: "plugins" is missing or empty/),
    })
  })
})

test('onChange tells of a new configuration until disposed', async () => {
  const t = await setUp()
  const told = vi.fn()
  const subscription = t.network.onChange(told)
  await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(1), 3_000)
  await writeFile(join(t.confDir, '05-new.conflist'), JSON.stringify(conf('1.0.0', { name: 'newer' })))
  await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(2), 3_000)
  subscription[Symbol.dispose]()
  await rm(join(t.confDir, '05-new.conflist'))
  await new Promise((r) => setTimeout(r, 300))
  expect(told).toHaveBeenCalledTimes(2)
})

describe('a plugin’s end becomes a fault', () => {
  test.each<[string, Answer, object]>([
    [
      'try again later',
      { code: 1, stdout: { code: 11, msg: 'busy' } },
      { kind: 'unavailable', reason: 'cni-11' },
    ],
    ['wrong version', { code: 1, stdout: { code: 1, msg: 'v' } }, { kind: 'unsupported', reason: 'cni-1' }],
    ['no words', { code: 2 }, { kind: 'internal', message: expect.stringContaining('(ADD): exit code 2') }],
    ['a signal', { code: -1, signal: 9 }, { message: expect.stringContaining('killed by signal 9') }],
    [
      'a message without code',
      { code: 1, stdout: { msg: 'm' } },
      { message: expect.stringContaining('(ADD): m') },
    ],
    ['time out', { code: -1, signal: 15, reason: 'timed-out' }, { kind: 'timeout' }],
    [
      'too much output',
      { reason: 'output-too-large' },
      { message: expect.stringContaining('more than 1048576 bytes') },
    ],
    ['a result that is no JSON', { stdout: 'hello' }, { message: expect.stringContaining('is not JSON') }],
    ['endless words', { code: 1, stderr: 'x'.repeat(10_000) }, { message: expect.stringMatching(/x…$/) }],
  ])('%s', async (_, answer, expected) => {
    const t = await setUp({ spoil: (call) => (call.command === 'ADD' ? answer : undefined) })
    const fault = await faultOf(t.network.attach(t.scope, request, t.stateDir))
    expect(fault).toBeInstanceOf(Fault)
    expect(fault).toMatchObject(expected)
  })
})
