// SPDX-License-Identifier: Apache-2.0
/**
 * Sends spans to a collector: OTLP over HTTP, as JSON. One request at a time; while the collector does not answer,
 * spans wait in a bounded queue, and what does not fit is dropped and counted.
 */
import { Agent, request as overHttp } from 'node:http'
import { request as overHttps, Agent as TlsAgent } from 'node:https'
import { asFault, Fault } from '../base/fault.ts'
import { type Attribute, attribute, type Span } from './spans.ts'

const QUEUE = 4096
const BATCH = 512
const EVERY_MS = 1_000
const ANSWER_MS = 10_000
const BACKOFF_MS = { first: 1_000, longest: 30_000 } as const

export interface ExporterOptions {
  /** `http://host:port` or `https://…`; without a path `/v1/traces` is meant. */
  readonly endpoint: string
  readonly version: string
  readonly nodeName: string
  exported(count: number): void
  dropped(count: number): void
  warn(event: string, fields: Readonly<Record<string, unknown>>): void
}

export interface Exporter {
  add(spans: readonly Span[]): void
  /** Tries once more to send what waits. */
  close(): Promise<void>
}

/** What a collector that does not want a batch says; sending it again will not help. */
class Refused extends Error {}

/** Sends in the background from now on; never throws. */
export function exporter(options: ExporterOptions): Exporter {
  let queue: Span[] = []
  let sending: Promise<void> | undefined
  let pauseMs = 0
  let timer: NodeJS.Timeout | undefined
  const post = poster(options)
  const send = async () => {
    const batch = queue.slice(0, BATCH)
    try {
      await post(batch)
      queue = queue.slice(batch.length)
      options.exported(batch.length)
      if (pauseMs > 0) options.warn('traces-sent-again', { endpoint: shown(options.endpoint) })
      pauseMs = 0
    } catch (e) {
      if (e instanceof Refused) {
        queue = queue.slice(batch.length)
        options.dropped(batch.length)
        options.warn('traces-refused', { spans: batch.length, error: e.message })
        return
      }
      if (pauseMs === 0) options.warn('traces-not-sent', { error: asFault(e).message })
      pauseMs = Math.min(pauseMs === 0 ? BACKOFF_MS.first : pauseMs * 2, BACKOFF_MS.longest)
    }
  }
  const schedule = () => {
    if (timer || sending || queue.length === 0) return
    const wait = pauseMs > 0 ? pauseMs : queue.length >= BATCH ? 0 : EVERY_MS
    timer = setTimeout(() => {
      timer = undefined
      sending = send().finally(() => {
        sending = undefined
        schedule()
      })
    }, wait)
  }
  return {
    add(spans) {
      const room = Math.max(0, QUEUE - queue.length)
      queue.push(...spans.slice(0, room))
      if (spans.length > room) options.dropped(spans.length - room)
      schedule()
    },
    async close() {
      clearTimeout(timer)
      await sending
      clearTimeout(timer)
      if (queue.length > 0) await send()
    },
  }
}

/** Without what may be a secret. */
const shown = (endpoint: string): string => new URL(endpoint).origin

function poster(options: ExporterOptions): (batch: readonly Span[]) => Promise<void> {
  const url = new URL(options.endpoint)
  if (url.pathname === '/') url.pathname = '/v1/traces'
  const secure = url.protocol === 'https:'
  const agent = new (secure ? TlsAgent : Agent)({ keepAlive: true, maxSockets: 1 })
  const attributes: readonly Attribute[] = [
    attribute('service.name', 'gantry'),
    attribute('service.version', options.version),
    attribute('host.name', options.nodeName),
  ]
  return (batch) => {
    const scopeSpans = [{ scope: { name: 'gantry', version: options.version }, spans: batch }]
    const body = Buffer.from(JSON.stringify({ resourceSpans: [{ resource: { attributes }, scopeSpans }] }))
    return new Promise((resolve, reject) => {
      const call = (secure ? overHttps : overHttp)(
        url,
        {
          method: 'POST',
          agent,
          headers: { 'content-type': 'application/json', 'content-length': body.length },
          signal: AbortSignal.timeout(ANSWER_MS),
        },
        (answer) => {
          const status = answer.statusCode ?? 0
          answer.resume().once('close', () => {
            if (status >= 200 && status < 300) resolve()
            else if (status === 408 || status === 429 || status >= 500)
              reject(new Fault('unavailable', `the collector ${url.origin} answers ${status}`))
            else reject(new Refused(`the collector ${url.origin} answers ${status}`))
          })
        },
      )
      call.once('error', (cause) =>
        reject(new Fault('unavailable', `the collector ${url.origin}: ${cause.message}`, { cause })),
      )
      call.end(body)
    })
  }
}
