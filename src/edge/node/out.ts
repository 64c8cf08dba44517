// SPDX-License-Identifier: Apache-2.0
/**
 * Out: where a method that streams puts its messages. Holds back no more than one message: bytes go at the
 * reader's pace, and of progress a slow reader gets the newest only.
 */
import { Fault } from '../../base/fault.ts'
import type { PullProgress } from '../../engine/images/pull.ts'
import type { v1 } from './gen/api.js'

/** Most bytes of one message in a stream of bytes: the runtime of gRPC holds up to 16 of them. */
export const CHUNK_BYTES = 256 * 1024

export interface Out<Event> {
  /** Resolves when the peer's connection has taken it. Rejects with `cancelled` when the peer is gone. */
  send(event: Event): Promise<void>
  /** Sends it if the peer keeps up, else keeps it until then or until a newer one comes. Never waits. */
  offer(event: Event): void
}

/** What is used of the server's end of a stream. */
export interface Peer {
  readonly cancelled: boolean
  write(message: object, done: (error?: Error | null) => void): unknown
  once(event: 'cancelled', listener: () => void): unknown
  off(event: 'cancelled', listener: () => void): unknown
}

export interface OwnedOut extends Out<object> {
  /** From now on offers are dropped. */
  close(): void
}

export function outOf(peer: Peer): OwnedOut {
  let newest: object | undefined
  let busy = false
  let closed = false
  const offer = (event: object): void => {
    if (closed || peer.cancelled) return
    newest = event
    if (busy) return
    const next = newest
    newest = undefined
    busy = true
    peer.write(next, () => {
      busy = false
      if (newest !== undefined) offer(newest)
    })
  }
  const send = (event: object) =>
    new Promise<void>((resolve, reject) => {
      const gone = () => reject(new Fault('cancelled', 'the client went away'))
      if (peer.cancelled) return gone()
      peer.once('cancelled', gone)
      peer.write(event, (error) => {
        peer.off('cancelled', gone)
        if (error) gone()
        else resolve()
      })
    })
  return {
    offer,
    send,
    close: () => {
      closed = true
    },
  }
}

/** The layers of a progress as the proto has them. */
export const layers = (progress: PullProgress): v1.Layer.$Properties[] =>
  progress.layers.map((l) => ({
    digest: l.digest,
    state: l.state,
    doneBytes: BigInt(l.doneBytes),
    unpackedBytes: BigInt(l.unpackedBytes),
    totalBytes: BigInt(l.totalBytes),
  }))
