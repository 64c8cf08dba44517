// SPDX-License-Identifier: Apache-2.0
/**
 * load: defaults, file, drop-ins, environment and flags (later ones win) into one frozen Config, or one Fault
 * `invalid` that lists everything that is wrong, each with the place it was written. Reads files and nothing
 * else; whether a program or a group exists is found out by who uses it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse as parseToml, TomlError } from 'smol-toml'
import { errnoCode, Fault } from '../base/fault.ts'
import { type AbsPath, absPath, clip, containerId } from '../model/ids.ts'
import { containerPaths } from '../model/names.ts'
import type { Flags } from './flags.ts'
import { nearest } from './nearest.ts'
import type { Option } from './option.ts'
import { readRuntime, resolveRuntimes, type WrittenRuntime } from './runtimes.ts'
import { type Config, flagOf, type OptionKey, optionKeys, options, placeOf, variableOf } from './schema.ts'

export const defaultFile = '/etc/gantry/gantry.toml'
/** `sun_path` of a unix socket, without the NUL. */
const socketBytes = 107

export interface ConfigFile {
  readonly path: string
  readonly text: string
}

export interface Sources {
  /** In the order in which they apply. */
  readonly files: readonly ConfigFile[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly flags: Pick<Flags, 'settings' | 'problems'>
}

/** What was written so far: later settings replace earlier ones, problems only grow. */
interface Draft {
  readonly values: Map<OptionKey, unknown>
  /** Where the value was written, for rules over several options. */
  readonly places: Map<OptionKey, string>
  readonly runtimes: Map<string, WrittenRuntime>
  readonly problems: string[]
}

/**
 * Reads the configuration of this machine: `--config` or the default file, the `conf.d/*.toml` beside it in
 * lexical order, GANTRY_* variables, flags. A missing default file is an empty one; a missing file that was
 * asked for is a problem. Throws one Fault `invalid`.
 */
export function loadConfig(flags: Flags, env: Sources['env']): Config {
  const asked = flags.config ?? env.GANTRY_CONFIG
  const main = asked ?? defaultFile
  const files: ConfigFile[] = []
  const problems: string[] = []
  const read = (path: string, optional: boolean): void => {
    try {
      files.push({ path, text: readFileSync(path, 'utf8') })
    } catch (error) {
      if (!(optional && errnoCode(error) === 'ENOENT'))
        problems.push(`${path}: cannot be read: ${why(error)}`)
    }
  }
  read(main, asked === undefined)
  for (const path of dropIns(join(dirname(main), 'conf.d'), problems)) read(path, false)
  return makeConfig({ files, env, flags: { ...flags, problems: [...problems, ...flags.problems] } })
}

const why = (error: unknown): string =>
  errnoCode(error) ?? (error instanceof Error ? error.message : String(error))

function dropIns(folder: string, problems: string[]): string[] {
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith('.toml') && !name.startsWith('.'))
    return names.sort().map((name) => join(folder, name))
  } catch (error) {
    if (errnoCode(error) !== 'ENOENT') problems.push(`${folder}: cannot be read: ${why(error)}`)
    return []
  }
}

/** The configuration that `sources` make. Pure. Throws one Fault `invalid` with every problem in it. */
export function makeConfig(sources: Sources): Config {
  const draft: Draft = { values: new Map(), places: new Map(), runtimes: new Map(), problems: [] }
  for (const file of sources.files) readFile(draft, file)
  for (const key of optionKeys) {
    const raw = sources.env[variableOf(key)]
    if (raw !== undefined) put(draft, key, { raw, place: variableOf(key) })
  }
  checkVariables(draft, sources.env)
  for (const [key, raw] of sources.flags.settings) put(draft, key, { raw, place: `--${flagOf(key)}` })
  draft.problems.push(...sources.flags.problems)
  const config = assemble(
    draft,
    sources.files.map((f) => f.path),
  )
  checkTogether(draft, config)
  if (draft.problems.length === 0) return config
  const n = draft.problems.length
  const list = draft.problems.map((p) => `\n  ${p}`).join('')
  throw new Fault('invalid', `the configuration has ${n === 1 ? 'a problem' : `${n} problems`}:${list}`)
}

function readFile(draft: Draft, file: ConfigFile): void {
  let table: unknown
  try {
    table = parseToml(file.text, { unsafeKeyBehaviour: 'throw' })
  } catch (error) {
    const at = error instanceof TomlError ? `:${error.line}:${error.column}` : ''
    const message = error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error)
    draft.problems.push(`${file.path}${at}: ${message.replace(/^Invalid TOML document: /, '')}`)
    return
  }
  walk(draft, file.path, { table, prefix: '' })
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

const isKey = (key: string): key is OptionKey => Object.hasOwn(options, key)
const isGroup = (key: string): boolean => optionKeys.some((k) => k.startsWith(`${key}.`))

function walk(draft: Draft, file: string, at: { table: unknown; prefix: string }): void {
  if (!isTable(at.table)) return
  for (const [name, raw] of Object.entries(at.table)) {
    const key = at.prefix + name
    if (isKey(key)) put(draft, key, { raw, place: `${file}: ${key}` })
    else if (key === 'runtimes') walkRuntimes(draft, file, raw)
    else if (!isGroup(key)) draft.problems.push(`${file}: ${clip(key)}: ${unknownKey(key)}`)
    else if (isTable(raw)) walk(draft, file, { table: raw, prefix: `${key}.` })
    else draft.problems.push(`${file}: ${key}: this is a table: write it as [${key}]`)
  }
}

