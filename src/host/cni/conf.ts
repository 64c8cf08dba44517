// SPDX-License-Identifier: Apache-2.0
/**
 * CNI network configurations: text → a checked list of plugins, and the default network as text. Pure. The
 * raw plugin objects are kept as written, because the specification wants unknown keys passed on. Reading the
 * folder is `source.ts`, running plugins is `plugin.ts`.
 */
import { Fault } from '../../base/fault.ts'
import { asArray, asObject, asString, type JsonObject, parseObject } from './json.ts'
import { type CniVersion, highest, VERSIONS } from './versions.ts'

export interface PluginConf {
  /** File name of the program. */
  readonly type: string
  /** Names of the capabilities that it declares as true. */
  readonly capabilities: readonly string[]
  /** Programs that it will execute itself, as far as the configuration tells: its `ipam.type`. */
  readonly delegates: readonly string[]
  readonly raw: JsonObject
}

export interface NetworkList {
  readonly name: string
  /** The version chosen of those offered; every plugin is called with it. */
  readonly cniVersion: CniVersion
  readonly disableCheck: boolean
  readonly disableGc: boolean
  readonly plugins: readonly PluginConf[]
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/
const MAX_PLUGINS = 64

/** Is this the name of a file that the folder reader should look at? */
export function isConfName(file: string): boolean {
  return /\.(conflist|conf|json)$/.test(file)
}

/**
 * Parses one file. A `.conflist` holds a list; `.conf` and `.json` hold one plugin, which becomes a list of
 * one. Throws Fault('invalid') whose message says what is wrong (it does not name the file: the caller does).
 */
export function parseConf(file: string, text: string): NetworkList {
  const parsed = parseObject(text)
  if (!parsed.ok) throw invalid(parsed.why)
  const conf = parsed.value
  const isList = file.endsWith('.conflist')
  if (!isList && conf.plugins !== undefined) {
    throw invalid('it holds a list of plugins; a list must be in a file that ends in .conflist')
  }
  const plugins = isList ? parsePlugins(conf.plugins) : [parsePlugin(conf, 'the configuration')]
  return {
    name: parseName(conf.name),
    cniVersion: parseVersion(conf),
    disableCheck: parseFlag(conf, 'disableCheck'),
    disableGc: parseFlag(conf, 'disableGC'),
    plugins,
  }
}

/** The list as text of a `.conflist`, for the record of an attachment: `parseConf` gives the same list back. */
export function formatList(list: NetworkList): string {
  return JSON.stringify({
    cniVersion: list.cniVersion,
    name: list.name,
    disableCheck: list.disableCheck,
    disableGC: list.disableGc,
    plugins: list.plugins.map((p) => p.raw),
  })
}

function invalid(why: string): Fault {
  return new Fault('invalid', why)
}

function parseName(value: unknown): string {
  const name = asString(value)
  if (name === undefined || name === '') throw invalid('"name" is missing')
  if (!NAME.test(name)) {
    throw invalid(
      `"name" ${JSON.stringify(name)} must begin with a letter or digit and hold only letters, digits, _ . -`,
    )
  }
  return name
}

function parseVersion(conf: JsonObject): CniVersion {
  const offered: string[] = []
  const one = conf.cniVersion
  if (one !== undefined) {
    if (typeof one !== 'string') throw invalid('"cniVersion" is not a string')
    offered.push(one)
  }
  const many = conf.cniVersions
  if (many !== undefined) {
    for (const v of asArray(many) ?? [undefined]) {
      if (typeof v !== 'string') throw invalid('"cniVersions" is not a list of strings')
      offered.push(v)
    }
  }
  if (offered.length === 0) throw invalid('"cniVersion" is missing')
  const version = highest(offered)
  if (!version) throw invalid(`cniVersion ${offered.join(', ')} is none of ${VERSIONS.join(', ')}`)
  return version
}

/** true, false, or these words as strings, as older configurations have them. */
function parseFlag(conf: JsonObject, key: string): boolean {
  const value = conf[key]
  if (value === undefined || value === false || value === 'false') return false
  if (value === true || value === 'true') return true
  throw invalid(`"${key}" is neither true nor false`)
}

function parsePlugins(value: unknown): PluginConf[] {
  const list = asArray(value)
  if (!list || list.length === 0) throw invalid('"plugins" is missing or empty')
  if (list.length > MAX_PLUGINS) throw invalid(`"plugins" has more than ${MAX_PLUGINS} entries`)
  return list.map((p, i) => {
    const raw = asObject(p)
    if (!raw) throw invalid(`plugins[${i}] is not an object`)
    return parsePlugin(raw, `plugins[${i}]`)
  })
}

function parsePlugin(raw: JsonObject, where: string): PluginConf {
  const type = parseProgram(raw.type, `"type" of ${where}`)
  const capabilities: string[] = []
  if (raw.capabilities !== undefined) {
    const declared = asObject(raw.capabilities)
    if (!declared) throw invalid(`"capabilities" of ${where} is not an object`)
    for (const [name, on] of Object.entries(declared)) if (on === true) capabilities.push(name)
  }
  const ipamType = asObject(raw.ipam)?.type
  const delegates =
    ipamType === undefined || ipamType === '' ? [] : [parseProgram(ipamType, `"ipam.type" of ${where}`)]
  return { type, capabilities, delegates, raw }
}

function parseProgram(value: unknown, where: string): string {
  const type = asString(value)
  if (type === undefined || type === '') throw invalid(`${where} is missing`)
  if (/[/\\\0]/.test(type) || type === '.' || type === '..') {
    throw invalid(`${where} ${JSON.stringify(type)} is not a plain file name`)
  }
  return type
}

export interface DefaultNetworkOptions {
  readonly name?: string
  /** Name of the bridge interface, at most 15 characters. */
  readonly bridge?: string
  /** One subnet a family, `10.88.0.0/16`; each gets its default route. */
  readonly subnets?: readonly string[]
  /** Where host-local keeps the leases. Under /run a reboot frees them all. */
  readonly dataDir?: string
  readonly mtu?: number
}

/**
 * The network that the daemon brings along: a bridge with masquerading, addresses from host-local, host ports
 * by portmap. Text of a `.conflist`, of version 1.0.0, which the plugins of every current distribution speak.
 */
export function defaultConf(options: DefaultNetworkOptions = {}): string {
  const subnets = options.subnets ?? ['10.88.0.0/16']
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: options.name ?? 'gantry',
    plugins: [
      {
        type: 'bridge',
        bridge: options.bridge ?? 'gantry0',
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        promiscMode: false,
        ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
        ipam: {
          type: 'host-local',
          dataDir: options.dataDir ?? '/run/gantry/cni',
          ranges: subnets.map((subnet) => [{ subnet }]),
          routes: subnets.map((s) => ({ dst: s.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', snat: true, capabilities: { portMappings: true } },
    ],
  })
}
