// SPDX-License-Identifier: Apache-2.0
/**
 * What this node can do, found out once at the start: its kernel, its cgroups, and each configured runtime, which is
 * asked. Changes nothing that stays.
 */
import type { Scope } from './base/scope.ts'
import type { Config } from './config/schema.ts'
import { probeFacts } from './host/facts.ts'
import { whyNoUserNamespaces } from './host/mounts/idmap.ts'
import type { Native } from './host/native.ts'
import { probeRuntime } from './host/oci-runtime/features.ts'
import { probeSelinux } from './host/security/selinux.ts'
import type { HostFacts, RuntimeProgram } from './model/facts.ts'
import { roots } from './places.ts'
import { operatorSpecs, ownDevices } from './runtimes.ts'

interface FactParts {
  readonly native: Native
  /** The configured runtimes that are installed. */
  readonly found: readonly RuntimeProgram[]
}

/** Throws `unavailable` when pods cannot run on this machine, `invalid` for a base spec that cannot be used. */
export async function nodeFacts(
  config: Config,
  daemon: Scope,
  { native, found }: FactParts,
): Promise<HostFacts> {
  const selinux = config.security.selinux ? await probeSelinux() : undefined
  const operators = await operatorSpecs(config)
  const probed = await probeFacts(daemon, {
    cgroupDriver: config.cgroup.driver,
    runtimes: found,
    probe: async (scope, program, ground) => {
      const handler = await probeRuntime(scope, { native }, { program, ground })
      // A runtime says what it was built for; before Linux 5.12 the kernel cannot do it.
      const { mountSetattr } = native.probe()
      const privilegedDevices = ownDevices(config.runtimes[program.handler])
      const recursiveReadOnlyMounts = handler.recursiveReadOnlyMounts && mountSetattr
      return {
        ...handler,
        recursiveReadOnlyMounts,
        operator: operators.get(program.handler),
        ...(privilegedDevices ? { privilegedDevices } : {}),
      }
    },
    defaultRuntime: config.defaultRuntime,
  })
  const noUserNamespaces = await whyNoUserNamespaces(native, roots(config))
  return Object.freeze({
    ...probed,
    ...(selinux ? { selinux } : {}),
    ...(noUserNamespaces === undefined ? {} : { noUserNamespaces }),
  })
}
