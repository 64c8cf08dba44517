// SPDX-License-Identifier: Apache-2.0
/** RunPodSandbox on the wire → RunPod: complete, frozen in meaning, or one Fault that lists every bad field. */
import { isIP } from 'node:net'
import type { RunPod } from '../../../engine/pods/run.ts'
import { contradict, hostPortLabel } from '../../../model/host-ports.ts'
import { clip } from '../../../model/ids.ts'
import { LIMITS } from '../../../model/limits.ts'
import type { DnsConfig, PodConfig, PodMetadata, PodNamespaces, PortMapping } from '../../../model/pod.ts'
import type { v1 } from '../gen/api.js'
import { Fields } from './fields.ts'
import { profile, resources, selinux } from './shared.ts'
import { userns } from './userns.ts'

const HOSTNAME = /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/
const MAX_PORT = { min: 0n, max: 65_535n } as const

export function decodeRunPod(request: v1.RunPodSandboxRequest.$Properties): RunPod {
  const f = new Fields()
  const config = podConfig(f, request.config ?? undefined)
  const handler = f.name('runtime_handler', request.runtimeHandler)
  f.done('invalid pod sandbox')
  return { config, handler }
}

function podConfig(f: Fields, c: v1.PodSandboxConfig.$Properties | undefined): PodConfig {
  if (!c) f.bad('config', 'is required')
  if (c?.windows) f.unsupported('config.windows', 'this is a Linux node')
  const linux = c?.linux
  const security = linux?.securityContext
  if (security?.runAsGroup && !security.runAsUser)
    f.bad('config.linux.security_context.run_as_group', 'needs run_as_user')
  const labels = selinux(f, 'config.linux.security_context.selinux_options', security?.selinuxOptions)
  return {
    metadata: metadata(f, c?.metadata),
    hostname: hostname(f, c?.hostname),
    logDirectory: f.path('config.log_directory', c?.logDirectory),
    dns: dns(f, c?.dnsConfig),
    portMappings: ports(f, c?.portMappings),
    labels: f.map('config.labels', c?.labels),
    annotations: f.map('config.annotations', c?.annotations),
    cgroupParent: cgroupParent(f, linux?.cgroupParent),
    sysctls: sysctls(f, linux?.sysctls),
    namespaces: namespaces(f, security?.namespaceOptions),
    privileged: security?.privileged ?? false,
    seccomp: profile(f, 'config.linux.security_context.seccomp', {
      now: security?.seccomp,
      old: security?.seccompProfilePath,
      kind: 'seccomp',
    }),
    ...(labels ? { selinux: labels } : {}),
    overhead: resources(f, 'config.linux.overhead', linux?.overhead),
    resources: resources(f, 'config.linux.resources', linux?.resources),
  }
}

function metadata(f: Fields, m: v1.PodSandboxMetadata.$Properties | null | undefined): PodMetadata {
  if (!m) f.bad('config.metadata', 'is required')
  return {
    name: f.name('config.metadata.name', m?.name, { required: true }),
    namespace: f.name('config.metadata.namespace', m?.namespace, { required: true }),
    uid: f.name('config.metadata.uid', m?.uid, { required: true }),
    attempt: m?.attempt ?? 0,
  }
}

function hostname(f: Fields, value: string | null | undefined): string {
  const v = value ?? ''
  if (v === '') return ''
  if (v.length > LIMITS.hostnameBytes)
    f.bad('config.hostname', `is longer than ${LIMITS.hostnameBytes} bytes`)
  else if (!HOSTNAME.test(v)) f.bad('config.hostname', `"${clip(v)}" is not a host name`)
  return v
}

