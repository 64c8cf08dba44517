// SPDX-License-Identifier: Apache-2.0
/**
 * A pod sandbox as a value: what was asked (PodConfig), what never changes (PodRecord), what does (PodState),
 * and the transitions between states. Illegal orders do not compile, or throw `wrong-state`.
 */
import { Fault } from '../base/fault.ts'
import type { PodId, UnixNanos } from './ids.ts'
import { type PodCgroup, podKey } from './names.ts'
import type { PodResources, Resources } from './resources.ts'
import type { SecurityProfile, SelinuxOptions } from './security.ts'

export interface PodMetadata {
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly attempt: number
}

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly containerPort: number
  readonly hostPort: number
  readonly hostIp: string
}

export interface DnsConfig {
  readonly servers: readonly string[]
  readonly searches: readonly string[]
  readonly options: readonly string[]
}

/** The ids 0 to `length` - 1 of a user namespace are these of the node. */
export interface IdRange {
  readonly hostId: number
  readonly length: number
}

export interface UserMapping {
  readonly uids: IdRange
  readonly gids: IdRange
}

export interface PodNamespaces {
  /** A user namespace of the pod's own; absent: the node's. */
  readonly user?: UserMapping
  readonly network: 'pod' | 'node'
  readonly pid: 'pod' | 'container' | 'node'
  readonly ipc: 'pod' | 'node'
}

export interface PodConfig {
  readonly metadata: PodMetadata
  readonly hostname: string
  readonly logDirectory: string
  readonly dns: DnsConfig | undefined
  readonly portMappings: readonly PortMapping[]
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly cgroupParent: string
  readonly sysctls: Readonly<Record<string, string>>
  readonly namespaces: PodNamespaces
  readonly privileged: boolean
  readonly seccomp: SecurityProfile
  readonly selinux?: SelinuxOptions
  readonly overhead: Resources | undefined
  readonly resources: Resources | undefined
}

export interface PodRecord {
  readonly id: PodId
  readonly handler: string
  readonly config: PodConfig
  readonly cgroup: PodCgroup
  readonly createdAt: UnixNanos
  /** Hash of the request: a second one with the same name and hash is the same request. */
  readonly requestHash: string
  readonly bootId: string
  /** What its containers have in common; absent without SELinux. */
  readonly selinuxLevel?: string
}

/** A process that cannot be mistaken for another after pid reuse or a reboot. */
export interface ProcessId {
  readonly bootId: string
  readonly pid: number
  readonly startTicks: bigint
}

export type PodState =
  | { readonly phase: 'creating' }
  | { readonly phase: 'ready'; readonly ips: readonly string[]; readonly pause?: ProcessId }
  | { readonly phase: 'stopped'; readonly at: UnixNanos }
  | { readonly phase: 'leftover'; readonly why: string; readonly unfinished: readonly string[] }

export interface Pod {
  readonly record: PodRecord
  readonly state: PodState
  /** Set by UpdatePodSandboxResources; absent: as the request said. */
  readonly resources?: PodResources
  /** Stopped, with releases that have failed: a further Stop tries them again. Known to this daemon only. */
  readonly unreleased?: true
}

export function ready(ips: readonly string[], pause?: ProcessId): PodState {
  return pause ? { phase: 'ready', ips, pause } : { phase: 'ready', ips }
}

export function stopped(at: UnixNanos): PodState {
  return { phase: 'stopped', at }
}

export function podLeftover(why: string, unfinished: readonly string[]): PodState {
  return { phase: 'leftover', why, unfinished }
}

/** Only whole pods are shown: what is being made, or is waiting to be cleaned up, is not. */
export function podVisible(pod: Pod): boolean {
  return pod.state.phase === 'ready' || pod.state.phase === 'stopped'
}

export function expectReady(pod: Pod): Extract<PodState, { phase: 'ready' }> {
  if (pod.state.phase === 'ready') return pod.state
  throw new Fault('wrong-state', `pod sandbox ${podLabel(pod.record)} is ${pod.state.phase}, expected ready`)
}

/** A pod as messages name it: namespace/name and the short id. */
export function podLabel(record: PodRecord): string {
  const m = record.config.metadata
  return `${m.namespace}/${m.name} (${record.id.slice(0, 13)})`
}

/** What holds now: the last update, else the request. */
export function podResources(pod: Pod): PodResources {
  return pod.resources ?? { overhead: pod.record.config.overhead, resources: pod.record.config.resources }
}

export function keyOfPod(record: PodRecord): string {
  return podKey(record.config.metadata)
}
