// SPDX-License-Identifier: Apache-2.0
/**
 * The streaming server: one HTTP/1.1 listener for exec, attach and port-forward. A request needs a token, once;
 * what it is upgraded to is served by the neighbours, and what runs behind that is the Sessions' business. Owns
 * the sockets and their time limits.
 */
import { createServer as createHttp, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttps, Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { asFault, Fault } from '../../base/fault.ts'
import { type TlsPem, tlsOptions } from '../tls.ts'
import type { Ticket } from './channels.ts'
import { EXEC_PROTOCOLS } from './exec-streams.ts'
import { FORWARD_PROTOCOL } from './forward-streams.ts'
import { STREAMING } from './limits.ts'
import { type Carrier, serveSpdy } from './serve-spdy.ts'
import { type UpgradeCall, webSocketServer } from './serve-websocket.ts'
import { type Tokens, tokens } from './tokens.ts'
import { chosen, refuse, switching, wanted } from './upgrade.ts'

export interface StreamServerOptions<Plan> extends Carrier<Plan> {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly tls?: TlsPem
}

export interface StreamServer<Plan> {
  /** Where it listens: `http://127.0.0.1:40001`. Throws `unavailable` when the address cannot be had. */
  listen(): Promise<{ readonly url: string }>
  /** The path with the token for a ticket. Throws `exhausted`. */
  offer(ticket: Ticket<Plan>): string
  /** New certificates, for connections from now on. */
  reload(tls: TlsPem): void
  /** Tokens that wait and sessions that run. */
  readonly busy: { readonly tokens: number; readonly sessions: number }
  /** Takes no new connections; what runs goes on. */
  stopListening(): void
  /** Resolves when no session runs. */
  idle(): Promise<void>
}

export function streamServer<Plan>(options: StreamServerOptions<Plan>): StreamServer<Plan> {
  const waiting = tokens<Ticket<Plan>>(() => performance.now())
  const running = new Set<Promise<void>>()
  const begin = beginner(options)
  const server = makeServer(options.tls)
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => {})
    const ticket = redeem(waiting, request.url ?? '')
    if (!ticket)
      return refuse(socket, 404, 'no such session: the URL is used up, too old, or was never given')
    if (running.size >= STREAMING.sessions) return refuse(socket, 503, 'too many sessions')
    const work = begin({ request, socket, head, ticket }).catch((e: unknown) => {
      options.log.debug('stream-failed', { kind: ticket.kind, error: asFault(e).message })
      socket.destroy()
    })
    running.add(work)
    void work.then(() => running.delete(work))
  })
  return {
    listen: () => listen(server, options),
    offer: (ticket) => `/${ticket.kind}/${waiting.put(ticket)}`,
    reload: (tls) => {
      if (server instanceof HttpsServer) server.setSecureContext(tls)
    },
    get busy() {
      return { tokens: waiting.size, sessions: running.size }
    },
    stopListening: () => void server.close(),
    async idle() {
      while (running.size > 0) await Promise.all(running)
    },
  }
}

function redeem<Plan>(waiting: Tokens<Ticket<Plan>>, url: string): Ticket<Plan> | undefined {
  const [, kind, token] = /^\/(exec|attach|portforward)\/([\w-]{22})(?:\?|$)/.exec(url) ?? []
  if (kind === undefined || token === undefined) return undefined
  const ticket = waiting.take(token)
  return ticket?.kind === kind ? ticket : undefined
}

/** Upgrades one request and serves it to its end. */
function beginner<Plan>(carrier: Carrier<Plan>): (call: UpgradeCall<Plan>) => Promise<void> {
  const serveWebSocket = webSocketServer<Plan>()
  return async (call) => {
    const { request, socket, head, ticket } = call
    const upgrade = (request.headers.upgrade ?? '').toLowerCase()
    if (upgrade === 'websocket') return await serveWebSocket(carrier, call)
    if (upgrade !== 'spdy/3.1') return refuse(socket, 400, 'only SPDY/3.1 and WebSocket are spoken here')
    const known = ticket.kind === 'portforward' ? [FORWARD_PROTOCOL] : EXEC_PROTOCOLS
    const offered = wanted(request.headers['x-stream-protocol-version'])
    if (offered.length === 0) return refuse(socket, 400, 'the header X-Stream-Protocol-Version is required')
    const protocol = chosen(known, offered)
    if (protocol === undefined)
      return refuse(socket, 403, 'none of the versions in X-Stream-Protocol-Version is spoken here', known)
    switching(socket, protocol)
    if (head.length > 0) socket.unshift(head)
    await serveSpdy(carrier, ticket, { wire: socket, protocol })
  }
}

function makeServer(tls: TlsPem | undefined): Server | HttpsServer {
  const server = tls ? createHttps(tlsOptions(tls)) : createHttp()
  server.headersTimeout = STREAMING.headMs
  server.requestTimeout = STREAMING.headMs
  server.on('request', explain)
  server.on(tls ? 'secureConnection' : 'connection', (socket) => {
    socket.setNoDelay(true)
    socket.setTimeout(STREAMING.idleMs, () => socket.destroy())
  })
  server.on('clientError', (_error, socket) => refuse(socket, 400, 'the request cannot be read'))
  return server
}

async function listen(
  server: Server | HttpsServer,
  { host, port, tls }: { readonly host: string; readonly port: number; readonly tls?: TlsPem },
): Promise<{ url: string }> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const why = `cannot listen on ${host} port ${port} for streaming: ${cause.message}`
      reject(new Fault('unavailable', `${why} (streaming.address, streaming.port)`, { cause }))
    })
    server.listen({ host, port }, resolve)
  })
  const got = server.address()
  if (got === null || typeof got === 'string')
    throw new Fault('internal', 'the streaming server has no address')
  const name = got.family === 'IPv6' ? `[${got.address}]` : got.address
  return { url: `${tls ? 'https' : 'http'}://${name}:${got.port}` }
}

/** A request that is no upgrade: somebody typed the URL. The token stays good. */
function explain(request: IncomingMessage, response: ServerResponse): void {
  const known = /^\/(exec|attach|portforward)\//.test(request.url ?? '')
  response
    .writeHead(known ? 400 : 404, { 'content-type': 'text/plain', connection: 'close' })
    .end(known ? 'this needs an upgrade to SPDY/3.1 or WebSocket\n' : 'there is nothing here\n')
}
