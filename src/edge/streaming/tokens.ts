// SPDX-License-Identifier: Apache-2.0
/**
 * Tokens: each stands for one ticket, once, for a short time. 128 random bits; nothing is told apart from the
 * outside between a token that never was, one that was used, and one that is too old.
 */
import { randomBytes } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { STREAMING } from './limits.ts'

export interface Tokens<T> {
  /** A token for the ticket. Throws `exhausted` when too many wait. */
  put(ticket: T): string
  /** The ticket, which is gone then; undefined for anything else. */
  take(token: string): T | undefined
  /** How many wait. */
  readonly size: number
}

/** `nowMs` is a clock that never goes back. */
export function tokens<T>(nowMs: () => number): Tokens<T> {
  const open = new Map<string, { readonly ticket: T; readonly untilMs: number }>()
  // Insertion order is order of age.
  const expire = () => {
    const now = nowMs()
    for (const [token, { untilMs }] of open) {
      if (untilMs > now) return
      open.delete(token)
    }
  }
  return {
    put(ticket) {
      expire()
      if (open.size >= STREAMING.tokens)
        throw new Fault(
          'exhausted',
          `${open.size} streaming requests wait for their clients: try again in a minute`,
        )
      const token = randomBytes(16).toString('base64url')
      open.set(token, { ticket, untilMs: nowMs() + STREAMING.tokenMs })
      return token
    },
    take(token) {
      expire()
      const found = open.get(token)
      open.delete(token)
      return found?.ticket
    },
    get size() {
      expire()
      return open.size
    },
  }
}
