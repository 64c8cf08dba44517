// SPDX-License-Identifier: Apache-2.0
/**
 * `registries.conf` (version 2) and its drop-ins, as containers-registries.conf(5) has them: which table is for
 * an image, where it sends a pull, what is blocked, and what short names mean. Read anew at each pull. Whatever
 * cannot be used is a Fault `invalid` with file and line, never passed over. Version 1 is refused.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { isRegistryName, parseReference } from '../../model/reference.ts'
import type { ShortNames } from '../../model/short-names.ts'
import { parseTomlFile, readIfThere, type TomlSection } from './toml-file.ts'

export interface ConfPaths {
  readonly file: string
  /** Folder of `*.conf` drop-ins, which count after the file, in the order of their names. */
  readonly folder: string
}

/** Which pulls a mirror is for. */
export type MirrorUse = 'all' | 'digest-only' | 'tag-only'

export interface Endpoint {
  /** What takes the place of the prefix; undefined: the name stays as it is. */
  readonly location: string | undefined
  readonly insecure: boolean
  /** `file:line` it stands in. */
  readonly place: string
}

export interface Mirror extends Endpoint {
  readonly use: MirrorUse
}

/** One `[[registry]]`. */
export interface RegistryTable extends Endpoint {
  readonly prefix: string
  readonly blocked: boolean
  readonly mirrors: readonly Mirror[]
}

export type ShortNameMode = 'enforcing' | 'permissive' | 'disabled'

export interface RegistriesConf extends ShortNames {
  /** One for each prefix. */
  readonly registries: readonly RegistryTable[]
  /** `file:line` of the search list. */
  readonly searchPlace: string
  readonly mode: ShortNameMode
  readonly warnings: readonly string[]
}

export const NO_CONF: RegistriesConf = {
  registries: [],
  aliases: new Map(),
  search: undefined,
  searchPlace: '',
  mode: 'permissive',
  warnings: [],
}

/** The keys of these files that concern other programs, or other parts of a pull, beside those that are used. */
const KNOWN_ROOT = new Set([
  'registry',
  'registries',
  'aliases',
  'unqualified-search-registries',
  'short-name-mode',
  'credential-helpers',
  'additional-layer-store-auth-helper',
])
const KNOWN_REGISTRY = new Set([
  'prefix',
  'location',
  'insecure',
  'blocked',
  'mirror-by-digest-only',
  'mirror',
  'pull-from-mirror',
])
const KNOWN_MIRROR = new Set(['location', 'insecure', 'pull-from-mirror'])
const MODES = ['enforcing', 'permissive', 'disabled'] as const
const USES = ['all', 'digest-only', 'tag-only'] as const

/** Reads the file and its drop-ins; either may be missing. Throws `invalid`, `unavailable`. @abort finishes */
export async function readRegistriesConf(paths: ConfPaths): Promise<RegistriesConf> {
  let conf = NO_CONF
  for (const file of [paths.file, ...(await dropIns(paths.folder))]) {
    const text = await readIfThere(file)
    if (text !== undefined) conf = merge(conf, parseRegistriesConf(text, file))
  }
  return conf
}

async function dropIns(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    const names = entries.filter((e) => !e.isDirectory() && e.name.endsWith('.conf')).map((e) => e.name)
    return names.sort().map((name) => join(folder, name))
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return []
    throw new Fault(
      'unavailable',
      `${folder} cannot be read: ${e instanceof Error ? e.message : String(e)}`,
      {
        cause: e,
      },
    )
  }
}

type ParsedFile = Omit<RegistriesConf, 'mode' | 'aliases'> & {
  readonly mode: ShortNameMode | undefined
  /** An empty value takes an alias of an earlier file away. */
  readonly aliases: ReadonlyMap<string, string>
}

/** A later file replaces tables of the same prefix, aliases of the same name, and lists as a whole. */
function merge(before: RegistriesConf, file: ParsedFile): RegistriesConf {
  const fresh = new Set(file.registries.map((r) => r.prefix))
  const aliases = new Map(
    [...before.aliases, ...file.aliases].filter(([name]) => file.aliases.get(name) !== ''),
  )
  const searches = file.search !== undefined
  return {
    registries: [...before.registries.filter((r) => !fresh.has(r.prefix)), ...file.registries],
    aliases,
    search: file.search ?? before.search,
    searchPlace: searches ? file.searchPlace : before.searchPlace,
    mode: file.mode ?? before.mode,
    warnings: [...before.warnings, ...file.warnings],
  }
}

/** Parses one file; `file` is what errors name. Throws `invalid`. */
export function parseRegistriesConf(text: string, file: string): ParsedFile {
  const root = parseTomlFile(file, text)
  refuseVersion1(root)
  const warnings = root.unknown(KNOWN_ROOT)
  const registries = new Map<string, RegistryTable>()
  const all = root.tables('registry').map((section) => registryOf(section, warnings))
  // Of two tables with one prefix in a file the first counts; that they agree is checked below.
  for (const table of all) if (!registries.has(table.prefix)) registries.set(table.prefix, table)
  checkConflicts(all)
  const search = root.texts('unqualified-search-registries')?.map((entry) => searchOf(root, entry))
  return {
    registries: [...registries.values()],
    aliases: aliasesOf(root.table('aliases')),
    search,
    searchPlace: root.place('unqualified-search-registries'),
    mode: wordOf(root, 'short-name-mode', MODES),
    warnings,
  }
}

function refuseVersion1(root: TomlSection): void {
  const old = root.table('registries')
  const used = old.keys.find((key) => (old.table(key).texts('registries') ?? []).length > 0)
  if (used === undefined) return
  throw root.bad(
    'registries',
    `[registries.${used}] is version 1 of the format, which is not read: use [[registry]] and unqualified-search-registries`,
  )
}

