// SPDX-License-Identifier: Apache-2.0
/**
 * A refusal by the monitor (FAILED) as a Fault: the runtime's own words are kept raw in `cause`, for whoever
 * classifies them (`oci-runtime/`). Does not read them itself.
 */
import { Fault } from '../../base/fault.ts'
import type { FailStage, MonitorFrame } from './frames.ts'

export interface MonitorFailure {
  readonly stage: FailStage
  /** Exit status of the runtime, -1 if it did not run. */
  readonly exitStatus: number
  /** Tail of the runtime's log (JSON lines), or what it said on stderr, or the monitor's own sentence. */
  readonly log: string
}

const failures = new WeakMap<Fault, MonitorFailure>()

/** The Fault for a FAILED frame: kind `internal`, reason `monitor-<stage>`. */
export function failureFault(doing: string, frame: MonitorFrame & { is: 'failed' }): Fault {
  const failure: MonitorFailure = Object.freeze({
    stage: frame.stage,
    exitStatus: frame.exitStatus,
    log: frame.log,
  })
  const fault = new Fault('internal', `${doing}: ${frame.log.trim() || `stage ${frame.stage} failed`}`, {
    cause: failure,
    reason: `monitor-${frame.stage}`,
  })
  failures.set(fault, failure)
  return fault
}

/** What the monitor said, if this error (or one it was made from) is its refusal. */
export function monitorFailure(error: unknown): MonitorFailure | undefined {
  for (let e = error; e instanceof Fault; e = e.cause) {
    const failure = failures.get(e)
    if (failure) return failure
  }
  return undefined
}
