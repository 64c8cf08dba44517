// SPDX-License-Identifier: Apache-2.0
/**
 * A session over SPDY/3.1, from the first byte behind the upgrade to the end of the connection; the same for a
 * socket and for a tunnel through WebSocket messages. When the client goes, the session's signal is aborted.
 */
import type { Duplex } from 'node:stream'
import { asFault, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Channels, SessionEnd, Sessions, Ticket } from './channels.ts'
import { execStreams } from './exec-streams.ts'
import { forwardStreams } from './forward-streams.ts'
import { spdySession } from './spdy/session.ts'

export interface Carrier<Plan> {
  readonly sessions: Sessions<Plan>
  readonly log: Log
}

/** Resolves when the connection is over. Rejects when the client did not open its streams. */
export async function serveSpdy<Plan>(
  carrier: Carrier<Plan>,
  ticket: Ticket<Plan>,
  on: { readonly wire: Duplex; readonly protocol: string },
): Promise<void> {
  const gone = new AbortController()
  const over = Promise.withResolvers<void>()
  const onClose = (why: Fault | undefined) => {
    if (why) carrier.log.debug('stream-broken', { kind: ticket.kind, error: why.message })
    gone.abort(why ?? new Fault('cancelled', 'the client is gone'))
    over.resolve()
  }
  if (ticket.kind === 'portforward') {
    const streams = forwardStreams(ticket, carrier.sessions, gone.signal)
    spdySession(on.wire, { onStream: streams.take, onClose })
    await over.promise
    return streams.stop()
  }
  const streams = execStreams(ticket, on.protocol)
  const session = spdySession(on.wire, { onStream: streams.take, onClose })
  try {
    const channels = await streams.ready(gone.signal)
    await channels.close(await carriedOut(carrier.sessions, ticket, { channels, signal: gone.signal }))
    await session.end()
  } finally {
    session.destroy()
  }
}

/** Runs it; whatever goes wrong is told to the client as the end of its session. */
export async function carriedOut<Plan>(
  sessions: Sessions<Plan>,
  ticket: Ticket<Plan>,
  on: { readonly channels: Channels; readonly signal: AbortSignal },
): Promise<SessionEnd> {
  try {
    return await sessions.run(ticket.plan, on.channels, on.signal)
  } catch (e) {
    return { is: 'failure', message: asFault(e).message }
  }
}
