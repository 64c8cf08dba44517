// SPDX-License-Identifier: Apache-2.0
/**
 * RPCs that answer with a stream: lists, which end by themselves and wait for a slow reader, and live ones, which
 * go on until the client leaves or the daemon ends and wait for nobody. A live one keeps a bounded queue for its
 * reader; one whose queue is full is ended with RESOURCE_EXHAUSTED, and its reader has to list again.
 */
import * as grpc from '@grpc/grpc-js'
import { Fault, isFault } from '../../base/fault.ts'
import { orAbort, type Scope } from '../../base/scope.ts'
import { LIMITS } from '../../model/limits.ts'

type Call = grpc.ServerWritableStream<object, object>

/** Writes all, at the reader's pace. @abort stops */
export async function writeAll(
  scope: Scope,
  call: Call,
  messages: Iterable<object> | AsyncIterable<object>,
): Promise<void> {
  for await (const message of messages) {
    if (scope.signal.aborted) return
    if (!call.write(message)) await roomOrEnd(call, scope.signal)
  }
}

/** Resolves when there is room for more, or when nobody waits for it any longer. */
function roomOrEnd(call: Call, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    call.once('drain', done)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}

/**
 * Writes what `begin` sends, which never waits. Resolves when the client has left; rejects with why else it is
 * over: the daemon ends, or the reader is too slow (`exhausted`). @abort stops
 */
export async function writeLive(
  scope: Scope,
  call: Call,
  begin: (send: (message: object) => void) => Disposable,
): Promise<void> {
  const { promise: behind, reject: give } = Promise.withResolvers<never>()
  const queue: object[] = []
  let full = false
  let over = false
  const flush = () => {
    full = false
    let sent = 0
    for (const message of queue) {
      if (full) break
      full = !call.write(message)
      sent++
    }
    queue.splice(0, sent)
  }
  const send = (message: object) => {
    if (over) return
    if (!full) full = !call.write(message)
    else if (queue.length < LIMITS.liveQueue) queue.push(message)
    else {
      over = true
      give(
        new Fault(
          'exhausted',
          `the reader of this stream is ${LIMITS.liveQueue} messages behind: list what there is, then subscribe again`,
        ),
      )
    }
  }
  call.on('drain', flush)
  try {
    using _ = begin(send)
    // A client sees that it is subscribed, also before the first message.
    call.sendMetadata(new grpc.Metadata())
    await orAbort(scope, behind)
  } catch (e) {
    if (!isFault(e, 'cancelled') && !isFault(e, 'timeout')) throw e
  } finally {
    over = true
    queue.length = 0
    call.off('drain', flush)
  }
}
