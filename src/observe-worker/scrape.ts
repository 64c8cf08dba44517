// SPDX-License-Identifier: Apache-2.0
/**
 * The endpoint that Prometheus asks: `GET /metrics` over HTTP or HTTPS, on an address or a unix socket. However often
 * it is asked, the text is made anew only some times a second. Owns the listener and its time limits.
 */
import { chmod, lstat, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttps, Server as HttpsServer } from 'node:https'
import type { ListenOptions } from 'node:net'
import { asFault, Fault, unlessMissing } from '../base/fault.ts'
import { type TlsPaths, tlsFiles, tlsOptions } from '../edge/tls.ts'
import { metricsPlace } from '../model/observe.ts'

const KEEP_MS = 500
const CONNECTIONS = 32
const HEAD_MS = 5_000
const RELOAD_MS = 10_000
const TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export interface ScrapeOptions {
  /** `host:port` or `unix:///path`. */
  readonly address: string
  readonly tls?: TlsPaths | undefined
  /** The exposition, made now. */
  text(): Promise<string>
  warn(event: string, fields: Readonly<Record<string, unknown>>): void
}

/** Listens; resolves with the URL. Throws `unavailable` with the option at fault. */
export async function serveMetrics(options: ScrapeOptions): Promise<string> {
  const { tls } = options
  let now = tls && (await tlsFiles('metrics', tls))
  const server = now ? createHttps(tlsOptions(now.pem)) : createServer()
  server.maxConnections = CONNECTIONS
  server.headersTimeout = server.requestTimeout = HEAD_MS
  server.on('request', answerer(kept(options.text)))
  if (tls && server instanceof HttpsServer) {
    const look = async () => {
      const found = await tlsFiles('metrics', tls)
      if (found.stamp === now?.stamp) return
      server.setSecureContext(found.pem)
      now = found
    }
    const complain = (e: unknown) =>
      options.warn('metrics-certificate-unusable', { error: asFault(e).message })
    setInterval(() => void look().catch(complain), RELOAD_MS).unref()
  }
  return await listen(server, options.address)
}

/** One text for all who ask within a short time. */
function kept(make: () => Promise<string>): () => Promise<string> {
  let current: Promise<string> | undefined
  return () => {
    current ??= make().finally(() => setTimeout(() => (current = undefined), KEEP_MS).unref())
    return current
  }
}

function answerer(text: () => Promise<string>) {
  return (request: IncomingMessage, response: ServerResponse) => {
    const say = (status: number, body: string, headers: Record<string, string> = {}) =>
      response.writeHead(status, { 'content-type': TYPE, ...headers }).end(body)
    request.resume()
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return say(405, 'only GET\n', { allow: 'GET, HEAD' })
    if (!/^\/metrics(?:\?|$)/.test(request.url ?? '')) return say(404, 'the metrics are at /metrics\n')
    return text().then(
      (body) => say(200, body),
      (e: unknown) => say(500, `${asFault(e).message}\n`),
    )
  }
}

async function listen(server: Server | HttpsServer, address: string): Promise<string> {
  const place: ListenOptions = metricsPlace(address)
  if (place.path !== undefined) {
    const there = await lstat(place.path).catch(unlessMissing)
    if (there && !there.isSocket())
      throw new Fault('exists', `metrics.address: ${place.path} is there and is no socket`)
    await rm(place.path, { force: true })
  }
  // A socket is root's alone from its first moment.
  process.umask(0o177)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new Fault('unavailable', `metrics.address: cannot listen on ${address}: ${cause.message}`, { cause }),
      ),
    )
    server.listen(place, resolve)
  })
  if (place.path !== undefined) {
    await chmod(place.path, 0o600)
    return address
  }
  const got = server.address()
  const port = typeof got === 'object' ? (got?.port ?? 0) : 0
  return `http${server instanceof HttpsServer ? 's' : ''}://${address.replace(/:\d+$/, `:${port}`)}/metrics`
}
