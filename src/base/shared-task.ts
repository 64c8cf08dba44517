// SPDX-License-Identifier: Apache-2.0
/**
 * SharedTasks: many callers, one piece of work per key. A caller that comes while the work is in flight joins
 * it and gets its result; the work is aborted when the last caller has left. Does not cache results.
 */
import { Fault } from './fault.ts'
import { childScope, type OwnedScope, orAbort, type Scope } from './scope.ts'

interface Flight<T> {
  readonly scope: OwnedScope
  readonly result: Promise<T>
  callers: number
}

export class SharedTasks<T> {
  readonly #flights = new Map<string, Flight<T>>()
  readonly #running = new Set<Promise<T>>()
  readonly #base: Scope

  /** `base` is the daemon's scope: the work outlives one caller, but not the daemon. */
  constructor(base: Scope) {
    this.#base = base
  }

  get size(): number {
    return this.#flights.size
  }

  /** How many wait for the work of `key`. */
  callers(key: string): number {
    return this.#flights.get(key)?.callers ?? 0
  }

  /** Resolves when no work runs any more, also none that was given up and is still cleaning up. @abort stops */
  async idle(scope: Scope): Promise<void> {
    while (this.#running.size > 0) await orAbort(scope, Promise.allSettled([...this.#running]))
  }

  /** Joins or starts the work of `key`. The abort of this caller's scope ends this wait only. @abort stops */
  async run(scope: Scope, key: string, work: (scope: Scope) => Promise<T>): Promise<T> {
    let flight = this.#flights.get(key)
    if (!flight) {
      const own = childScope(this.#base, { log: scope.log, task: scope.task })
      const result = work(own).finally(() => {
        own.close()
        if (this.#flights.get(key)?.scope === own) this.#flights.delete(key)
        this.#running.delete(result)
      })
      this.#running.add(result)
      result.catch(() => {})
      flight = { scope: own, result, callers: 0 }
      this.#flights.set(key, flight)
    }
    flight.callers++
    try {
      return await orAbort(scope, flight.result)
    } finally {
      if (--flight.callers === 0) {
        // A newcomer must not join a piece of work that is being given up: it starts afresh.
        if (this.#flights.get(key) === flight) this.#flights.delete(key)
        flight.scope.abort(new Fault('cancelled', 'every caller went away'))
      }
    }
  }
}
