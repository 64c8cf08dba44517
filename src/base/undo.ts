// SPDX-License-Identifier: Apache-2.0
/**
 * Undo: the stack of releases of one piece of work. A release is armed before its act, runs newest first, and
 * a failing one neither hides the first error nor stops the rest: it stays behind as a named leftover.
 * Native AsyncDisposableStack is not used: it has no names and turns the first error into a SuppressedError.
 */
import { asFault, type Fault } from './fault.ts'
import type { Log } from './log.ts'
import { cleanupScope, type Scope } from './scope.ts'

export type Release = (scope: Scope) => Promise<void>

export interface Leftover {
  readonly name: string
  readonly fault: Fault
}

/** How long one release may take, in milliseconds. */
export const RELEASE_MS = 60_000

export class Undo implements AsyncDisposable {
  readonly leftovers: Leftover[] = []
  #armed: { name: string; release: Release }[] = []
  readonly #log: Log

  constructor(log: Log) {
    this.#log = log
  }

  /** Remembers how to take `name` back. Call it before the act: a step that fails late may have made something. */
  arm(name: string, release: Release): void {
    this.#armed.push({ name, release })
  }

  /** The work is done: nothing will be taken back. */
  disarm(): void {
    this.#armed = []
  }

  /** Runs every armed release, newest first, each under a fresh scope with its own deadline. Never throws. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (let entry = this.#armed.pop(); entry; entry = this.#armed.pop()) {
      using scope = cleanupScope(this.#log, RELEASE_MS)
      try {
        await entry.release(scope)
      } catch (e) {
        const fault = asFault(e)
        this.leftovers.push({ name: entry.name, fault })
        this.#log.warn('release-failed', { what: entry.name, error: fault.message })
      }
    }
  }
}
