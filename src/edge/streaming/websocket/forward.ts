// SPDX-License-Identifier: Apache-2.0
/**
 * Port-forward over plain WebSocket channels: the ports are those of the request, each has two channels, 2n for
 * data and 2n+1 for why it could not be; the first message on each is the port, 16 bits, low byte first. One
 * connection a port, and the socket closes when all are over.
 */
import { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { WebSocket } from 'ws'
import { asFault } from '../../../base/fault.ts'
import type { Sessions, Ticket } from '../channels.ts'
import { messages, NORMAL_CLOSURE } from './messages.ts'

/** Resolves when all connections are over and the socket is closing. */
export async function socketForwards<Plan>(
  socket: WebSocket,
  how: {
    readonly ticket: Ticket<Plan>
    readonly sessions: Pick<Sessions<Plan>, 'forward'>
    readonly protocol: string
    readonly signal: AbortSignal
  },
): Promise<void> {
  const all = messages(socket, { base64: how.protocol.includes('base64'), closes: false })
  const forwards = how.ticket.ports.map(async (port, n) => {
    const [input, output, error] = [all.input(2 * n), all.output(2 * n), all.output(2 * n + 1)]
    const name = Buffer.alloc(2)
    name.writeUInt16LE(port)
    output.write(name)
    error.write(name)
    const data = Duplex.from({ readable: input, writable: output })
    data.on('error', () => {})
    try {
      await how.sessions.forward(how.ticket.plan, { port, data }, how.signal)
    } catch (e) {
      if (!error.destroyed) await finished(error.end(asFault(e).message)).catch(() => undefined)
    } finally {
      data.destroy()
    }
  })
  await Promise.all(forwards)
  socket.close(NORMAL_CLOSURE)
}
