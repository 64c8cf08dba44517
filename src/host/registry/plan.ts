// SPDX-License-Identifier: Apache-2.0
/**
 * The plan of a pull: which images a reference may mean, and which hosts are asked for each of them. The one
 * place that knows which file wins: a `hosts.toml` in the registry's folder decides; else the `[[registry]]` of
 * registries.conf; else the registry itself is asked. Certificates in Docker's layout go with their host in the
 * last two. All is read anew for each pull, and a file that cannot be used fails it.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { asFault, errnoCode, Fault } from '../../base/fault.ts'
import { apiHostOf, formatReference, parseReference, type Reference } from '../../model/reference.ts'
import { meaningsOf } from '../../model/short-names.ts'
import { dockerCerts } from './docker-certs.ts'
import {
  defaultHosts,
  folderNames,
  hostAt,
  NO_TLS,
  type ParsedHosts,
  parseHosts,
  type RegistryHost,
  type TlsSettings,
} from './hosts-toml.ts'
import {
  type ConfPaths,
  coveredBy,
  type Endpoint,
  NO_CONF,
  type RegistriesConf,
  type RegistryTable,
  readRegistriesConf,
  tableFor,
} from './registries-conf.ts'
import { readIfThere } from './toml-file.ts'

export interface RegistryPaths {
  /** `certs.d` folders; the first that has a folder for the registry counts. */
  readonly certsDirs: readonly string[]
  /** Undefined: there is no registries.conf. */
  readonly registriesConf?: ConfPaths | undefined
}

export interface PullCandidate {
  /** Names its registry. */
  readonly ref: Reference
  /** Best first; at least one. */
  readonly hosts: readonly RegistryHost[]
}

export interface RegistryPlan {
  /** What a short name may mean, best first; one for any other. At least one. */
  readonly candidates: readonly PullCandidate[]
  /** What a person should know of the files. */
  readonly warnings: readonly string[]
}

/**
 * Reads what the files say of `ref`. Throws `invalid` with file and line for what cannot be used, `denied` for
 * what is blocked, `not-found` for a short name that means nothing. @abort finishes
 */
export async function registryPlan(paths: RegistryPaths, ref: Reference): Promise<RegistryPlan> {
  const files = new Files(paths)
  const candidates: PullCandidate[] = []
  let refused: Fault | undefined
  for (const meaning of await meanings(files, ref)) {
    try {
      candidates.push({ ref: meaning, hosts: await hostsFor(files, meaning) })
    } catch (e) {
      const fault = asFault(e)
      // Only what the operator has blocked is passed over; a broken file must not send a pull elsewhere.
      if (fault.kind !== 'denied') throw fault
      refused ??= fault
      files.warnings.add(fault.message)
    }
  }
  if (candidates.length === 0 && refused) throw refused
  return { candidates, warnings: [...files.warnings] }
}

/** The files of one plan: registries.conf is read when it is asked for, and once. */
class Files {
  readonly certsDirs: readonly string[]
  readonly warnings = new Set<string>()
  readonly #paths: ConfPaths | undefined
  #conf: Promise<RegistriesConf> | undefined

  constructor(paths: RegistryPaths) {
    this.certsDirs = paths.certsDirs
    this.#paths = paths.registriesConf
  }

  async conf(): Promise<RegistriesConf> {
    this.#conf ??= this.#paths ? readRegistriesConf(this.#paths) : Promise.resolve(NO_CONF)
    const conf = await this.#conf
    for (const warning of conf.warnings) this.warnings.add(warning)
    return conf
  }
}

async function meanings(files: Files, ref: Reference): Promise<Reference[]> {
  if (ref.short === undefined) return [ref]
  const conf = await files.conf()
  const found = meaningsOf(ref, conf)
  if (found.length === 0) {
    throw new Fault(
      'not-found',
      `${conf.searchPlace}: the short name "${ref.short}" has no alias and the search list is empty: name its registry`,
    )
  }
  if (found.length > 1 && conf.mode === 'enforcing') {
    throw new Fault(
      'invalid',
      `${conf.searchPlace}: the short name "${ref.short}" may be at ${conf.search?.join(', ')}; short-name-mode is "enforcing" and nobody is here to be asked: name its registry or add an alias`,
    )
  }
  return found
}

