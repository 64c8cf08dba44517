// SPDX-License-Identifier: Apache-2.0
/**
 * Image workers that have done a job well and wait a moment for the next: starting one costs more than a small
 * pull. Owns the idle ones and their end. Knows no jobs.
 */
import { PULL } from '../../model/pull-policy.ts'
import type { Worker } from './worker.ts'

export interface WarmWorkers {
  /** An idle worker, or a new one. */
  take(start: () => Worker): Worker
  /** Takes back one that has ended its job well. */
  give(worker: Worker): void
  /** Ends the idle ones, and from now on those that are given. @abort finishes */
  close(): Promise<void>
}

export function warmWorkers(idleMs: number = PULL.idleWorkerMs): WarmWorkers {
  const idle = new Map<Worker, NodeJS.Timeout>()
  const startedAt = new WeakMap<Worker, number>()
  const ending = new Set<Promise<unknown>>()
  let closed = false

  const end = (worker: Worker) => {
    clearTimeout(idle.get(worker))
    idle.delete(worker)
    const ended = worker.end().finally(() => ending.delete(ended))
    ending.add(ended)
  }

  return {
    take(start) {
      // The one that came last: the others may then end.
      const worker = [...idle.keys()].at(-1) ?? start()
      clearTimeout(idle.get(worker))
      idle.delete(worker)
      if (!startedAt.has(worker)) startedAt.set(worker, performance.now())
      return worker
    },
    give(worker) {
      const ageMs = performance.now() - (startedAt.get(worker) ?? 0)
      if (closed || idle.size >= PULL.idleWorkers || ageMs > PULL.workerAgeMs) return end(worker)
      idle.set(
        worker,
        setTimeout(() => end(worker), idleMs),
      )
      worker.exited.then(() => {
        if (idle.has(worker)) end(worker)
      })
    },
    async close() {
      closed = true
      for (const worker of [...idle.keys()]) end(worker)
      await Promise.all(ending)
    },
  }
}
