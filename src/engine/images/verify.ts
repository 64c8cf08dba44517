// SPDX-License-Identifier: Apache-2.0
/**
 * After an unclean power-off every layer is under suspicion until it has been compared with its record. That is
 * done one layer after the other in the background; who needs a layer sooner (a container, a pull) has it looked
 * at first and waits for no other. A damaged layer is dropped and its images are hidden, so that a pull brings
 * exactly that layer again. Nothing else is touched.
 */
import { asFault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { LayerStore } from '../../host/images/layers.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { Digest } from '../../model/reference.ts'
import type { LayerCollector } from './gc.ts'
import type { ImageStore } from './store.ts'

/** Undefined: the layer is whole; else what is wrong with it. Throws when it could not look. @abort kills */
export type VerifyLayer = (scope: Scope, chainId: Digest) => Promise<string | undefined>

export interface VerifierDeps {
  readonly verify: VerifyLayer
  readonly store: ImageStore
  readonly layers: LayerStore
  readonly collector: LayerCollector
  readonly daemon: Scope
  readonly nowNs: () => bigint
}

export class LayerVerifier {
  readonly #deps: VerifierDeps
  readonly #suspects = new Set<Digest>()
  readonly #running = new Map<Digest, Promise<boolean>>()

  constructor(deps: VerifierDeps) {
    this.#deps = deps
  }

  suspect(chainIds: Iterable<Digest>): void {
    for (const chainId of chainIds) this.#suspects.add(chainId)
  }

  /** Layers that nobody has looked at yet. */
  get left(): number {
    return this.#suspects.size
  }

  /** True if all of these can be trusted; a damaged one is gone when this returns. @abort finishes */
  async ensure(chainIds: readonly Digest[]): Promise<boolean> {
    let whole = true
    for (const chainId of chainIds)
      if (this.#suspects.has(chainId)) whole = (await this.#look(chainId)) && whole
    return whole
  }

  /** Looks at all that is left; throws when it could not look at one. Ends early with the daemon. @abort stops */
  async all(): Promise<void> {
    for (const chainId of [...this.#suspects]) {
      if (this.#deps.daemon.signal.aborted) return
      await this.ensure([chainId])
    }
    await this.reveal()
  }

  #look(chainId: Digest): Promise<boolean> {
    const running = this.#running.get(chainId)
    if (running) return running
    const look = this.#verify(chainId).finally(() => this.#running.delete(chainId))
    this.#running.set(chainId, look)
    return look
  }

  async #verify(chainId: Digest): Promise<boolean> {
    const why = await this.#deps.verify(this.#deps.daemon, chainId)
    if (why !== undefined) await this.#giveUp(chainId, why)
    this.#suspects.delete(chainId)
    return why === undefined
  }

  /** Shows damaged images again whose layers are all there, because another image has brought them. Never throws. @abort finishes */
  async reveal(): Promise<void> {
    const { store, layers, daemon } = this.#deps
    const broken = store.catalog.hidden.filter((image) => image.hidden?.why === 'broken')
    if (broken.length === 0) return
    try {
      const there = new Set(await layers.list())
      await store.change(daemon, (catalog) => {
        const isWhole = (image: ImageRecord) =>
          image.layers.every(({ chainId }) => there.has(chainId) && !this.#suspects.has(chainId))
        const put = broken.flatMap((image) => {
          if (catalog.byId.get(image.id) !== image || !isWhole(image)) return []
          const { hidden: _, ...shown } = image
          return [{ ...shown, repoTags: image.repoTags.filter((tag) => !catalog.byName.has(tag)) }]
        })
        return { put, value: undefined }
      })
    } catch (e) {
      daemon.log.warn('images-not-shown-again', { error: asFault(e).message })
    }
  }

  /** First the layer goes: an image that is hidden because of it then cannot seem to be whole. */
  async #giveUp(chainId: Digest, why: string): Promise<void> {
    const { store, layers, daemon, nowNs } = this.#deps
    await layers.drop(chainId)
    const images = await store.change(daemon, (catalog) => {
      const put = catalog.all
        .filter((image) => image.layers.some((layer) => layer.chainId === chainId))
        .map((image) => ({ ...image, hidden: { why: 'broken' as const, atNs: nowNs() } }))
      return { put, value: put.length }
    })
    // Without an image it was left by a failed pull, and may have been collected meanwhile.
    if (images > 0) daemon.log.warn('layer-damaged', { layer: chainId, why, images })
    this.#deps.collector.schedule()
  }
}
