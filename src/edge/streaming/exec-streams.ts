// SPDX-License-Identifier: Apache-2.0
/**
 * Channels of an exec or attach over SPDY: waits until the client has opened the streams that the ticket needs,
 * each named by the header `streamtype`, and makes them the one value that sessions know. Which version of the
 * protocol is spoken decides whether there is a resize stream and how the end is told.
 */
import type { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import { Fault } from '../../base/fault.ts'
import type { Channels, SessionEnd, TerminalSize, Ticket } from './channels.ts'
import { STREAMING } from './limits.ts'
import { type Resizes, resizes } from './resize.ts'
import type { SpdyStream } from './spdy/session.ts'
import { statusText } from './status.ts'

/** Newest first; the version decides what is on the error stream and whether there is a resize stream. */
export const EXEC_PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
] as const

export const hasStatus = (protocol: string): boolean => /^v[45]\./.test(protocol)
const hasResize = (protocol: string): boolean => /^v[345]\./.test(protocol)

export interface ExecStreams {
  /** Takes a stream of the client's; throws for one that has no place here, which refuses it. */
  take(stream: SpdyStream): void
  /** The channels, once all streams are there; rejects with `timeout`. @abort stops */
  ready(signal: AbortSignal): Promise<Channels>
}

export function execStreams(ticket: Ticket<unknown>, protocol: string): ExecStreams {
  const wanted = new Set(['error'])
  for (const name of ['stdin', 'stdout', 'stderr'] as const) if (ticket[name]) wanted.add(name)
  if (ticket.tty) wanted.delete('stderr')
  if (ticket.tty && hasResize(protocol)) wanted.add('resize')
  const streams = new Map<string, SpdyStream>()
  const complete = Promise.withResolvers<void>()
  const sizes = resizes()
  return {
    take(stream) {
      const name = stream.headers.get('streamtype') ?? ''
      if (!wanted.has(name) || streams.has(name)) throw new Fault('invalid', `a stream of type "${name}"`)
      streams.set(name, stream)
      if (name === 'resize') sizes.read(stream)
      // Input on a stream that only goes out is of no meaning, and must not hold up the others.
      else if (name !== 'stdin') stream.resume()
      if (streams.size === wanted.size) complete.resolve()
    },
    async ready(signal) {
      const late = setTimeout(() => {
        const missing = [...wanted].filter((name) => !streams.has(name))
        const why = `the client did not open ${missing.join(', ')} within ${STREAMING.streamCreationMs} ms`
        complete.reject(new Fault('timeout', why))
      }, STREAMING.streamCreationMs)
      const gone = () => complete.reject(new Fault('cancelled', 'the client is gone'))
      if (signal.aborted) gone()
      signal.addEventListener('abort', gone, { once: true })
      try {
        await complete.promise
      } finally {
        clearTimeout(late)
        signal.removeEventListener('abort', gone)
      }
      return channelsOf(streams, sizes, (end) => statusText(end, hasStatus(protocol)))
    },
  }
}

function channelsOf(
  streams: ReadonlyMap<string, Duplex>,
  sizes: Resizes,
  text: (end: SessionEnd) => string,
): Channels {
  const [stdin, stdout, stderr, error] = ['stdin', 'stdout', 'stderr', 'error'].map((n) => streams.get(n))
  let closing: Promise<void> | undefined
  return {
    ...(stdin ? { stdin } : {}),
    ...(stdout ? { stdout } : {}),
    ...(stderr ? { stderr } : {}),
    onResize: (tell: (size: TerminalSize) => void) => sizes.on(tell),
    close(end) {
      closing ??= (async () => {
        const said = text(end)
        // The outputs first: a client may stop reading when it knows how it ended.
        await Promise.all([stdout, stderr].map(ended))
        if (said !== '') error?.write(said)
        await ended(error)
        for (const stream of streams.values()) if (stream !== stdin) stream.resume()
        stdin?.end()
      })()
      return closing
    },
  }
}

/** Ends the writable side and waits for the kernel to have it; a client that is gone is no error here. */
async function ended(stream: Duplex | undefined): Promise<void> {
  if (!stream || stream.destroyed) return
  if (!stream.writableEnded) stream.end()
  await finished(stream, { readable: false }).catch(() => undefined)
}
