// SPDX-License-Identifier: Apache-2.0
/** Attach and detach over played plugins: chaining, records, half-way failures, versions. */
import { existsSync, readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Call, faultOf } from './fixture.ts'
import { conf, eth0, names, request, setUp } from './network-fixture.ts'

describe('attach', () => {
  test('runs the list in order, hands each result on, and gives the pod’s addresses', async () => {
    const t = await setUp()
    const result = await t.network.attach(t.scope, request, t.stateDir)
    expect(names(t.calls)).toEqual(['ADD first', 'ADD second'])
    expect(t.calls[0]?.input).toEqual({
      cniVersion: '1.0.0',
      name: 'net',
      type: 'first',
      ipam: { type: 'ipam' },
    })
    expect(t.calls[1]?.input).toMatchObject({
      prevResult: eth0('10.0.0.2/24'),
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
    })
    expect(t.calls[0]?.env).toMatchObject({
      CNI_CONTAINERID: 'p1',
      CNI_NETNS: '/netns/p1',
      CNI_IFNAME: 'eth0',
      CNI_PATH: `/nowhere:${t.binDir}`,
      CNI_ARGS: expect.stringContaining('K8S_POD_NAME=web;'),
      PATH: expect.stringContaining('/usr/sbin'),
    })
    expect(result).toMatchObject({ networkName: 'net', ifName: 'eth0', ips: ['10.0.0.2'], unserved: [] })
    expect(result.result).toMatchObject({ passedOn: true })
    expect(await t.network.recall(t.stateDir)).toEqual(result)
  })

  test('has the intent on disk before the first plugin is called', async () => {
    let seen: unknown
    const t = await setUp({
      spoil: (call) => {
        if (call.plugin === 'first') seen = JSON.parse(readFileSync(t.record, 'utf8'))
        return undefined
      },
    })
    await t.network.attach(t.scope, request, t.stateDir)
    expect(seen).toMatchObject({ v: 1, attached: false, containerId: 'p1', netns: '/netns/p1' })
    expect(seen).not.toHaveProperty('result')
  })

  test('without a usable network nothing is recorded and the reason is told', async () => {
    const t = await setUp({ conf: { cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'absent' }] } })
    const fault = await faultOf(t.network.attach(t.scope, request, t.stateDir))
    expect(fault).toMatchObject({
      kind: 'unavailable',
      message: expect.stringMatching(/plugins absent, .*nowhere/),
    })
    await rm(join(t.confDir, '10-test.conflist'))
    expect(await faultOf(t.network.attach(t.scope, request, t.stateDir))).toMatchObject({
      kind: 'unavailable',
      message: `there is no CNI configuration in ${t.confDir}`,
    })
    expect(existsSync(t.record)).toBe(false)
    expect(t.calls).toEqual([])
  })

  test('a second attach without detach is refused', async () => {
    const t = await setUp()
    await t.network.attach(t.scope, request, t.stateDir)
    expect(await faultOf(t.network.attach(t.scope, request, t.stateDir))).toMatchObject({
      kind: 'wrong-state',
    })
    expect(t.calls).toHaveLength(2)
  })

  test('host ports that no plugin serves are named, for the caller to map', async () => {
    const t = await setUp({ conf: conf('1.0.0', { plugins: [{ type: 'first' }] }) })
    const result = await t.network.attach(t.scope, request, t.stateDir)
    expect(result.unserved).toEqual(['portMappings'])
    expect(t.log.lines.filter((l) => l.event === 'cni-capability-unserved')).toEqual([])
  })

  test('a result of another version is converted before it is handed on', async () => {
    const t = await setUp({
      conf: conf('0.4.0'),
      spoil: (call) =>
        call.command === 'ADD' && call.plugin === 'first'
          ? { stdout: { cniVersion: '1.0.0', ...eth0('10.0.0.9/24') } }
          : undefined,
    })
    await t.network.attach(t.scope, request, t.stateDir)
    expect(t.calls[1]?.input.prevResult).toMatchObject({
      cniVersion: '0.4.0',
      ips: [{ version: '4', address: '10.0.0.9/24', interface: 0 }],
    })
  })
})

