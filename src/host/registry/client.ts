// SPDX-License-Identifier: Apache-2.0
/**
 * RegistryClient: manifests and blobs of one repository from the hosts that stand for its registry, first to
 * last. Manifests are small, read whole and verified here; blobs are streams whose size is watched here and
 * whose digest is verified by who reads them. One client is for one pull.
 */

import { createHash } from 'node:crypto'
import { asFault, Fault, isFault } from '../../base/fault.ts'
import { abortFault } from '../../base/scope.ts'
import type { Descriptor } from '../../model/document.ts'
import { clip } from '../../model/ids.ts'
import { PULL, type PullPace } from '../../model/pull-policy.ts'
import { type Digest, parseDigest, type Reference } from '../../model/reference.ts'
import type { Authorizer } from './auth.ts'
import type { RegistryHost } from './hosts-toml.ts'
import { type HttpReply, type Pace, pieces, readAll, shownUrl } from './http.ts'
import { refusal } from './refusal.ts'
import { backoff, isPassing, pause, persist } from './retry.ts'
import type { BlobPart, FetchedManifest } from './source.ts'

export const MANIFEST_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
] as const

/** At a host that has another behind it: moving on is faster than waiting. */
const MIRROR_RETRY = { attempts: 2, maxWaitMs: PULL.backoffMaxMs }

interface OpenBlob {
  readonly host: RegistryHost
  readonly whole: boolean
  readonly pieces: AsyncIterable<Buffer>
}

export function sha256Of(bytes: Buffer | string): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
}

export class RegistryClient {
  readonly #hosts: readonly RegistryHost[]
  readonly #ref: Reference
  readonly #auth: Authorizer
  readonly #signal: AbortSignal
  /** Index of the host that answered last: blobs are asked for where the manifest was. */
  #preferred = 0
  /** Hosts that have answered a request, with whatever status. */
  readonly #answered = new Set<RegistryHost>()
  /** Hosts that have shown that they send no parts. */
  readonly #whole = new Set<RegistryHost>()
  /** How often a host fell silent or was too slow: others are asked before it. */
  readonly #strikes = new Map<RegistryHost, number>()
  /** Who sent bytes of a blob, and who is no more asked for it. */
  readonly #served = new Map<Digest, Set<RegistryHost>>()
  readonly #distrusted = new Map<Digest, Set<RegistryHost>>()
  readonly #pace: PullPace

  constructor(
    ref: Reference,
    how: {
      readonly hosts: readonly RegistryHost[]
      readonly auth: Authorizer
      readonly signal: AbortSignal
      readonly pace?: PullPace
    },
  ) {
    this.#pace = how.pace ?? PULL
    this.#ref = ref
    this.#hosts = how.hosts
    this.#auth = how.auth
    this.#signal = how.signal
  }

