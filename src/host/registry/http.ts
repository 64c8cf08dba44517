// SPDX-License-Identifier: Apache-2.0
/**
 * One HTTP exchange of the pull worker: connecting with a deadline, TLS by host, redirects that never carry
 * secrets to another origin, and bodies that may not fall silent. Loaded by the worker process only.
 * Knows nothing of registries, and does not try again: `client.ts` does.
 */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { getCACertificates } from 'node:tls'
import { errnoCode, Fault } from '../../base/fault.ts'
import { abortFault } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { PULL } from '../../model/pull-policy.ts'
import { isLoopback, type TlsSettings } from './hosts-toml.ts'

/** A body that is not held in memory; it is opened anew each time it is sent. */
export interface HttpBody {
  readonly bytes: number
  open(): AsyncIterable<Buffer>
}

export interface HttpCall {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** Headers that go to this origin only: credentials, and what hosts.toml adds. */
  readonly privateHeaders: Readonly<Record<string, string>>
  readonly body?: string | Buffer | HttpBody
  readonly tls: TlsSettings
  readonly connectMs: number
  /** Longest wait for the answer, milliseconds. */
  readonly stallMs?: number
  readonly signal: AbortSignal
}

export interface HttpReply {
  readonly status: number
  /** Who answered: after redirects it may be another host. */
  readonly url: URL
  readonly headers: IncomingMessage['headers']
  /** All values of WWW-Authenticate. */
  readonly challenges: readonly string[]
  readonly body: IncomingMessage
}

const REDIRECTS = new Set([301, 302, 303, 307, 308])
const agents = new Map<string, HttpAgent | HttpsAgent>()

/**
 * Sends and follows redirects. Resolves with any status; the caller reads or destroys the body. Throws
 * `unavailable` (reason RegistryUnavailable) when the host cannot be talked to, `timeout`, `denied` for a
 * redirect that would leave https. @abort stops
 */
export async function exchange(call: HttpCall): Promise<HttpReply> {
  let url = call.url
  let privateHeaders = call.privateHeaders
  let tls = call.tls
  for (let hop = 0; ; hop++) {
    const reply = await once({ ...call, url, privateHeaders, tls })
    const location = reply.headers.location
    if (call.method !== 'GET' || !REDIRECTS.has(reply.status) || location === undefined) return reply
    discard(reply)
    if (hop >= PULL.redirects) {
      throw new Fault('unavailable', `${shownUrl(call.url)} redirects more than ${PULL.redirects} times`)
    }
    const next = redirectTarget(url, location)
    if (next.origin !== url.origin) {
      privateHeaders = {}
      tls = { ...tls, client: [] }
    }
    url = next
  }
}

function redirectTarget(from: URL, location: string): URL {
  let next: URL
  try {
    next = new URL(location, from)
  } catch {
    throw new Fault('unavailable', `${shownUrl(from)} redirects to something that is not a URL`)
  }
  if (next.protocol !== 'https:' && next.protocol !== from.protocol) {
    throw new Fault(
      'denied',
      `${shownUrl(from)} redirects to ${next.protocol}//${next.host}: refused, as that is not ${from.protocol}//`,
    )
  }
  next.username = ''
  next.password = ''
  return next
}

/** A URL as it may stand in a message: signed links carry their secret in the query. */
export function shownUrl(url: URL): string {
  return `${url.origin}${url.pathname}`
}

function once(call: HttpCall): Promise<HttpReply> {
  return new Promise<HttpReply>((resolve, reject) => {
    if (call.signal.aborted) return reject(abortFault(call.signal))
    const secure = call.url.protocol === 'https:'
    const headers: Record<string, string> = {
      'accept-encoding': 'identity',
      'user-agent': 'gantry',
      ...call.headers,
      ...call.privateHeaders,
    }
    const { body: sent } = call
    const streamed = typeof sent === 'object' && !Buffer.isBuffer(sent) ? sent : undefined
    const whole = typeof sent === 'string' || Buffer.isBuffer(sent) ? sent : undefined
    if (streamed) headers['content-length'] = String(streamed.bytes)
    else if (whole !== undefined) headers['content-length'] = String(Buffer.byteLength(whole))
    const send = secure ? httpsRequest : httpRequest
    const req = send(call.url, { method: call.method, headers, agent: agentFor(call), signal: call.signal })
    const where = shownUrl(call.url)
    const late = (what: string, ms: number) => () =>
      req.destroy(
        new Fault('timeout', `${where}: ${what} within ${ms} ms`, { reason: 'RegistryUnavailable' }),
      )
    let timer = setTimeout(late('no connection', call.connectMs), call.connectMs)
    const answerTimer = () => {
      clearTimeout(timer)
      const ms = call.stallMs ?? PULL.stallMs
      timer = setTimeout(late('no answer', ms), ms)
    }
    req.on('socket', (socket) => {
      if (socket.connecting) socket.once(secure ? 'secureConnect' : 'connect', answerTimer)
      else answerTimer()
    })
    req.on('response', (body) => {
      clearTimeout(timer)
      body.on('error', () => {})
      // An answer before the end of what is sent: the rest is not wanted, and the connection cannot be kept.
      if (!req.writableEnded) body.once('close', () => req.destroy())
      const challenges = body.headersDistinct['www-authenticate'] ?? []
      resolve({ status: body.statusCode ?? 0, url: call.url, headers: body.headers, challenges, body })
    })
    req.on('error', (e) => {
      clearTimeout(timer)
      if (call.signal.aborted) return reject(abortFault(call.signal))
      // A kept connection that the host has closed meanwhile: that says nothing about the host.
      if (req.reusedSocket && !streamed && errnoCode(e) === 'ECONNRESET') return resolve(once(call))
      reject(unreachable(call.url, e))
    })
    if (streamed) void sendBody(req, streamed, answerTimer)
    else req.end(whole)
  })
}

