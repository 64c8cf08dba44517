// SPDX-License-Identifier: Apache-2.0
/**
 * Trying a request again: which failures pass by themselves and how long to wait is `model/pull-policy.ts`;
 * this carries it out. Only requests without an effect are sent here.
 */
import { errnoCode, Fault, isFault } from '../../base/fault.ts'
import { abortFault } from '../../base/scope.ts'
import { isPassingCode, isPassingStatus, PULL, retryDelayMs } from '../../model/pull-policy.ts'
import { exchange, type HttpCall, type HttpReply } from './http.ts'

export interface Retry {
  readonly attempts: number
  /** Longest wait that is worth it, milliseconds. */
  readonly maxWaitMs?: number
}

/** At the last host: there is nothing to do but to try again. */
const LAST_RETRY: Retry = { attempts: PULL.attempts, maxWaitMs: PULL.retryAfterMaxMs }

/** May the failure of a connection pass by itself? */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof Fault)) return isPassingCode(errnoCode(error))
  return isPassingCode(errnoCode(error.cause)) || (isFault(error, 'timeout') && error.reason !== undefined)
}

/**
 * `exchange`, repeated with growing waits while the failure may pass. Resolves with the last reply, also when
 * that is a 429 or 5xx; throws the last error of the connection. @abort stops
 */
export async function persist(call: HttpCall, how: Retry = LAST_RETRY): Promise<HttpReply> {
  for (let next = 2; ; next++) {
    let failure: unknown
    let reply: HttpReply | undefined
    try {
      reply = await exchange(call)
      if (!isPassingStatus(reply.status)) return reply
    } catch (e) {
      if (!isPassing(e)) throw e
      failure = e
    }
    const delay = backoff(next, { ...how, retryAfter: reply?.headers['retry-after'] })
    if (delay === undefined) {
      if (reply) return reply
      throw failure
    }
    reply?.body.destroy()
    await pause(call.signal, delay)
  }
}

/** Milliseconds before attempt `next`, or undefined when there will be none. */
export function backoff(
  next: number,
  how: Retry & { readonly retryAfter?: string | undefined } = LAST_RETRY,
): number | undefined {
  return retryDelayMs(next, { ...how, nowMs: Date.now(), jitter: Math.random() })
}

/** Sleeps. @abort stops */
export function pause(signal: AbortSignal, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortFault(signal))
    const onAbort = () => {
      clearTimeout(timer)
      reject(abortFault(signal))
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
