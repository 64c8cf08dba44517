// SPDX-License-Identifier: Apache-2.0
/**
 * `certs.d/<host>/hosts.toml`: which hosts are asked for the images of a registry, in which order and how, with
 * the meaning that these files have on nodes today. Read at each pull, so a change needs no restart. A file
 * that does not parse fails the pull with its name and line; it never falls back to the registry itself. Which
 * file counts is decided in `plan.ts`.
 */
import { isAbsolute, join } from 'node:path'
import { asFault, Fault } from '../../base/fault.ts'
import { PULL } from '../../model/pull-policy.ts'
import { apiHostOf } from '../../model/reference.ts'
import { type Certificates, pemOf } from './docker-certs.ts'
import { parseTomlFile, type TomlSection } from './toml-file.ts'

export interface TlsSettings extends Certificates {
  readonly skipVerify: boolean
}

export interface RegistryHost {
  /** Root of the API without a trailing slash: `https://registry-1.docker.io/v2`. */
  readonly base: URL
  /** Path of the repository there, if it is another than in the image's name. */
  readonly repository?: string
  /** May turn a tag into a digest. */
  readonly resolves: boolean
  /** May serve manifests by digest, and blobs. */
  readonly pulls: boolean
  /** May be pushed to. */
  readonly pushes: boolean
  readonly headers: Readonly<Record<string, string>>
  readonly tls: TlsSettings
  readonly connectMs: number
  /** `?ns=`: the registry that a mirror is asked to stand in for. */
  readonly ns: string | undefined
  /** The same host by its other scheme: asked only if the entry before it cannot be reached. */
  readonly onlyIfUnreachable: boolean
}

export interface ParsedHosts {
  readonly hosts: readonly RegistryHost[]
  /** What a person should know of the file, by file and line. */
  readonly warnings: readonly string[]
}

export const NO_TLS: TlsSettings = { ca: [], client: [], skipVerify: false }
const CAPABILITIES = new Set(['pull', 'resolve', 'push', 'referrers'])
const HOST_KEYS = ['capabilities', 'ca', 'client', 'skip_verify', 'header', 'override_path', 'dial_timeout']
const KNOWN_HOST = new Set(HOST_KEYS)
const KNOWN_ROOT = new Set([...HOST_KEYS, 'server', 'host', 'fallback'])

/** Folder names of a registry, in the order in which they are looked for. */
export function folderNames(domain: string): string[] {
  const port = /^(.*):(\d+)$/.exec(domain)
  const own = port ? [`${port[1]}_${port[2]}_`, domain] : [domain]
  return [...own, '_default']
}

/** A host that may do everything, with what is given instead of the defaults. */
export function hostAt(base: URL, more: Partial<RegistryHost> = {}): RegistryHost {
  return {
    base,
    resolves: true,
    pulls: true,
    pushes: true,
    headers: {},
    tls: NO_TLS,
    connectMs: PULL.connectMs,
    ns: undefined,
    onlyIfUnreachable: false,
    ...more,
  }
}

/** Without a file: the registry itself, by https; on loopback, where nobody listens in, by plain http first. */
export function defaultHosts(domain: string): RegistryHost[] {
  const host = apiHostOf(domain)
  const at = (scheme: string) => new URL(`${scheme}://${host}/v2`)
  const url = new URL(`https://${host}`)
  if (!isLoopback(url.hostname)) return [hostAt(at('https'))]
  const secure = hostAt(at('https'), { tls: { ...NO_TLS, skipVerify: true } })
  if (url.port === '' && host.endsWith(':443')) return [secure]
  return [hostAt(at('http')), { ...secure, onlyIfUnreachable: true }]
}

/** localhost, 127.0.0.0/8 and ::1, as in `URL.hostname`. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || /^127(\.\d{1,3}){3}$/.test(hostname) || hostname === '[::1]'
}

interface Where {
  readonly folder: string
  readonly domain: string
}

/**
 * Parses one file: the `host` tables in the order of the file, and last the `server`, or without one the registry
 * itself. `fallback = false` leaves that last one out. `folder` is where relative paths start and what errors
 * name. Throws `invalid`, and `denied` when nobody is left to ask.
 */
export async function parseHosts(text: string, where: Where): Promise<ParsedHosts> {
  const file = join(where.folder, 'hosts.toml')
  const root = parseTomlFile(file, text)
  const table = root.table('host')
  const hosts: RegistryHost[] = []
  const warnings = root.unknown(KNOWN_ROOT)
  for (const address of table.keys) {
    const section = table.table(address)
    warnings.push(...section.unknown(KNOWN_HOST))
    hosts.push(...(await hostsOf(address, section, { ...where, key: undefined })))
  }
  const last = await lastHosts(root, where)
  if (root.flag('fallback') ?? true) hosts.push(...last)
  if (hosts.length > 0) return { hosts, warnings }
  throw new Fault(
    'denied',
    `${root.place('fallback')}: fallback = false and no host table: nobody may be asked for images of ${where.domain}`,
  )
}

/** What stands at the top level is said of the server; without one, of the registry itself, which can do all. */
async function lastHosts(root: TomlSection, where: Where): Promise<RegistryHost[]> {
  const server = root.text('server')
  if (server !== undefined && server !== '') return hostsOf(server, root, { ...where, key: 'server' })
  const own = defaultHosts(where.domain)
  if (!HOST_KEYS.some((key) => root.has(key))) return own
  const { headers, tls, connectMs } = await settingsOf(root, where)
  const said = (host: RegistryHost): RegistryHost => ({
    ...host,
    headers,
    connectMs,
    tls: { ...tls, skipVerify: tls.skipVerify || host.tls.skipVerify },
  })
  return secureFirst(own.map(said), saysTls(root))
}

