// SPDX-License-Identifier: Apache-2.0
/**
 * Credentials in one form, whichever form they came in, and the rule whom they are for. Bad ones are refused by
 * naming the field, never by showing it. Pure: asks no registry, reads no file.
 */
import { Fault } from '../../base/fault.ts'
import type { RegistryAuth } from '../../model/pull-policy.ts'

export interface Credentials {
  readonly basic: { readonly username: string; readonly password: string } | undefined
  /** OAuth2 refresh token: for the token endpoint only. */
  readonly identityToken: string | undefined
  /** Bearer token that is sent as it is. */
  readonly registryToken: string | undefined
  /** Whose they are, for messages: `the request`, `/etc/gantry/auth.json`. */
  readonly from: string
}

/**
 * The credentials for a repository at a host, or undefined: it is asked without. Called when a host asks for
 * them, and again when a token has run out. Rejects when they cannot be read.
 */
export type CredentialLookup = (host: URL, repository: string) => Promise<Credentials | undefined>

const HUB = 'docker.io'
const HUB_NAMES = new Set([HUB, 'index.docker.io', 'registry-1.docker.io'])

/** The key of Docker Hub in files that Docker reads too, and what its helpers know it by. */
export const HUB_KEY = 'https://index.docker.io/v1/'

/** `host[:port]` in one spelling: lower case, no port that `protocol` implies, one name for Docker Hub. */
export function hostName(host: string, protocol: string): string {
  const plain = host.toLowerCase().replace(protocol === 'http:' ? /:80$/ : /:443$/, '')
  return HUB_NAMES.has(plain) ? HUB : plain
}

/** `host[:port]` of an address that may be a URL (`https://index.docker.io/v1/`); empty if it has none. */
function hostOfAddress(address: string): string {
  return /^(?:https?:\/\/)?([^\s/?#@]+)(?:[/?#][^\s@]*)?$/i.exec(address.trim())?.[1] ?? ''
}

/**
 * May the credentials of a request for images of `domain` be shown to `host`? With a server address it must be
 * that host; without one, the registry that the image's name says.
 */
export function credentialsFit(auth: RegistryAuth, domain: string, host: URL): boolean {
  const wanted = auth.serverAddress ? hostOfAddress(auth.serverAddress) : domain
  return wanted !== '' && hostName(wanted, host.protocol) === hostName(host.host, host.protocol)
}

/**
 * `raw` in the one form; undefined if there is nothing in it. A username goes before `auth`. Throws `invalid`
 * for a field that cannot be used, without its value.
 */
export function credentialsOf(raw: RegistryAuth, from: string): Credentials | undefined {
  const basic = raw.username
    ? { username: raw.username, password: raw.password ?? '' }
    : decodeBasic(raw.auth ?? '', from)
  const identityToken = raw.identityToken || undefined
  const registryToken = raw.registryToken || undefined
  if (registryToken !== undefined && /[^\x21-\x7e]/.test(registryToken))
    throw new Fault('invalid', `credentials of ${from}: the registry token is not one that can be sent`)
  if (basic === undefined && identityToken === undefined && registryToken === undefined) return undefined
  return { basic, identityToken, registryToken, from }
}

function decodeBasic(auth: string, from: string): Credentials['basic'] {
  const code = auth.replace(/[\r\n]/g, '')
  if (code === '') return undefined
  const bytes = Buffer.from(code, 'base64')
  const text = bytes.toString('utf8')
  const colon = text.indexOf(':')
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(code) || !Buffer.from(text).equals(bytes) || colon < 0)
    throw new Fault('invalid', `credentials of ${from}: "auth" is not the base64 of "user:password"`)
  const [username, password] = [text.slice(0, colon), text.slice(colon + 1).replace(/\0+$/, '')]
  return username === '' && password === '' ? undefined : { username, password }
}
