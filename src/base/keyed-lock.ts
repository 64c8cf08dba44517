// SPDX-License-Identifier: Apache-2.0
/**
 * KeyedLock: a shared/exclusive lock per key, first come first served, whose waiters can leave. Owns nothing
 * else; a key without holders and waiters takes no memory. Not re-entrant.
 */
import type { Task } from './observer.ts'
import { abortFault, type Scope } from './scope.ts'

interface Waiter {
  readonly shared: boolean
  readonly grant: () => void
}
interface Entry {
  readers: number
  writer: boolean
  queue: Waiter[]
  /** Who has it, one entry for each. */
  readonly holders: Set<{ readonly task: Task | undefined }>
}

export interface HeldLock {
  readonly key: string
  /** The calls that hold it. */
  readonly holders: readonly string[]
  readonly waiting: number
}

export class KeyedLock {
  readonly #entries = new Map<string, Entry>()

  /** Waits for the exclusive lock of `key`. The returned value gives it back. @abort stops */
  exclusive(scope: Scope, key: string): Promise<Disposable> {
    return this.#take(scope, key, false)
  }

  /** Waits for a shared lock of `key`; many may hold it at once. @abort stops */
  shared(scope: Scope, key: string): Promise<Disposable> {
    return this.#take(scope, key, true)
  }

  /** The keys that are held or waited for, by whom, and how many wait: for the dump of a stuck daemon. */
  held(): HeldLock[] {
    const name = (task?: Task) => (task ? `${task.name} (call ${task.id})` : 'the daemon')
    return [...this.#entries].map(([key, e]) => ({
      key,
      holders: [...e.holders].map(({ task }) => name(task)),
      waiting: e.queue.length,
    }))
  }

  #take(scope: Scope, key: string, shared: boolean): Promise<Disposable> {
    if (scope.signal.aborted) return Promise.reject(abortFault(scope.signal))
    const entry = this.#entries.get(key) ?? { readers: 0, writer: false, queue: [], holders: new Set() }
    this.#entries.set(key, entry)
    return new Promise<Disposable>((resolve, reject) => {
      const onAbort = () => {
        entry.queue = entry.queue.filter((w) => w !== waiter)
        this.#advance(key, entry)
        reject(abortFault(scope.signal))
      }
      const waiter: Waiter = {
        shared,
        grant: () => {
          scope.signal.removeEventListener('abort', onAbort)
          if (shared) entry.readers++
          else entry.writer = true
          resolve(this.#held(key, entry, { shared, task: scope.task }))
        },
      }
      scope.signal.addEventListener('abort', onAbort, { once: true })
      entry.queue.push(waiter)
      this.#advance(key, entry)
    })
  }

  #held(
    key: string,
    entry: Entry,
    holder: { readonly shared: boolean; readonly task: Task | undefined },
  ): Disposable {
    let open = true
    entry.holders.add(holder)
    return {
      [Symbol.dispose]: () => {
        if (!open) return
        open = false
        entry.holders.delete(holder)
        if (holder.shared) entry.readers--
        else entry.writer = false
        this.#advance(key, entry)
      },
    }
  }

  #advance(key: string, entry: Entry): void {
    for (let next = entry.queue[0]; next; next = entry.queue[0]) {
      if (entry.writer || (!next.shared && entry.readers > 0)) return
      entry.queue.shift()
      next.grant()
    }
    if (!entry.writer && entry.readers === 0) this.#entries.delete(key)
  }
}