function dns(f: Fields, d: v1.DNSConfig.$Properties | null | undefined): DnsConfig | undefined {
  if (!d) return undefined
  const words = (field: string, list: readonly string[] | null | undefined) =>
    f.list(field, list, 64).map((w) => {
      if (!/^[\x21-\x7e]{1,255}$/.test(w)) f.bad(field, `"${clip(w)}" is not one word`)
      return w
    })
  const servers = words('config.dns_config.servers', d.servers)
  for (const s of servers)
    if (isIP(s.replace(/%.*$/, '')) === 0)
      f.bad('config.dns_config.servers', `"${clip(s)}" is not an address`)
  return {
    servers,
    searches: words('config.dns_config.searches', d.searches),
    options: words('config.dns_config.options', d.options),
  }
}

/** Those of one pod must not contradict each other. */
function ports(
  f: Fields,
  list: readonly v1.PortMapping.$Properties[] | null | undefined,
): readonly PortMapping[] {
  const all = f.list('config.port_mappings', list, LIMITS.portMappings).map((p, i) => port(f, i, p))
  for (const [i, mapping] of all.entries()) {
    const other = mapping.hostPort === 0 ? -1 : all.slice(0, i).findIndex((p) => contradict(p, mapping))
    if (other >= 0)
      f.bad(
        `config.port_mappings[${i}]`,
        `${hostPortLabel(mapping)} leads to ${mapping.containerPort}, but by port_mappings[${other}] elsewhere`,
      )
  }
  return all
}

function port(f: Fields, index: number, p: v1.PortMapping.$Properties): PortMapping {
  const field = `config.port_mappings[${index}]`
  const mapping = {
    protocol: f.oneOf(`${field}.protocol`, p.protocol, ['tcp', 'udp', 'sctp'] as const),
    containerPort: Number(f.int(`${field}.container_port`, p.containerPort, MAX_PORT)),
    hostPort: Number(f.int(`${field}.host_port`, p.hostPort, MAX_PORT)),
    hostIp: hostIp(f, `${field}.host_ip`, p.hostIp),
  }
  if (mapping.hostPort > 0 && mapping.containerPort === 0)
    f.bad(`${field}.container_port`, `is required with host_port ${mapping.hostPort}`)
  return mapping
}

/** In the one form that each address has, so that equal ones are seen to be equal. */
function hostIp(f: Fields, field: string, value: string | null | undefined): string {
  const v = f.text(field, value, 64)
  const family = v.includes('%') || /^::ffff:/i.test(v) ? 0 : isIP(v)
  if (v !== '' && family === 0) f.bad(field, `"${clip(v)}" is not an address`)
  if (v === '::1') f.unsupported(field, 'no packet from ::1 can leave the node: use 127.0.0.1')
  return family === 6 ? new URL(`http://[${v}]`).hostname.slice(1, -1) : v
}

function cgroupParent(f: Fields, value: string | null | undefined): string {
  const v = f.text('config.linux.cgroup_parent', value)
  if (v === '' || /^[A-Za-z0-9:_.\\@-]+\.slice$/.test(v)) return v
  return f.path('config.linux.cgroup_parent', v)
}

function sysctls(
  f: Fields,
  value: { [k: string]: string } | null | undefined,
): Readonly<Record<string, string>> {
  const map = f.map('config.linux.sysctls', value)
  if (Object.keys(map).length > LIMITS.sysctls)
    f.bad('config.linux.sysctls', `has more than ${LIMITS.sysctls} entries`)
  for (const [name, text] of Object.entries(map)) {
    if (text.includes('\0') || text.includes('\n'))
      f.bad(`config.linux.sysctls["${clip(name)}"]`, 'has control characters in it')
  }
  return map
}

function namespaces(f: Fields, n: v1.NamespaceOption.$Properties | null | undefined): PodNamespaces {
  const field = 'config.linux.security_context.namespace_options'
  const user = userns(f, `${field}.userns_options`, n?.usernsOptions)
  return {
    ...(user === undefined || user === 'node' ? {} : { user }),
    network: f.oneOf(`${field}.network`, n?.network, ['pod', undefined, 'node'] as const),
    pid: f.oneOf(`${field}.pid`, n?.pid, ['pod', 'container', 'node'] as const),
    ipc: f.oneOf(`${field}.ipc`, n?.ipc, ['pod', undefined, 'node'] as const),
  }
}
