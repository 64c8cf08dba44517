// SPDX-License-Identifier: Apache-2.0
/**
 * A byte stream over the binary messages of a WebSocket: what `SPDY/3.1+portforward.k8s.io` tunnels its frames
 * through. Message borders mean nothing.
 */
import { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { NORMAL_CLOSURE } from './messages.ts'

export function tunnel(socket: WebSocket): Duplex {
  const stream = new Duplex({
    read: () => socket.resume(),
    write(bytes: Buffer, _encoding, done) {
      if (socket.readyState !== socket.OPEN) return done(new Error('the client is gone'))
      socket.send(bytes, { binary: true }, done)
    },
    final(done) {
      socket.close(NORMAL_CLOSURE)
      done()
    },
    destroy(error, done) {
      socket.terminate()
      done(error)
    },
  })
  socket.on('message', (data: Buffer) => {
    if (!stream.destroyed && !stream.readableEnded && !stream.push(data)) socket.pause()
  })
  socket.on('close', () => {
    if (!stream.readableEnded && !stream.destroyed) stream.push(null)
    // The other side is gone: nothing that is still to be written can arrive.
    if (!stream.writableEnded) stream.destroy()
  })
  socket.on('error', () => {})
  return stream
}
