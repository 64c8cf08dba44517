// SPDX-License-Identifier: Apache-2.0
/**
 * Letting ourselves in at a registry: challenges, Basic, Bearer tokens from a token endpoint. Credentials go
 * to the host that they are for and to the token endpoint that this host names, and nowhere else; they never
 * stand in an error. One Authorizer belongs to one pull or push and forgets everything with it.
 */
import { Fault } from '../../base/fault.ts'
import { PULL } from '../../model/pull-policy.ts'
import type { CredentialLookup, Credentials } from './credentials.ts'
import type { RegistryHost, TlsSettings } from './hosts-toml.ts'
import { discard, type HttpReply, readAll, shownUrl } from './http.ts'
import { persist } from './retry.ts'

export interface Challenge {
  readonly scheme: string
  readonly params: Readonly<Record<string, string>>
}

export interface AuthorizerOptions {
  /** Asked only when a host has asked for credentials. */
  readonly lookup: CredentialLookup
  /** Path of the repository, where the host names no other; without one it is about the registry itself, as for a login. */
  readonly repository?: string
  /**
   * What a token must allow, in the words of a token endpoint: `pull` (the default), or `pull,push` to upload.
   * With `pull` a scope that the registry names goes before ours; else ours is asked for, beside those that it
   * names for other repositories.
   */
  readonly actions?: 'pull' | 'pull,push'
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

const basicHeader = (pair: NonNullable<Credentials['basic']>) =>
  `Basic ${Buffer.from(`${pair.username}:${pair.password}`).toString('base64')}`

export class Authorizer {
  readonly #options: AuthorizerOptions
  /** Authorization header by origin of the host it is for, and repository there. */
  readonly #headers = new Map<string, string>()
  readonly #pending = new Map<string, Promise<void>>()
  readonly #secrets = new Set<string>()

  constructor(options: AuthorizerOptions) {
    this.#options = options
  }

  #remember(secret: string | undefined): void {
    if (secret === undefined || secret.length < 3) return
    this.#secrets.add(secret).add(encodeURIComponent(secret.toWellFormed()))
  }

  /** Text of a registry with our secrets taken out: some echo what they were sent. */
  scrub(text: string): string {
    let clean = text
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, '[redacted]')
    return clean
  }

  /**
   * Sends a request for `host` with what is known to let us in there, and once more after the answer to each of
   * two challenges. Resolves with any other status, throws as `#answer`. @abort stops
   */
  async send(
    host: RegistryHost,
    signal: AbortSignal,
    request: (headers: Readonly<Record<string, string>>) => Promise<HttpReply>,
  ): Promise<HttpReply> {
    for (let round = 0; ; round++) {
      const sent = this.#headers.get(this.#placeOf(host))
      const reply = await request({ ...host.headers, ...(sent === undefined ? {} : { authorization: sent }) })
      if (reply.status !== 401 || round >= 2) return reply
      discard(reply)
      await this.#answer(host, reply, { sent, signal })
    }
  }

  #repositoryAt(host: RegistryHost): string | undefined {
    return host.repository ?? this.#options.repository
  }

  #placeOf(host: RegistryHost): string {
    return `${host.base.origin} ${this.#repositoryAt(host) ?? ''}`
  }

  /**
   * Answers a 401 of `host`. Requests that were refused at the same time share one token. Throws `denied` when
   * there is nothing to answer with, or when another host asks, to which `host` has redirected: what is for the
   * one must not be had by the other. Throws what the lookup throws. @abort stops
   */
  async #answer(
    host: RegistryHost,
    reply: HttpReply,
    refused: { sent: string | undefined; signal: AbortSignal },
  ): Promise<void> {
    const origin = host.base.origin
    if (reply.url.origin !== origin)
      throw new Fault(
        'denied',
        `${origin} redirects to ${shownUrl(reply.url)}, which asks for authentication`,
      )
    const place = this.#placeOf(host)
    if (this.#headers.get(place) !== refused.sent) return
    const running = this.#pending.get(place)
    if (running) return running
    const work = this.#obtain(host, parseChallenges(reply.challenges), refused.signal).finally(() =>
      this.#pending.delete(place),
    )
    this.#pending.set(place, work)
    return work
  }

  async #obtain(host: RegistryHost, challenges: readonly Challenge[], signal: AbortSignal): Promise<void> {
    const found = await this.#options.lookup(host.base, this.#repositoryAt(host) ?? '')
    const { basic, identityToken, registryToken } = found ?? {}
    for (const secret of [basic?.password, identityToken, registryToken]) this.#remember(secret)
    if (basic) this.#remember(basicHeader(basic).slice('Basic '.length))
    const who = found ? `the credentials of ${found.from} were refused` : 'no credentials were given for it'
    const bearer = challenges.find((c) => c.scheme === 'bearer')
    let header: string | undefined
    if (bearer && registryToken === undefined) {
      const token = await this.#token(host, bearer, { found, who, signal })
      this.#remember(token)
      header = `Bearer ${token}`
    } else {
      const asked = bearer !== undefined || challenges.some((c) => c.scheme === 'basic')
      const own = bearer ? `Bearer ${registryToken}` : basic && basicHeader(basic)
      if (!asked || own === undefined || this.#headers.get(this.#placeOf(host)) === own)
        throw new Fault('denied', `${host.base.origin} asks for authentication: ${who}`)
      header = own
    }
    this.#headers.set(this.#placeOf(host), header)
  }

  /** What a token is asked for: see `actions`. */
  #scopes(host: RegistryHost, challenge: Challenge): string[] {
    const repository = this.#repositoryAt(host)
    const { actions = 'pull' } = this.#options
    const named = (challenge.params.scope ?? '').split(' ').filter((s) => s !== '')
    if (repository === undefined || (actions === 'pull' && named.length > 0)) return named
    const mine = `repository:${repository}:`
    return [`${mine}${actions}`, ...named.filter((s) => !s.startsWith(mine))]
  }

  async #token(
    host: RegistryHost,
    challenge: Challenge,
    how: { found: Credentials | undefined; who: string; signal: AbortSignal },
  ): Promise<string> {
    const realm = realmOf(host, challenge)
    const scopes = this.#scopes(host, challenge)
    const { basic, identityToken } = how.found ?? {}
    const service = challenge.params.service
    const tls: TlsSettings = realm.origin === host.base.origin ? host.tls : { ...host.tls, client: [] }
    const common = {
      tls,
      connectMs: host.connectMs,
      signal: how.signal,
      headers: { accept: 'application/json' },
    }
    let reply: HttpReply
    if (identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: 'gantry',
        ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
        ...(service === undefined ? {} : { service }),
        refresh_token: identityToken,
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
      for (const one of scopes) url.searchParams.append('scope', one)
      if (basic) url.searchParams.set('account', basic.username)
      const privateHeaders: Record<string, string> = basic ? { authorization: basicHeader(basic) } : {}
      reply = await persist({ ...common, method: 'GET', url, privateHeaders })
    }
    return this.#readToken(reply, realm, how.who)
  }

  async #readToken(reply: HttpReply, realm: URL, who: string): Promise<string> {
    const body = (await readAll(reply, realm, PULL.replyBytes)).toString('utf8')
    if (reply.status === 401 || reply.status === 403 || reply.status === 400) {
      throw new Fault('denied', `${shownUrl(realm)} gives no token (HTTP ${reply.status}): ${who}`)
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
