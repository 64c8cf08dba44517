// SPDX-License-Identifier: Apache-2.0
/**
 * `certs.d/<host>/hosts.toml`: which hosts are asked for the images of a registry, in which order and how, with
 * the meaning that these files have on nodes today. Read at each pull, so a change needs no restart. A file
 * that does not parse fails the pull with its name and line; it never falls back to the registry itself.
 */
import { readFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { parse as parseToml, TomlError } from 'smol-toml'
import { errnoCode, Fault } from '../../base/fault.ts'
import { PULL } from '../../model/pull-policy.ts'
import { apiHostOf } from '../../model/reference.ts'

export interface TlsSettings {
  /** PEM texts that are trusted beside the system's. */
  readonly ca: readonly string[]
  readonly client: readonly { readonly cert: string; readonly key: string }[]
  readonly skipVerify: boolean
}

export interface RegistryHost {
  /** Root of the API without a trailing slash: `https://registry-1.docker.io/v2`. */
  readonly base: URL
  /** May turn a tag into a digest. */
  readonly resolves: boolean
  /** May serve manifests by digest, and blobs. */
  readonly pulls: boolean
  readonly headers: Readonly<Record<string, string>>
  readonly tls: TlsSettings
  readonly connectMs: number
  /** `?ns=`: the registry that a mirror is asked to stand in for. */
  readonly ns: string | undefined
  /** Asked only if the host before it cannot be reached: https after plain http on loopback. */
  readonly onlyIfUnreachable: boolean
}

type Table = Record<string, unknown>
const NO_TLS: TlsSettings = { ca: [], client: [], skipVerify: false }
const CAPABILITIES = new Set(['pull', 'resolve', 'push', 'referrers'])

/**
 * The hosts to ask for images of `domain`, best first. `dirs` are the `certs.d` folders; the first that has a
 * folder for the registry decides. Throws `invalid` for a file that cannot be used.
 */
export async function registryHosts(dirs: readonly string[], domain: string): Promise<RegistryHost[]> {
  for (const dir of dirs) {
    for (const name of folderNames(domain)) {
      const folder = join(dir, name)
      const text = await readIfThere(join(folder, 'hosts.toml'))
      if (text !== undefined) return parseHosts(text, { folder, domain })
    }
  }
  return defaultHosts(domain)
}

/** Folder names of a registry, in the order in which they are looked for. */
export function folderNames(domain: string): string[] {
  const port = /^(.*):(\d+)$/.exec(domain)
  const own = port ? [`${port[1]}_${port[2]}_`, domain] : [domain]
  return [...own, '_default']
}

/** Without a file: the registry itself, by https; on loopback by plain http first. */
export function defaultHosts(domain: string): RegistryHost[] {
  const host = apiHostOf(domain)
  const of = (scheme: string, more: Partial<RegistryHost>): RegistryHost => ({
    base: new URL(`${scheme}://${host}/v2`),
    resolves: true,
    pulls: true,
    headers: {},
    tls: NO_TLS,
    connectMs: PULL.connectMs,
    ns: undefined,
    onlyIfUnreachable: false,
    ...more,
  })
  const url = new URL(`https://${host}`)
  if (!isLoopback(url.hostname)) return [of('https', {})]
  const unverified = { tls: { ...NO_TLS, skipVerify: true } }
  if (url.port === '' && host.endsWith(':443')) return [of('https', unverified)]
  return [of('http', {}), of('https', { ...unverified, onlyIfUnreachable: true })]
}

/** localhost, 127.0.0.0/8 and ::1, as in `URL.hostname`. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || /^127(\.\d{1,3}){3}$/.test(hostname) || hostname === '[::1]'
}

/** Parses one file. `folder` is where its relative paths start and what errors name. */
export async function parseHosts(
  text: string,
  where: { readonly folder: string; readonly domain: string },
): Promise<RegistryHost[]> {
  const file = join(where.folder, 'hosts.toml')
  let root: Table
  try {
    root = parseToml(text)
  } catch (e) {
    if (!(e instanceof TomlError)) throw e
    const why = e.message.split('\n', 1)[0]
    throw new Fault('invalid', `${file}:${e.line}:${e.column}: ${why}: correct the file or remove it`)
  }
  const reader = new Reader(file, where)
  const hosts: RegistryHost[] = []
  const table = reader.table(root, 'host')
  for (const key of Object.keys(table))
    hosts.push(await reader.host(key, reader.table(table, key), `host."${key}"`))
  const server = reader.text(root, 'server')
  if (server !== undefined) return [...hosts, await reader.host(server, root, 'server')]
  const plain = Object.keys(root).every((key) => key === 'host')
  const own = defaultHosts(where.domain)
  if (plain) return [...hosts, ...own]
  const first = own[0]
  return first ? [...hosts, await reader.host(first.base.origin, root, 'server')] : hosts
}

/** Typed access to the fields of one file; every complaint names file and field. */
class Reader {
  readonly #file: string
  readonly #folder: string
  readonly #domain: string

  constructor(file: string, where: { readonly folder: string; readonly domain: string }) {
    this.#file = file
    this.#folder = where.folder
    this.#domain = where.domain
  }

  #bad(field: string, why: string): Fault {
    return new Fault('invalid', `${this.#file}: ${field}: ${why}`)
  }

  table(from: Table, key: string): Table {
    const value = from[key]
    if (value === undefined) return {}
    if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Date) {
      throw this.#bad(key, 'must be a table')
    }
    return Object.fromEntries(Object.entries(value))
  }

  text(from: Table, key: string): string | undefined {
    const value = from[key]
    if (value === undefined || typeof value === 'string') return value
    throw this.#bad(key, 'must be a string')
  }

  #flag(from: Table, key: string): boolean {
    const value = from[key]
    if (value === undefined || typeof value === 'boolean') return value ?? false
    throw this.#bad(key, 'must be true or false')
  }

  #texts(from: Table, key: string): string[] {
    const value = from[key]
    if (value === undefined) return []
    const list: unknown[] = Array.isArray(value) ? value : [value]
    if (list.every((v) => typeof v === 'string')) return list
    throw this.#bad(key, 'must be a string or a list of strings')
  }

  async #pem(path: string, field: string): Promise<string> {
    const full = isAbsolute(path) ? path : join(this.#folder, path)
    const text = await readIfThere(full)
    if (text === undefined) throw this.#bad(field, `the file ${full} does not exist`)
    return text
  }

  async #client(from: Table): Promise<{ cert: string; key: string }[]> {
    const value = from.client
    if (value === undefined) return []
    const entries: unknown[] = Array.isArray(value) ? value : [value]
    const pairs: { cert: string; key: string }[] = []
    for (const entry of entries) {
      const [cert, key, ...more]: unknown[] = Array.isArray(entry) ? entry : [entry]
      if (typeof cert !== 'string' || (key !== undefined && typeof key !== 'string') || more.length > 0) {
        throw this.#bad('client', 'must be a file, a list of files, or a list of [certificate, key] pairs')
      }
      const pem = await this.#pem(cert, 'client')
      pairs.push({ cert: pem, key: key === undefined || key === '' ? pem : await this.#pem(key, 'client') })
    }
    return pairs
  }

  #headers(from: Table): Record<string, string> {
    const headers: Record<string, string> = {}
    const table = this.table(from, 'header')
    for (const name of Object.keys(table)) {
      const value = this.#texts(table, name).join(', ')
      if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[\r\n\0]/.test(value)) {
        throw this.#bad(`header.${name}`, 'is not a header')
      }
      headers[name.toLowerCase()] = value
    }
    return headers
  }

  #connectMs(from: Table): number {
    const text = this.text(from, 'dial_timeout')
    if (text === undefined) return PULL.connectMs
    const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text)
    if (!match) throw this.#bad('dial_timeout', `"${text}" is not a time such as "500ms" or "10s"`)
    return Number(match[1]) * { ms: 1, s: 1000, m: 60_000 }[match[2] as 'ms' | 's' | 'm']
  }

  #base(address: string, field: string, overridePath: boolean): URL {
    let base: URL
    try {
      base = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(address) ? address : `https://${address}`)
    } catch {
      throw this.#bad(field, `"${address}" is not a URL`)
    }
    if (base.protocol !== 'http:' && base.protocol !== 'https:') {
      throw this.#bad(field, `"${address}" must be an http:// or https:// URL`)
    }
    if (base.username !== '' || base.password !== '' || base.search !== '' || base.hash !== '') {
      throw this.#bad(field, 'must not have a user, a query or a fragment in it')
    }
    base.pathname = base.pathname.replace(/\/+$/, '')
    if (!overridePath && !base.pathname.endsWith('/v2')) {
      base.pathname = `${base.pathname.replace(/\/+$/, '')}/v2`
    }
    return base
  }

  async host(address: string, from: Table, field: string): Promise<RegistryHost> {
    const base = this.#base(address, field, this.#flag(from, 'override_path'))
    const capabilities = this.#texts(from, 'capabilities')
    for (const c of capabilities) {
      if (!CAPABILITIES.has(c)) {
        throw this.#bad(`${field}.capabilities`, `"${c}" is none of ${[...CAPABILITIES].join(', ')}`)
      }
    }
    const can = (c: string) => capabilities.length === 0 || capabilities.includes(c)
    const ca = await Promise.all(this.#texts(from, 'ca').map((path) => this.#pem(path, `${field}.ca`)))
    const own = [this.#domain, apiHostOf(this.#domain)].includes(base.host)
    return {
      base,
      resolves: can('resolve') && can('pull'),
      pulls: can('pull'),
      headers: this.#headers(from),
      tls: { ca, client: await this.#client(from), skipVerify: this.#flag(from, 'skip_verify') },
      connectMs: this.#connectMs(from),
      ns: own ? undefined : this.#domain,
      onlyIfUnreachable: false,
    }
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return undefined
    throw new Fault('unavailable', `${path} cannot be read: ${e instanceof Error ? e.message : String(e)}`, {
      cause: e,
    })
  }
}
