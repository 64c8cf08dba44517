// SPDX-License-Identifier: Apache-2.0
/**
 * Scope: what every verb takes first, how long it may go on (an AbortSignal) and where it says what it does
 * (a log). Owns the linking of signals and deadlines, and takes its listeners and timers away in every path.
 * Does not decide what an abort means: each verb's docstring says `@abort stops | kills | finishes`.
 */
import { Fault } from './fault.ts'
import type { Log } from './log.ts'
import type { Task } from './observer.ts'

export interface Scope {
  readonly signal: AbortSignal
  readonly log: Log
  /** The call for which this is done; undefined for the daemon's own work. */
  readonly task?: Task | undefined
}

/** A scope that also has to be closed: `close()` frees its timer and listeners. Idempotent. */
export interface OwnedScope extends Scope, Disposable {
  abort(reason: Fault): void
  close(): void
}

/**
 * A child of `parent` that ends with it, after `ms` milliseconds (kind `timeout`), or by `abort`.
 * Closing does not abort: work that ended normally must not look cancelled.
 */
export function childScope(
  parent: Scope,
  options: { ms?: number; doing?: string; log?: Log; task?: Task | undefined } = {},
): OwnedScope {
  const controller = new AbortController()
  const onParent = () => controller.abort(parent.signal.reason)
  if (parent.signal.aborted) onParent()
  else parent.signal.addEventListener('abort', onParent, { once: true })
  const timer =
    options.ms === undefined
      ? undefined
      : setTimeout(
          () =>
            controller.abort(
              new Fault('timeout', `${options.doing ?? 'work'} took longer than ${options.ms} ms`),
            ),
          options.ms,
        )
  timer?.unref()
  const close = () => {
    clearTimeout(timer)
    parent.signal.removeEventListener('abort', onParent)
  }
  return {
    signal: controller.signal,
    log: options.log ?? parent.log,
    task: options.task ?? parent.task,
    abort: (reason) => controller.abort(reason),
    close,
    [Symbol.dispose]: close,
  }
}

/** A scope of its own for releases: never the cancelled one of the caller, always with a deadline. */
export function cleanupScope(log: Log, ms: number, task?: Task): OwnedScope {
  return childScope({ signal: new AbortController().signal, log }, { ms, doing: 'cleaning up', task })
}

/** Throws the abort reason as a Fault when the scope has ended. */
export function checkpoint(scope: Scope): void {
  if (scope.signal.aborted) throw abortFault(scope.signal)
}

/** The reason of an aborted signal as a Fault; a foreign reason is `cancelled`. */
export function abortFault(signal: AbortSignal): Fault {
  const reason: unknown = signal.reason
  return reason instanceof Fault ? reason : new Fault('cancelled', 'the caller went away', { cause: reason })
}

/**
 * Waits for `work` or for the end of the scope, whichever is first. A value that arrives after the abort is
 * handed to `late`, so that nothing which was made is lost.
 * @abort stops
 */
export async function orAbort<T>(scope: Scope, work: Promise<T>, late?: (value: T) => void): Promise<T> {
  const signal = scope.signal
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortFault(signal))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } catch (e) {
    if (signal.aborted) work.then(late ?? (() => {}), () => {})
    throw e
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort)
  }
}

/** Sleeps `ms` milliseconds. @abort stops */
export function sleep(scope: Scope, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    if (scope.signal.aborted) return reject(abortFault(scope.signal))
    const onAbort = () => {
      clearTimeout(timer)
      reject(abortFault(scope.signal))
    }
    const timer = setTimeout(() => {
      scope.signal.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    scope.signal.addEventListener('abort', onAbort, { once: true })
  })
}