function registryOf(section: TomlSection, warnings: string[]): RegistryTable {
  warnings.push(...section.unknown(KNOWN_REGISTRY))
  const location = locationOf(section, 'location')
  const prefix = locationOf(section, 'prefix') ?? location
  if (prefix === undefined) throw section.bad('location', 'prefix and location are both missing')
  const wildcard = prefix.startsWith('*.')
  if (location === undefined && !wildcard)
    throw section.bad('location', 'is missing; only a prefix such as "*.example.com" can be without')
  if (section.has('pull-from-mirror')) throw section.bad('pull-from-mirror', 'belongs in [[registry.mirror]]')
  if (prefix.slice(wildcard ? 2 : 0).includes('*')) {
    warnings.push(
      `${section.place('prefix')}: "${prefix}" matches nothing: a wildcard is written *.example.com`,
    )
  }
  const byDigest = section.flag('mirror-by-digest-only') ?? false
  return {
    prefix,
    location,
    insecure: section.flag('insecure') ?? false,
    blocked: section.flag('blocked') ?? false,
    place: section.place(),
    mirrors: section.tables('mirror').map((mirror) => mirrorOf(mirror, byDigest, warnings)),
  }
}

function mirrorOf(section: TomlSection, byDigest: boolean, warnings: string[]): Mirror {
  warnings.push(...section.unknown(KNOWN_MIRROR))
  const location = locationOf(section, 'location')
  if (location === undefined) throw section.bad('location', 'is missing')
  const use = wordOf(section, 'pull-from-mirror', USES)
  if (byDigest && use !== undefined)
    throw section.bad('pull-from-mirror', 'cannot stand beside mirror-by-digest-only of its registry')
  return {
    location,
    insecure: section.flag('insecure') ?? false,
    place: section.place(),
    use: use ?? (byDigest ? 'digest-only' : 'all'),
  }
}

function wordOf<const W extends string>(
  section: TomlSection,
  key: string,
  words: readonly W[],
): W | undefined {
  const text = section.text(key)
  if (text === undefined || text === '') return undefined
  const word = words.find((w) => w === text)
  if (word === undefined) throw section.bad(key, `"${text}" is none of ${words.join(', ')}`)
  return word
}

/** `host[:port][/path]` without a slash at the end; undefined if it is missing or empty. */
function locationOf(section: TomlSection, key: string): string | undefined {
  const text = section.text(key)?.replace(/\/+$/, '')
  if (text === undefined || text === '') return undefined
  if (/^https?:\/\//i.test(text)) throw section.bad(key, `"${text}" must be without http:// or https://`)
  if (/[\s\0?#\\]/.test(text)) throw section.bad(key, `"${text}" is not host[:port][/path]`)
  return text
}

function searchOf(root: TomlSection, entry: string): string {
  const host = entry.replace(/\/+$/, '')
  if (isRegistryName(host)) return host
  throw root.bad('unqualified-search-registries', `"${entry}" is not host[:port]`)
}

function aliasesOf(section: TomlSection): Map<string, string> {
  const aliases = new Map<string, string>()
  for (const name of section.keys) {
    const value = section.text(name) ?? ''
    const short = referenceOf(section, name, name)
    if (short.short !== name) throw section.bad(name, 'an alias is a name without registry, tag and digest')
    if (value !== '' && !isRepository(section, name, value))
      throw section.bad(name, `"${value}" must be registry/repository, without tag and digest`)
    aliases.set(name, value)
  }
  return aliases
}

function isRepository(section: TomlSection, name: string, value: string): boolean {
  const ref = referenceOf(section, name, value)
  const tagged = /[:@]/.test(value.slice(value.indexOf('/') + 1))
  return ref.short === undefined && !tagged
}

function referenceOf(section: TomlSection, key: string, text: string) {
  try {
    return parseReference(text)
  } catch (e) {
    throw section.bad(key, e instanceof Error ? e.message : String(e))
  }
}

/** Tables of one place must agree on what is safe there. */
function checkConflicts(tables: readonly RegistryTable[]): void {
  const first = new Map<string, RegistryTable>()
  for (const table of tables) {
    const where = table.location ?? table.prefix
    const other = first.get(where) ?? table
    first.set(where, other)
    for (const key of ['insecure', 'blocked'] as const) {
      if (other[key] !== table[key])
        throw new Fault('invalid', `${table.place}: "${where}" has another "${key}" at ${other.place}`)
    }
  }
}

/** How many characters of `name` (a reference in its normal form) the prefix covers; undefined: it does not match. */
export function coveredBy(prefix: string, name: string): number | undefined {
  let end = prefix.length
  if (prefix.startsWith('*.')) {
    const at = name.indexOf(prefix.slice(1))
    if (at < 1 || name.slice(0, at).includes('/')) return undefined
    end = at + prefix.length - 1
  } else if (!name.startsWith(prefix)) {
    return undefined
  }
  // After a host alone a colon begins a port, and that is another registry.
  const goesOn = name.slice(0, end).includes('/') ? /^[:/@]/ : /^\//
  return end === name.length || goesOn.test(name.slice(end)) ? end : undefined
}

/** The table for a name: the longest prefix; of two as long, the one without a wildcard. */
export function tableFor(conf: RegistriesConf, name: string): RegistryTable | undefined {
  const weight = (t: RegistryTable) => t.prefix.length * 2 - (t.prefix.startsWith('*.') ? 1 : 0)
  return conf.registries
    .filter((t) => coveredBy(t.prefix, name) !== undefined)
    .reduce<RegistryTable | undefined>((best, t) => (best && weight(best) >= weight(t) ? best : t), undefined)
}
