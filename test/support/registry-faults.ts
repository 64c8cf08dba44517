// SPDX-License-Identifier: Apache-2.0
/**
 * registry-faults: how the registry of `pull-registry.ts` answers for one stored thing, rightly or with one of
 * the faults. It decides nothing: which fault applies is decided there.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { sha256 } from './oci-layer.ts'

/** How an answer goes wrong. Counts are in bytes. */
export type FaultKind =
  /** One byte is another: size right, digest wrong. */
  | { readonly kind: 'wrong-bytes' }
  /** Ends before Content-Length is reached, after `after` bytes (half). */
  | { readonly kind: 'short-body'; readonly after?: number }
  /** Ends after `after` bytes as if that were all: no Content-Length. */
  | { readonly kind: 'cut'; readonly after: number }
  /** `extra` more bytes than the descriptor says, Content-Length saying so too, or not there at all. */
  | { readonly kind: 'oversize'; readonly extra: number; readonly silently?: boolean }
  /** The same without Content-Length, going on for ever. */
  | { readonly kind: 'endless' }
  /** The connection is reset after `after` bytes (0: before any answer; half). */
  | { readonly kind: 'reset'; readonly after?: number }
  /** `chunk` bytes every `everyMs`. */
  | { readonly kind: 'slow'; readonly chunk: number; readonly everyMs: number }
  /** The headers and `after` bytes come (0), the rest never does. */
  | { readonly kind: 'stall'; readonly after?: number }
  /** No answer at all. */
  | { readonly kind: 'hang' }
  /** An answer of that status with those headers, such as 429 with `retry-after`. */
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** To that URL, or to the request's own. */
  | { readonly kind: 'redirect'; readonly to: string | 'self' }
  /** Sends everything whatever part was asked for; or says that there is no such part; or sends another one. */
  | { readonly kind: 'ranges'; readonly how: 'ignored' | 'refused' | 'shifted' }
  /** A Docker-Content-Digest header that is another one's. */
  | { readonly kind: 'wrong-digest-header' }
  /** A manifest under a media type that is not its own. */
  | { readonly kind: 'media-type'; readonly mediaType: string }

export interface Stored {
  readonly bytes: Uint8Array
  readonly mediaType: string
}

/** An answer in the registry's own form of an error. */
export function problem(
  res: ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string> = {},
): void {
  res.writeHead(status, { 'content-type': 'application/json', ...headers })
  res.end(JSON.stringify({ errors: [{ code, message: `${code.toLowerCase()} (test registry)` }] }))
}

/** Faults that need nothing stored; true when the request has been answered, or never will be. */
export function answerFault(
  req: IncomingMessage,
  res: ServerResponse,
  fault: FaultKind | undefined,
): boolean {
  if (fault?.kind === 'reset' && fault.after === 0) req.socket.resetAndDestroy()
  else if (fault?.kind === 'status') problem(res, fault.status, 'FAULT', { ...fault.headers })
  else if (fault?.kind === 'redirect')
    res.writeHead(307, { location: fault.to === 'self' ? (req.url ?? '/') : fault.to }).end()
  else return fault?.kind === 'hang'
  return true
}

/** `bytes=N-` or `bytes=N-M` as a first byte and one past the last; the whole when absent or unknown. */
function rangeOf(header: string | undefined, size: number): { from: number; to: number; partial: boolean } {
  const found = /^bytes=(\d+)-(\d*)$/.exec(header ?? '')
  if (found === null) return { from: 0, to: size, partial: false }
  const to = found[2] === '' || found[2] === undefined ? size : Math.min(size, Number(found[2]) + 1)
  return { from: Number(found[1]), to, partial: true }
}

async function sendBody(res: ServerResponse, body: Uint8Array, fault: FaultKind | undefined): Promise<void> {
  switch (fault?.kind) {
    case 'short-body':
    case 'reset':
      res.write(body.subarray(0, fault.after ?? Math.floor(body.length / 2)))
      await sleep(50)
      if (fault.kind === 'reset') res.socket?.resetAndDestroy()
      else res.destroy()
      return
    case 'cut':
      res.end(body.subarray(0, fault.after))
      return
    case 'slow':
      // The answer ends with its last byte: a client that has it all may ask for more at once.
      for (let at = 0; at < body.length && !res.destroyed; at += fault.chunk) {
        const piece = body.subarray(at, at + fault.chunk)
        await sleep(fault.everyMs)
        if (at + fault.chunk >= body.length) res.end(piece)
        else res.write(piece)
      }
      return
    case 'stall':
      res.flushHeaders()
      if (fault.after) res.write(body.subarray(0, fault.after))
      return
    case 'endless':
      res.write(body)
      while (!res.destroyed) {
        if (!res.write(Buffer.alloc(65_536))) await sleep(5)
      }
      return
    default:
      res.end(body)
  }
}

/** The bytes as the fault makes them. */
function spoiled(bytes: Uint8Array, fault: FaultKind | undefined): Uint8Array {
  if (fault?.kind === 'oversize') return Buffer.concat([bytes, Buffer.alloc(fault.extra)])
  if (fault?.kind !== 'wrong-bytes') return bytes
  const copy = Buffer.from(bytes)
  const at = Math.floor(copy.length / 2)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

const sizeless = (fault: FaultKind | undefined): boolean =>
  fault?.kind === 'endless' ||
  fault?.kind === 'cut' ||
  (fault?.kind === 'oversize' && fault.silently === true)

/** Answers GET and HEAD, whole or in part, for one stored thing. */
export async function sendStored(
  req: IncomingMessage,
  res: ServerResponse,
  what: { readonly stored: Stored; readonly fault: FaultKind | undefined },
): Promise<void> {
  const { stored, fault } = what
  const ranges = fault?.kind === 'ranges' ? fault.how : undefined
  const bytes = spoiled(stored.bytes, fault)
  const range = rangeOf(ranges === 'ignored' ? undefined : req.headers.range, bytes.length)
  if (range.from > bytes.length || (range.partial && ranges === 'refused')) {
    problem(res, 416, 'RANGE_INVALID')
    return
  }
  const shift = range.partial && ranges === 'shifted' ? 1 : 0
  const body = bytes.subarray(range.from + shift, range.to)
  const digest = fault?.kind === 'wrong-digest-header' ? `sha256:${'0'.repeat(64)}` : sha256(stored.bytes)
  const headers: Record<string, string> = {
    'content-type': fault?.kind === 'media-type' ? fault.mediaType : stored.mediaType,
    'docker-content-digest': digest,
    'accept-ranges': 'bytes',
  }
  if (!sizeless(fault)) headers['content-length'] = String(body.length)
  if (range.partial)
    headers['content-range'] = `bytes ${range.from + shift}-${range.to - 1}/${stored.bytes.length}`
  res.writeHead(range.partial ? 206 : 200, headers)
  if (req.method === 'HEAD') res.end()
  else await sendBody(res, body, fault)
}
