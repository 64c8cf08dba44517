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
import type { PodRecord } from '../pod.ts'
import type { Resources } from '../resources.ts'
import type { ProcessUser } from '../security.ts'
import { type HostDevice, planDevices } from './spec/devices.ts'
import { allMounts, baseMounts, checkMount, type ResolvedMount, rootfsPropagation } from './spec/mounts.ts'
import type { OciSeccomp, OciSpec } from './spec/oci.ts'
import { capabilities, type ImageProcess, processArgs, processEnv } from './spec/process.ts'
import { ociResources } from './spec/resources.ts'
import { defaultSeccomp } from './spec/seccomp.ts'

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
  /** pid of the process whose PID namespace is joined: the pod's pause, or the target container's. */
  readonly pidOf: number | undefined
  readonly facts: HostFacts
  readonly handler: HandlerFacts
}

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
  if (i.facts.cgroupVersion === 2 && !i.config.security.privileged) out.push({ type: 'cgroup' })
  return out
}

function seccomp(i: ContainerInputs, caps: readonly string[]): OciSeccomp | undefined {
  const profile = i.config.security.seccomp
  if (i.config.security.privileged || profile.type === 'unset' || profile.type === 'unconfined')
    return undefined
  if (profile.type === 'localhost') {
    if (!i.facts.seccomp || !i.handler.seccomp)
      throw new Fault('unsupported', 'seccomp: this machine cannot load profiles')
    if (!i.localSeccomp) throw new Fault('invalid', `seccomp profile ${profile.ref} was not read`)
    return i.localSeccomp
  }
  return i.facts.seccomp && i.handler.seccomp ? defaultSeccomp(i.facts.architecture, caps) : undefined
}

function checkAll(i: ContainerInputs): void {
  const s = i.config.security
  if (s.privileged && !i.pod.config.privileged) {
    throw new Fault('invalid', 'linux.security_context.privileged: the pod sandbox is not privileged')
  }
  for (const m of i.config.mounts) {
    checkMount(m, { recursiveReadOnly: i.handler.recursiveReadOnlyMounts, privileged: s.privileged })
  }
  if (s.apparmor.type === 'localhost' && !i.facts.apparmor) {
    throw new Fault(
      'unsupported',
      `linux.security_context.apparmor: profile ${s.apparmor.ref} asked for, but this kernel has no AppArmor`,
    )
  }
}

/** oom_score_adj as far as this process may go: without CAP_SYS_RESOURCE no lower than its own. */
export function clampOomScoreAdj(wanted: number, facts: HostFacts): number {
  return Math.max(wanted, facts.minOomScoreAdj)
}

export function containerHostname(pod: PodRecord, nodeName: string): string {
  return pod.config.namespaces.network === 'node' || pod.config.hostname === ''
    ? nodeName
    : pod.config.hostname
}

/** The OCI spec of the container. Throws `invalid`, `unsupported` or `wrong-state`. */
export function planSpec(i: ContainerInputs & { readonly nodeName: string }): OciSpec {
  checkAll(i)
  const { config, facts } = i
  const s = config.security
  const { sets } = capabilities(s.capabilities, { privileged: s.privileged, known: facts.capabilities })
  const nonRoot = i.user.uid !== 0
  const caps = nonRoot ? { ...sets, effective: sets.ambient, permitted: sets.ambient } : sets
  const devices = planDevices(config.devices, i.devices, s.privileged ? i.hostDevices : undefined)
  const filter = seccomp(i, sets.bounding)
  const propagation = rootfsPropagation(config.mounts)
  const base = baseMounts({
    privileged: s.privileged,
    readonlyRootfs: s.readonlyRootfs,
    cgroupVersion: facts.cgroupVersion,
    hostIpc: i.pod.config.namespaces.ipc === 'node',
    hostNetwork: i.pod.config.namespaces.network === 'node',
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
      noNewPrivileges: s.noNewPrivs && !s.privileged,
      oomScoreAdj: clampOomScoreAdj(config.resources.oomScoreAdj, facts),
      ...(s.apparmor.type === 'localhost' && !s.privileged ? { apparmorProfile: s.apparmor.ref } : {}),
    },
    root: { path: i.paths.rootfs, readonly: s.readonlyRootfs },
    mounts: allMounts(base, i.mounts),
    linux: {
      namespaces: namespaces(i),
      resources: { ...ociResources(config.resources, facts), devices: devices.rules },
      cgroupsPath: cgroupOf(i).spec,
      ...(devices.nodes.length > 0 ? { devices: devices.nodes } : {}),
      ...(filter ? { seccomp: filter } : {}),
      ...(propagation ? { rootfsPropagation: propagation } : {}),
      ...(s.privileged ? {} : { maskedPaths: s.maskedPaths, readonlyPaths: s.readonlyPaths }),
    },
  }
}

export function cgroupOf(i: Pick<ContainerInputs, 'id' | 'pod' | 'facts'>): {
  readonly spec: string
  readonly path: ContainerRecord['cgroup']
} {
  return containerCgroup(
    i.facts.cgroupDriver,
    { cgroup: i.pod.cgroup, requestedParent: i.pod.config.cgroupParent },
    i.id,
  )
}

/** The `linux.resources` part alone, for UpdateContainerResources. */
export function planResources(resources: Resources, facts: HostFacts) {
  return ociResources(resources, facts)
}
