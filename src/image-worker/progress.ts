// SPDX-License-Identifier: Apache-2.0
/** Tells the daemon at intervals how far a job is; it gives a job up that does not get on. */
import type { PullProgress } from '../host/images/protocol.ts'
import type { JobContext } from './job.ts'

const PROGRESS_MS = 250

export interface Report extends Disposable {
  /** Tells it also now. */
  now(): void
}

/** Tells what `look` says until it is disposed of. */
export function reporting(context: JobContext, look: () => PullProgress): Report {
  const now = () => context.say({ type: 'progress', ...look() })
  const timer = setInterval(now, PROGRESS_MS)
  return { now, [Symbol.dispose]: () => clearInterval(timer) }
}
