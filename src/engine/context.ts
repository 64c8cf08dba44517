// SPDX-License-Identifier: Apache-2.0
/** What every verb of the engine is given: the host, the roots, the catalog, the store, and its locks. */
import type { KeyedLock } from '../base/keyed-lock.ts'
import type { Scope } from '../base/scope.ts'
import type { SharedTasks } from '../base/shared-task.ts'
import type { Host } from '../host/index.ts'
import type { AbsPath, ContainerId } from '../model/ids.ts'
import type { Roots } from '../model/names.ts'
import type { ImageProcess } from '../model/plan/spec/process.ts'
import type { WritableUse } from '../model/stats/usage.ts'
import type { Catalog } from './state/catalog.ts'
import type { Store } from './state/store.ts'

/** What containers need of the image half. */
export interface ImageSource {
  /** The image by name, digest, id or prefix; Fault `not-found`. */
  resolve(reference: string): {
    readonly id: string
    readonly ref: string
    /** Files of any kind, without a root file system: to be mounted, not to be run. */
    readonly isArtifact: boolean
    /** As registries name it; '' if nobody said. */
    readonly architecture: string
    readonly user: string
    readonly stopSignal: string
    /** What is to be a folder of the container's own; as the image says it, checked by nobody. */
    readonly volumes: readonly string[]
    readonly process: ImageProcess
    /** Layer folders, topmost first. */
    readonly lowerDirs: readonly string[]
    /** While held, the image's layers stay, even if it is removed: until the container's record names it. */
    hold(): Disposable
    /** Fault `not-found` if a layer turns out to be damaged: looked at after a power failure only. @abort finishes */
    whole(): Promise<void>
  }
}

export interface WritableLayers {
  /** The folder that names their disk. */
  readonly mountpoint: string
  /** Absent until it was measured. */
  of(id: ContainerId): WritableUse | undefined
}

export interface EngineOptions {
  readonly roots: Roots
  readonly defaultCgroupParent: AbsPath
  readonly defaultHandler: string
  /** How much of each of stdout and stderr ExecSync returns. */
  readonly execOutputBytes: number
}

/** Held shared by an attachment of a pod, exclusive by the collection of attachments that no pod has. */
export const NETWORK_LOCK = 'network'

export interface Context {
  readonly host: Host
  readonly options: EngineOptions
  readonly catalog: Catalog
  readonly store: Store
  readonly images: ImageSource
  /** What containers have written, as measured in the background; asking never waits. */
  writable(): WritableLayers
  /** One lock for each pod id and container id, and for each name while something is made under it. */
  readonly locks: KeyedLock
  readonly joins: SharedTasks<string>
  /** The daemon's own scope: for work that outlives a call. */
  readonly daemon: Scope
  /** 64 random hex digits. */
  newId(): string
  /** Stable hash of a decoded request. */
  hash(request: object): string
}
