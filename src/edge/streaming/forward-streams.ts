// SPDX-License-Identifier: Apache-2.0
/**
 * Port-forward over SPDY: for each TCP connection the client opens two streams that share the headers `port` and
 * `requestid`, one for data and one on which it is told why the connection could not be. A pair is carried out
 * when it is complete; what happens to one says nothing of the others or of the session.
 */
import { asFault, Fault } from '../../base/fault.ts'
import type { Sessions, Ticket } from './channels.ts'
import { STREAMING } from './limits.ts'
import type { SpdyStream } from './spdy/session.ts'

export const FORWARD_PROTOCOL = 'portforward.k8s.io'

interface Pair {
  readonly port: number
  data?: SpdyStream
  error?: SpdyStream
  readonly late: NodeJS.Timeout
}

export interface ForwardStreams {
  /** Takes a stream of the client's; throws for one that has no place here, which refuses it. */
  take(stream: SpdyStream): void
  /** Ends what waits for its other half. */
  stop(): void
}

export function forwardStreams<Plan>(
  ticket: Ticket<Plan>,
  sessions: Pick<Sessions<Plan>, 'forward'>,
  signal: AbortSignal,
): ForwardStreams {
  const pairs = new Map<string, Pair>()
  const pairOf = (id: string, port: number): Pair => {
    const known = pairs.get(id)
    if (known) return known
    const late = setTimeout(() => {
      const pair = pairs.get(id)
      pairs.delete(id)
      const why = `the other stream of the connection did not come within ${STREAMING.streamCreationMs} ms`
      void tell(pair?.error, why).then(() => pair?.data?.destroy())
    }, STREAMING.streamCreationMs)
    const made: Pair = { port, late }
    pairs.set(id, made)
    return made
  }
  return {
    take(stream) {
      const type = stream.headers.get('streamtype') ?? ''
      const port = portOf(stream.headers.get('port'), ticket.ports)
      if (type !== 'data' && type !== 'error') throw new Fault('invalid', `a stream of type "${type}"`)
      // Clients older than the header number their streams in pairs: the error stream comes first.
      const id = stream.headers.get('requestid') ?? `${type === 'error' ? stream.id : stream.id - 2}`
      const pair = pairOf(id, port)
      if (pair[type] || pair.port !== port) throw new Fault('invalid', `a second ${type} stream of ${id}`)
      pair[type] = stream
      if (type === 'error') stream.resume()
      const { data, error } = pair
      if (!data || !error) return
      clearTimeout(pair.late)
      pairs.delete(id)
      void carry(() => sessions.forward(ticket.plan, { port, data }, signal), { data, error })
    },
    stop() {
      for (const { late } of pairs.values()) clearTimeout(late)
      pairs.clear()
    },
  }
}

async function carry(
  forward: () => Promise<void>,
  { data, error }: { readonly data: SpdyStream; readonly error: SpdyStream },
): Promise<void> {
  try {
    await forward()
    await tell(error, '')
  } catch (e) {
    await tell(error, asFault(e).message)
    if (!data.writableEnded) data.end()
    // What the client still sends for a connection that is not there is read and dropped.
    data.resume()
  }
}

/** Writes the reason, if there is one, and ends the stream. */
async function tell(error: SpdyStream | undefined, why: string): Promise<void> {
  if (!error || error.destroyed || error.writableEnded) return
  await new Promise<void>((resolve) => {
    error.once('close', resolve)
    error.end(why, () => resolve())
  })
}

/** Throws `invalid` for what is no port, or none of those that were asked for. */
export function portOf(text: string | undefined, allowed: readonly number[]): number {
  const port = /^\d{1,5}$/.test(text ?? '') ? Number(text) : 0
  if (port < 1 || port > 65_535) throw new Fault('invalid', `"${text ?? ''}" is not a port`)
  if (allowed.length > 0 && !allowed.includes(port))
    throw new Fault('invalid', `port ${port} is not one of those that were asked for`)
  return port
}
