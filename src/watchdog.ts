// SPDX-License-Identifier: Apache-2.0
/**
 * The watchdog: warns once of each call or piece of work that takes too long, with the stage that it is in, and of an
 * event loop that stands still, with the stage that was begun last. While the loop turns it says so to systemd. It
 * ends nothing: what is stuck may hold something that only it can give back.
 */
import { jobs } from './base/jobs.ts'
import type { Log } from './base/log.ts'
import { observe } from './base/observer.ts'
import type { Native } from './host/native.ts'
import type { Notify } from './notify.ts'

/** How often the loop says that it turns, and after which silence that is worth a line, milliseconds. */
const BEAT_MS = 1_000
const BLOCKED_MS = 3_000
const TEXT_BYTES = 124

export interface WatchdogOptions {
  readonly log: Log
  readonly notify: Notify
  /** A job that is older is worth a line; 0: none is. */
  readonly jobMs: number
  /** The form of the lines that come while the loop is blocked. */
  readonly json: boolean
}

/** Watches until it is disposed of; the thread that watches the loop ends with the process. */
export function watchdog(native: Pick<Native, 'watchLoop'>, options: WatchdogOptions): Disposable {
  const { log, notify, jobMs } = options
  const beat = Buffer.alloc(4 + TEXT_BYTES)
  const told = new WeakSet<object>()
  let last = performance.now()
  let alive = last
  const tick = () => {
    const now = performance.now()
    const gap = now - last - BEAT_MS
    last = now
    beat.writeUInt32LE((beat.readUInt32LE(0) + 1) >>> 0, 0)
    if (gap > BLOCKED_MS) log.warn('event-loop-was-blocked', { ms: Math.round(gap) })
    if (notify.watchdogMs !== undefined && now - alive >= notify.watchdogMs / 3) {
      alive = now
      notify.alive()
    }
    if (jobMs === 0) return
    for (const { of, rpc, call, ageMs, stages } of jobs(now)) {
      if (ageMs < jobMs || told.has(of)) continue
      told.add(of)
      log.warn('stuck', { rpc, call, ms: ageMs, stages })
    }
  }
  native.watchLoop(beat, BLOCKED_MS, options.json)
  const observing = observe({
    stageBegan: ({ work, name }) => {
      const end = beat.write(`${work}:${name}`, 4, TEXT_BYTES - 1, 'latin1')
      beat[4 + end] = 0
    },
  })
  const timer = setInterval(tick, BEAT_MS)
  timer.unref()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      observing[Symbol.dispose]()
    },
  }
}
