// SPDX-License-Identifier: Apache-2.0
/** What every verb of the engine is given: the host, the roots, the catalog, the store, and its locks. */
import type { KeyedLock } from '../base/keyed-lock.ts'
import type { Scope } from '../base/scope.ts'
import type { SharedTasks } from '../base/shared-task.ts'
import type { Host } from '../host/index.ts'
import type { AbsPath } from '../model/ids.ts'
import type { Roots } from '../model/names.ts'
import type { ImageProcess } from '../model/plan/spec/process.ts'
import type { Catalog } from './state/catalog.ts'
import type { Store } from './state/store.ts'

/** What containers need of the image half. */
export interface ImageSource {
  /** The image by name, digest, id or prefix; Fault `not-found`. */
  resolve(reference: string): {
    readonly id: string
    readonly ref: string
    readonly user: string
    readonly stopSignal: string
    readonly process: ImageProcess
    /** Layer folders, topmost first. */
    readonly lowerDirs: readonly string[]
    /** While held, the image cannot be removed: until the container's record names it. */
    hold(who: string): Disposable
  }
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