describe('detach', () => {
  test('runs in reverse with the recorded list and result, and forgets', async () => {
    const t = await setUp()
    const { result } = await t.network.attach(t.scope, request, t.stateDir)
    t.calls.length = 0
    await writeFile(
      join(t.confDir, '10-test.conflist'),
      JSON.stringify(conf('1.0.0', { name: 'other', plugins: [{ type: 'first' }] })),
    )
    await t.network.detach(t.scope, t.stateDir)
    expect(names(t.calls)).toEqual(['DEL second', 'DEL first'])
    for (const call of t.calls) {
      expect(call.input).toMatchObject({ name: 'net', prevResult: result })
      expect(call.env).toMatchObject({ CNI_NETNS: '/netns/p1', CNI_CONTAINERID: 'p1' })
    }
    expect(t.calls[0]?.input).toHaveProperty('runtimeConfig.portMappings')
    expect(existsSync(t.record)).toBe(false)
    await t.network.detach(t.scope, t.stateDir)
    expect(t.calls).toHaveLength(2)
  })

  test('after a plugin failed half way DEL goes to the whole list, without a result', async () => {
    const t = await setUp({
      spoil: (call) =>
        call.command === 'ADD' && call.plugin === 'second'
          ? { code: 1, stdout: { code: 999, msg: 'no luck', details: 'at all' } }
          : undefined,
    })
    const fault = await faultOf(t.network.attach(t.scope, request, t.stateDir))
    expect(fault).toMatchObject({
      kind: 'internal',
      reason: 'cni-999',
      message: 'attach pod p1 to network net: CNI plugin second (ADD): no luck; at all (code 999)',
    })
    expect(await t.network.recall(t.stateDir)).toBeUndefined()
    t.calls.length = 0
    await t.network.detach(t.scope, t.stateDir)
    expect(names(t.calls)).toEqual(['DEL second', 'DEL first'])
    for (const call of t.calls) expect(call.input).not.toHaveProperty('prevResult')
    expect(existsSync(t.record)).toBe(false)
  })

  test('an unusable result fails the attach and can be detached', async () => {
    const t = await setUp({ spoil: (call) => (call.command === 'ADD' ? { stdout: { ips: [] } } : undefined) })
    expect(await faultOf(t.network.attach(t.scope, request, t.stateDir))).toMatchObject({
      message: expect.stringContaining('gives eth0 of the pod no address'),
    })
    await t.network.detach(t.scope, t.stateDir)
    expect(names(t.calls).slice(2)).toEqual(['DEL second', 'DEL first'])
  })

  test.each([
    ['is not mounted any more', '/netns/p1', () => false],
    ['has no file', '/gone', () => true],
  ])('tells plugins when the namespace %s', async (_, netns, isNetns) => {
    const t = await setUp({ netns: isNetns })
    await t.network.attach(t.scope, { ...request, netns }, t.stateDir)
    t.calls.length = 0
    await t.network.detach(t.scope, t.stateDir)
    expect(t.calls.map((c) => c.env.CNI_NETNS)).toEqual(['', ''])
  })

  test('a failing DEL stops there, is reported, and keeps the record for the next try', async () => {
    let broken = true
    const t = await setUp({
      spoil: (call) =>
        call.command === 'DEL' && broken ? { code: 3, stderr: 'iptables: locked' } : undefined,
    })
    await t.network.attach(t.scope, request, t.stateDir)
    t.calls.length = 0
    expect(await faultOf(t.network.detach(t.scope, t.stateDir))).toMatchObject({
      message: 'detach pod p1 from network net: CNI plugin second (DEL): exit code 3: iptables: locked',
    })
    expect(names(t.calls)).toEqual(['DEL second'])
    expect(existsSync(t.record)).toBe(true)
    broken = false
    await t.network.detach(t.scope, t.stateDir)
    expect(existsSync(t.record)).toBe(false)
  })

  test('a list whose ADD never worked gives way to the mended list of the same network, one that worked does not', async () => {
    const spoil = (call: Call) => (call.input.name === 'net' && !call.input.mended ? { code: 7 } : undefined)
    const mended = (name: string) => ({ name, plugins: [{ type: 'first', mended: true }] })
    const t = await setUp({ spoil })
    const file = join(t.confDir, '10-test.conflist')
    await faultOf(t.network.attach(t.scope, request, t.stateDir))
    expect(await faultOf(t.network.detach(t.scope, t.stateDir))).toMatchObject({ kind: 'internal' })
    await writeFile(file, JSON.stringify(conf('1.0.0', mended('other'))))
    expect(await faultOf(t.network.detach(t.scope, t.stateDir))).toMatchObject({ kind: 'internal' })
    await writeFile(file, JSON.stringify(conf('1.0.0', mended('net'))))
    await t.network.detach(t.scope, t.stateDir)
    expect(names(t.calls).slice(-2)).toEqual(['DEL second', 'DEL first'])
    expect(existsSync(t.record)).toBe(false)

    let broken = false
    const u = await setUp({ spoil: () => (broken ? { code: 7 } : undefined) })
    await u.network.attach(u.scope, request, u.stateDir)
    broken = true
    await writeFile(join(u.confDir, '10-test.conflist'), JSON.stringify(conf('1.0.0', mended('net'))))
    u.calls.length = 0
    expect(await faultOf(u.network.detach(u.scope, u.stateDir))).toMatchObject({ kind: 'internal' })
    expect(names(u.calls)).toEqual(['DEL second'])
  })

  test('below 0.4.0 DEL gets no previous result and CHECK does not exist', async () => {
    const t = await setUp({ conf: conf('0.3.1') })
    await t.network.attach(t.scope, request, t.stateDir)
    await t.network.check(t.scope, t.stateDir)
    await t.network.detach(t.scope, t.stateDir)
    expect(names(t.calls)).toEqual(['ADD first', 'ADD second', 'DEL second', 'DEL first'])
    for (const call of t.calls.slice(2)) expect(call.input).not.toHaveProperty('prevResult')
  })

  test('a corrupt record is an error that names the file, and no plugin is called', async () => {
    const t = await setUp()
    await writeFile(t.record, '{"v":1,"attached":true}')
    expect(await faultOf(t.network.detach(t.scope, t.stateDir))).toMatchObject({
      kind: 'corrupt',
      message: expect.stringContaining(t.record),
    })
    expect(t.calls).toEqual([])
  })
})
