// SPDX-License-Identifier: Apache-2.0
/**
 * The plan of a container: everything that is known before anything is changed. Pure: from the request, the
 * pod, the image and the facts to one OCI spec and the identity of the process. What cannot be done is refused
 * here, with the field's name.
 */
import { Fault } from '../../base/fault.ts'
import type { ContainerConfig, ContainerRecord } from '../container.ts'
import type { HandlerFacts, HostFacts } from '../facts.ts'
import { type ContainerPaths, containerCgroup, type PodPaths } from '../names.ts'
import type { PodRecord, UserMapping } from '../pod.ts'
import type { Resources } from '../resources.ts'
import type { ProcessUser } from '../security.ts'
import { pausedId, userNamespace } from './pod.ts'
import { checkSandboxed, inSandbox } from './sandboxed.ts'
import { type HostDevice, placed, planDevices } from './spec/devices.ts'
import {
  allMounts,
  baseMounts,
  checkMount,
  type ResolvedMount,
  rootfsPropagation,
  sameMapping,
} from './spec/mounts.ts'
import type { OciSeccomp, OciSpec } from './spec/oci.ts'
import { withOperator } from './spec/operator.ts'
import { capabilities, type ImageProcess, processArgs, processEnv } from './spec/process.ts'
import { ociResources } from './spec/resources.ts'
import { planSeccomp } from './spec/seccomp.ts'
import { planLabels } from './spec/selinux.ts'

export interface ContainerInputs {
  readonly id: string
  readonly pod: PodRecord
  readonly podPaths: PodPaths
  readonly paths: ContainerPaths
  readonly config: ContainerConfig
  readonly image: ImageProcess
  readonly user: ProcessUser
  readonly mounts: readonly ResolvedMount[]
  readonly devices: ReadonlyMap<string, readonly HostDevice[]>
  readonly hostDevices: readonly HostDevice[]
  /** Parsed JSON of a Localhost profile. */
  readonly localSeccomp: OciSeccomp | undefined
  /** The image has programs of the 32-bit architecture of this machine. */
  readonly smallPrograms: boolean
  /** The AppArmor profile to start with, which is loaded; undefined: none. */
  readonly apparmorProfile: string | undefined
  /** pid of the process whose PID namespace is joined: the pod's pause, or the target container's. */
  readonly pidOf: number | undefined
  readonly facts: HostFacts
  readonly handler: HandlerFacts
}

const SOFT_OPEN_FILES = 1024

type Namespace = { readonly type: string; readonly path?: string }

function namespaces(i: ContainerInputs): readonly Namespace[] {
  const out: Namespace[] = [{ type: 'mount' }]
  const ns = i.pod.config.namespaces
  const pid = i.config.security.pid.mode
  if (pid === 'container') out.push({ type: 'pid' })
  else if (pid === 'pod' || pid === 'target') {
    if (i.pidOf === undefined)
      throw new Fault('wrong-state', 'the process whose PID namespace is to be joined is not running')
    out.push({ type: 'pid', path: `/proc/${i.pidOf}/ns/pid` })
  }
  if (ns.network === 'pod') {
    out.push({ type: 'network', path: i.podPaths.netns })
    out.push({ type: 'uts', path: i.podPaths.utsns })
  }
  if (ns.ipc === 'pod') out.push({ type: 'ipc', path: i.podPaths.ipcns })
  out.push(...userNamespace(i.pod, i.podPaths).namespaces)
  if (i.facts.cgroupVersion === 2 && !i.config.security.privileged) out.push({ type: 'cgroup' })
  return out
}