const saysTls = (from: TomlSection) => from.has('ca') || from.has('client') || from.has('skip_verify')

/** Of two entries for one host, https comes first if something was said of its certificates. */
function secureFirst(hosts: readonly RegistryHost[], wanted: boolean): RegistryHost[] {
  const byTls = wanted ? hosts.toReversed() : hosts
  return byTls.map((host, i) => ({ ...host, onlyIfUnreachable: i > 0 }))
}

/** The host that a section describes; two entries where http:// comes with certificates, as containerd has it. */
async function hostsOf(
  address: string,
  from: TomlSection,
  where: Where & { readonly key: string | undefined },
): Promise<RegistryHost[]> {
  const bad = (why: string) =>
    where.key === undefined
      ? new Fault('invalid', `${from.place()}: host.${JSON.stringify(address)}: ${why}`)
      : from.bad(where.key, why)
  const base = baseOf(address, from.flag('override_path') ?? false, bad)
  const capabilities = (from.texts('capabilities') ?? []).map((c) => c.toLowerCase())
  for (const c of capabilities) {
    if (!CAPABILITIES.has(c))
      throw from.bad('capabilities', `"${c}" is none of ${[...CAPABILITIES].join(', ')}`)
  }
  const can = (c: string) => capabilities.length === 0 || capabilities.includes(c)
  const named = [where.domain, apiHostOf(where.domain)].map((h) => new URL(`${base.protocol}//${h}`).host)
  const host = hostAt(base, {
    ...(await settingsOf(from, where)),
    resolves: can('resolve') && can('pull'),
    pulls: can('pull'),
    pushes: can('push'),
    ns: named.includes(base.host) ? undefined : where.domain,
  })
  if (base.protocol === 'https:' || !saysTls(from) || /^http:\/\/[^/]*:80(?:\/|$)/i.test(address))
    return [host]
  const secure = new URL(base)
  secure.protocol = 'https:'
  return secureFirst([host, { ...host, base: secure }], true)
}

function baseOf(address: string, overridePath: boolean, bad: (why: string) => Fault): URL {
  let base: URL
  try {
    base = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(address) ? address : `https://${address}`)
  } catch {
    throw bad(`"${address}" is not a URL`)
  }
  if (base.protocol !== 'http:' && base.protocol !== 'https:')
    throw bad(`"${address}" must be an http:// or https:// URL`)
  if (base.username !== '' || base.password !== '' || base.search !== '' || base.hash !== '')
    throw bad('must not have a user, a query or a fragment in it')
  const path = base.pathname.replace(/\/{2,}/g, '/').replace(/\/$/, '')
  base.pathname = overridePath || path.endsWith('/v2') ? path : `${path}/v2`
  return base
}

async function settingsOf(
  from: TomlSection,
  where: Where,
): Promise<Pick<RegistryHost, 'headers' | 'tls' | 'connectMs'>> {
  const pem = async (key: string, path: string) => {
    try {
      return await pemOf(isAbsolute(path) ? path : join(where.folder, path))
    } catch (e) {
      throw from.bad(key, asFault(e).message)
    }
  }
  const ca = await Promise.all((from.texts('ca') ?? []).map((path) => pem('ca', path)))
  const client = await Promise.all(
    clientPairs(from).map(async ({ cert, key }) => ({
      cert: await pem('client', cert),
      key: await pem('client', key),
    })),
  )
  return {
    tls: { ca, client, skipVerify: from.flag('skip_verify') ?? false },
    headers: headersOf(from.table('header')),
    connectMs: connectMsOf(from),
  }
}

function clientPairs(from: TomlSection): { cert: string; key: string }[] {
  return (from.list('client') ?? []).map((entry) => {
    const [cert, key, ...more]: unknown[] = Array.isArray(entry) ? entry : [entry]
    if (typeof cert !== 'string' || (key !== undefined && typeof key !== 'string') || more.length > 0) {
      throw from.bad('client', 'must be a file, a list of files, or a list of [certificate, key] pairs')
    }
    return { cert, key: key === undefined || key === '' ? cert : key }
  })
}

function headersOf(from: TomlSection): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of from.keys) {
    const value = (from.texts(name) ?? []).join(', ')
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[\r\n\0]/.test(value)) throw from.bad(name, 'is not a header')
    headers[name.toLowerCase()] = value
  }
  return headers
}

const UNIT_MS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 1e-3, µs: 1e-3, ns: 1e-6 } as const

/** A duration in Go's form: `10s`, `1m30s`, `500ms`. */
function connectMsOf(from: TomlSection): number {
  const text = from.text('dial_timeout')
  if (text === undefined || text === '') return PULL.connectMs
  let ms = 0
  const rest = text.replace(/(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)/g, (_all, count: string, unit: string) => {
    ms += Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]
    return ''
  })
  if (rest !== '' || ms < 1 || ms > UNIT_MS.h)
    throw from.bad('dial_timeout', `"${text}" is not a time such as "500ms" or "10s", at most 1h`)
  return Math.round(ms)
}
