// SPDX-License-Identifier: Apache-2.0
/**
 * Host: the outside world on one page. The engine knows only these interfaces, `compose.ts` builds them, and
 * the fault tests put a book-keeping fake in their place. Each member's own file states the contract of its
 * verbs; the tag here says what an abort does to them.
 */
import type { Scope } from '../base/scope.ts'
import type { HostFacts } from '../model/facts.ts'
import type { ContainerId, UnixNanos } from '../model/ids.ts'
import type { ContainerPaths } from '../model/names.ts'
import type { ProcessId } from '../model/pod.ts'
import type { ProcessUser, RequestedUser } from '../model/security.ts'
import type { Cdi } from './cdi.ts'
import type { Cgroups } from './cgroup/cgroups.ts'
import type { Readings } from './cgroup/readings.ts'
import type { Network } from './cni/network.ts'
import type { Files } from './files.ts'
import type { Hooks } from './hooks.ts'
import type { Hostports } from './hostports/hostports.ts'
import type { Idmaps } from './mounts/idmap.ts'
import type { Rootfs } from './mounts/overlay.ts'
import type { ImageVolumes } from './mounts/volumes.ts'
import type { Namespaces } from './namespaces.ts'
import type { OciRuntime } from './oci-runtime/runtime.ts'
import type { Processes } from './processes.ts'
import type { Security } from './security/security.ts'
import type { Streams } from './streaming/streams.ts'

export type {
  Cgroups,
  Files,
  Hostports,
  Idmaps,
  ImageVolumes,
  Namespaces,
  Network,
  OciRuntime,
  Processes,
  Rootfs,
  Streams,
}

export interface MonitorStart {
  readonly id: ContainerId
  readonly paths: ContainerPaths
  readonly runtime: OciRuntime
  readonly logPath: string | undefined
  readonly tty: boolean
  readonly stdin: boolean
  readonly stdinOnce: boolean
  /** Whose the pipes of the container and of its execs are: its root, where that is not the node's. */
  readonly stdioOwner?: { readonly uid: number; readonly gid: number }
  readonly oomFiles: readonly string[]
}

export interface ExecRequest {
  /** OCI process document. */
  readonly process: object
  /** Reads the runtime's log when it refuses: `OciRuntime.failure`. */
  readonly failure: OciRuntime['failure']
  /** 0 = none. After it the whole process tree is killed and reaped before the exit is told. */
  readonly timeoutMs: number
  /** Per stream; the rest is read and discarded. */
  readonly maxOutputBytes: number
}

export interface ExecResult {
  readonly code: number
  readonly stdout: Buffer
  readonly stderr: Buffer
  readonly timedOut: boolean
}

/** A live connection to a container's monitor. */
export interface MonitorLink {
  readonly process: ProcessId
  /** Resolves when the monitor has gone: the exit file, if any, is complete by then. Never rejects. */
  readonly closed: Promise<void>
}

/** Asked about each monitor at the moment of its end, so that one that has just been started is known. */
export type Keep = Pick<ReadonlySet<string>, 'has'>

export interface Monitors {
  /** Spawns the monitor, which runs the runtime's `create`. Fault reason `bad-command`: see oci-runtime/failure. */
  start(scope: Scope, options: MonitorStart): Promise<MonitorLink>
  /** Connects to a monitor that runs already; undefined when there is none. */
  connect(scope: Scope, paths: ContainerPaths): Promise<MonitorLink | undefined>
  reopenLog(scope: Scope, paths: ContainerPaths): Promise<void>
  exec(scope: Scope, paths: ContainerPaths, request: ExecRequest): Promise<ExecResult>
  /** Kills monitors (and runtimes at work) of container ids that `keep` does not hold. */
  sweep(scope: Scope, keep: Keep): Promise<void>
}

export interface ExitFile {
  readonly code: number
  readonly oomKilled: boolean
  readonly exitedAtNs: bigint
}

export interface Clock {
  now(): UnixNanos
}

export interface Host {
  /** Frozen at start. @abort finishes */
  readonly facts: HostFacts
  /** @abort finishes */
  readonly clock: Clock
  /** Name of the node, for pods on its network. @abort finishes */
  readonly nodeName: string
  /** @abort finishes */
  readonly files: Files
  /** @abort finishes */
  readonly namespaces: Namespaces
  /** @abort finishes */
  readonly cgroups: Cgroups
  /** @abort finishes */
  readonly readings: Readings
  /** @abort finishes */
  readonly rootfs: Rootfs
  /** @abort finishes */
  readonly imageVolumes: ImageVolumes
  /** @abort finishes */
  readonly idmaps: Idmaps
  /** @abort kills */
  readonly network: Network
  /** @abort kills */
  readonly hostports: Hostports
  /** @abort stops */
  readonly processes: Processes
  /** @abort kills */
  readonly monitors: Monitors
  /** The runtime of a handler; Fault `not-found` for an unknown name; '' is the default. @abort finishes */
  readonly runtime: (handler: string) => OciRuntime
  /** @abort stops */
  readonly streams: Streams
  /** What the monitor wrote about the end of a container, if it did. @abort finishes */
  readonly exitFile: (paths: ContainerPaths) => Promise<ExitFile | undefined>
  /** Identity of a process from the image's passwd and group. @abort finishes */
  readonly user: (
    lowerDirs: readonly string[],
    asked: { readonly requested: RequestedUser; readonly imageUser: string },
  ) => Promise<ProcessUser>
  /** Can an image run 32-bit programs of this machine's architecture? @abort finishes */
  readonly smallPrograms: (lowerDirs: readonly string[]) => Promise<boolean>
  /** @abort finishes */
  readonly cdi: Cdi
  /** @abort finishes */
  readonly hooks: Hooks
  /** @abort kills */
  readonly security: Security
  /** Folder with the pause program. @abort finishes */
  readonly pauseProgram: string
}