  /**
   * The manifest or index that a tag or digest names, verified. With `expected` its size must fit too. Throws
   * `not-found`, `denied`, `unavailable`, `corrupt`; the message names every host that was asked. @abort stops
   */
  async manifest(what: string | Digest, expected?: Descriptor): Promise<FetchedManifest> {
    const byDigest = what.includes(':')
    const usable = (h: RegistryHost) => (byDigest ? h.pulls : h.resolves)
    return this.#eachHost(`manifest ${what}`, usable, async (host, last) => {
      const url = this.#url(host, `manifests/${what}`)
      const reply = await this.#get(host, url, { last, accept: MANIFEST_TYPES.join(', ') })
      const bytes = await readAll(reply, url, PULL.manifestBytes)
      const digest = sha256Of(bytes)
      if (byDigest && digest !== what) {
        throw new Fault('corrupt', `${shownUrl(url)}: the manifest has the digest ${digest}`)
      }
      if (expected && expected.size !== bytes.length) {
        throw new Fault(
          'corrupt',
          `${shownUrl(url)}: the manifest has ${bytes.length} bytes, expected ${expected.size}`,
        )
      }
      const said = reply.headers['docker-content-digest']
      if (typeof said === 'string' && said.startsWith('sha256:') && said !== digest) {
        throw new Fault('corrupt', `${shownUrl(url)}: says the digest is ${clip(said)}, but it is ${digest}`)
      }
      const mediaType = (reply.headers['content-type'] ?? '').split(';', 1)[0]?.trim() ?? ''
      return { bytes, mediaType, digest }
    })
  }

  /** A whole small blob, verified by size and digest. @abort stops */
  async smallBlob(blob: Descriptor, maxBytes: number): Promise<Buffer> {
    if (blob.size > maxBytes) {
      throw new Fault(
        'unsupported',
        `blob ${blob.digest} has ${blob.size} bytes, more than ${maxBytes} are not read`,
      )
    }
    for (;;) {
      const parts: Buffer[] = []
      let fault: Fault
      try {
        for await (const piece of this.blob(blob)) parts.push(piece)
        const bytes = Buffer.concat(parts)
        const digest = sha256Of(bytes)
        if (digest === blob.digest) return bytes
        fault = new Fault('corrupt', `blob ${blob.digest}: what came has the digest ${digest}`)
      } catch (e) {
        fault = asFault(e)
      }
      if (fault.kind !== 'corrupt' || !this.distrust(blob.digest)) throw fault
    }
  }

  /**
   * The bytes of a blob in order, exactly `size` of them or an error. A broken connection is taken up where it
   * broke, at the same host or the next. The digest is not verified here. @abort stops
   */
  blob(blob: Descriptor): AsyncGenerator<Buffer> {
    return this.part(blob, { start: 0, end: blob.size })
  }

  /** The same of a part of it; hosts that send no parts send all that follows. @abort stops */
  async *part(blob: Descriptor, part: BlobPart): AsyncGenerator<Buffer> {
    let { start: done, end } = part
    let failures = 0
    const signal = part.signal ?? this.#signal
    for (;;) {
      const start = done
      const from = await this.#openBlob(blob, { start, end, signal })
      if (from.whole) end = blob.size
      part.onOpen?.(from.whole && blob.size > part.end)
      try {
        for await (const piece of from.pieces) {
          if (done + piece.length > end) throw tooLong(blob)
          done += piece.length
          yield piece
        }
        if (done === end) return
        throw endedEarly(blob, done)
      } catch (e) {
        if (signal.aborted) throw abortFault(signal)
        // A real step forward starts the count of failures anew: a large blob may break many times.
        failures = done - start >= PULL.progressBytes ? 1 : failures + 1
        const delay = isPassing(e) ? backoff(failures + 1) : undefined
        if (delay === undefined) throw e
        if (isFault(e, 'timeout') || done === start) this.#strike(from.host)
        await pause(signal, delay)
      }
    }
  }

  /** The hosts that sent bytes of this blob and are still asked for it. */
  sendersOf(digest: Digest): readonly string[] {
    return [...(this.#served.get(digest) ?? [])].map((host) => host.base.host)
  }

  /** The hosts that sent bytes of this blob are no more asked for it; true if another one can be. */
  distrust(digest: Digest): boolean {
    const bad = this.#distrusted.get(digest) ?? new Set()
    for (const host of this.#served.get(digest) ?? []) bad.add(host)
    this.#distrusted.set(digest, bad)
    this.#served.delete(digest)
    const open = (h: RegistryHost, i: number) =>
      !this.#hidden(h, i) && (!h.onlyIfUnreachable || this.#answered.has(h))
    return bad.size > 0 && this.#hosts.some((h, i) => h.pulls && open(h, i) && !bad.has(h))
  }

  #strike(host: RegistryHost): void {
    this.#strikes.set(host, (this.#strikes.get(host) ?? 0) + 1)
  }

  /** A body that begins at `start`; `whole`: it does not stop at `end`, but where the blob ends. */
  async #openBlob(
    blob: Descriptor,
    { start, end, signal }: { start: number; end: number; signal: AbortSignal },
  ): Promise<OpenBlob> {
    const bad = this.#distrusted.get(blob.digest)
    const usable = (h: RegistryHost) => h.pulls && bad?.has(h) !== true
    return this.#eachHost(`blob ${blob.digest}`, usable, async (host, last) => {
      const url = this.#url(host, `blobs/${blob.digest}`)
      const how = { last, accept: '*/*', signal }
      const inPart = (start > 0 || end < blob.size) && !this.#whole.has(host)
      let reply = await this.#get(host, url, inPart ? { ...how, range: { start, end } } : how)
      if (inPart && !isPart(reply, { start, end, size: blob.size })) {
        this.#whole.add(host)
        if (reply.status !== 200) {
          reply.body.destroy()
          reply = await this.#get(host, url, how)
        }
      }
      const skip = reply.status === 206 ? 0 : start
      const length = reply.headers['content-length']
      const expected = reply.status === 206 ? undefined : blob.size
      if (length !== undefined && expected !== undefined && Number(length) !== expected) {
        reply.body.destroy()
        throw new Fault(
          'corrupt',
          `${shownUrl(url)}: sends ${clip(length)} bytes, the manifest says ${expected}`,
        )
      }
      this.#served.set(blob.digest, (this.#served.get(blob.digest) ?? new Set()).add(host))
      const body = pieces(reply.body, url, this.#paceOf(last))
      return { host, whole: reply.status !== 206, pieces: skip === 0 ? body : skipping(body, skip) }
    })
  }

  /** The last host is waited for longer, and may be slow: there is nobody else. */
  #paceOf(last: boolean): Pace {
    const pace = this.#pace
    if (last) return { stallMs: pace.stallMs }
    return { stallMs: pace.mirrorStallMs, slow: { bytes: pace.slowBytes, ms: pace.slowMs } }
  }

  #url(host: RegistryHost, tail: string): URL {
    const url = new URL(host.base)
    url.pathname = `${url.pathname.replace(/\/$/, '')}/${host.repository ?? this.#ref.path}/${tail}`
    if (host.ns !== undefined) url.searchParams.set('ns', host.ns)
    return url
  }

  /** GET with one answer to a challenge; any status but 200 (206) is a Fault. */
  async #get(
    host: RegistryHost,
    url: URL,
    how: {
      readonly last: boolean
      readonly accept: string
      readonly range?: { start: number; end: number }
      readonly signal?: AbortSignal
    },
  ): Promise<HttpReply> {
    const range: Record<string, string> = how.range
      ? { range: `bytes=${how.range.start}-${how.range.end - 1}` }
      : {}
    const signal = how.signal ?? this.#signal
    const { tls, connectMs } = host
    const { stallMs } = this.#paceOf(how.last)
    const call = { method: 'GET', url, headers: { accept: how.accept, ...range }, tls, connectMs } as const
    const reply = await this.#auth.send(host, signal, async (privateHeaders) => {
      const retry = how.last ? undefined : MIRROR_RETRY
      const one = await persist({ ...call, privateHeaders, stallMs, signal }, retry)
      // 400 is also what a server says that expects TLS: then its other entry is to be asked.
      if (one.status !== 400 || url.protocol === 'https:') this.#answered.add(host)
      return one
    })
    if (reply.status === 200) return reply
    if (how.range && (reply.status === 206 || reply.status === 416)) return reply
    throw await refusal(reply, url, { auth: this.#auth, signal: this.#signal })
  }

  /** Asks the hosts in turn, the preferred one first. One failure is thrown as it is, several as one. */
  async #eachHost<T>(
    what: string,
    usable: (host: RegistryHost) => boolean,
    ask: (host: RegistryHost, last: boolean) => Promise<T>,
  ): Promise<T> {
    const able = this.#hosts
      .map((host, i) => ({ host, i, rank: this.#rank(host, i) }))
      .filter(({ host }) => usable(host))
      .sort((a, b) => a.rank - b.rank)
    const failures: { host: RegistryHost; fault: Fault }[] = []
    for (const [n, { host, i }] of able.entries()) {
      if (this.#hidden(host, i)) continue
      const another = able.slice(n + 1).some((next) => !next.host.onlyIfUnreachable)
      try {
        const result = await ask(host, !another)
        this.#preferred = i
        return result
      } catch (e) {
        if (this.#signal.aborted) throw abortFault(this.#signal)
        failures.push({ host, fault: asFault(e) })
      }
    }
    const told = failures.filter(({ host }) => !this.#hidden(host, this.#hosts.indexOf(host)))
    throw this.#allFailed(what, told.length > 0 ? told : failures)
  }

  /** One of the two entries of a host, https and http, of which only the other has ever answered. */
  #hidden(host: RegistryHost, i: number): boolean {
    const next = this.#hosts[i + 1]
    const twin = host.onlyIfUnreachable ? this.#hosts[i - 1] : next?.onlyIfUnreachable ? next : undefined
    return twin !== undefined && this.#answered.has(twin) && !this.#answered.has(host)
  }

  /** Strikes first, then the distance from the preferred host. */
  #rank(host: RegistryHost, i: number): number {
    const far = (i - this.#preferred + this.#hosts.length) % this.#hosts.length
    return (this.#strikes.get(host) ?? 0) * this.#hosts.length + far
  }

  #allFailed(what: string, failures: readonly { host: RegistryHost; fault: Fault }[]): Fault {
    const last =
      failures.findLast((f) => !f.host.onlyIfUnreachable || this.#answered.has(f.host)) ?? failures.at(-1)
    if (!last) {
      return new Fault(
        'unavailable',
        `no host in hosts.toml may serve the ${what}: add the capability "resolve" or "pull"`,
      )
    }
    const told = failures.map((f) => this.#auth.scrub(f.fault.message)).join('; ')
    return new Fault(last.fault.kind, `${what}: ${told}`, {
      cause: last.fault.cause,
      reason: last.fault.reason,
    })
  }
}

function tooLong(blob: Descriptor): Fault {
  return new Fault('corrupt', `blob ${blob.digest}: more than the ${blob.size} bytes of its manifest came`)
}

function endedEarly(blob: Descriptor, done: number): Fault {
  return new Fault('unavailable', `blob ${blob.digest}: ended after ${done} of ${blob.size} bytes`, {
    reason: 'RegistryUnavailable',
    cause: Object.assign(new Error('the body ended early'), { code: 'ECONNRESET' }),
  })
}

/** Is this what was asked for? Less than that is allowed, the rest is asked for again. */
function isPart(reply: HttpReply, asked: { start: number; end: number; size: number }): boolean {
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(reply.headers['content-range'] ?? '')
  if (reply.status !== 206 || range === null) return false
  const [first, last, size] = [Number(range[1]), Number(range[2]), range[3]]
  return first === asked.start && last < asked.end && (size === '*' || Number(size) === asked.size)
}

/** For a host that ignores Range: reads and drops what is there already. */
async function* skipping(from: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes
  for await (const piece of from) {
    if (left >= piece.length) {
      left -= piece.length
      continue
    }
    yield left === 0 ? piece : piece.subarray(left)
    left = 0
  }
}
