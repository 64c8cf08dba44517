// SPDX-License-Identifier: Apache-2.0
/**
 * AppArmor profiles of containers: finds out whether a named one is loaded, and loads gantry's own for
 * `RuntimeDefault` by apparmor_parser, once in the life of a daemon and only when a container needs it. Loading
 * replaces what an older gantry left. The profile is never unloaded: containers outlive the daemon.
 */
import { access, readFile } from 'node:fs/promises'
import { asFault, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import type { SecurityProfile } from '../../model/security.ts'
import { findExecutable, type Run } from '../exec.ts'
import type { Native } from '../native.ts'
import { DEFAULT_PROFILE, defaultProfileText } from './apparmor-profile.ts'

const LOADED = '/sys/kernel/security/apparmor/profiles'
const FEATURES = '/etc/apparmor.d/abi/3.0'
const PARSER_DIRS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin', '/bin']
const PARSER_MS = 30_000
const FIELD = 'linux.security_context.apparmor'

export interface AppArmorDeps {
  readonly native: Native
  readonly run: Run
  /** Has the kernel AppArmor? */
  readonly enabled: boolean
  /** For tests. */
  readonly parserDirs?: readonly string[]
  readonly loadedFile?: string
}

export interface AppArmor {
  /**
   * The name of the profile for a container that is not privileged; undefined: none. A profile that was asked for and
   * cannot be had is a Fault; where nothing was asked for, the default is left out with a warning. @abort kills
   */
  profileFor(scope: Scope, wanted: SecurityProfile): Promise<string | undefined>
}

export function appArmor(deps: AppArmorDeps): AppArmor {
  let ready = false
  let warned = false
  const ensureDefault = async (scope: Scope) => {
    // aa-remove-unknown takes away what has no file in /etc/apparmor.d.
    if (!ready || (await loaded(deps, DEFAULT_PROFILE)) === false) await loadDefault(scope, deps)
    ready = true
    return DEFAULT_PROFILE
  }
  return {
    async profileFor(scope, wanted) {
      if (wanted.type === 'localhost') return await expectLoaded(deps, wanted.ref)
      if (!deps.enabled || wanted.type === 'unconfined') return undefined
      if (wanted.type === 'runtime-default') return await ensureDefault(scope)
      try {
        return await ensureDefault(scope)
      } catch (e) {
        if (!warned) scope.log.warn('apparmor-default-not-loaded', { error: asFault(e).message })
        warned = true
        return undefined
      }
    },
  }
}

/** undefined: it cannot be told, because securityfs is not mounted or not for us. */
async function loaded({ loadedFile = LOADED }: AppArmorDeps, name: string): Promise<boolean | undefined> {
  const list = await readFile(loadedFile, 'utf8').catch(() => '')
  // `name (mode)` a line.
  return list === '' ? undefined : list.split('\n').some((line) => line.replace(/ \([a-z]+\)$/, '') === name)
}

/** A runtime's words for a profile that is not loaded name neither it nor AppArmor. */
async function expectLoaded(deps: AppArmorDeps, ref: string): Promise<string> {
  if (!deps.enabled)
    throw new Fault(
      'unsupported',
      `${FIELD}: profile ${clip(ref)} asked for, but this kernel has no AppArmor`,
    )
  if ((await loaded(deps, ref)) !== false) return ref
  throw new Fault('invalid', `${FIELD}: profile ${clip(ref)} is not loaded on this node`)
}

/** Throws `unavailable`, with what the operator can do. */
async function loadDefault(
  scope: Scope,
  { native, run, parserDirs = PARSER_DIRS }: AppArmorDeps,
): Promise<void> {
  const parser = await findExecutable(parserDirs, 'apparmor_parser')
  if (!parser) {
    throw new Fault(
      'unavailable',
      `${FIELD}: apparmor_parser is not installed, so that the default profile cannot be loaded; install the package apparmor, or ask for Unconfined`,
    )
  }
  const pinned = await access(FEATURES).then(
    () => true,
    () => false,
  )
  const result = await run(
    scope,
    { native },
    {
      file: parser,
      argv: [parser, '--replace', '--skip-cache'],
      env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
      stdin: Buffer.from(defaultProfileText({ pinned })),
      maxOutputBytes: 64 * 1024,
      deadlineMs: PARSER_MS,
      killGraceMs: 500,
    },
  )
  if (result.reason === 'exited' && result.code === 0) return
  const why = result.reason === 'exited' ? clip(result.stderr.toString('utf8').trim()) : result.reason
  throw new Fault('unavailable', `${FIELD}: apparmor_parser did not load the default profile: ${why}`)
}
