// SPDX-License-Identifier: Apache-2.0
/**
 * Which layers may go, and when: those that no image names, no pull has planned and no container mounts, after
 * the pulls in flight (on ext4 files made right after a mass delete are ten times slower). A pull leases the
 * layers it plans to use before it looks whether they are there, so none is taken from under it.
 */
import { asFault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { LayerStore } from '../../host/images/layers.ts'
import type { Digest } from '../../model/reference.ts'
import type { ImageStore } from './store.ts'

export interface LayerLease extends Disposable {
  /** From now on these layers stay; resolves when a removal that had begun is over. @abort finishes */
  add(chainIds: readonly Digest[]): Promise<void>
}

export class LayerCollector {
  readonly #store: ImageStore
  readonly #layers: LayerStore
  readonly #daemon: Scope
  readonly #mounted: () => Iterable<string>
  readonly #leases = new Set<Set<Digest>>()
  #dropping: Promise<void> = Promise.resolve()
  #wanted = false
  #running: Promise<void> | undefined

  constructor(deps: {
    readonly store: ImageStore
    readonly layers: LayerStore
    readonly daemon: Scope
    /** Layer folders that containers have mounted. */
    readonly mounted: () => Iterable<string>
  }) {
    this.#store = deps.store
    this.#layers = deps.layers
    this.#daemon = deps.daemon
    this.#mounted = deps.mounted
  }

  lease(): LayerLease {
    const held = new Set<Digest>()
    this.#leases.add(held)
    return {
      add: async (chainIds) => {
        for (const id of chainIds) held.add(id)
        await this.#dropping
      },
      [Symbol.dispose]: () => {
        this.#leases.delete(held)
        if (this.#wanted) this.schedule()
      },
    }
  }

  /** Collects in the background as soon as no pull is in flight. Never throws. */
  schedule(): void {
    this.#wanted = true
    if (this.#leases.size > 0 || this.#running) return
    void this.collect()
  }

  /** Collects now and waits for it; joins a collection that runs. Never throws; a failure is logged. @abort finishes */
  collect(): Promise<void> {
    this.#running ??= this.#collect().finally(() => {
      this.#running = undefined
      if (this.#wanted) this.schedule()
    })
    return this.#running
  }

  async #collect(): Promise<void> {
    this.#wanted = false
    try {
      let dropped = 0
      for (const chainId of await this.#layers.list()) {
        if (this.#daemon.signal.aborted) return
        if (this.#isNeeded(chainId)) continue
        // The check and the start of the removal are one step of the event loop: a lease comes before or after.
        this.#dropping = this.#layers.drop(chainId)
        await this.#dropping
        dropped++
      }
      if (dropped > 0) this.#daemon.log.info('layers-removed', { layers: dropped })
      await this.#layers.emptyTrash()
    } catch (e) {
      this.#daemon.log.warn('layers-not-removed', { error: asFault(e).message })
    } finally {
      this.#dropping = Promise.resolve()
    }
  }

  #isNeeded(chainId: Digest): boolean {
    for (const held of this.#leases) if (held.has(chainId)) return true
    if (this.#store.catalog.all.some((image) => image.layers.some((layer) => layer.chainId === chainId)))
      return true
    const folder = this.#layers.fsOf(chainId)
    for (const mounted of this.#mounted()) if (mounted === folder) return true
    return false
  }
}
