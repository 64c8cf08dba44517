// SPDX-License-Identifier: Apache-2.0
/**
 * The plan of a pod sandbox: which namespaces are made and pinned, the sysctls written inside, the files every
 * container of the pod sees, and the spec of the pause process where one is needed. Pure.
 */
import { Fault } from '../../base/fault.ts'
import type { HandlerFacts, HostFacts } from '../facts.ts'
import { clip } from '../ids.ts'
import { containerCgroup, type PodPaths } from '../names.ts'
import type { DnsConfig, IdRange, PodConfig, PodRecord } from '../pod.ts'
import { inSandbox } from './sandboxed.ts'
import type { OciIdMaps, OciSeccomp, OciSpec } from './spec/oci.ts'
import { planSeccomp } from './spec/seccomp.ts'
import { planLabels } from './spec/selinux.ts'

export interface NamespacePlan {
  readonly net?: string
  readonly ipc?: string
  readonly uts?: string
  readonly user?: string
  readonly uidMap?: string
  readonly gidMap?: string
  readonly hostname?: string
  readonly loopback?: boolean
  readonly sysctls: readonly (readonly [path: string, value: string])[]
}

const IPC_SYSCTLS = /^(kernel\.(msg(max|mnb|mni)|sem|shm(all|max|mni|_rmid_forced))|fs\.mqueue\..+)$/
const NAME = /^[A-Za-z0-9_.\-/]+$/

/** Only namespaced sysctls, and only into a namespace of the pod's own; one of the host is refused. */
export function planSysctls(config: PodConfig): readonly (readonly [string, string])[] {
  return Object.entries(config.sysctls).map(([name, value]) => {
    const where = `linux.sysctls["${clip(name)}"]`
    if (!NAME.test(name) || name.includes('..'))
      throw new Fault('invalid', `${where}: not the name of a sysctl`)
    const dotted = name.replaceAll('/', '.')
    const kind = dotted.startsWith('net.') ? 'network' : IPC_SYSCTLS.test(dotted) ? 'ipc' : undefined
    if (!kind) throw new Fault('invalid', `${where}: is not namespaced, it would change the host`)
    if (config.namespaces[kind] === 'node') {
      throw new Fault(
        'invalid',
        `${where}: the pod shares the host's ${kind} namespace, the host would be changed`,
      )
    }
    const path = name.includes('/') ? name : name.replaceAll('.', '/')
    return [`/proc/sys/${path}`, value] as const
  })
}

/** The line of /proc/PID/uid_map. */
const mapText = (range: IdRange) => `0 ${range.hostId} ${range.length}`

/** Can the pod have the user namespace that it asks for? Throws `unsupported` or `invalid` with the reason. */
export function checkUserNamespace(config: PodConfig, on: { facts: HostFacts; handler: HandlerFacts }): void {
  const { user, pid, ipc } = config.namespaces
  if (!user) return
  const where = 'linux.security_context.namespace_options.userns_options'
  if (!on.handler.userNamespaces)
    throw new Fault('unsupported', `${where}: runtime handler ${on.handler.name} runs no user namespaces`)
  if (on.facts.noUserNamespaces !== undefined)
    throw new Fault('unsupported', `${where}: not on this node: ${on.facts.noUserNamespaces}`)
  const shared = pid === 'node' ? 'pid' : ipc === 'node' ? 'ipc' : undefined
  if (shared) throw new Fault('invalid', `${where}: mode POD does not go together with ${shared} NODE`)
}

/** The parts of a spec that put a process into the pod's user namespace; both empty without one. */
export function userNamespace(
  pod: PodRecord,
  paths: PodPaths,
): { readonly namespaces: readonly { type: string; path: string }[]; readonly maps: Partial<OciIdMaps> } {
  const { user } = pod.config.namespaces
  if (!user) return { namespaces: [], maps: {} }
  const map = ({ hostId, length }: IdRange) => [{ containerID: 0, hostID: hostId, size: length }]
  return {
    namespaces: [{ type: 'user', path: paths.userns }],
    maps: { uidMappings: map(user.uids), gidMappings: map(user.gids) },
  }
}

