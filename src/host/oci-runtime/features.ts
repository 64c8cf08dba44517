// SPDX-License-Identifier: Apache-2.0
/**
 * Asks an OCI runtime what it is: version and `features`, and settles the `ociVersion` that both sides know.
 * Debian's crun 1.8.1 answers "unknown version specified" to 1.2 and later, so nothing is assumed.
 */
import { asFault, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { HandlerFacts, RuntimeGround, RuntimeProgram } from '../../model/facts.ts'
import { type ExecDeps, run } from '../exec.ts'
import { RUNTIMES, type RuntimeFeatures } from './table.ts'

/** The newest version of the runtime specification that gantry's bundles follow. */
export const OUR_OCI_VERSION = '1.2.0'

const numbers = (version: string) => version.split('-')[0]?.split('.').map(Number) ?? []

/** The older of two versions, without a `-dev` suffix. */
export function olderVersion(a: string, b: string): string {
  const [x, y] = [numbers(a), numbers(b)]
  for (let i = 0; i < 3; i++) {
    const d = (x[i] ?? 0) - (y[i] ?? 0)
    if (d !== 0) return (d < 0 ? x : y).join('.')
  }
  return x.join('.')
}

function field(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>(
    (v, key) => (typeof v === 'object' && v !== null ? Reflect.get(v, key) : undefined),
    value,
  )
}

/** Parses the JSON of `features`; what is absent is read as "cannot". */
export function parseFeatures(text: string): RuntimeFeatures {
  const json: unknown = JSON.parse(text)
  const max = field(json, 'ociVersionMax')
  const options = field(json, 'mountOptions')
  return {
    ...(typeof max === 'string' ? { ociVersionMax: max } : {}),
    ...(Array.isArray(options) ? { mountOptions: options.filter((o) => typeof o === 'string') } : {}),
    seccomp: field(json, 'linux', 'seccomp', 'enabled') === true,
    apparmor: field(json, 'linux', 'apparmor', 'enabled') === true,
    idmap: field(json, 'linux', 'mountExtensions', 'idmap', 'enabled') === true,
  }
}

/** Throws `unsupported`, reason `hybrid-cgroups`, when no version of this runtime makes a container on this ground. */
export function checkGround(program: RuntimeProgram, ground: RuntimeGround): void {
  const { hybridControllers } = ground
  if (!RUNTIMES[program.kind].refusesHybridCgroups || hybridControllers.length === 0) return
  throw new Fault(
    'unsupported',
    `runtime handler ${program.handler}: ${program.kind} refuses machines with hybrid cgroups, and this one has version 1 ` +
      `beside a version 2 tree that holds ${hybridControllers.join(', ')}: boot with ` +
      'systemd.unified_cgroup_hierarchy=1 to have version 2 alone, or use another handler',
    { reason: 'hybrid-cgroups' },
  )
}

async function ask(
  scope: Scope,
  deps: ExecDeps,
  program: RuntimeProgram,
  verb: string,
): Promise<string | undefined> {
  const result = await run(scope, deps, {
    file: program.path,
    argv: [program.path, verb],
    env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    maxOutputBytes: 1 << 20,
    deadlineMs: 10_000,
    killGraceMs: 500,
  })
  return result.reason === 'exited' && result.code === 0 ? result.stdout.toString('utf8') : undefined
}

/**
 * Facts of one handler. Throws `unavailable` when the program cannot be run at all, `unsupported` when it is
 * known to make no container on this ground; a runtime without `features` is given the oldest safe version and
 * no extras. @abort kills
 */
export async function probeRuntime(
  scope: Scope,
  deps: ExecDeps,
  { program, ground }: { readonly program: RuntimeProgram; readonly ground: RuntimeGround },
): Promise<HandlerFacts> {
  checkGround(program, ground)
  const traits = RUNTIMES[program.kind]
  let version: string | undefined
  try {
    version = await ask(scope, deps, program, '--version')
  } catch (e) {
    throw new Fault(
      'unavailable',
      `runtime handler ${program.handler}: ${program.path}: ${asFault(e).message}`,
    )
  }
  if (version === undefined) {
    throw new Fault('unavailable', `runtime handler ${program.handler}: ${program.path} --version failed`)
  }
  const text = traits.features ? await ask(scope, deps, program, 'features') : undefined
  let features: RuntimeFeatures = { seccomp: /seccomp/i.test(version), apparmor: false, idmap: false }
  if (text !== undefined) {
    try {
      features = parseFeatures(text)
    } catch {
      scope.log.warn('runtime-features-unreadable', { handler: program.handler })
    }
  }
  return {
    name: program.handler,
    version: version.split('\n')[0]?.trim() ?? '',
    ociVersion: olderVersion(features.ociVersionMax ?? traits.oldestSafeOciVersion, OUR_OCI_VERSION),
    recursiveReadOnlyMounts: features.mountOptions?.includes('rro') ?? false,
    idmapMounts: traits.idmapMounts(features),
    userNamespaces: traits.userNamespaces,
    ...(traits.scopeSubgroup ? { scopeSubgroup: traits.scopeSubgroup } : {}),
    seccomp: features.seccomp,
    apparmor: features.apparmor,
    ...(traits.sandboxed ? { sandboxed: true } : {}),
  }
}
