// SPDX-License-Identifier: Apache-2.0
/**
 * What a pod asks of its network, turned into what plugins are told: CNI_ARGS, capability arguments, and the
 * JSON that one plugin reads. Pure. Refuses values that could smuggle in another argument before anything has
 * been done. Does not parse Kubernetes annotations: the caller hands over numbers.
 */
import { isAbsolute } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { NetworkList, PluginConf } from './conf.ts'
import type { JsonObject } from './json.ts'

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly containerPort: number
  /** 0 or less: not mapped. */
  readonly hostPort: number
  readonly hostIp?: string
}

export interface IpRange {
  readonly subnet: string
  readonly rangeStart?: string
  readonly rangeEnd?: string
  readonly gateway?: string
}

export interface PodNetworkRequest {
  readonly podId: string
  /** Path that the network namespace is pinned on. */
  readonly netns: string
  readonly podName: string
  readonly podNamespace: string
  readonly podUid: string
  readonly portMappings: readonly PortMapping[]
  /** Bits per second, as the bandwidth annotations have them. */
  readonly bandwidth?: { readonly ingressBps?: bigint; readonly egressBps?: bigint }
  readonly dns?: {
    readonly servers: readonly string[]
    readonly searches: readonly string[]
    readonly options: readonly string[]
  }
  readonly cgroupPath?: string
  readonly annotations: Readonly<Record<string, string>>
  /** One list of ranges an address that is wanted. */
  readonly ipRanges?: readonly (readonly IpRange[])[]
}

/** What stays the same over ADD, CHECK and DEL of one attachment; this is what the record keeps. */
export interface Invocation {
  readonly containerId: string
  readonly netns: string
  readonly ifName: string
  /** CNI_ARGS. */
  readonly args: string
  /** By capability name; only what the pod asks for. */
  readonly capabilityArgs: JsonObject
}

export const IF_NAME = 'eth0'
/** The largest burst that the bandwidth plugin takes: no limit but the rate. */
const MAX_BURST_BITS = 4_294_967_295
const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/

/** Checks the request and works out the invocation. Throws Fault('invalid') naming the field. */
export function toInvocation(request: PodNetworkRequest): Invocation {
  if (!CONTAINER_ID.test(request.podId)) {
    throw new Fault('invalid', `pod id ${JSON.stringify(request.podId)} cannot be a CNI container id`)
  }
  if (!isAbsolute(request.netns) || request.netns.includes('\0')) {
    throw new Fault('invalid', `network namespace path ${JSON.stringify(request.netns)} is not absolute`)
  }
  return {
    containerId: request.podId,
    netns: request.netns,
    ifName: IF_NAME,
    args: formatArgs([
      ['K8S_POD_NAMESPACE', request.podNamespace],
      ['K8S_POD_NAME', request.podName],
      ['K8S_POD_INFRA_CONTAINER_ID', request.podId],
      ['K8S_POD_UID', request.podUid],
    ]),
    capabilityArgs: capabilityArgs(request),
  }
}

function formatArgs(pairs: readonly (readonly [name: string, value: string])[]): string {
  const parts = ['IgnoreUnknown=1']
  for (const [name, value] of pairs) {
    // The list is split at ';' and then at '=': either in a value would be another argument, or a broken one.
    if (/[;=\0\n]/.test(value)) {
      throw new Fault(
        'invalid',
        `${name} ${JSON.stringify(value)} holds ';', '=', a newline or NUL: it cannot be a CNI argument`,
      )
    }
    parts.push(`${name}=${value}`)
  }
  return parts.join(';')
}

function capabilityArgs(request: PodNetworkRequest): JsonObject {
  const ports = request.portMappings.filter((p) => p.hostPort > 0)
  const { bandwidth, dns } = request
  const limits = { ...rate('ingress', bandwidth?.ingressBps), ...rate('egress', bandwidth?.egressBps) }
  const all: Record<string, unknown> = {
    portMappings: ports.length === 0 ? undefined : ports.map(toPortMapping),
    bandwidth: Object.keys(limits).length === 0 ? undefined : limits,
    dns: dns && dns.servers.length + dns.searches.length + dns.options.length > 0 ? { ...dns } : undefined,
    cgroupPath: request.cgroupPath === '' ? undefined : request.cgroupPath,
    ipRanges: request.ipRanges && request.ipRanges.length > 0 ? request.ipRanges : undefined,
    'io.kubernetes.cri.pod-annotations':
      Object.keys(request.annotations).length === 0 ? undefined : request.annotations,
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

function toPortMapping(p: PortMapping): JsonObject {
  return {
    hostPort: p.hostPort,
    containerPort: p.containerPort,
    protocol: p.protocol,
    ...(p.hostIp ? { hostIP: p.hostIp } : {}),
  }
}

function rate(way: 'ingress' | 'egress', bps: bigint | undefined): JsonObject {
  if (bps === undefined || bps <= 0n) return {}
  if (bps > BigInt(Number.MAX_SAFE_INTEGER))
    throw new Fault('invalid', `${way} bandwidth ${bps} is too large`)
  return { [`${way}Rate`]: Number(bps), [`${way}Burst`]: MAX_BURST_BITS }
}

/** Capabilities that the pod asks for and no plugin of the list declares, of those whose absence is felt. */
export function unserved(list: NetworkList, invocation: Invocation): string[] {
  const declared = new Set(list.plugins.flatMap((p) => p.capabilities))
  return ['portMappings', 'bandwidth', 'ipRanges'].filter(
    (name) => invocation.capabilityArgs[name] !== undefined && !declared.has(name),
  )
}

/**
 * The JSON for one plugin's stdin: its own object unchanged, without `capabilities`, with the list's name and
 * version, the capability arguments that it declares, and the previous result if there is one.
 */
export function pluginInput(
  list: NetworkList,
  plugin: PluginConf,
  extra: {
    readonly capabilityArgs?: JsonObject
    readonly prevResult?: JsonObject | undefined
    readonly fields?: JsonObject
  },
): JsonObject {
  const { capabilities: _, runtimeConfig: __, prevResult: ___, ...own } = plugin.raw
  const runtimeConfig: Record<string, unknown> = {}
  for (const name of plugin.capabilities) {
    const value = extra.capabilityArgs?.[name]
    if (value !== undefined) runtimeConfig[name] = value
  }
  return {
    ...own,
    cniVersion: list.cniVersion,
    name: list.name,
    ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
    ...(extra.prevResult === undefined ? {} : { prevResult: extra.prevResult }),
    ...extra.fields,
  }
}
