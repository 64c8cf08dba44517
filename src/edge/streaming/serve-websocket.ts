// SPDX-License-Identifier: Apache-2.0
/**
 * Sessions over WebSocket: the upgrade with its subprotocol, then channels in messages, or SPDY frames tunnelled
 * through them. The library does the frames of WebSocket itself.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { Fault } from '../../base/fault.ts'
import type { Ticket } from './channels.ts'
import { FORWARD_PROTOCOL } from './forward-streams.ts'
import { STREAMING } from './limits.ts'
import { type Carrier, carriedOut, serveSpdy } from './serve-spdy.ts'
import { chosen, refuse, wanted } from './upgrade.ts'
import { socketChannels, WS_EXEC_PROTOCOLS } from './websocket/exec.ts'
import { socketForwards } from './websocket/forward.ts'
import { CHANNEL_PROTOCOLS } from './websocket/messages.ts'
import { tunnel } from './websocket/tunnel.ts'

/** SPDY frames inside WebSocket messages. Its `/` makes it no legal subprotocol, but that is its name. */
const TUNNEL_PROTOCOL = 'SPDY/3.1+portforward.k8s.io'

export interface UpgradeCall<Plan> {
  readonly request: IncomingMessage
  readonly socket: Duplex
  readonly head: Buffer
  readonly ticket: Ticket<Plan>
}

export type ServeWebSocket<Plan> = (carrier: Carrier<Plan>, call: UpgradeCall<Plan>) => Promise<void>

/** One for a server: the library keeps its settings in an object. */
export function webSocketServer<Plan>(): ServeWebSocket<Plan> {
  /** What was chosen for a request, for the library's two questions about it. */
  const choices = new WeakMap<IncomingMessage, string>()
  const library = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: STREAMING.messageBytes,
    handleProtocols: (_offered, request) => choices.get(request) ?? false,
  })
  library.on('headers', (lines, request) => {
    if (choices.get(request) === TUNNEL_PROTOCOL) lines.push(`Sec-WebSocket-Protocol: ${TUNNEL_PROTOCOL}`)
  })
  library.on('wsClientError', (error, socket) => refuse(socket, 400, error.message))

  const opened = ({ request, socket, head }: UpgradeCall<Plan>): Promise<WebSocket> =>
    new Promise((resolve, reject) => {
      socket.once('close', () => reject(new Fault('cancelled', 'the client is gone')))
      library.handleUpgrade(request, socket, head, resolve)
    })

  return async (carrier, call) => {
    const { request, socket, ticket } = call
    const offered = wanted(request.headers['sec-websocket-protocol'])
    const protocol = choose(ticket, offered)
    if (protocol === undefined) return refuse(socket, 403, `cannot speak any of ${offered.join(', ')}`)
    if (offered.length > 0) choices.set(request, protocol)
    // The library would refuse the name; the event above puts it back.
    if (protocol === TUNNEL_PROTOCOL) delete request.headers['sec-websocket-protocol']
    const client = await opened(call)
    client.on('error', () => {})
    if (protocol === TUNNEL_PROTOCOL)
      return await serveSpdy(carrier, ticket, { wire: tunnel(client), protocol: FORWARD_PROTOCOL })
    await serveChannels(carrier, ticket, { client, protocol })
  }
}

/** Undefined: the client named some, and none is known. */
function choose(ticket: Ticket<unknown>, offered: readonly string[]): string | undefined {
  if (offered.length === 0) return 'channel.k8s.io'
  if (ticket.kind !== 'portforward') return chosen(WS_EXEC_PROTOCOLS, offered)
  return chosen([TUNNEL_PROTOCOL, ...CHANNEL_PROTOCOLS], offered)
}

async function serveChannels<Plan>(
  carrier: Carrier<Plan>,
  ticket: Ticket<Plan>,
  on: { readonly client: WebSocket; readonly protocol: string },
): Promise<void> {
  const { client, protocol } = on
  const { sessions } = carrier
  const gone = new AbortController()
  const closed = new Promise<void>((resolve) => {
    client.on('close', () => {
      gone.abort(new Fault('cancelled', 'the client is gone'))
      resolve()
    })
  })
  const { signal } = gone
  if (ticket.kind === 'portforward') await socketForwards(client, { ticket, sessions, protocol, signal })
  else {
    const channels = socketChannels(client, ticket, protocol)
    await channels.close(await carriedOut(sessions, ticket, { channels, signal }))
  }
  const late = setTimeout(() => client.terminate(), STREAMING.lingerMs)
  await closed
  clearTimeout(late)
}