/** What is made and pinned for the pod. */
export function planNamespaces(config: PodConfig, paths: PodPaths): NamespacePlan {
  const network = config.namespaces.network === 'pod'
  const { user } = config.namespaces
  return {
    ...(network
      ? {
          net: paths.netns,
          uts: paths.utsns,
          loopback: true,
          ...(config.hostname === '' ? {} : { hostname: config.hostname }),
        }
      : {}),
    ...(config.namespaces.ipc === 'pod' ? { ipc: paths.ipcns } : {}),
    ...(user ? { user: paths.userns, uidMap: mapText(user.uids), gidMap: mapText(user.gids) } : {}),
    sysctls: planSysctls(config),
  }
}

/** /etc/resolv.conf from DNSConfig; undefined means "the host's own". */
export function resolvConf(dns: DnsConfig | undefined): string | undefined {
  if (!dns || (dns.servers.length === 0 && dns.searches.length === 0 && dns.options.length === 0))
    return undefined
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(' ')}`] : []),
    ...dns.servers.map((s) => `nameserver ${s}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(' ')}`] : []),
  ]
  return `${lines.join('\n')}\n`
}

/** /etc/hosts of a pod with a network of its own; the kubelet usually mounts its own over it. */
export function hostsFile(hostname: string, ips: readonly string[]): string {
  const own = ips.map((ip) => `${ip}\t${hostname}`).join('\n')
  return `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${hostname === '' ? '' : `${own}\n`}`
}

/**
 * The process of a pod whose PID namespace is shared: `gantry-pause` alone in a rootfs of its own, joined to
 * the pod's namespaces, with nothing mounted but /proc.
 */
export function pauseSpec(
  pod: PodRecord,
  paths: PodPaths,
  host: { facts: HostFacts; handler: HandlerFacts; localSeccomp?: OciSeccomp | undefined },
): OciSpec {
  const ns = pod.config.namespaces
  const user = userNamespace(pod, paths)
  const cgroup = containerCgroup(
    host.facts.cgroupDriver,
    { cgroup: pod.cgroup, requestedParent: pod.config.cgroupParent },
    pausedId(pod.id),
  )
  const { seccomp: profile, privileged } = pod.config
  const asked = { profile, privileged, capabilities: [], small: false, local: host.localSeccomp }
  const seccomp = planSeccomp(asked, host.facts, host.handler)
  const labels = planLabels({ privileged, pid: { mode: 'pod' } }, pod, host.facts.selinux)
  const spec: OciSpec = {
    ociVersion: host.handler.ociVersion,
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/gantry-pause'],
      env: ['PATH=/'],
      cwd: '/',
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      noNewPrivileges: true,
      oomScoreAdj: Math.max(-998, host.facts.minOomScoreAdj),
      ...(labels ? { selinuxLabel: labels.process } : {}),
    },
    root: { path: paths.pauseRootfs, readonly: true },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] }],
    linux: {
      namespaces: [
        { type: 'mount' },
        { type: 'pid' },
        ...(ns.network === 'pod'
          ? [
              { type: 'network', path: paths.netns },
              { type: 'uts', path: paths.utsns },
            ]
          : []),
        ...(ns.ipc === 'pod' ? [{ type: 'ipc', path: paths.ipcns }] : []),
        ...user.namespaces,
      ],
      ...user.maps,
      ...(seccomp ? { seccomp } : {}),
      ...(labels ? { mountLabel: labels.mount } : {}),
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      cgroupsPath: cgroup.spec,
    },
  }
  return host.handler.sandboxed ? inSandbox(spec, { hostname: pod.config.hostname }) : spec
}

/** The id under which the OCI runtime knows a pod's pause process. */
export function pausedId(id: string): string {
  return `pause-${id}`
}
