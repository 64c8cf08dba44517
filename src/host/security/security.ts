// SPDX-License-Identifier: Apache-2.0
/**
 * What the machine does for the confinement of containers, in one value: profiles of seccomp and AppArmor, SELinux
 * labels of files. Each has its own file, which states the contract; nothing is decided here.
 */
import type { Scope } from '../../base/scope.ts'
import type { HostFacts } from '../../model/facts.ts'
import type { OciSeccomp } from '../../model/plan/spec/oci.ts'
import { run } from '../exec.ts'
import type { Native } from '../native.ts'
import { type AppArmor, appArmor } from './apparmor.ts'
import { readSeccompFile } from './seccomp-file.ts'
import { relabel } from './selinux.ts'

export interface Security {
  /** The profile at an absolute path, or at one below the folder of profiles. @abort finishes */
  seccompFile(ref: string): Promise<OciSeccomp>
  /** @abort kills */
  readonly apparmor: AppArmor['profileFor']
  /** @abort kills */
  relabel(scope: Scope, to: { readonly path: string; readonly label: string }): Promise<void>
}

export function security(
  native: Native,
  options: { readonly facts: HostFacts; readonly seccompDir: string },
): Security {
  return {
    seccompFile: (ref) => readSeccompFile(options.seccompDir, ref),
    apparmor: appArmor({ native, run, enabled: options.facts.apparmor }).profileFor,
    relabel: (scope, to) => relabel(scope, { native, run }, to),
  }
}
