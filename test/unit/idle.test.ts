// SPDX-License-Identifier: Apache-2.0
/** The idle pass: soon after the start, then after a quiet time, never twice in a row, never when switched off. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { silent } from '../../src/base/log.ts'
import type { Native } from '../../src/host/native.ts'
import { type IdlePass, idlePass } from '../../src/idle.ts'

let passes = 0
let idle: IdlePass
const native = { trimMemory: () => void passes++ } as unknown as Native
const start = (enabled = true) => {
  idle = idlePass(native, { enabled, log: silent })
}

beforeEach(() => {
  passes = 0
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  // The load of this process is not what is tested.
  vi.spyOn(performance, 'eventLoopUtilization').mockReturnValue({ idle: 1, active: 0, utilization: 0 })
})

afterEach(() => {
  idle[Symbol.dispose]()
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const wait = (ms: number) => vi.advanceTimersByTimeAsync(ms)

test('the first pass comes within a second or so, and none follows while nothing happens', async () => {
  start()
  await wait(1_100)
  expect(passes).toBe(1)
  await wait(300_000)
  expect(passes).toBe(1)
})

test('work begins the quiet time anew', async () => {
  start()
  await wait(60_000)
  for (let n = 0; n < 10; n++) {
    idle.touch({ work: true })
    await wait(10_000)
  }
  expect(passes).toBe(1)
  await wait(20_000)
  expect(passes).toBe(2)
})

test('a client that asks every second does not keep it away, and gets at most two passes a minute', async () => {
  start()
  for (let n = 0; n < 120; n++) {
    idle.touch({ work: false })
    await wait(1_000)
  }
  expect(passes).toBeGreaterThanOrEqual(4)
  expect(passes).toBeLessThanOrEqual(6)
})

test('a busy event loop keeps it away', async () => {
  vi.spyOn(performance, 'eventLoopUtilization').mockReturnValue({ idle: 0, active: 1, utilization: 1 })
  start()
  await wait(60_000)
  expect(passes).toBe(0)
})

test('switched off it does nothing, disposed it ends', async () => {
  start(false)
  await wait(60_000)
  expect(passes).toBe(0)
  start()
  idle[Symbol.dispose]()
  await wait(60_000)
  expect(passes).toBe(0)
})
