// SPDX-License-Identifier: Apache-2.0
/**
 * Image workers that have done a job well and wait a moment for the next: starting one costs more than a small
 * pull. Owns the idle ones and their end, and lets a job wait a moment for one that is at work when several are.
 * Knows no jobs.
 */
import { abortFault, type Scope } from '../../base/scope.ts'
import { PULL } from '../../model/pull-policy.ts'
import type { Worker } from './worker.ts'

export interface WarmWorkers {
  /**
   * An idle worker, or a new one; when as many are at work as start at once, the first that is free. When none is
   * for `PULL.workerWaitMs`, their number doubles: many small pulls share few workers, and long ones hold nobody
   * up for long. @abort stops
   */
  take(scope: Scope, start: () => Worker): Promise<Worker>
  /** Takes back one that has ended its job well. */
  give(worker: Worker): void
  /** Ends the idle ones, and from now on those that are given. @abort finishes */
  close(): Promise<void>
}

export function warmWorkers(idleMs: number = PULL.idleWorkerMs): WarmWorkers {
  const idle = new Map<Worker, NodeJS.Timeout>()
  const startedAt = new WeakMap<Worker, number>()
  const live = new Set<Worker>()
  const waiting = new Set<(worker: Worker | undefined) => void>()
  const ending = new Set<Promise<unknown>>()
  let growth: NodeJS.Timeout | undefined
  let closed = false

  const end = (worker: Worker) => {
    clearTimeout(idle.get(worker))
    idle.delete(worker)
    const ended = worker.end().finally(() => ending.delete(ended))
    ending.add(ended)
  }

  /** Nobody was free for a while: as many as are at work begin, for those who wait longest. */
  const grow = () => {
    for (const settle of [...waiting].slice(0, Math.max(1, live.size))) settle(undefined)
    arm()
  }
  const arm = () => {
    clearTimeout(growth)
    growth = waiting.size > 0 ? setTimeout(grow, PULL.workerWaitMs) : undefined
  }

  /** The first free worker for whoever waits longest; undefined: begin one. */
  const freed = (scope: Scope): Promise<Worker | undefined> =>
    new Promise((resolve) => {
      const settle = (worker: Worker | undefined) => {
        scope.signal.removeEventListener('abort', onAbort)
        waiting.delete(settle)
        resolve(worker)
      }
      const onAbort = () => settle(undefined)
      scope.signal.addEventListener('abort', onAbort, { once: true })
      waiting.add(settle)
      if (waiting.size === 1) arm()
    })

  const begin = (start: () => Worker): Worker => {
    const worker = start()
    startedAt.set(worker, performance.now())
    live.add(worker)
    void worker.exited.then(() => {
      live.delete(worker)
      if (idle.has(worker)) end(worker)
    })
    return worker
  }

  return {
    async take(scope, start) {
      // The one that came last: the others may then end.
      const worker = [...idle.keys()].at(-1)
      if (worker) {
        clearTimeout(idle.get(worker))
        idle.delete(worker)
        return worker
      }
      if (live.size < PULL.eagerWorkers || closed) return begin(start)
      const free = await freed(scope)
      if (free) return free
      if (scope.signal.aborted) throw abortFault(scope.signal)
      return begin(start)
    },
    give(worker) {
      const ageMs = performance.now() - (startedAt.get(worker) ?? 0)
      if (closed || ageMs > PULL.workerAgeMs) return end(worker)
      const [next] = waiting
      if (next) {
        next(worker)
        return arm()
      }
      if (idle.size >= PULL.idleWorkers) return end(worker)
      idle.set(
        worker,
        setTimeout(() => end(worker), idleMs),
      )
    },
    async close() {
      closed = true
      for (const worker of [...idle.keys()]) end(worker)
      await Promise.all(ending)
    },
  }
}
