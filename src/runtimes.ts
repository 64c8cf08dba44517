// SPDX-License-Identifier: Apache-2.0
/**
 * The runtimes of the configuration, as the rest is built from them: where their programs are, what the operator adds
 * to the specs of each, and the bound runtimes themselves. Asks no runtime anything.
 */
import { readFile } from 'node:fs/promises'
import { errnoCode, Fault } from './base/fault.ts'
import type { Config, RuntimeConfig } from './config/schema.ts'
import { findExecutable, PROGRAM_DIRS } from './host/exec.ts'
import type { OciRuntime } from './host/index.ts'
import type { Native } from './host/native.ts'
import { ociRuntime } from './host/oci-runtime/runtime.ts'
import type { HostFacts, PrivilegedDevices, RuntimeProgram } from './model/facts.ts'
import { folders } from './model/names.ts'
import { type OperatorSpec, parseBaseSpec } from './model/plan/spec/operator.ts'
import { roots } from './places.ts'

/** Absolute paths of the configured runtimes; a default one that is not installed is left out. */
export async function runtimePrograms(config: Config): Promise<readonly RuntimeProgram[]> {
  const out: RuntimeProgram[] = []
  for (const [handler, r] of Object.entries(config.runtimes)) {
    const path = await findProgram(r.path)
    if (path) out.push({ handler, kind: r.kind, path })
    else if (r.explicit || handler === config.defaultRuntime) {
      throw new Fault(
        'unavailable',
        `runtime handler ${handler}: ${r.path} is not installed; install it, or set runtimes.${handler}.path`,
      )
    }
  }
  return out
}

/** Where a program is, by its absolute path or by a name that is looked for where systems keep programs. */
export function findProgram(name: string): Promise<string | undefined> {
  return findExecutable(name.startsWith('/') ? ['/'] : PROGRAM_DIRS, name)
}

/** What privileged containers of the handler have of the node's devices; undefined: all. */
export function ownDevices(runtime: RuntimeConfig | undefined): PrivilegedDevices | undefined {
  if (!runtime?.privilegedWithoutHostDevices) return undefined
  return runtime.privilegedWithoutHostDevicesAllDevicesAllowed ? 'allowed' : 'own'
}

async function operatorSpec(runtime: RuntimeConfig): Promise<OperatorSpec> {
  const { baseSpec: file, annotations, podAnnotations, containerAnnotations, hooksDirs } = runtime
  const rest = { annotations, podAnnotations, containerAnnotations, hooksDirs }
  if (file === undefined) return rest
  const text = await readFile(file, 'utf8').catch((e: unknown) => {
    throw new Fault('invalid', `base_spec ${file}: cannot be read (${errnoCode(e) ?? 'unknown'})`)
  })
  return { ...rest, base: parseBaseSpec(text, file) }
}

/** By handler. Throws `invalid` with the file for a base spec that cannot be used. */
export async function operatorSpecs(config: Config): Promise<ReadonlyMap<string, OperatorSpec>> {
  const all = new Map<string, OperatorSpec>()
  for (const [name, runtime] of Object.entries(config.runtimes)) all.set(name, await operatorSpec(runtime))
  return all
}

interface RuntimeParts {
  readonly native: Native
  readonly facts: HostFacts
  readonly keeper: string
  readonly found: readonly RuntimeProgram[]
}

/** Those that can be used here, by handler. */
export function ociRuntimes(
  config: Config,
  { native, facts, keeper, found }: RuntimeParts,
): ReadonlyMap<string, OciRuntime> {
  const all = folders(roots(config))
  const runtimes = new Map<string, OciRuntime>()
  for (const program of found) {
    const { handler } = program
    if (!facts.handlers[handler]) continue
    const { root, args = [] } = config.runtimes[handler] ?? {}
    const systemdCgroup = facts.cgroupDriver === 'systemd'
    const stateRoot = root ?? all.runtime(handler)
    runtimes.set(handler, ociRuntime(program, { native, keeper, args, stateRoot, systemdCgroup }))
  }
  return runtimes
}
