// SPDX-License-Identifier: Apache-2.0
/**
 * A container as a value: what was asked (ContainerConfig), what never changes (ContainerRecord), what does
 * (ContainerState: a state holds exactly what is known in it), and the transitions.
 */
import { Fault } from '../base/fault.ts'
import type { AbsPath, ContainerId, PodId, UnixNanos } from './ids.ts'
import type { ProcessId, UserMapping } from './pod.ts'
import type { Resources } from './resources.ts'
import type {
  CapabilityChange,
  ProcessUser,
  RequestedUser,
  SecurityProfile,
  SelinuxOptions,
} from './security.ts'

export interface ContainerMetadata {
  readonly name: string
  readonly attempt: number
}

export type MountPropagation = 'private' | 'host-to-container' | 'bidirectional'

/** What an image volume is of: the image's files, or one file or folder in them. */
export interface VolumeRequest {
  readonly image: string
  readonly userSpecifiedImage: string
  /** Relative; '' for all of it. */
  readonly subPath: string
}

export interface MountRequest {
  readonly containerPath: string
  /** '' for an image volume. */
  readonly hostPath: string
  /** Set: an image volume, which is read-only and private. */
  readonly image?: VolumeRequest
  readonly readonly: boolean
  readonly recursiveReadOnly: boolean
  readonly selinuxRelabel: boolean
  readonly propagation: MountPropagation
  /** Owners are shown by this mapping, which is that of the pod. */
  readonly idmap?: UserMapping
  readonly options?: readonly MountOption[]
}

/** What mount_options may say (cri-api, RuntimeFeatures.mount_options). */
export const MOUNT_OPTIONS = ['noexec', 'nodev', 'nosuid'] as const
export type MountOption = (typeof MOUNT_OPTIONS)[number]

export interface DeviceRequest {
  readonly containerPath: string
  readonly hostPath: string
  readonly permissions: string
}

export interface EnvVar {
  readonly name: string
  /** UTF-8 only: bundles are JSON, which cannot hold other bytes. */
  readonly value: string
}

export type PidMode =
  | { readonly mode: 'pod' | 'container' | 'node' }
  | { readonly mode: 'target'; readonly target: string }

export interface ContainerSecurity {
  readonly privileged: boolean
  readonly capabilities: CapabilityChange
  readonly user: RequestedUser
  readonly readonlyRootfs: boolean
  readonly noNewPrivs: boolean
  readonly maskedPaths: readonly string[]
  readonly readonlyPaths: readonly string[]
  readonly seccomp: SecurityProfile
  readonly apparmor: SecurityProfile
  readonly selinux?: SelinuxOptions
  readonly pid: PidMode
  /** What the container says of the pod's user namespace; absent: nothing. */
  readonly userns?: UserMapping | 'node'
}

export interface ContainerConfig {
  readonly metadata: ContainerMetadata
  readonly image: string
  readonly userSpecifiedImage: string
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly workingDir: string
  readonly env: readonly EnvVar[]
  readonly mounts: readonly MountRequest[]
  readonly devices: readonly DeviceRequest[]
  /** Qualified names, each once; absent without any. */
  readonly cdiDevices?: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly logPath: string
  readonly stdin: boolean
  readonly stdinOnce: boolean
  readonly tty: boolean
  readonly resources: Resources
  readonly security: ContainerSecurity
  /** Number of the signal, or undefined for the image's. */
  readonly stopSignal: number | undefined
}

export interface ImageVolume {
  readonly mount: number
  readonly imageId: string
}

export interface ContainerRecord {
  readonly id: ContainerId
  readonly pod: PodId
  readonly handler: string
  readonly config: ContainerConfig
  readonly imageId: string
  /** `name@digest` of the image, else its id: what the CRI calls image_ref. */
  readonly imageRef: string
  /** Which image each image volume is of, by the index of its mount; absent without any. */
  readonly volumes?: readonly ImageVolume[]
  readonly logPath: AbsPath | undefined
  readonly cgroup: AbsPath
  readonly user: ProcessUser
  readonly stopSignal: number
  readonly createdAt: UnixNanos
  readonly requestHash: string
  readonly bootId: string
}

