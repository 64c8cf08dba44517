// SPDX-License-Identifier: Apache-2.0
/**
 * Host ports as values: which ports of the node a pod asks for, when two requests want the same one, and where
 * each leads to once the pod has its addresses. Who makes them, a plugin of the network or the runtime itself,
 * is not decided here.
 */
import { Fault } from '../base/fault.ts'
import type { PodConfig, PortMapping } from './pod.ts'

export type IpFamily = 4 | 6

/** One way from a port of the node into a pod. */
export interface HostPort {
  readonly family: IpFamily
  readonly protocol: PortMapping['protocol']
  /** The address of the node; absent: every one of this family. */
  readonly hostIp?: string
  readonly hostPort: number
  readonly podIp: string
  readonly podPort: number
}

/** All that is known of a pod's host ports while the runtime itself maps them. */
export interface PodHostPorts {
  readonly podId: string
  readonly ports: readonly HostPort[]
  /** `10.88.0.2/16`: from there the answers of the pod would not come back by way of the node. */
  readonly subnets: readonly string[]
  /** Interfaces of the node behind which the pod is. */
  readonly interfaces: readonly string[]
}

/** What the network knows of an attached pod. */
export interface PodAddresses {
  readonly ips: readonly string[]
  readonly subnets: readonly string[]
  readonly interfaces: readonly { readonly name: string; readonly sandbox: string | undefined }[]
}

/** The ports of the node that a pod wants. On the node's network a container listens there itself. */
export function wantedHostPorts(config: PodConfig): readonly PortMapping[] {
  return config.namespaces.network === 'pod' ? config.portMappings.filter((p) => p.hostPort > 0) : []
}

export function familyOf(ip: string): IpFamily {
  return ip.includes(':') ? 6 : 4
}

/** The addresses that a mapping is for, by family: undefined is every one. */
function bindings({ hostIp }: PortMapping): readonly { family: IpFamily; hostIp?: string }[] {
  if (hostIp === '') return [{ family: 4 }, { family: 6 }]
  const family = familyOf(hostIp)
  return [hostIp === '0.0.0.0' || hostIp === '::' ? { family } : { family, hostIp }]
}

const samePort = (a: PortMapping, b: PortMapping) => a.protocol === b.protocol && a.hostPort === b.hostPort

/** Do two mappings of different pods want the same port? One for every address wants it on each. */
export function clash(a: PortMapping, b: PortMapping): boolean {
  if (!samePort(a, b)) return false
  return bindings(a).some((x) =>
    bindings(b).some(
      (y) =>
        x.family === y.family && (x.hostIp === undefined || y.hostIp === undefined || x.hostIp === y.hostIp),
    ),
  )
}

/** Do two mappings of one pod contradict each other? The one for a single address goes before that for all. */
export function contradict(a: PortMapping, b: PortMapping): boolean {
  if (!samePort(a, b) || a.containerPort === b.containerPort) return false
  return bindings(a).some((x) => bindings(b).some((y) => x.family === y.family && x.hostIp === y.hostIp))
}

/** As messages name it: `127.0.0.1:8080/tcp`, `8080/tcp`. */
export function hostPortLabel({ hostIp, hostPort, protocol }: PortMapping): string {
  const address = hostIp.includes(':') ? `[${hostIp}]` : hostIp
  return `${address === '' ? '' : `${address}:`}${hostPort}/${protocol}`
}

/** Where each wanted port leads to. Throws `invalid` for a host_ip of a family of which the pod has no address. */
export function planHostPorts(
  podId: string,
  wanted: readonly PortMapping[],
  { ips, subnets, interfaces }: PodAddresses,
): PodHostPorts {
  const podIp = (family: IpFamily) => ips.find((ip) => familyOf(ip) === family)
  const ports = new Map<string, HostPort>()
  for (const mapping of wanted) {
    const { protocol, hostPort, containerPort: podPort } = mapping
    for (const { family, hostIp } of bindings(mapping)) {
      const ip = podIp(family)
      if (ip === undefined && mapping.hostIp === '') continue
      if (ip === undefined)
        throw new Fault(
          'invalid',
          `config.port_mappings: ${hostPortLabel(mapping)}: the pod has no IPv${family} address, only ${ips.join(', ')}`,
        )
      const port = { family, protocol, hostPort, podIp: ip, podPort }
      const key = `${family} ${protocol} ${hostIp ?? ''} ${hostPort}`
      ports.set(key, hostIp === undefined ? port : { ...port, hostIp })
    }
  }
  const outside = interfaces.filter((i) => i.sandbox === undefined).map((i) => i.name)
  return { podId, ports: [...ports.values()], subnets, interfaces: outside }
}
