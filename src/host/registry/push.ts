// SPDX-License-Identifier: Apache-2.0
/**
 * Uploading to one repository: blobs, if it has not got them, and manifests. A blob is asked for first, then
 * taken over from another repository of the same registry where that is known to have it, and only then sent, in
 * one piece; when the connection breaks, the rest is sent from where the registry has got to, if it says so.
 * Hosts are those of the pull's files that may be pushed to: the first. Decides nothing about images.
 */
import { asFault, Fault } from '../../base/fault.ts'
import { abortFault } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { isPassingStatus } from '../../model/pull-policy.ts'
import type { Digest, Reference } from '../../model/reference.ts'
import type { Authorizer } from './auth.ts'
import { sha256Of } from './client.ts'
import type { RegistryHost } from './hosts-toml.ts'
import { discard, exchange, type HttpBody, type HttpCall, type HttpReply, shownUrl } from './http.ts'
import { refusal } from './refusal.ts'
import { backoff, isPassing, pause, persist } from './retry.ts'

export interface PushBlob {
  readonly digest: Digest
  readonly size: number
  /** The bytes from an offset on. */
  open(offset: number): AsyncIterable<Buffer>
}

export interface PusherOptions {
  readonly hosts: readonly RegistryHost[]
  /** With the actions `pull,push`. */
  readonly auth: Authorizer
  readonly signal: AbortSignal
}

interface Ask {
  readonly method: HttpCall['method']
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: HttpBody | Buffer
  /** May be sent again as it is. */
  readonly again?: boolean
}

type OnBytes = (done: number) => void

/** Finds the host. Throws `unsupported` if none may be pushed to. @abort stops */
export async function pusher(ref: Reference, options: PusherOptions): Promise<Pusher> {
  return new Pusher(ref, { ...options, host: await chooseHost(options) })
}

export class Pusher {
  readonly #ref: Reference
  readonly #host: RegistryHost
  readonly #auth: Authorizer
  readonly #signal: AbortSignal
  /** Refusals that may pass, or that a new upload may mend. */
  readonly #passing = new WeakSet<Fault>()

  constructor(ref: Reference, how: PusherOptions & { readonly host: RegistryHost }) {
    this.#ref = ref
    this.#host = how.host
    this.#auth = how.auth
    this.#signal = how.signal
  }

