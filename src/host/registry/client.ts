// SPDX-License-Identifier: Apache-2.0
/**
 * RegistryClient: manifests and blobs of one repository from the hosts that stand for its registry, first to
 * last. Manifests are small, read whole and verified here; blobs are streams whose size is watched here and
 * whose digest is verified by who reads them. One client is for one pull.
 */
import { createHash } from 'node:crypto'
import { asFault, Fault, type FaultKind } from '../../base/fault.ts'
import { abortFault } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { PULL } from '../../model/pull-policy.ts'
import { type Digest, parseDigest, type Reference } from '../../model/reference.ts'
import type { Authorizer } from './auth.ts'
import type { RegistryHost } from './hosts-toml.ts'
import { type HttpReply, pieces, readAll, shownUrl } from './http.ts'
import { backoff, isPassing, pause, persist } from './retry.ts'

export const MANIFEST_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
] as const

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
}

export interface FetchedManifest {
  readonly bytes: Buffer
  readonly mediaType: string
  readonly digest: Digest
}

/** Attempts at a host that has another behind it: moving on is faster than waiting. */
const MIRROR_ATTEMPTS = 2

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

  constructor(
    ref: Reference,
    how: { readonly hosts: readonly RegistryHost[]; readonly auth: Authorizer; readonly signal: AbortSignal },
  ) {
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
    return this.#eachHost(`manifest ${what}`, usable, async (host, attempts) => {
      const url = this.#url(host, `manifests/${what}`)
      const reply = await this.#get(host, url, { attempts, accept: MANIFEST_TYPES.join(', ') })
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
    const parts: Buffer[] = []
    for await (const piece of this.blob(blob)) parts.push(piece)
    const bytes = Buffer.concat(parts)
    const digest = sha256Of(bytes)
    if (digest !== blob.digest)
      throw new Fault('corrupt', `blob ${blob.digest}: what came has the digest ${digest}`)
    return bytes
  }

  /**
   * The bytes of a blob in order, exactly `size` of them or an error. A broken connection is taken up where it
   * broke, at the same host or the next. The digest is not verified here. @abort stops
   */
  async *blob(blob: Descriptor): AsyncGenerator<Buffer> {
    let done = 0
    let failures = 0
    for (;;) {
      const start = done
      const from = await this.#openBlob(blob, start)
      try {
        for await (const piece of from) {
          done += piece.length
          if (done > blob.size) throw tooLong(blob)
          yield piece
        }
        if (done === blob.size) return
        throw endedEarly(blob, done)
      } catch (e) {
        if (this.#signal.aborted) throw abortFault(this.#signal)
        // A step forward starts the count of failures anew: a large blob may break many times.
        failures = done > start ? 1 : failures + 1
        const delay = isPassing(e) ? backoff(failures + 1) : undefined
        if (delay === undefined) throw e
        if (done === start) this.#preferred = (this.#preferred + 1) % this.#hosts.length
        await pause(this.#signal, delay)
      }
    }
  }

  async #openBlob(blob: Descriptor, start: number): Promise<AsyncIterable<Buffer>> {
    return this.#eachHost(
      `blob ${blob.digest}`,
      (h) => h.pulls,
      async (host, attempts) => {
        const url = this.#url(host, `blobs/${blob.digest}`)
        const reply = await this.#get(host, url, { attempts, accept: '*/*', start })
        const skip = reply.status === 206 ? 0 : start
        if (reply.status === 206) checkRange(reply, url, start)
        const length = reply.headers['content-length']
        if (length !== undefined && Number(length) !== blob.size - start + skip) {
          reply.body.destroy()
          throw new Fault(
            'corrupt',
            `${shownUrl(url)}: sends ${clip(length)} bytes, the manifest says ${blob.size}`,
          )
        }
        return skipping(pieces(reply.body, url), skip)
      },
    )
  }

  #url(host: RegistryHost, tail: string): URL {
    const url = new URL(host.base)
    url.pathname = `${url.pathname}/${this.#ref.path}/${tail}`
    if (host.ns !== undefined) url.searchParams.set('ns', host.ns)
    return url
  }

  /** GET with one answer to a challenge; any status but 200 (206) is a Fault. */
  async #get(
    host: RegistryHost,
    url: URL,
    how: { readonly attempts: number; readonly accept: string; readonly start?: number },
  ): Promise<HttpReply> {
    const range: Record<string, string> = how.start ? { range: `bytes=${how.start}-` } : {}
    for (let round = 0; ; round++) {
      const sent = this.#auth.header(host)
      const own: Record<string, string> = sent === undefined ? {} : { authorization: sent }
      const reply = await persist(
        {
          method: 'GET',
          url,
          headers: { accept: how.accept, ...range },
          privateHeaders: { ...host.headers, ...own },
          tls: host.tls,
          connectMs: host.connectMs,
          signal: this.#signal,
        },
        how.attempts,
      )
      this.#answered.add(host)
      if (reply.status === 200 || reply.status === 206) return reply
      if (reply.status === 401 && round < 2) {
        reply.body.resume()
        await this.#auth.answer(host, reply, { sent, signal: this.#signal })
        continue
      }
      throw await this.#refusal(reply, url)
    }
  }

  async #refusal(reply: HttpReply, url: URL): Promise<Fault> {
    let said = ''
    try {
      const body = await readAll(reply, url, PULL.replyBytes)
      said = clip(this.#auth.scrub(registryMessage(body.toString('utf8'))))
    } catch (e) {
      if (this.#signal.aborted) return abortFault(this.#signal)
      said = asFault(e).message
    }
    const kind = kindOf(reply.status)
    const reason = kind === 'unavailable' ? 'RegistryUnavailable' : undefined
    return new Fault(kind, `${shownUrl(url)}: HTTP ${reply.status}${said === '' ? '' : `: ${said}`}`, {
      reason,
    })
  }

  /** Asks the hosts in turn, the preferred one first. One failure is thrown as it is, several as one. */
  async #eachHost<T>(
    what: string,
    usable: (host: RegistryHost) => boolean,
    ask: (host: RegistryHost, attempts: number) => Promise<T>,
  ): Promise<T> {
    const order = this.#hosts.map((_, i) => (i + this.#preferred) % this.#hosts.length)
    const able = order.flatMap((i) => {
      const host = this.#hosts[i]
      return host && usable(host) ? [{ host, i }] : []
    })
    const failures: { host: RegistryHost; fault: Fault }[] = []
    for (const [n, { host, i }] of able.entries()) {
      const before = failures.at(-1)
      if (host.onlyIfUnreachable && before && this.#answered.has(before.host)) continue
      const another = able.slice(n + 1).some((next) => !next.host.onlyIfUnreachable)
      try {
        const result = await ask(host, another ? MIRROR_ATTEMPTS : PULL.attempts)
        this.#preferred = i
        return result
      } catch (e) {
        if (this.#signal.aborted) throw abortFault(this.#signal)
        failures.push({ host, fault: asFault(e) })
      }
    }
    throw this.#allFailed(what, failures)
  }

  #allFailed(what: string, failures: readonly { host: RegistryHost; fault: Fault }[]): Fault {
    const last = failures.findLast((f) => !f.host.onlyIfUnreachable) ?? failures.at(-1)
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

function kindOf(status: number): FaultKind {
  if (status === 404) return 'not-found'
  if (status === 401 || status === 403) return 'denied'
  if (status === 400 || status === 405 || status === 406) return 'unsupported'
  return 'unavailable'
}

/** `CODE: message` of the first error in a registry's error body; other bodies say nothing. */
function registryMessage(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed !== 'object' || parsed === null) return ''
    const errors: unknown = Reflect.get(parsed, 'errors')
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined
    if (typeof first !== 'object' || first === null) return ''
    const parts: unknown[] = [Reflect.get(first, 'code'), Reflect.get(first, 'message')]
    return parts.filter((p) => typeof p === 'string' && p !== '').join(': ')
  } catch {
    return ''
  }
}

function checkRange(reply: HttpReply, url: URL, start: number): void {
  const range = reply.headers['content-range'] ?? ''
  if (new RegExp(`^bytes ${start}-`).test(range)) return
  reply.body.destroy()
  throw new Fault('corrupt', `${shownUrl(url)}: was asked for bytes from ${start}, sends "${clip(range)}"`)
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
