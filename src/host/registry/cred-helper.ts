// SPDX-License-Identifier: Apache-2.0
/**
 * Credential helpers: programs `docker-credential-NAME` that are asked for the credentials of one registry at a
 * time, by its name on stdin. Their names come from files, so they are checked before anything is started. What
 * a helper prints is never shown, because secrets may be in it. @abort kills
 */
import { stat } from 'node:fs/promises'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { PULL } from '../../model/pull-policy.ts'
import { findExecutable, PROGRAM_DIRS, type RunResult, run } from '../exec.ts'
import type { Native } from '../native.ts'
import { type Credentials, credentialsOf, HUB_KEY, hostName } from './credentials.ts'

export interface HelperDeps {
  readonly native: Native
  /** Folders in which helpers are looked for, first wins. */
  readonly dirs: readonly string[]
  /** Longest run, milliseconds. */
  readonly deadlineMs?: number
}

export interface HelperQuestion {
  readonly name: string
  readonly host: URL
  /** The file that names the helper. */
  readonly namedIn: string
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const MAX_OUTPUT_BYTES = 64 * 1024
const KILL_GRACE_MS = 1_000
/** What helpers say, on stdout, when all is well but they know nothing. */
const NOT_FOUND = /credentials not found/i
/** The username behind which the secret is an identity token. */
const TOKEN_USER = '<token>'

/**
 * Asks the helper `name`, which the file `namedIn` names, for the credentials of `host`; undefined if it has
 * none. Throws `invalid` for a name that is none, `unavailable` or `timeout` when the helper is missing, fails or
 * does not answer. @abort kills
 */
export async function askHelper(
  scope: Scope,
  deps: HelperDeps,
  ask: HelperQuestion,
): Promise<Credentials | undefined> {
  if (!NAME.test(ask.name))
    throw new Fault('invalid', `${ask.namedIn}: "${clip(ask.name)}" is not the name of a credential helper`)
  const program = `docker-credential-${ask.name}`
  const server = hostName(ask.host.host, ask.host.protocol)
  const where = `${program}, which ${ask.namedIn} names for ${server}`
  const file = await findExecutable(deps.dirs, program)
  if (file === undefined)
    throw new Fault(
      'unavailable',
      `${where}, is not in ${deps.dirs.join(', ')}: install it, or take it out of the file`,
    )
  if (((await stat(file)).mode & 0o002) !== 0)
    throw new Fault('denied', `${where}: anybody may write ${file}: refused`)
  const asked = server === 'docker.io' ? HUB_KEY : server
  const deadlineMs = deps.deadlineMs ?? PULL.helperMs
  const ended = await run(scope, deps, {
    file,
    argv: [program, 'get'],
    env: environment(deps.dirs),
    cwd: '/',
    stdin: Buffer.from(asked),
    maxOutputBytes: MAX_OUTPUT_BYTES,
    deadlineMs,
    killGraceMs: KILL_GRACE_MS,
    wholeGroup: true,
  })
  return answerOf(ended, { where, deadlineMs, byHand: `echo ${asked} | ${file} get`, from: program })
}

function environment(dirs: readonly string[]): string[] {
  const own = Object.entries(process.env).flatMap(([k, v]) =>
    k === 'PATH' || k === 'HOME' || v === undefined ? [] : [`${k}=${v}`],
  )
  return [
    ...own,
    // Helpers start programs of their own.
    `PATH=${[...new Set([...dirs, ...PROGRAM_DIRS])].join(':')}`,
    `HOME=${process.env.HOME ?? '/root'}`,
  ]
}

function answerOf(
  ended: RunResult,
  about: {
    readonly where: string
    readonly deadlineMs: number
    readonly byHand: string
    readonly from: string
  },
): Credentials | undefined {
  const { where, byHand } = about
  switch (ended.reason) {
    case 'timed-out':
      throw new Fault('timeout', `${where}: no answer within ${about.deadlineMs} ms; try: ${byHand}`)
    case 'cancelled':
      throw new Fault('cancelled', `${where}: cancelled`)
    case 'output-too-large':
      throw new Fault('unavailable', `${where}: it printed more than ${MAX_OUTPUT_BYTES} bytes`)
    case 'exited':
      break
    default:
      ended.reason satisfies never
  }
  const said = ended.stdout.toString('utf8')
  if (ended.code !== 0) {
    if (NOT_FOUND.test(said)) return undefined
    const how = ended.signal > 0 ? `signal ${ended.signal}` : `code ${ended.code}`
    throw new Fault('unavailable', `${where}: it failed with ${how}; to see why: ${byHand}`)
  }
  const { username, secret } = parseAnswer(said, where)
  const raw =
    username === TOKEN_USER ? { identityToken: secret } : secret === '' ? {} : { username, password: secret }
  return credentialsOf(raw, about.from)
}

function parseAnswer(said: string, where: string): { username: string; secret: string } {
  try {
    const value: unknown = JSON.parse(said)
    if (typeof value === 'object' && value !== null) {
      const username: unknown = Reflect.get(value, 'Username')
      const secret: unknown = Reflect.get(value, 'Secret')
      if (typeof username === 'string' && typeof secret === 'string') return { username, secret }
    }
  } catch {
    // Falls through to the one complaint below.
  }
  throw new Fault('unavailable', `${where}: its answer is not JSON with "Username" and "Secret"`)
}
