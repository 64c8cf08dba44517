// SPDX-License-Identifier: Apache-2.0
/**
 * Letting ourselves in at a registry: challenges, Basic, Bearer tokens from a token endpoint. Credentials go
 * to the host that they are for and to the token endpoint that this host names, and nowhere else; they never
 * stand in an error. One Authorizer belongs to one pull and forgets everything with it.
 */
import { Fault } from '../../base/fault.ts'
import { isEmptyAuth, PULL, type RegistryAuth } from '../../model/pull-policy.ts'
import { apiHostOf } from '../../model/reference.ts'
import type { RegistryHost, TlsSettings } from './hosts-toml.ts'
import { type HttpReply, readAll, shownUrl } from './http.ts'
import { persist } from './retry.ts'

export interface Challenge {
  readonly scheme: string
  readonly params: Readonly<Record<string, string>>
}

interface BasicPair {
  readonly username: string
  readonly password: string
}

/** The challenges of WWW-Authenticate values; schemes in lower case, one value may hold several challenges. */
export function parseChallenges(values: readonly string[]): Challenge[] {
  const found: { scheme: string; params: Record<string, string> }[] = []
  for (const value of values) {
    let rest = value.slice(0, 16 * 1024)
    while (rest !== '') {
      const param = /^\s*,?\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))/.exec(rest)
      const last = found.at(-1)
      if (param && last) {
        last.params[(param[1] ?? '').toLowerCase()] = param[2]?.replace(/\\(.)/g, '$1') ?? param[3] ?? ''
        rest = rest.slice(param[0].length)
        continue
      }
      const scheme = /^\s*,?\s*([A-Za-z][\w-]*)(?=\s|,|$)/.exec(rest)
      if (!scheme) break
      found.push({ scheme: (scheme[1] ?? '').toLowerCase(), params: {} })
      rest = rest.slice(scheme[0].length)
    }
  }
  return found
}

