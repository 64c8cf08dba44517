// SPDX-License-Identifier: Apache-2.0
/**
 * What a job of the image worker is given: its voice towards the daemon, the daemon's leave to go on, and the
 * scope that ends it. Types only.
 */
import type { Scope } from '../base/scope.ts'
import type { WorkerMessage } from '../host/images/protocol.ts'

export interface JobContext {
  readonly scope: Scope
  /** Ends the job with this reason: its scope aborts. */
  stop(why: Error): void
  say(message: WorkerMessage): void
  /** Resolves at the daemon's `go`; rejects when the scope ends. */
  go(): Promise<void>
}