export interface Exit {
  /** 0–255; 128 + signal for a signal; 255 when it could not be learned. */
  readonly code: number
  readonly at: UnixNanos
  readonly reason: 'Completed' | 'Error' | 'OOMKilled' | 'StartError' | 'ContainerStatusUnknown'
  readonly message: string
}

export type ContainerState =
  | { readonly phase: 'creating' }
  | {
      readonly phase: 'created'
      readonly process: ProcessId | undefined
      /** The program cannot be started: Start will say so, with code 128. Only then there is no process. */
      readonly startError?: string
    }
  | { readonly phase: 'running'; readonly startedAt: UnixNanos; readonly process: ProcessId }
  | { readonly phase: 'exited'; readonly startedAt: UnixNanos | undefined; readonly exit: Exit }
  | { readonly phase: 'leftover'; readonly why: string; readonly unfinished: readonly string[] }

export type Phase = ContainerState['phase']

export interface Container {
  readonly record: ContainerRecord
  readonly state: ContainerState
  /** What the cgroup has now: the request's, changed by UpdateContainerResources. */
  readonly resources: Resources
}

export function created(process: ProcessId | undefined, startError?: string): ContainerState {
  return startError === undefined ? { phase: 'created', process } : { phase: 'created', process, startError }
}

export function running(process: ProcessId, startedAt: UnixNanos): ContainerState {
  return { phase: 'running', process, startedAt }
}

/** The end of a container from `created` or `running`; an exited one stays as it is. */
export function exited(from: ContainerState, exit: Exit): ContainerState {
  switch (from.phase) {
    case 'running':
      return { phase: 'exited', startedAt: from.startedAt, exit }
    case 'created':
      return { phase: 'exited', startedAt: undefined, exit }
    case 'exited':
      return from
    case 'creating':
    case 'leftover':
      throw new Fault('wrong-state', `a container that is ${from.phase} cannot exit`)
    default:
      return from satisfies never
  }
}

export function containerLeftover(why: string, unfinished: readonly string[]): ContainerState {
  return { phase: 'leftover', why, unfinished }
}

/** What the monitor wrote, as an Exit. */
export function exitOf(file: { code: number; oomKilled: boolean; exitedAtNs: bigint }): Exit {
  const reason = file.oomKilled ? 'OOMKilled' : file.code === 0 ? 'Completed' : 'Error'
  return { code: file.code, at: file.exitedAtNs as UnixNanos, reason, message: '' }
}

/** The exit of a container whose monitor is gone without a word. */
export function unknownExit(at: UnixNanos, message: string): Exit {
  return { code: 255, at, reason: 'ContainerStatusUnknown', message }
}

/** Ids of the images that the container has mounted as volumes, each once. */
export function volumeImages(record: ContainerRecord): readonly string[] {
  return [...new Set((record.volumes ?? []).map((v) => v.imageId))]
}

/** Ids of all images that the container needs: the one it is made from, and those of its volumes. */
export function imagesOf(record: ContainerRecord): readonly string[] {
  return [record.imageId, ...volumeImages(record)]
}

export function containerVisible(c: Container): boolean {
  return c.state.phase === 'created' || c.state.phase === 'running' || c.state.phase === 'exited'
}

/** The state narrowed to `phase`, or `wrong-state` that names both. */
export function expectPhase<P extends Phase>(c: Container, phase: P): Extract<ContainerState, { phase: P }> {
  const state = c.state
  if (isPhase(state, phase)) return state
  throw new Fault('wrong-state', `container ${containerLabel(c.record)} is ${state.phase}, expected ${phase}`)
}

function isPhase<P extends Phase>(s: ContainerState, phase: P): s is Extract<ContainerState, { phase: P }> {
  return s.phase === phase
}

export function containerLabel(record: ContainerRecord): string {
  return `${record.config.metadata.name} (${record.id.slice(0, 13)})`
}

/** pid of the container's first process as the host sees it, while there is one. */
export function containerPid(c: Container): number | undefined {
  return c.state.phase === 'running' || c.state.phase === 'created' ? c.state.process?.pid : undefined
}
