// SPDX-License-Identifier: Apache-2.0
/**
 * Channels over WebSocket messages: the first byte (or, in the base64 protocols, the first character) of each
 * message is the number of its channel. Back-pressure both ways: a channel that is not read stops the socket, a
 * client that does not read stops whoever writes. Source: the `channel.k8s.io` protocols of the Kubernetes API.
 */
import { Readable, Writable } from 'node:stream'
import type { WebSocket } from 'ws'
import { STREAMING } from '../limits.ts'

/** The protocols of exec and of port-forward, in the order of our liking; exec has v5 before them. */
export const CHANNEL_PROTOCOLS = [
  'v4.channel.k8s.io',
  'channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'base64.channel.k8s.io',
] as const

/** The code of a WebSocket that closes because all is said (RFC 6455, section 7.4.1). */
export const NORMAL_CLOSURE = 1000

/** Closes a channel of the other side: v5 only. */
const CLOSE = 255

export interface Messages {
  /** What the client sends on a channel. Only one call a channel. */
  input(channel: number): Readable
  /** What we send on a channel; ending it sends nothing, for the protocol has no word for it. */
  output(channel: number): Writable
  /** Whole messages of a channel. */
  onMessage(channel: number, tell: (bytes: Buffer) => void): void
  /** An empty message: some clients wait for the first one before they go on. */
  greet(channel: number): Promise<void>
}

/** `base64`: text messages. `closes`: the client can end a channel by CLOSE. */
export function messages(
  socket: WebSocket,
  how: { readonly base64: boolean; readonly closes: boolean },
): Messages {
  const inputs = new Map<number, Readable>()
  const listeners = new Map<number, (bytes: Buffer) => void>()
  const full = new Set<Readable>()
  // While the client is not read its going would not be seen; a write meets it.
  let probing: NodeJS.Timeout | undefined
  const taken = (stream: Readable) => {
    if (!full.delete(stream) || full.size > 0) return
    clearInterval(probing)
    socket.resume()
  }

  const receive = (channel: number, bytes: Buffer) => {
    if (channel === CLOSE && how.closes) {
      inputs.get(bytes[0] ?? CLOSE)?.push(null)
      return
    }
    listeners.get(channel)?.(bytes)
    const stream = inputs.get(channel)
    if (!stream || stream.destroyed || stream.readableEnded || bytes.length === 0) return
    if (stream.push(bytes)) return
    if (full.size === 0) probing = setInterval(() => socket.ping(), STREAMING.probeMs)
    full.add(stream)
    socket.pause()
  }

  socket.on('message', (data: Buffer, isBinary: boolean) => {
    if (how.base64) {
      const text = data.toString('latin1')
      if (!isBinary) receive(text.charCodeAt(0) - 48, Buffer.from(text.slice(1), 'base64'))
    } else if (data.length > 0) receive(data.readUInt8(0), data.subarray(1))
  })
  socket.on('close', () => {
    clearInterval(probing)
    for (const stream of inputs.values()) if (!stream.readableEnded && !stream.destroyed) stream.destroy()
  })

  const send = (channel: number, bytes: Buffer, done: (error?: Error | null) => void) => {
    if (socket.readyState !== socket.OPEN) done(new Error('the client is gone'))
    else if (how.base64) socket.send(`${channel}${bytes.toString('base64')}`, done)
    else socket.send(Buffer.concat([Buffer.from([channel]), bytes]), { binary: true }, done)
  }

  return {
    input(channel) {
      const stream: Readable = new Readable({
        highWaterMark: STREAMING.bufferedBytes,
        read: () => taken(stream),
        destroy(error, done) {
          taken(stream)
          done(error)
        },
      })
      stream.on('error', () => {})
      inputs.set(channel, stream)
      return stream
    },
    output(channel) {
      const stream = new Writable({
        write(bytes: Buffer, _encoding, done) {
          let at = 0
          const next = (error?: Error | null): void => {
            if (error || at >= bytes.length) {
              done(error)
              return
            }
            const part = bytes.subarray(at, at + STREAMING.frameBytes)
            at += part.length
            send(channel, part, next)
          }
          next()
        },
      })
      stream.on('error', () => {})
      socket.on('close', () => stream.destroy())
      return stream
    },
    onMessage: (channel, tell) => void listeners.set(channel, tell),
    greet: (channel) => new Promise((resolve) => send(channel, Buffer.alloc(0), () => resolve())),
  }
}
