// SPDX-License-Identifier: Apache-2.0
/** Engine: what gantry does, as the edge sees it. Reads answer from memory at once; verbs take a Scope. */
import type { HeldLock } from '../base/keyed-lock.ts'
import type { Scope } from '../base/scope.ts'
import type { Container } from '../model/container.ts'
import type { HostFacts } from '../model/facts.ts'
import type { Pod } from '../model/pod.ts'
import type { Resources } from '../model/resources.ts'
import type { CreateContainer } from './containers/create.ts'
import type { ExecSync } from './containers/exec-sync.ts'
import type { Attach, Exec } from './containers/session.ts'
import type { StopContainer } from './containers/stop.ts'
import type { ContainerDetails, PodDetails } from './details.ts'
import type { Events } from './events.ts'
import type { Images } from './images/images.ts'
import type { PortForward } from './pods/port-forward.ts'
import type { RunPod } from './pods/run.ts'
import type { UpdatePod } from './pods/update.ts'
import type { Stats } from './stats/collect.ts'

export type { Attach, CreateContainer, Exec, ExecSync, Images, PortForward, RunPod, StopContainer }

export interface Pods {
  run(scope: Scope, command: RunPod): Promise<string>
  stop(scope: Scope, id: string): Promise<void>
  remove(scope: Scope, id: string): Promise<void>
  /** By id or unique prefix; `not-found` for the unknown and for what is not whole. */
  get(id: string): Pod
  /** Whole pods only. */
  list(): readonly Pod[]
  containersOf(pod: Pod): readonly Container[]
  details(pod: Pod): Promise<PodDetails>
  /** The URL for one client. */
  portForward(scope: Scope, command: PortForward): Promise<string>
  update(scope: Scope, command: UpdatePod): Promise<void>
}

export interface Containers {
  create(scope: Scope, command: CreateContainer): Promise<string>
  start(scope: Scope, id: string): Promise<void>
  stop(scope: Scope, command: StopContainer): Promise<void>
  remove(scope: Scope, id: string): Promise<void>
  get(id: string): Container
  list(): readonly Container[]
  details(c: Container): Promise<ContainerDetails>
  update(scope: Scope, command: { readonly id: string; readonly change: Resources }): Promise<void>
  execSync(
    scope: Scope,
    command: ExecSync,
  ): Promise<{ readonly code: number; readonly stdout: Buffer; readonly stderr: Buffer }>
  reopenLog(scope: Scope, id: string): Promise<void>
  /** The URLs for one client each. */
  exec(scope: Scope, command: Exec): Promise<string>
  attach(scope: Scope, command: Attach): Promise<string>
}

export interface Health {
  readonly runtimeReady: boolean
  readonly network: {
    readonly ready: boolean
    readonly reason: string
    readonly message: string
    readonly networkName?: string
  }
}

export interface Engine {
  readonly pods: Pods
  readonly containers: Containers
  readonly images: Images
  readonly events: Events
  readonly stats: Stats
  readonly facts: HostFacts
  readonly defaultHandler: string
  health(scope: Scope): Promise<Health>
  /** What a person should look at: records in quarantine, leftovers, runtimes left out. */
  problems(): readonly string[]
  /** Locks held and calls joined, for the dump of a stuck daemon. */
  work(): { readonly locks: readonly HeldLock[]; readonly joined: number }
}
