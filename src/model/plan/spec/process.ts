// SPDX-License-Identifier: Apache-2.0
/**
 * `process` of a container's OCI spec: arguments, environment, capabilities. Owns the merge of the image's
 * entrypoint and command with the request's (the rules of Kubernetes' command and args).
 */
import { Fault } from '../../../base/fault.ts'
import type { ContainerConfig, EnvVar } from '../../container.ts'
import { CAPABILITIES, type CapabilityChange } from '../../security.ts'

/** What an image says of the process that runs in it. */
export interface ImageProcess {
  readonly env: readonly string[]
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly workingDir: string
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The capabilities of a container that asks for none, as Docker and the other runtimes give them. */
const DEFAULT_CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
]

/** The request's command replaces the entrypoint and drops the image's command; its args replace the command. */
export function processArgs(
  config: Pick<ContainerConfig, 'command' | 'args'>,
  image: ImageProcess,
): readonly string[] {
  const args =
    config.command.length > 0
      ? [...config.command, ...config.args]
      : [...image.entrypoint, ...(config.args.length > 0 ? config.args : image.cmd)]
  if (args.length === 0 || args[0] === '') {
    throw new Fault('invalid', 'no command: neither the request nor the image names one')
  }
  return args
}

/** Image environment, then the request's over it; PATH and HOME and HOSTNAME get defaults when nobody set them. */
export function processEnv(
  image: ImageProcess,
  requested: readonly EnvVar[],
  extra: { readonly hostname: string; readonly home: string; readonly tty: boolean },
): readonly string[] {
  const byName = new Map<string, string>()
  const put = (entry: string) => byName.set(entry.slice(0, entry.indexOf('=')), entry)
  put(DEFAULT_PATH)
  put(`HOSTNAME=${extra.hostname}`)
  if (extra.tty) put('TERM=xterm')
  for (const entry of image.env) if (entry.indexOf('=') > 0) put(entry)
  for (const { name, value } of requested) put(`${name}=${value}`)
  if (!byName.has('HOME')) put(`HOME=${extra.home}`)
  return [...byName.values()]
}

/** `NET_ADMIN`, `net_admin` and `CAP_NET_ADMIN` are one capability; `ALL` stays a word of its own. */
function capabilityName(name: string): string {
  const upper = name.toUpperCase()
  return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`
}

/**
 * Default set, `ALL` first in either direction, then single names; unknown to the kernel (`known`) is dropped
 * when it came from ALL or the defaults, and refused when it was asked for by name.
 */
export function capabilities(
  change: CapabilityChange,
  options: { readonly privileged: boolean; readonly known: readonly string[] },
): {
  readonly sets: Record<'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient', readonly string[]>
} {
  const known = new Set(options.known)
  const add = change.add.map(capabilityName)
  const drop = change.drop.map(capabilityName)
  const ambient = change.addAmbient.map(capabilityName)
  for (const name of [...add, ...ambient]) {
    if (name !== 'ALL' && !known.has(name)) {
      throw new Fault(
        'invalid',
        `capability ${name.slice(0, 60)} is unknown here or outside the bounding set of the daemon`,
      )
    }
  }
  for (const name of drop) {
    // One that only this kernel lacks is gone in any case; a misspelt one would quietly stay.
    if (name !== 'ALL' && !CAPABILITIES.includes(name) && !known.has(name))
      throw new Fault('invalid', `drop_capabilities: ${name.slice(0, 60)} is not the name of a capability`)
  }
  const set = new Set(options.privileged ? known : DEFAULT_CAPABILITIES.filter((c) => known.has(c)))
  if (!options.privileged) {
    if (add.includes('ALL')) for (const c of known) set.add(c)
    if (drop.includes('ALL')) set.clear()
    for (const c of add) if (c !== 'ALL') set.add(c)
    for (const c of drop) set.delete(c)
    for (const c of ambient) for (const one of c === 'ALL' ? known : [c]) set.add(one)
  }
  const all = options.known.filter((c) => set.has(c))
  const raised = ambient.includes('ALL') ? all : all.filter((c) => ambient.includes(c))
  return { sets: { bounding: all, effective: all, permitted: all, inheritable: raised, ambient: raised } }
}