/** host[:port] of `serverAddress`, which may be a URL or a bare host; Docker Hub's names are one. */
function hostOfServer(address: string): string {
  let host: string
  try {
    const url = new URL(/^https?:\/\//i.test(address) ? address : `https://${address}`)
    host = url.host
  } catch {
    return ''
  }
  return host === 'docker.io' || host === 'index.docker.io' ? apiHostOf('docker.io') : host
}

/**
 * May the credentials of a request for images of `domain` be shown to `host`? With a server address it must be
 * that host; without one, the registry that the image's name says.
 */
export function credentialsFit(auth: RegistryAuth, domain: string, host: URL): boolean {
  const wanted = auth.serverAddress ? hostOfServer(auth.serverAddress) : apiHostOf(domain)
  const plain = (name: string) => name.toLowerCase().replace(/:(443|80)$/, '')
  return wanted !== '' && plain(wanted) === plain(host.host)
}

function basicOf(auth: RegistryAuth): BasicPair | undefined {
  if (auth.username) return { username: auth.username, password: auth.password ?? '' }
  if (!auth.auth) return undefined
  const text = Buffer.from(auth.auth, 'base64').toString('utf8').replace(/\0+$/, '')
  const colon = text.indexOf(':')
  if (colon < 0) {
    throw new Fault('invalid', 'the field "auth" of the credentials is not base64 of "user:password"')
  }
  return { username: text.slice(0, colon), password: text.slice(colon + 1) }
}

const basicHeader = (pair: BasicPair) =>
  `Basic ${Buffer.from(`${pair.username}:${pair.password}`).toString('base64')}`

export class Authorizer {
  readonly #auth: RegistryAuth
  readonly #domain: string
  readonly #path: string
  /** Authorization header by origin of the host it is for. */
  readonly #headers = new Map<string, string>()
  readonly #pending = new Map<string, Promise<void>>()
  readonly #secrets = new Set<string>()

  constructor(auth: RegistryAuth, image: { readonly domain: string; readonly path: string }) {
    this.#auth = auth
    this.#domain = image.domain
    this.#path = image.path
    for (const secret of [auth.password, auth.auth, auth.identityToken, auth.registryToken])
      this.#remember(secret)
    const pair = basicOf(auth)
    if (pair) {
      this.#remember(pair.password)
      this.#remember(basicHeader(pair).slice('Basic '.length))
    }
  }

  #remember(secret: string | undefined): void {
    if (secret !== undefined && secret.length >= 3) this.#secrets.add(secret)
  }

  /** Text of a registry with our secrets taken out: some echo what they were sent. */
  scrub(text: string): string {
    let clean = text
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, '[redacted]')
    return clean
  }

  #credentialsFor(host: RegistryHost): RegistryAuth {
    return credentialsFit(this.#auth, this.#domain, host.base) ? this.#auth : {}
  }

  /** What is known to let us in at `host`, or nothing before the first challenge. */
  header(host: RegistryHost): string | undefined {
    const known = this.#headers.get(host.base.origin)
    if (known !== undefined) return known
    const token = this.#credentialsFor(host).registryToken
    return token ? `Bearer ${token}` : undefined
  }

  /**
   * Answers a 401 of `host`. Requests that were refused at the same time share one token. Throws `denied` when
   * there is nothing to answer with. @abort stops
   */
  async answer(
    host: RegistryHost,
    reply: HttpReply,
    refused: { sent: string | undefined; signal: AbortSignal },
  ): Promise<void> {
    const origin = host.base.origin
    if (this.#headers.get(origin) !== refused.sent) return
    const running = this.#pending.get(origin)
    if (running) return running
    const work = this.#obtain(host, parseChallenges(reply.challenges), refused.signal).finally(() =>
      this.#pending.delete(origin),
    )
    this.#pending.set(origin, work)
    return work
  }

  async #obtain(host: RegistryHost, challenges: readonly Challenge[], signal: AbortSignal): Promise<void> {
    const auth = this.#credentialsFor(host)
    const pair = basicOf(auth)
    const who = isEmptyAuth(auth) ? 'no credentials were given for it' : 'the credentials were refused'
    const bearer = challenges.find((c) => c.scheme === 'bearer')
    if (bearer) {
      const token = await this.#token(host, bearer, { auth, pair, signal })
      this.#remember(token)
      this.#headers.set(host.base.origin, `Bearer ${token}`)
      return
    }
    const basic = challenges.some((c) => c.scheme === 'basic')
    const header = pair === undefined ? undefined : basicHeader(pair)
    if (!basic || header === undefined || this.#headers.get(host.base.origin) === header) {
      throw new Fault('denied', `${host.base.origin} asks for authentication: ${who}`)
    }
    this.#headers.set(host.base.origin, header)
  }

  async #token(
    host: RegistryHost,
    challenge: Challenge,
    how: { auth: RegistryAuth; pair: BasicPair | undefined; signal: AbortSignal },
  ): Promise<string> {
    const realm = realmOf(host, challenge)
    const scope = challenge.params.scope || `repository:${this.#path}:pull`
    const service = challenge.params.service
    const tls: TlsSettings = realm.origin === host.base.origin ? host.tls : { ...host.tls, client: [] }
    const common = {
      tls,
      connectMs: host.connectMs,
      signal: how.signal,
      headers: { accept: 'application/json' },
    }
    let reply: HttpReply
    if (how.auth.identityToken) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: 'gantry',
        scope,
        ...(service === undefined ? {} : { service }),
        refresh_token: how.auth.identityToken,
      })
      const headers = { ...common.headers, 'content-type': 'application/x-www-form-urlencoded' }
      reply = await persist({
        ...common,
        headers,
        method: 'POST',
        url: realm,
        privateHeaders: {},
        body: form.toString(),
      })
    } else {
      const url = new URL(realm)
      if (service !== undefined) url.searchParams.set('service', service)
      for (const one of scope.split(' ').filter((s) => s !== '')) url.searchParams.append('scope', one)
      if (how.pair) url.searchParams.set('account', how.pair.username)
      const privateHeaders: Record<string, string> = how.pair ? { authorization: basicHeader(how.pair) } : {}
      reply = await persist({ ...common, method: 'GET', url, privateHeaders })
    }
    return this.#readToken(reply, realm)
  }

  async #readToken(reply: HttpReply, realm: URL): Promise<string> {
    const body = (await readAll(reply, realm, PULL.replyBytes)).toString('utf8')
    if (reply.status === 401 || reply.status === 403 || reply.status === 400) {
      throw new Fault(
        'denied',
        `${shownUrl(realm)} gives no token (HTTP ${reply.status}): check the credentials`,
      )
    }
    if (reply.status !== 200) {
      throw new Fault('unavailable', `${shownUrl(realm)} gives no token (HTTP ${reply.status})`, {
        reason: 'RegistryUnavailable',
      })
    }
    try {
      const parsed: unknown = JSON.parse(body)
      if (typeof parsed === 'object' && parsed !== null) {
        const token: unknown = Reflect.get(parsed, 'token') || Reflect.get(parsed, 'access_token')
        if (typeof token === 'string' && token !== '' && !/[\r\n\0]/.test(token)) return token
      }
    } catch {
      // Falls through to the one complaint below.
    }
    throw new Fault('unavailable', `${shownUrl(realm)} answers without a token in it`)
  }
}

/** Where tokens are had. A registry reached by https may not send us to plain http with its secrets. */
function realmOf(host: RegistryHost, challenge: Challenge): URL {
  let realm: URL
  try {
    realm = new URL(challenge.params.realm ?? '')
  } catch {
    throw new Fault('denied', `${host.base.origin} asks for a token but names no valid realm`)
  }
  const fits = realm.protocol === 'https:' || (realm.protocol === 'http:' && host.base.protocol === 'http:')
  if (!fits || realm.username !== '' || realm.password !== '') {
    throw new Fault(
      'denied',
      `${host.base.origin} names the token realm ${shownUrl(realm)}: refused, it is not https`,
    )
  }
  return realm
}
