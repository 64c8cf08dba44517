// SPDX-License-Identifier: Apache-2.0
/** The end of an exec whose processes have left its tree, through the monitor with a real runc. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Container, execText, Ground, pidsWith, scope } from './monitor-fixture.ts'

const ground = new Ground()
let before: Snapshot
let c: Container

beforeAll(async () => {
  before = await snapshot(ground.leakScope)
  c = await ground.running({ command: 'trap "exit 0" TERM; while :; do sleep 1; done' })
})

afterAll(async () => {
  await ground.clear()
  await expectNoLeaks(before)
})

it('a time-out takes along what left the tree by two forks and a session of its own, and nothing of another exec', async () => {
  await execText(c, '(setsid sleep 43261 >/dev/null 2>&1 &)')
  const daemons = '(setsid sh -c "(setsid sleep 43251 &); sleep 43252" &); sleep 43253'
  expect(await execText(c, daemons, { timeoutMs: 500 })).toMatchObject({ code: 137, timedOut: true })
  expect(pidsWith('sleep\x004325')).toEqual([])
  const [other = 0] = pidsWith('sleep\x0043261')
  expect(other).toBeGreaterThan(1)
  process.kill(other, 'SIGKILL')
  expect((await c.monitor.status(scope)).execs).toBe(0)
})

it('an exec leaves the limit that marks it to its own processes alone', async () => {
  const limits = 'grep "realtime timeout" /proc/self/limits /proc/1/limits'
  const { stdout } = await execText(c, limits)
  expect(stdout).toMatch(/self\/limits:Max realtime timeout +4\d{18} /)
  expect(stdout).toMatch(/1\/limits:Max realtime timeout +unlimited/)
})