function unknownKey(key: string): string {
  const groups = optionKeys.flatMap((k) => (k.includes('.') ? [k.slice(0, k.indexOf('.'))] : []))
  const known = [...optionKeys, ...new Set(groups), 'runtimes']
  // `[log] root` may be a slip in the name or in the place: look for the last part alone, too.
  const near =
    nearest(key, known) ?? optionKeys.find((k) => k.split('.').at(-1) === key.slice(key.lastIndexOf('.') + 1))
  return `there is no such option${near === undefined ? '' : `; did you mean ${near}?`}`
}

function walkRuntimes(draft: Draft, file: string, raw: unknown): void {
  if (!isTable(raw)) {
    draft.problems.push(`${file}: runtimes: this is a table of tables: write [runtimes.NAME]`)
    return
  }
  for (const [name, table] of Object.entries(raw)) {
    const { written, problems } = readRuntime(name, isTable(table) ? table : undefined)
    for (const p of problems) draft.problems.push(`${file}: ${p}`)
    const place = `${file}: runtimes.${clip(name)}`
    draft.runtimes.set(name, { ...draft.runtimes.get(name), ...written, place })
  }
}

function put(draft: Draft, key: OptionKey, given: { raw: unknown; place: string }): void {
  const got = options[key].read(given.raw)
  if ('problem' in got) draft.problems.push(`${given.place}: ${got.problem}`)
  else {
    draft.values.set(key, got.value)
    draft.places.set(key, given.place)
  }
}

/** Variables of other parts: fault points, the test suites. */
const otherVariables = /^GANTRY_(?:FAULT$|TEST_)/

/** A GANTRY_ variable that means nothing is a slip. */
function checkVariables(draft: Draft, env: Sources['env']): void {
  const known = ['GANTRY_CONFIG', ...optionKeys.map(variableOf)]
  for (const name of Object.keys(env)) {
    if (!name.startsWith('GANTRY_') || otherVariables.test(name) || known.includes(name)) continue
    const near = nearest(name, known)
    draft.problems.push(
      `${clip(name)}: there is no such variable${near === undefined ? '' : `; did you mean ${near}?`}`,
    )
  }
}

/** Fills in defaults and puts each value where the Config type says that it is. */
function assemble(draft: Draft, files: readonly string[]): Config {
  const value = (key: OptionKey): unknown =>
    draft.values.get(key) ?? options[key].fallback ?? derived(draft, key)
  const config: Record<string, unknown> = {}
  for (const key of optionKeys) {
    const [first = '', second] = placeOf(key)
    if (second === undefined) config[first] = value(key)
    else config[first] = { ...(config[first] as object | undefined), [second]: value(key) }
  }
  config.runtimes = resolveRuntimes(draft.runtimes, draft.problems)
  config.files = [...files]
  // The mapped type Config says of each key what the loop above did with it.
  return freeze(config) as unknown as Config
}

function derived(draft: Draft, key: OptionKey): AbsPath {
  if (key !== 'socket') throw new Error(`option ${key} has no default`)
  return absPath(`${draft.values.get('run_dir') ?? options.run_dir.fallback}/gantry.sock`)
}

function freeze<T extends object>(value: T): T {
  for (const inner of Object.values(value))
    if (typeof inner === 'object' && inner !== null && !Object.isFrozen(inner)) freeze(inner)
  return Object.freeze(value)
}

/** Rules over several options. */
function checkTogether(draft: Draft, config: Config): void {
  const place = (key: OptionKey): string => draft.places.get(key) ?? `default of ${key}`
  const say = (key: OptionKey, problem: string): void => {
    draft.problems.push(`${place(key)}: ${problem}`)
  }
  const control = containerPaths(
    { root: config.root, run: config.runDir },
    containerId('0'.repeat(64)),
  ).control
  const over = Buffer.byteLength(control) - socketBytes
  if (over > 0)
    say(
      'run_dir',
      `${over} bytes too long: the socket of a container in it would not fit into ${socketBytes} bytes`,
    )
  if (Buffer.byteLength(config.socket) > socketBytes)
    say('socket', `longer than ${socketBytes} bytes, more than a unix socket can have`)
  const inside = (a: string, b: string): boolean => a === b || a.startsWith(b === '/' ? '/' : `${b}/`)
  if (config.root === '/' || config.runDir === '/')
    say(config.root === '/' ? 'root' : 'run_dir', 'not "/" itself')
  else if (inside(config.root, config.runDir) || inside(config.runDir, config.root))
    say('run_dir', `root (${config.root}) and run_dir (${config.runDir}) must not hold one another`)
  for (const group of ['streaming', 'metrics'] as const) {
    const { tlsCertFile, tlsKeyFile, tlsClientCaFile } = config[group]
    if ((tlsCertFile === '') !== (tlsKeyFile === ''))
      say(`${group}.tls_cert_file`, `a certificate and its key go together: ${group}.tls_key_file`)
    if (tlsClientCaFile !== '' && tlsCertFile === '')
      say(`${group}.tls_client_ca_file`, `without ${group}.tls_cert_file there is no TLS`)
  }
  if (!Object.hasOwn(config.runtimes, config.defaultRuntime)) {
    const names = Object.keys(config.runtimes)
    const near = nearest(config.defaultRuntime, names)
    const hint = near === undefined ? `known are ${names.join(', ')}` : `did you mean ${near}?`
    say('default_runtime', `there is no runtime "${clip(config.defaultRuntime)}"; ${hint}`)
  }
}

/** An option whose value type does not matter to the caller. */
export function optionOf(key: OptionKey): Option<unknown> {
  return options[key] as Option<unknown>
}
