// SPDX-License-Identifier: Apache-2.0
/** A streaming server whose sessions are plain functions, and the ends of the tests that use it. */
import { silent } from '../../../../src/base/log.ts'
import type { Channels, Forwarded, SessionEnd, Ticket } from '../../../../src/edge/streaming/channels.ts'
import { type StreamServer, streamServer } from '../../../../src/edge/streaming/server.ts'

export interface Plan {
  readonly name: string
}

export interface Serving {
  readonly server: StreamServer<Plan>
  /** The whole URL for a ticket. */
  url(ticket: Partial<Ticket<Plan>>): string
  stop(): Promise<void>
}

export interface Behaviour {
  run?(channels: Channels, signal: AbortSignal): Promise<SessionEnd>
  forward?(connection: Forwarded, signal: AbortSignal): Promise<void>
}

export async function serve(how: Behaviour): Promise<Serving> {
  const server = streamServer<Plan>({
    host: '127.0.0.1',
    port: 0,
    log: silent,
    sessions: {
      run: async (_plan, channels, signal) => (await how.run?.(channels, signal)) ?? { is: 'success' },
      forward: async (_plan, connection, signal) => how.forward?.(connection, signal),
    },
  })
  const { url } = await server.listen()
  return {
    server,
    url: (ticket) =>
      url +
      server.offer({
        kind: 'exec',
        stdin: false,
        stdout: true,
        stderr: true,
        tty: false,
        ports: [],
        plan: { name: 'test' },
        ...ticket,
      }),
    async stop() {
      server.stopListening()
      await server.idle()
    },
  }
}

/** Writes and waits until there is room for more, or nobody there. */
export async function put(stream: NodeJS.WritableStream, bytes: Buffer | string): Promise<void> {
  if (stream.write(bytes)) return
  await new Promise<void>((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done)
      resolve()
    }
    stream.once('drain', done).once('close', done)
  })
}