async function hostsFor(files: Files, ref: Reference): Promise<readonly RegistryHost[]> {
  const folder = await folderOf(files.certsDirs, ref.domain)
  const decided = folder === undefined ? undefined : await hostsToml(folder, ref.domain)
  if (decided) {
    for (const warning of decided.warnings) files.warnings.add(warning)
    return decided.hosts
  }
  const conf = await files.conf()
  const table = tableFor(conf, formatReference(ref))
  if (table) return fromTable({ files, conf, table }, ref)
  const own = defaultHosts(ref.domain)
  if (folder === undefined) return own
  const certs = await dockerCerts(folder)
  if (certs.ca.length + certs.client.length === 0) return own
  // Who lays down certificates wants them used: https comes first also on loopback.
  const withCerts = own.map((h) => ({ ...h, tls: { ...h.tls, ...certs } }))
  return (own.length > 1 ? withCerts.toReversed() : withCerts).map((h, i) => ({
    ...h,
    onlyIfUnreachable: i > 0,
  }))
}

/** What an existing hosts.toml says; an empty one says nothing, as containerd has it. */
async function hostsToml(folder: string, domain: string): Promise<ParsedHosts | undefined> {
  const text = await readIfThere(join(folder, 'hosts.toml'))
  return text ? parseHosts(text, { folder, domain }) : undefined
}

/** The folder of a registry: the first that exists, in the first of `dirs` that has one. */
async function folderOf(dirs: readonly string[], domain: string): Promise<string | undefined> {
  for (const dir of dirs) {
    for (const name of folderNames(domain)) {
      const folder = join(dir, name)
      try {
        if ((await stat(folder)).isDirectory()) return folder
      } catch (e) {
        if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') continue
        throw new Fault('unavailable', `${folder} cannot be read`, { cause: e })
      }
      throw new Fault(
        'invalid',
        `${folder} is not a folder: put hosts.toml or certificates in a folder of that name`,
      )
    }
  }
  return undefined
}

interface Chosen {
  readonly files: Files
  readonly conf: RegistriesConf
  readonly table: RegistryTable
}

/** The mirrors that are for this kind of pull, then the place itself; none of them if it is blocked. */
async function fromTable(chosen: Chosen, ref: Reference): Promise<RegistryHost[]> {
  const { table, files } = chosen
  const byDigest = ref.digest !== undefined
  const mirrors = table.mirrors.filter((m) => m.use === 'all' || (m.use === 'digest-only') === byDigest)
  const refusals: string[] = []
  const hosts: RegistryHost[] = []
  for (const endpoint of [...mirrors, table]) {
    const there = rewritten(endpoint, table, ref)
    // A table may block its own place and still name mirrors: then only these are asked.
    const blocker =
      endpoint === table && table.blocked ? table : tableFor(chosen.conf, formatReference(there))
    if (blocker?.blocked) {
      const refusal = `${blocker.place}: "${blocker.prefix}" is blocked by registries.conf`
      if (endpoint !== table) files.warnings.add(`${refusal}: the mirror at ${endpoint.place} is not asked`)
      refusals.push(refusal)
    } else {
      const found = await hostsAt(files, endpoint, { ref, there })
      // A mirror is for pulls: what is pushed belongs to the place itself.
      hosts.push(...found.map((host) => ({ ...host, pushes: endpoint === table })))
    }
  }
  if (hosts.length === 0) {
    throw new Fault('denied', `${refusals.join('; ')}: no other place is named for ${formatReference(ref)}`)
  }
  return hosts
}

/** `ref` with the endpoint's location in place of the table's prefix. */
function rewritten(endpoint: Endpoint, table: RegistryTable, ref: Reference): Reference {
  if (endpoint.location === undefined) return ref
  const name = formatReference(ref)
  const text = `${endpoint.location}${name.slice(coveredBy(table.prefix, name))}`
  const bad = (why: string) =>
    new Fault('invalid', `${endpoint.place}: location: makes "${text}" of ${name}: ${why}`)
  let there: Reference
  try {
    there = parseReference(text)
  } catch (e) {
    throw bad(asFault(e).message)
  }
  if (there.short !== undefined) throw bad('it must begin with a registry')
  if (there.tag !== ref.tag || there.digest !== ref.digest) throw bad('the tag or digest would be another')
  return there
}

/** The host of an endpoint: by https, and if it is insecure unverified and by plain http, should https not answer. */
async function hostsAt(
  files: Files,
  endpoint: Endpoint,
  { ref, there }: { readonly ref: Reference; readonly there: Reference },
): Promise<RegistryHost[]> {
  const folder = await folderOf(files.certsDirs, there.domain)
  const certs = folder === undefined ? {} : await dockerCerts(folder)
  const tls: TlsSettings = { ...NO_TLS, ...certs, skipVerify: endpoint.insecure }
  const repository = there.path === ref.path ? {} : { repository: there.path }
  const at = (scheme: string) => new URL(`${scheme}://${apiHostOf(there.domain)}/v2`)
  const secure = hostAt(at('https'), { tls, ...repository })
  if (!endpoint.insecure) return [secure]
  return [secure, hostAt(at('http'), { tls, ...repository, onlyIfUnreachable: true })]
}