/** Sends a body at the pace of the connection; each step forward starts the wait for the answer anew. */
async function sendBody(req: ClientRequest, body: HttpBody, onStep: () => void): Promise<void> {
  let over = false
  for (const event of ['close', 'response']) req.once(event, () => (over = true))
  try {
    for await (const piece of body.open()) {
      if (over) return
      if (req.write(piece)) continue
      await new Promise<void>((resolve) => {
        for (const event of ['drain', 'close', 'response']) req.once(event, () => resolve())
      })
      if (!over) onStep()
    }
    if (!over) req.end()
  } catch (e) {
    req.destroy(e instanceof Error ? e : new Error(String(e)))
  }
}

/** A connection error as a Fault; keeps `code` in the cause for the decision to try again. */
export function unreachable(url: URL, e: unknown): Fault {
  if (e instanceof Fault) return e
  const code = errnoCode(e)
  const why = e instanceof Error && e.message !== '' ? e.message : (code ?? 'no connection')
  return new Fault('unavailable', `${shownUrl(url)}: ${clip(why.split('\n', 1)[0] ?? '')}`, {
    cause: e,
    reason: 'RegistryUnavailable',
  })
}

/** One agent a set of TLS settings and kind of proxying: connections are kept for the next request. */
function agentFor(call: HttpCall): HttpAgent | HttpsAgent {
  const direct = isLoopback(call.url.hostname)
  const key = JSON.stringify([call.url.protocol, direct, call.tls])
  const known = agents.get(key)
  if (known) return known
  const common = { keepAlive: true, maxSockets: 16, ...(direct ? {} : { proxyEnv: process.env }) }
  const agent =
    call.url.protocol === 'https:'
      ? new HttpsAgent({ ...common, ...tlsOptions(call.tls) })
      : new HttpAgent(common)
  agents.set(key, agent)
  return agent
}

function tlsOptions(tls: TlsSettings) {
  const client = tls.client[0]
  return {
    rejectUnauthorized: !tls.skipVerify,
    ...(tls.ca.length > 0 ? { ca: [...getCACertificates('default'), ...tls.ca] } : {}),
    ...(client ? { cert: tls.client.map((c) => c.cert), key: tls.client.map((c) => c.key) } : {}),
  }
}

/** Closes the kept connections, so that the process can end. */
export function closeConnections(): void {
  for (const agent of agents.values()) agent.destroy()
  agents.clear()
}

/** When a body is given up. */
export interface Pace {
  readonly stallMs: number
  /** Fewer than `bytes` in `ms` of waiting are too slow. */
  readonly slow?: { readonly bytes: number; readonly ms: number }
}

/**
 * The pieces of a body as they come. A host that says nothing for `stallMs` while we wait for it, or is slow, is
 * a `timeout`; the time that the consumer takes does not count. @abort stops
 */
export async function* pieces(
  body: IncomingMessage,
  url: URL,
  pace: Pace = { stallMs: PULL.stallMs },
): AsyncGenerator<Buffer> {
  const from: AsyncIterator<unknown> = body[Symbol.asyncIterator]()
  const late = (what: string) =>
    new Fault('timeout', `${shownUrl(url)}: ${what}`, { reason: 'RegistryUnavailable' })
  let [waitedMs, bytes] = [0, 0]
  try {
    for (;;) {
      const timer = setTimeout(() => body.destroy(late(`silent for ${pace.stallMs} ms`)), pace.stallMs)
      const since = performance.now()
      let step: IteratorResult<unknown>
      try {
        step = await from.next()
      } catch (e) {
        throw unreachable(url, e)
      } finally {
        clearTimeout(timer)
      }
      if (step.done) return
      if (!Buffer.isBuffer(step.value)) continue
      waitedMs += performance.now() - since
      bytes += step.value.length
      if (pace.slow && waitedMs >= pace.slow.ms) {
        if (bytes < pace.slow.bytes) throw late(`only ${bytes} bytes in ${Math.round(waitedMs)} ms`)
        waitedMs = bytes = 0
      }
      yield step.value
    }
  } finally {
    body.destroy()
  }
}

/** A longer body that nobody wants is not read to its end for the sake of its connection. */
const DISCARD_BYTES = 64 * 1024

/** Gives a body up that nobody reads; the connection is kept for the next request if little is left to come. */
export function discard({ headers, body }: HttpReply): void {
  const length = Number(headers['content-length'] ?? Number.POSITIVE_INFINITY)
  if (length <= DISCARD_BYTES || body.complete) body.resume()
  else body.destroy()
}

/** A whole small body; `corrupt` if it is larger than `maxBytes`. @abort stops */
export async function readAll(reply: HttpReply, url: URL, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let total = 0
  for await (const piece of pieces(reply.body, url)) {
    total += piece.length
    if (total > maxBytes) {
      throw new Fault('corrupt', `${shownUrl(url)}: the answer is larger than ${maxBytes} bytes`)
    }
    parts.push(piece)
  }
  return Buffer.concat(parts)
}