  /**
   * Is the blob there already, or can it be had from one of these repositories of the same registry? Throws
   * `denied`, `unavailable`. @abort stops
   */
  async find(digest: Digest, mountFrom: readonly string[]): Promise<'there' | 'mounted' | undefined> {
    if (await this.#has(digest)) return 'there'
    for (const from of mountFrom) if ((await this.#begin({ digest, from })) === undefined) return 'mounted'
    return undefined
  }

  /** Sends a blob that is not there. `onBytes` is told how much of it. @abort stops */
  async send(blob: PushBlob, onBytes: OnBytes): Promise<void> {
    await this.#upload(blob, await this.#begin(), onBytes)
  }

  /** Writes a manifest under a tag, or under its digest; gives the digest, which the registry agrees on. @abort stops */
  async manifest(
    tag: string | undefined,
    content: { readonly bytes: Buffer; readonly mediaType: string },
  ): Promise<Digest> {
    const digest = sha256Of(content.bytes)
    const url = this.#url(`manifests/${tag ?? digest}`)
    const headers = { 'content-type': content.mediaType }
    const reply = await this.#expect(
      { method: 'PUT', url, headers, body: content.bytes, again: true },
      [201, 202],
    )
    let said = reply.headers['docker-content-digest']
    if (said === undefined) {
      const look = { method: 'HEAD', url: this.#url(`manifests/${digest}`), again: true } as const
      said = (await this.#expect(look, [200])).headers['docker-content-digest'] ?? digest
    }
    if (said !== digest)
      throw new Fault(
        'corrupt',
        `${shownUrl(url)}: the registry has stored ${clip(String(said))}, not ${digest}`,
      )
    return digest
  }

  #url(tail: string): URL {
    const url = new URL(this.#host.base)
    url.pathname = `${url.pathname}/${this.#host.repository ?? this.#ref.path}/${tail}`
    return url
  }

  /** One request with an answer to each challenge; resolves with any other status. */
  async #ask({ again = false, headers = {}, ...call }: Ask): Promise<HttpReply> {
    const { tls, connectMs, base } = this.#host
    const request = (privateHeaders: HttpCall['privateHeaders'], own = tls) => {
      const whole = { ...call, headers, privateHeaders, tls: own, connectMs, signal: this.#signal }
      return again ? persist(whole) : exchange(whole)
    }
    if (call.url.origin !== base.origin) return request({}, { ...tls, client: [] })
    return this.#auth.send(this.#host, this.#signal, request)
  }

  async #expect(asked: Ask, statuses: readonly number[]): Promise<HttpReply> {
    const reply = await this.#ask(asked)
    if (statuses.includes(reply.status)) {
      discard(reply)
      return reply
    }
    const fault = await refusal(reply, asked.url, { auth: this.#auth, signal: this.#signal })
    if (isPassingStatus(reply.status) || reply.status === 404 || reply.status === 416)
      this.#passing.add(fault)
    throw fault
  }

  async #has(digest: Digest): Promise<boolean> {
    const url = this.#url(`blobs/${digest}`)
    const reply = await this.#ask({ method: 'HEAD', url, again: true })
    reply.body.resume()
    if (reply.status === 200) return true
    if (reply.status === 404) return false
    throw await refusal(reply, url, { auth: this.#auth, signal: this.#signal })
  }

  /** Where the upload goes; undefined when the registry took the blob over from `from`. */
  async #begin(): Promise<URL>
  async #begin(mount: { readonly digest: Digest; readonly from: string }): Promise<URL | undefined>
  async #begin(mount?: { readonly digest: Digest; readonly from: string }): Promise<URL | undefined> {
    const url = this.#url('blobs/uploads/')
    if (mount) {
      url.searchParams.set('mount', mount.digest)
      url.searchParams.set('from', mount.from)
    }
    const asked = { method: 'POST', url, headers: { 'content-length': '0' }, again: true } as const
    const reply = await this.#expect(asked, mount ? [201, 202] : [202])
    return reply.status === 201 ? undefined : locationOf(reply, url)
  }

  async #upload(blob: PushBlob, first: URL, onBytes: OnBytes): Promise<void> {
    let at = first
    let from = 0
    for (let failures = 1; ; failures++) {
      try {
        return await this.#send(blob, at, { from, onBytes })
      } catch (e) {
        if (this.#signal.aborted) throw abortFault(this.#signal)
        const passing = isPassing(e) || (e instanceof Fault && this.#passing.has(e))
        const delay = passing ? backoff(failures + 1) : undefined
        if (delay === undefined) throw e
        await pause(this.#signal, delay)
        // It may have got all of it, and only the answer was lost.
        if (await this.#has(blob.digest)) return
        const known = await this.#progressOf(at)
        const goesOn = known && known.done > 0 && known.done < blob.size ? known : undefined
        if (goesOn && goesOn.done > from) failures = 1
        at = goesOn?.url ?? (await this.#begin())
        from = goesOn?.done ?? 0
      }
    }
  }

  /** All of it in one request; or the rest of it, and then the word that it is all. */
  async #send(
    blob: PushBlob,
    at: URL,
    how: { readonly from: number; readonly onBytes: OnBytes },
  ): Promise<void> {
    const { from, onBytes } = how
    const body: HttpBody = { bytes: blob.size - from, open: () => counted(blob, from, onBytes) }
    const headers = { 'content-type': 'application/octet-stream' }
    if (from === 0) {
      await this.#expect({ method: 'PUT', url: withDigest(at, blob.digest), headers, body }, [201])
      return
    }
    const range = { ...headers, 'content-range': `${from}-${blob.size - 1}` }
    const reply = await this.#expect({ method: 'PATCH', url: at, headers: range, body }, [202])
    const end = withDigest(locationOf(reply, at), blob.digest)
    await this.#expect({ method: 'PUT', url: end, headers: { 'content-length': '0' } }, [201])
  }

  /** How far the registry has got with an upload, and where it goes on; undefined if it does not say. */
  async #progressOf(at: URL): Promise<{ readonly url: URL; readonly done: number } | undefined> {
    const reply = await this.#ask({ method: 'GET', url: at, again: true }).catch(() => undefined)
    if (reply) discard(reply)
    const range = /^(?:bytes=)?0-(\d+)$/.exec(String(reply?.headers.range ?? ''))
    if (reply?.status !== 204 || !range) return undefined
    return { url: locationOf(reply, at), done: Number(range[1]) + 1 }
  }
}

/** The first that may be pushed to; its other scheme if it cannot be reached. */
async function chooseHost({ hosts, signal }: PusherOptions): Promise<RegistryHost> {
  const able = hosts.filter((host) => host.pushes)
  const [first, second] = able
  if (!first)
    throw new Fault('unsupported', 'no host of hosts.toml may be pushed to: add the capability "push" to one')
  if (!second?.onlyIfUnreachable) return first
  const call = {
    method: 'GET',
    url: new URL(`${first.base.href}/`),
    headers: {},
    privateHeaders: {},
  } as const
  try {
    const reply = await exchange({ ...call, tls: first.tls, connectMs: first.connectMs, signal })
    discard(reply)
    return first
  } catch (e) {
    if (signal.aborted) throw abortFault(signal)
    if (asFault(e).kind !== 'unavailable' && asFault(e).kind !== 'timeout') throw e
    return second
  }
}

/** Where an upload goes on. Plain http is not gone back to, and a registry behind a proxy may think it is that. */
function locationOf(reply: HttpReply, asked: URL): URL {
  const text = reply.headers.location
  let next: URL
  try {
    next = new URL(text ?? '', asked)
  } catch {
    throw new Fault('unavailable', `${shownUrl(asked)}: names no place for the upload`)
  }
  if (text === undefined) throw new Fault('unavailable', `${shownUrl(asked)}: names no place for the upload`)
  if (next.protocol !== asked.protocol && next.host === asked.host) next.protocol = asked.protocol
  if (next.protocol !== 'https:' && next.protocol !== asked.protocol)
    throw new Fault('denied', `${shownUrl(asked)}: sends the upload from https to ${shownUrl(next)}: refused`)
  next.username = ''
  next.password = ''
  return next
}

function withDigest(at: URL, digest: Digest): URL {
  const url = new URL(at)
  url.searchParams.set('digest', digest)
  return url
}

async function* counted(
  blob: PushBlob,
  from: number,
  onBytes: (done: number) => void,
): AsyncGenerator<Buffer> {
  let done = from
  for await (const piece of blob.open(from)) {
    yield piece
    done += piece.length
    onBytes(done)
  }
}
