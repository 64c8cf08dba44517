// SPDX-License-Identifier: Apache-2.0
/**
 * The one wrapper around every RPC: opens the scope (client's cancel, its deadline, the daemon's end), carries
 * out the method, turns faults into statuses, and writes one line. Payloads are never logged.
 */
import type { Metadata } from '@grpc/grpc-js'
import { asFault, Fault, isFault } from '../../base/fault.ts'
import { beginTask, endTask } from '../../base/observer.ts'
import { childScope, type OwnedScope, type Scope } from '../../base/scope.ts'
import { type GrpcError, toGrpc } from './status.ts'

/** RPCs that kubelet and tools send all the time: their line is debug. */
const CHATTY =
  /^(List|Stream)|Status$|^Version$|Stats$|Metrics$|^ImageFsInfo$|^RuntimeConfig$|^ExecSync$|^GetContainerEvents$|^Node\.(Images|History|Inspect|PullsInFlight|Dump)$/
/** RPCs that only ask, or are probes: what a kubelet sends whether or not anything happens. */
export const isChatty = (rpc: string): boolean => CHATTY.test(rpc)

/** More of a `traceparent` than anybody needs is not kept. */
const TRACEPARENT_CHARS = 128

/** A call that takes longer than this is worth a warning, milliseconds. Waiting calls are meant to be slow. */
const SLOW_MS = 5_000
const WAITING = new Set([
  'GetContainerEvents',
  'StopContainer',
  'StopPodSandbox',
  'PullImage',
  'ExecSync',
  'RemovePodSandbox',
  'RemoveContainer',
  'Node.Pull',
  'Node.Push',
  'Node.Save',
  'Node.Load',
  'Node.Diff',
  'Node.Prune',
])

export interface IncomingCall {
  readonly cancelled: boolean
  readonly metadata: Metadata
  getDeadline(): Date | number
  on(event: 'cancelled', listener: () => void): unknown
}

/**
 * The scope of one call. Its abort reason says who ended it. The signal and its listeners are made when somebody
 * looks at them: a call that answers from memory does not pay for what it cannot use.
 */
export function openCall(daemon: Scope, call: IncomingCall, rpc: string): OwnedScope {
  const task = beginTask(rpc, call.metadata.get('traceparent')[0]?.slice(0, TRACEPARENT_CHARS).toString())
  const log = daemon.log.with({ rpc, call: task.id })
  let made: OwnedScope | undefined
  const scope = (): OwnedScope => {
    made ??= watched(childScope(daemon, { log, task }), call, rpc)
    return made
  }
  const close = () => made?.close()
  return {
    get signal() {
      return scope().signal
    },
    log,
    task,
    abort: (reason) => scope().abort(reason),
    close,
    [Symbol.dispose]: close,
  }
}

function watched(scope: OwnedScope, call: IncomingCall, rpc: string): OwnedScope {
  const end = () => {
    const deadline = Number(call.getDeadline())
    const late = Number.isFinite(deadline) && Date.now() >= deadline - 1
    scope.abort(
      late
        ? new Fault('timeout', `${rpc}: the client's deadline has passed`)
        : new Fault('cancelled', `${rpc}: cancelled by the client`),
    )
  }
  if (call.cancelled) end()
  else call.on('cancelled', end)
  return scope
}

/** Runs `work`, logs its one line, and gives the value or the status to answer with. */
export async function answer<T>(
  scope: OwnedScope,
  rpc: string,
  work: () => Promise<T> | T,
): Promise<{ value: T } | { error: GrpcError }> {
  const begin = performance.now()
  let code = 0
  try {
    const value = await work()
    line(scope, rpc, { ms: performance.now() - begin })
    return { value }
  } catch (e) {
    const error = toGrpc(e)
    code = error.code
    line(scope, rpc, { ms: performance.now() - begin, error: e, code: error.code })
    return { error }
  } finally {
    if (scope.task) endTask(scope.task, code)
    scope.close()
  }
}

/** How long each stage of the call took, by `work:act`, milliseconds; one that still runs up to now. */
function stagesOf({ task }: Scope): Readonly<Record<string, number>> {
  const out: Record<string, number> = {}
  for (const { work, name, beganMs, endedMs = performance.now() } of task?.stages ?? [])
    out[`${work}:${name}`] = (out[`${work}:${name}`] ?? 0) + Math.round(endedMs - beganMs)
  return out
}

function line(scope: Scope, rpc: string, end: { ms: number; error?: unknown; code?: number }): void {
  const ms = Math.round(end.ms * 100) / 100
  const slow = ms > SLOW_MS && !WAITING.has(rpc)
  if (slow) scope.log.warn('slow-call', { ms, stages: stagesOf(scope) })
  if (end.error === undefined) {
    if (slow) return
    if (isChatty(rpc)) scope.log.debug('call', { ms })
    else scope.log.info('call', { ms })
    return
  }
  const text = asFault(end.error).message
  if (!isFault(end.error)) {
    scope.log.error('bug', {
      ms,
      error: text,
      stack: end.error instanceof Error ? end.error.stack : undefined,
    })
  } else scope.log.info('call-failed', { ms, code: end.code, kind: end.error.kind, error: text })
}
