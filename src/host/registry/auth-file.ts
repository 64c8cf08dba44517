// SPDX-License-Identifier: Apache-2.0
/**
 * Files with credentials: `auth.json` of containers-auth.json(5) and Docker's `config.json`, which are alike.
 * Finds what one says about a repository at a host, and changes its entries for login and logout. A file that
 * cannot be used is named by path and line; nothing of what is in it stands in an error.
 */
import { mkdir, readFile, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { replaceFile } from '../../base/json-file.ts'
import { PULL } from '../../model/pull-policy.ts'
import { type Credentials, credentialsOf, HUB_KEY, hostName } from './credentials.ts'

type Table = Readonly<Record<string, unknown>>

export interface AuthFile {
  readonly path: string
  readonly root: Table
  readonly auths: Table
  /** Helper by registry. */
  readonly helpers: Table
  /** Helper for every registry. */
  readonly store: string
  /** Somebody who is neither owner nor group may read it. */
  readonly open: boolean
}

/** What a file says about a registry. */
export type Entry =
  | { readonly is: 'credentials'; readonly credentials: Credentials }
  | { readonly is: 'helper'; readonly name: string }

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads and parses one; undefined if it is missing. Throws `invalid` or `unavailable` with its path. @abort finishes */
export async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let text: string
  let open: boolean
  try {
    const about = await stat(path)
    if (!about.isFile()) throw new Fault('invalid', `${path} is not a file`)
    if (about.size > PULL.authFileBytes)
      throw new Fault('invalid', `${path} has more than ${PULL.authFileBytes} bytes`)
    open = (about.mode & 0o004) !== 0
    text = await readFile(path, 'utf8')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return undefined
    if (e instanceof Fault) throw e
    throw new Fault('unavailable', `${path} cannot be read: ${errnoCode(e) ?? String(e)}`, { cause: e })
  }
  return { path, open, ...parse(text, path) }
}

function parse(text: string, path: string): Omit<AuthFile, 'path' | 'open'> {
  const root = text.trim() === '' ? {} : parseJson(text, path)
  if (!isTable(root)) throw bad(path, 'is not a JSON object')
  const table = (name: string): Table => {
    const value = root[name] ?? {}
    if (!isTable(value)) throw bad(path, `"${name}" is not an object`)
    return value
  }
  const store = root.credsStore ?? ''
  if (typeof store !== 'string') throw bad(path, '"credsStore" is not a string')
  return { root, auths: table('auths'), helpers: table('credHelpers'), store }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (e) {
    // The message of the parser quotes the text, so only the place is taken from it.
    const at = /position (\d+)/.exec(e instanceof Error ? e.message : '')?.[1]
    const line = at === undefined ? '' : `:${text.slice(0, Number(at)).split('\n').length}`
    throw bad(`${path}${line}`, 'is not JSON')
  }
}

function bad(path: string, why: string): Fault {
  return new Fault('invalid', `${path} ${why}: correct the file or remove it`)
}

interface Key {
  readonly host: string
  /** `ns` or `ns/repo`; empty: the whole registry. */
  readonly path: string
}

/** `reg.io`, `reg.io/ns/repo`, `https://reg.io/v1/`: with a scheme, or `/v1/` behind it, only the host counts. */
function parseKey(key: string, protocol: string): Key {
  const bare = key.replace(/^https?:\/\//i, '')
  const [host = '', ...rest] = bare.split('/')
  const legacy = bare !== key || /^v[12]\/$/.test(rest.join('/'))
  return {
    host: hostName(host, protocol),
    path: legacy ? '' : rest.filter((part) => part !== '').join('/'),
  }
}

/** A `*` in a key, as the kubelet has it, stands for what is in one part between dots. */
function hostFits(key: string, host: string): boolean {
  if (!key.includes('*')) return key === host
  const parts = key.split('*').map((part) => part.replace(/[^a-z0-9-]/g, '\\$&'))
  return new RegExp(`^${parts.join('[^.:]*')}$`).test(host)
}

const covers = (key: Key, host: string, repository: string): boolean =>
  hostFits(key.host, host) && (key.path === '' || `${repository}/`.startsWith(`${key.path}/`))

/**
 * What `file` says about `repository` at `host`: a helper of that registry, else the entry with the longest
 * path that has anything in it (one with `*` in its host last), else the helper for all. Throws `invalid` for an entry that cannot be used.
 */
export function entryFor(file: AuthFile, host: URL, repository: string): Entry | undefined {
  const name = hostName(host.host, host.protocol)
  for (const [key, helper] of Object.entries(file.helpers)) {
    if (!covers(parseKey(key, host.protocol), name, repository) || helper === '') continue
    if (typeof helper !== 'string') throw bad(file.path, `the helper of ${name} is not a string`)
    return { is: 'helper', name: helper }
  }
  const fitting = Object.entries(file.auths)
    .map(([key, value]) => ({ key: parseKey(key, host.protocol), value, plain: !key.includes('://') }))
    .filter(({ key }) => covers(key, name, repository))
    .sort(
      (a, b) =>
        Number(b.key.host === name) - Number(a.key.host === name) ||
        b.key.path.length - a.key.path.length ||
        Number(b.plain) - Number(a.plain),
    )
  for (const { value } of fitting) {
    const credentials = credentialsOfEntry(value, `${file.path} for ${name}`)
    if (credentials) return { is: 'credentials', credentials }
  }
  return file.store === '' ? undefined : { is: 'helper', name: file.store }
}

function credentialsOfEntry(value: unknown, from: string): Credentials | undefined {
  const field = (name: string): string => {
    const found = (isTable(value) ? value[name] : '') ?? ''
    if (typeof found !== 'string') throw new Fault('invalid', `${from}: "${name}" is not a string`)
    return found
  }
  const raw = {
    username: field('username'),
    password: field('password'),
    auth: field('auth'),
    identityToken: field('identitytoken'),
    registryToken: field('registrytoken'),
  }
  return credentialsOf(raw, from)
}

/** The key under which a login to `registry` (`host[:port][/ns]`) is kept. */
export function keyOf(registry: string): string {
  return hostName(registry, 'https:') === 'docker.io' ? HUB_KEY : registry
}

/** The keys of `file` that stand for exactly `registry`, however they are spelled. */
export function keysOf(file: AuthFile, registry: string): string[] {
  const wanted = parseKey(registry, 'https:')
  return Object.keys(file.auths).filter((key) => {
    const { host, path } = parseKey(key, 'https:')
    return host === wanted.host && path === wanted.path
  })
}

/**
 * Takes the entries `remove` out of the file, or puts `put` in, and leaves all else as it is. The file is
 * replaced whole, durable, for its owner only; a missing one is made with its folder. @abort finishes
 */
export async function changeAuthFile(
  path: string,
  file: AuthFile | undefined,
  change: { readonly remove: readonly string[]; readonly put?: readonly [key: string, entry: Table] },
): Promise<void> {
  const kept = Object.entries(file?.auths ?? {}).filter(([key]) => !change.remove.includes(key))
  const auths = Object.fromEntries([...kept, ...(change.put ? [change.put] : [])])
  const text = `${JSON.stringify({ ...file?.root, auths }, null, '\t')}\n`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    // A link stays one: what it names is replaced.
    const real = file === undefined ? path : await realpath(path)
    const owner = file === undefined ? undefined : await stat(real)
    await replaceFile(real, text, { mode: 0o600, ...(owner ? { owner } : {}) })
  } catch (e) {
    throw new Fault('unavailable', `${path} cannot be written: ${errnoCode(e) ?? String(e)}`, { cause: e })
  }
}