function checkAll(i: ContainerInputs): void {
  const s = i.config.security
  checkSandboxed(i.config, i.handler)
  if (s.privileged && !i.pod.config.privileged) {
    throw new Fault('invalid', 'linux.security_context.privileged: the pod sandbox is not privileged')
  }
  const { user } = i.pod.config.namespaces
  checkUserns(s.userns, user)
  if (user) checkIds(i.user, user)
  if (s.apparmor.type === 'localhost' && !s.privileged && i.apparmorProfile !== s.apparmor.ref)
    throw new Fault('internal', `AppArmor profile ${s.apparmor.ref} was not looked up`)
  for (const m of i.config.mounts) {
    checkMount(m, {
      recursiveReadOnly: i.handler.recursiveReadOnlyMounts,
      privileged: s.privileged,
      user,
    })
  }
}

function devicesOf(i: ContainerInputs): ReturnType<typeof placed> {
  const any = i.config.security.privileged && i.handler.privilegedDevices !== 'own'
  const plan = planDevices(i.config.devices, i.devices, any ? i.hostDevices : undefined)
  return placed(plan, i.pod.config.namespaces.user !== undefined)
}

function filterOf(i: ContainerInputs, capabilities: readonly string[]) {
  const { privileged, seccomp: profile } = i.config.security
  const asked = { profile, privileged, capabilities, small: i.smallPrograms, local: i.localSeccomp }
  return planSeccomp(asked, i.facts, i.handler)
}

/** Nobody can be somebody who is not in the user namespace. */
function checkIds(who: ProcessUser, { uids, gids }: UserMapping): void {
  const bad =
    who.uid >= uids.length
      ? `user ${who.uid}`
      : [who.gid, ...who.additionalGids].find((g) => g >= gids.length)
  if (bad === undefined) return
  const what = typeof bad === 'number' ? `group ${bad}` : bad
  throw new Fault('invalid', `linux.security_context: ${what} is not mapped in the user namespace of the pod`)
}

/** All containers of a pod are in its user namespace: a request that says otherwise is an error. */
function checkUserns(said: ContainerConfig['security']['userns'], user: UserMapping | undefined): void {
  if (said === undefined) return
  if (said === 'node' ? user === undefined : user !== undefined && sameMapping(said, user)) return
  throw new Fault(
    'invalid',
    'linux.security_context.namespace_options.userns_options: is not that of the pod sandbox',
  )
}

/** oom_score_adj as far as this process may go: without CAP_SYS_RESOURCE no lower than its own. */
export function clampOomScoreAdj(wanted: number, facts: HostFacts): number {
  return Math.max(wanted, facts.minOomScoreAdj)
}

/**
 * Open files as systemd gives them to services: the daemon's own soft limit was raised by Node, and programs that
 * walk all descriptors up to it would take for ever. Said in the spec, as some runtimes raise it for themselves too.
 */
function openFiles({ maxOpenFiles: hard }: HostFacts) {
  return { type: 'RLIMIT_NOFILE', soft: Math.min(SOFT_OPEN_FILES, hard), hard }
}

export function containerHostname(pod: PodRecord, nodeName: string): string {
  return pod.config.namespaces.network === 'node' || pod.config.hostname === ''
    ? nodeName
    : pod.config.hostname
}

/** The OCI spec of the container. Throws `invalid`, `unsupported` or `wrong-state`. */
export function planSpec(i: ContainerInputs & { readonly nodeName: string }): OciSpec {
  checkAll(i)
  const spec = ownSpec(i)
  const about = { pod: i.pod.config.annotations, container: i.config.annotations }
  const asked = withOperator(spec, i.handler.operator, about)
  if (!i.handler.sandboxed) return asked
  const hostname = containerHostname(i.pod, i.nodeName)
  const sharedPids = i.config.security.pid.mode === 'pod'
  return inSandbox(asked, { hostname, sandboxId: pausedId(i.pod.id), sharedPids })
}

