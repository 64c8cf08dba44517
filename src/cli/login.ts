// SPDX-License-Identifier: Apache-2.0
/**
 * login: tries credentials at a registry and keeps them in a file that pulls read. The password comes from the
 * terminal or stdin, goes to the registry and into the file, and is shown nowhere.
 */
import { resolve } from 'node:path'
import { asFault, Fault } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { entryFor, keyOf, keysOf, readAuthFile } from '../host/registry/auth-file.ts'
import { type Credentials, hostName } from '../host/registry/credentials.ts'
import { defaultHosts, type RegistryHost } from '../host/registry/hosts-toml.ts'
import { tryCredentials } from '../host/registry/login.ts'
import { registryPlan } from '../host/registry/plan.ts'
import { clip } from '../model/ids.ts'
import { parseReference, type Reference } from '../model/reference.ts'
import type { Args } from './args.ts'
import { changeAlone } from './auth-file.ts'
import { ask } from './prompt.ts'
import { type ExitCode, exitCodes } from './table.ts'

const MAX_PASSWORD_BYTES = 64 * 1024
const TRIAL_MS = 60_000

const usage = (why: string) => new Fault('invalid', why, { reason: 'usage' })

/** A registry as the commands take it: with the reference of a repository in it, and as it is kept. */
export interface RegistryName {
  readonly ref: Reference
  /** `host[:port][/path]` */
  readonly text: string
}

/** Reads `REGISTRY`: a URL is taken for its host. Throws `invalid`. */
export function registryName(word = 'docker.io'): RegistryName {
  const url = /^https?:\/\/([^/]+)(?:\/v[12])?\/*$/i.exec(word)
  const text = (url?.[1] ?? word).replace(/\/+$/, '')
  let ref: Reference
  try {
    ref = parseReference(`${text}/any`)
  } catch (e) {
    throw usage(`"${clip(word)}" is not a registry: ${asFault(e).message}`)
  }
  const [host = ''] = text.split('/')
  if (hostName(host, 'https:') !== hostName(ref.domain, 'https:'))
    throw usage(`"${clip(word)}" is not a registry: write its host, as docker.io/${clip(text)}`)
  return { ref, text }
}

/** The file that the commands work on. Throws `invalid`. */
export function authFileOf(args: Args, config: Config): string {
  const given = args.values.get('auth-file')
  const file = given === undefined ? config.registry.authFiles[0] : resolve(given)
  if (file === undefined) throw usage('registry.auth_files names no file: say which with --auth-file')
  return file
}

async function passwordFromStdin(): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of process.stdin) {
    const bytes = Buffer.from(part)
    size += bytes.length
    if (size > MAX_PASSWORD_BYTES) throw usage(`stdin has more than ${MAX_PASSWORD_BYTES} bytes`)
    parts.push(bytes)
  }
  return Buffer.concat(parts)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}

async function basicFrom(args: Args): Promise<NonNullable<Credentials['basic']>> {
  const fromStdin = args.own.has('password-stdin')
  const given = args.values.get('username')
  if (fromStdin && given === undefined)
    throw usage('--password-stdin needs --username: stdin has the password only')
  if (!fromStdin && !process.stdin.isTTY)
    throw usage('stdin is no terminal: use --username and --password-stdin')
  const username = given ?? (await ask('Username: ', { hidden: false }))
  const password = fromStdin ? await passwordFromStdin() : await ask('Password: ', { hidden: true })
  if (username === '' || password === '') throw usage('username and password must not be empty')
  if (username.includes(':')) throw usage('a username has no colon in it')
  return { username, password }
}

/** The hosts that are the registry itself, as the node's files say to reach it; mirrors get no credentials of it. */
async function hostsOf(config: Config, { ref }: RegistryName): Promise<readonly RegistryHost[]> {
  const { configPath: certsDirs, registriesConf: file, registriesConfDir: folder } = config.registry
  const plan = await registryPlan({ certsDirs, registriesConf: { file, folder } }, ref)
  const own = plan.candidates
    .flatMap((c) => c.hosts)
    .filter(({ base }) => hostName(base.host, base.protocol) === hostName(ref.domain, base.protocol))
  return own.length > 0 ? own : defaultHosts(ref.domain)
}

/** `gantry login`. Throws Faults; without a file changed unless it succeeds. */
export async function run(args: Args): Promise<ExitCode> {
  const config = loadConfig(args, process.env)
  const registry = registryName(args.words[0])
  const path = authFileOf(args, config)
  const file = await readAuthFile(path)
  const hosts = await hostsOf(config, registry)
  for (const { base } of hosts) {
    const entry = file && entryFor({ ...file, auths: {}, store: '' }, base, registry.ref.path)
    if (entry?.is === 'helper')
      throw new Fault(
        'wrong-state',
        `${path} has the credentials of ${registry.text} asked from docker-credential-${clip(entry.name)}, which goes before an entry: store them there, or use --auth-file`,
      )
  }
  const basic = await basicFrom(args)
  const credentials = { basic, identityToken: undefined, registryToken: undefined, from: basic.username }
  const outcome = await tryCredentials(hosts, credentials, AbortSignal.timeout(TRIAL_MS))
  const auth = Buffer.from(`${basic.username}:${basic.password}`).toString('base64')
  // Typing a password takes time, in which another login may have changed the file.
  await changeAlone(path, (now) => ({
    remove: now ? keysOf(now, registry.text) : [],
    put: [keyOf(registry.text), { auth }],
  }))
  if (outcome === 'not-asked')
    process.stderr.write(`gantry: ${registry.text} asks for no credentials, so these were not tried\n`)
  if (!config.registry.authFiles.some((read) => read === path))
    process.stderr.write(`gantry: pulls do not read ${path}: add it to registry.auth_files\n`)
  process.stdout.write(`logged in to ${registry.text}: kept in ${path}\n`)
  return exitCodes.ok
}
