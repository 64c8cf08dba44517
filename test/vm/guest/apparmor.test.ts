// SPDX-License-Identifier: Apache-2.0
/**
 * AppArmor, which the guest's kernel has: the default profile is loaded and confines, profiles of the node by both
 * fields of the request, and what runs without one. The runtimes start the processes, so each is asked.
 */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { containerState } from '../../support/cri-requests.ts'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { refusalOf } from '../../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../../support/scenario-run.ts'
import { handlers, startGuestScenario } from './guest.ts'

let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario()
  for (const [name, rule] of [
    ['gt-deny', 'deny /tmp/** w,'],
    ['gt-audit', 'audit /tmp/** w,'],
  ] as const) {
    const file = join(s.workspace.root, name)
    const text = `profile ${name} flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  network,\n  ${rule}\n}\n`
    await writeFile(file, text)
    await promisify(execFile)('apparmor_parser', ['--replace', '--skip-cache', file])
  }
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const as = (securityContext: object) => ({ linux: { securityContext } })
const field = (profileType: number, localhostRef = '') => ({ apparmor: { profileType, localhostRef } })
const label = 'cat /proc/self/attr/current'
const byDefault = 'gantry-default (enforce)\n'

describe.each(handlers)('with %s', (handler) => {
  let count = 0
  const pod = () => s.pod(`aa-${handler}-${++count}`, { handler, privileged: true })
  afterEach(() => s.removePods())

  it('who confines a container', async () => {
    const p = await pod()
    const table: readonly (readonly [string, object, string])[] = [
      ['nothing asked for', {}, byDefault],
      ['RuntimeDefault', field(0), byDefault],
      ['RuntimeDefault, the old field', { apparmorProfile: 'runtime/default' }, byDefault],
      ['Unconfined', field(1), 'unconfined\n'],
      ['Unconfined, the old field', { apparmorProfile: 'unconfined' }, 'unconfined\n'],
      ['privileged', { privileged: true, ...field(0) }, 'unconfined\n'],
      ['a profile', field(2, 'gt-audit'), 'gt-audit (enforce)\n'],
      ['a profile with localhost/', field(2, 'localhost/gt-audit'), 'gt-audit (enforce)\n'],
      ['a profile, the old field', { apparmorProfile: 'localhost/gt-deny' }, 'gt-deny (enforce)\n'],
      [
        'both fields: the new one',
        { apparmorProfile: 'localhost/gt-deny', ...field(2, 'gt-audit') },
        'gt-audit (enforce)\n',
      ],
    ]
    for (const [what, securityContext, wanted] of table)
      expect([what, (await ran(s, p, label, as(securityContext))).stdout]).toEqual([what, wanted])
  })

  it('a profile of the node does what it says', async () => {
    const p = await pod()
    const touch = 'touch /tmp/foo 2>/dev/null; echo $?'
    expect((await ran(s, p, touch, as(field(2, 'localhost/gt-deny')))).stdout).toBe('1\n')
    expect((await ran(s, p, touch, as(field(2, 'localhost/gt-audit')))).stdout).toBe('0\n')
  })

  it('one that is not loaded is an error of CreateContainer, by both fields', async () => {
    const { podId, config: sandboxConfig } = await pod()
    for (const securityContext of [field(2, 'gt-gone'), { apparmorProfile: 'localhost/gt-gone' }]) {
      const config = busybox({ command: ['true'], ...as(securityContext) })
      const made = s.client.call('CreateContainer', { podSandboxId: podId, config, sandboxConfig })
      expect(await refusalOf(made)).toEqual({
        code: 'INVALID_ARGUMENT',
        details: expect.stringMatching(/apparmor: profile gt-gone is not loaded/),
      })
    }
  })

  it('the default profile keeps a container from mounts and settings of the kernel, and from nothing else', async () => {
    const p = await pod()
    const able = as({ ...field(0), capabilities: { addCapabilities: ['SYS_ADMIN', 'NET_ADMIN'] } })
    const script = `
      try() { "$@" >/dev/null 2>&1; echo "$1 $?"; }
      w() { (echo "$2" >"$1") 2>/dev/null; echo "$1 $?"; }
      mount -t tmpfs none /tmp 2>/dev/null; echo mount $?
      w /proc/sys/vm/swappiness 60; w /proc/sys/kernel/core_pattern core; w /proc/sysrq-trigger h
      w /proc/sys/kernel/domainname here; w /proc/sys/net/ipv4/ip_forward 1
      try touch /tmp/x; try chown 7:7 /tmp/x; try mkdir /w; try hostname
      sleep 9 & kill $!; echo kill $?`
    const { stdout } = await ran(s, p, script, able)
    const got = Object.fromEntries(stdout.split('\n').flatMap((l) => (l ? [l.split(' ')] : [])))
    expect(got).toMatchObject({
      '/proc/sys/vm/swappiness': '1',
      '/proc/sys/kernel/core_pattern': '1',
      '/proc/sysrq-trigger': '1',
      '/proc/sys/kernel/domainname': '0',
      '/proc/sys/net/ipv4/ip_forward': '0',
      touch: '0',
      chown: '0',
      mkdir: '0',
      hostname: '0',
      kill: '0',
    })
    expect(got.mount).not.toBe('0')
    // Not by what else could have kept it from it.
    const free = as({ ...field(1), capabilities: { addCapabilities: ['SYS_ADMIN', 'NET_ADMIN'] } })
    const open =
      'mount -t tmpfs none /tmp; echo $?; cat /proc/sys/vm/swappiness >/proc/sys/vm/swappiness; echo $?'
    expect((await ran(s, p, open, free)).stdout).toBe('0\n0\n')
  })

  it('commands are confined too, and a container can be stopped', async () => {
    const c = await kept(s, await pod(), as(field(0)))
    expect(await c.sh(label)).toBe(byDefault)
    expect(await c.sh('sleep 9 & kill $!; echo $?')).toBe('0\n')
    await s.client.call('StopContainer', { containerId: c.id, timeout: 2n }, { deadlineMs: 60_000 })
    const { status } = await s.client.call('ContainerStatus', { containerId: c.id })
    expect(status?.state).toBe(containerState.exited)
  })
})