function ownSpec(i: ContainerInputs & { readonly nodeName: string }): OciSpec {
  const { config, facts } = i
  const s = config.security
  const { sets } = capabilities(s.capabilities, { privileged: s.privileged, known: facts.capabilities })
  const nonRoot = i.user.uid !== 0
  const caps = nonRoot ? { ...sets, effective: sets.ambient, permitted: sets.ambient } : sets
  const devices = devicesOf(i)
  const filter = filterOf(i, sets.bounding)
  const labels = planLabels(s, i.pod, facts.selinux)
  const propagation = rootfsPropagation(config.mounts)
  const base = baseMounts({
    privileged: s.privileged,
    readonlyRootfs: s.readonlyRootfs,
    cgroupVersion: facts.cgroupVersion,
    hostIpc: i.pod.config.namespaces.ipc === 'node',
    hostNetwork: i.pod.config.namespaces.network === 'node',
    userNamespace: i.pod.config.namespaces.user !== undefined,
    shm: i.podPaths.shm,
    resolvConf: i.podPaths.resolvConf,
    hostname: i.podPaths.hostname,
    hosts: i.podPaths.hosts,
  })
  return {
    ociVersion: i.handler.ociVersion,
    process: {
      terminal: config.tty,
      user: { uid: i.user.uid, gid: i.user.gid, additionalGids: i.user.additionalGids },
      args: processArgs(config, i.image),
      env: processEnv(i.image, config.env, {
        hostname: containerHostname(i.pod, i.nodeName),
        home: i.user.home,
        tty: config.tty,
      }),
      cwd: config.workingDir || i.image.workingDir || '/',
      capabilities: caps,
      noNewPrivileges: s.noNewPrivs,
      oomScoreAdj: clampOomScoreAdj(config.resources.oomScoreAdj, facts),
      rlimits: [openFiles(facts)],
      ...(i.apparmorProfile !== undefined && !s.privileged ? { apparmorProfile: i.apparmorProfile } : {}),
      ...(labels ? { selinuxLabel: labels.process } : {}),
    },
    root: { path: i.paths.rootfs, readonly: s.readonlyRootfs },
    mounts: [...allMounts(base, i.mounts), ...devices.mounts],
    ...scopeAnnotations(i),
    linux: {
      namespaces: namespaces(i),
      ...userNamespace(i.pod, i.podPaths).maps,
      resources: { ...ociResources(config.resources, facts), devices: devices.rules },
      cgroupsPath: cgroupOf(i).spec,
      ...(devices.nodes.length > 0 ? { devices: devices.nodes } : {}),
      ...(filter ? { seccomp: filter } : {}),
      ...(labels ? { mountLabel: labels.mount } : {}),
      ...(propagation ? { rootfsPropagation: propagation } : {}),
      ...(s.privileged ? {} : { maskedPaths: s.maskedPaths, readonlyPaths: s.readonlyPaths }),
    },
  }
}

/** Said to the runtime too, so that no version of it takes another. */
function scopeAnnotations(i: Pick<ContainerInputs, 'facts' | 'handler'>): Pick<OciSpec, 'annotations'> {
  const subgroup = scopeSubgroup(i)
  return subgroup ? { annotations: { 'run.oci.systemd.subgroup': subgroup } } : {}
}

/** On v1 there are no delegated scopes. */
function scopeSubgroup({ facts, handler }: Pick<ContainerInputs, 'facts' | 'handler'>): string | undefined {
  return facts.cgroupDriver === 'systemd' && facts.cgroupVersion === 2 ? handler.scopeSubgroup : undefined
}

export function cgroupOf(i: Pick<ContainerInputs, 'id' | 'pod' | 'facts' | 'handler'>): {
  readonly spec: string
  readonly path: ContainerRecord['cgroup']
} {
  const { cgroup, config } = i.pod
  return containerCgroup(
    i.facts.cgroupDriver,
    { cgroup, requestedParent: config.cgroupParent, subgroup: scopeSubgroup(i) },
    i.id,
  )
}

/** The `linux.resources` part alone, for UpdateContainerResources. */
export function planResources(resources: Resources, facts: HostFacts) {
  return ociResources(resources, facts)
}
