// SPDX-License-Identifier: Apache-2.0
/**
 * Channels of an exec or attach over WebSocket: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize. All are there
 * from the beginning. Version 5 lets the client end stdin; before it, stdin ends with the connection.
 */
import { finished } from 'node:stream/promises'
import type { WebSocket } from 'ws'
import type { Channels, Ticket } from '../channels.ts'
import { hasStatus } from '../exec-streams.ts'
import { resizes } from '../resize.ts'
import { statusText } from '../status.ts'
import { CHANNEL_PROTOCOLS, messages, NORMAL_CLOSURE } from './messages.ts'

/** A client that names none means `channel.k8s.io`. */
export const WS_EXEC_PROTOCOLS = ['v5.channel.k8s.io', ...CHANNEL_PROTOCOLS] as const

export function socketChannels(socket: WebSocket, ticket: Ticket<unknown>, protocol: string): Channels {
  const all = messages(socket, { base64: protocol.includes('base64'), closes: protocol.startsWith('v5.') })
  const stdin = ticket.stdin ? all.input(0) : undefined
  const stdout = ticket.stdout ? all.output(1) : undefined
  const stderr = ticket.stderr && !ticket.tty ? all.output(2) : undefined
  const error = all.output(3)
  const sizes = resizes()
  all.onMessage(4, (bytes) => sizes.message(bytes.toString('utf8')))
  void all.greet(stdout ? 1 : stderr ? 2 : 3)
  let closing: Promise<void> | undefined
  return {
    ...(stdin ? { stdin } : {}),
    ...(stdout ? { stdout } : {}),
    ...(stderr ? { stderr } : {}),
    onResize: (tell) => sizes.on(tell),
    close(end) {
      closing ??= (async () => {
        const flushed = [stdout, stderr].map(
          (s) => s?.destroyed === false && finished(s.end()).catch(() => {}),
        )
        await Promise.all(flushed)
        const text = statusText(end, hasStatus(protocol))
        if (!error.destroyed) await finished(text === '' ? error.end() : error.end(text)).catch(() => {})
        stdin?.resume()
        socket.close(NORMAL_CLOSURE)
      })()
      return closing
    },
  }
}
