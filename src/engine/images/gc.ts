// SPDX-License-Identifier: Apache-2.0
/**
 * Which layers may go, and when: those that no image names, no pull has planned and no container mounts, after
 * the pulls in flight (on ext4 files made right after a mass delete are ten times slower). A pull leases the
 * layers it plans to use before it looks whether they are there, so none is taken from under it. Layers of
 * removed images go at once; what a failed pull has brought is kept for a while, because most pulls are tried
 * again, unless the disk is nearly full. The counts follow from the records and the living containers.
 */
import { asFault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { KeptBlobs } from '../../host/images/kept-blobs.ts'
import type { LayerStore } from '../../host/images/layers.ts'
import type { Spool } from '../../host/images/spool.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { Digest, ImageId } from '../../model/reference.ts'
import type { ImageStore } from './store.ts'
import { addUsage, type ImageUsage, NO_USAGE } from './usage.ts'

export interface LayerLease extends Disposable {
  /** From now on these layers stay; resolves when a removal that had begun is over. @abort finishes */
  add(chainIds: readonly Digest[]): Promise<void>
}

/** Blobs on disk: parts that pulls could not finish, and whole ones that are kept for save and push. */
export interface BlobFiles {
  readonly parts: Pick<Spool, 'list' | 'drop'>
  readonly kept: Pick<KeptBlobs, 'list' | 'drop'>
}

export interface CollectorDeps {
  readonly store: ImageStore
  readonly layers: LayerStore
  readonly blobs: BlobFiles | undefined
  readonly daemon: Scope
  readonly nowNs: () => bigint
  /** How long what no image needs is kept, milliseconds. */
  readonly keepMs: number
  /** Then nothing is kept. */
  readonly nearlyFull: () => boolean
  /** A container is made from the image, or something holds it. */
  readonly isUsed: (id: ImageId) => boolean
  /** The image ids of all containers: while one is unknown here, any layer may be its own. */
  readonly usedImages: () => Iterable<string>
}

const NS_PER_MS = 1_000_000n
/** Rounding of file times must not make a timer run twice. */
const TIMER_SLACK_MS = 50
/** Until what could not be removed is tried again. */
const RETRY_MS = 60_000

export class LayerCollector {
  readonly #deps: CollectorDeps
  readonly #leases = new Set<Set<Digest>>()
  /** Layers of removed images: not kept. */
  readonly #freed = new Set<Digest>()
  /** Hidden images that the collection at work found to be over. */
  #gone: ReadonlySet<ImageId> = new Set()
  #dropping: Promise<void> = Promise.resolve()
  #wanted = false
  #running: Promise<ImageUsage> | undefined
  #timer: NodeJS.Timeout | undefined
  /** Blobs were left alone because a pull may have used them. */
  #spared = false
  #nextMs = Number.POSITIVE_INFINITY
  #loose: ReadonlyMap<Digest, ImageUsage> = new Map()
  #blobUsage: ImageUsage = NO_USAGE

  constructor(deps: CollectorDeps) {
    this.#deps = deps
  }

  lease(): LayerLease {
    const held = new Set<Digest>()
    this.#leases.add(held)
    return {
      add: async (chainIds) => {
        for (const id of chainIds) {
          held.add(id)
          this.#freed.delete(id)
        }
        await this.#dropping
      },
      [Symbol.dispose]: () => {
        this.#leases.delete(held)
        if (this.#wanted || this.#spared) this.schedule()
      },
    }
  }

  /** What is on disk without an image that names it, as it was at the last collection. */
  looseUsage(isNamed: (chainId: Digest) => boolean): ImageUsage {
    let sum = this.#blobUsage
    for (const [chainId, usage] of this.#loose) if (!isNamed(chainId)) sum = addUsage(sum, usage)
    return sum
  }

  /** Collects in the background as soon as no pull is in flight. Never throws. */
  schedule(): void {
    this.#wanted = true
    if (this.#running || (this.#leases.size > 0 && !this.#deps.nearlyFull())) return
    void this.collect()
  }

  /**
   * Collects now and waits for it; joins a collection that runs. Returns what became free. With `all` nothing is
   * kept for a later pull. Never throws; a failure is logged. @abort finishes
   */
  async collect(how: { readonly all: boolean } = { all: false }): Promise<ImageUsage> {
    while (how.all && this.#running) await this.#running
    this.#running ??= this.#collect(how.all).finally(() => {
      this.#running = undefined
      if (this.#wanted) this.schedule()
    })
    return this.#running
  }

  /** No collection starts by itself any more. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  async #collect(all: boolean): Promise<ImageUsage> {
    this.#wanted = false
    this.#spared = false
    this.#nextMs = Number.POSITIVE_INFINITY
    const keepMs = all || this.#deps.nearlyFull() ? 0 : this.#deps.keepMs
    let freed = NO_USAGE
    try {
      const gone = this.#deps.store.catalog.hidden.filter((r) => this.#isOver(r, keepMs))
      this.#gone = new Set(gone.map((r) => r.id))
      for (const { chainId } of gone.flatMap((r) => r.layers)) this.#freed.add(chainId)
      freed = addUsage(await this.#dropLayers(keepMs), await this.#dropBlobs(keepMs))
      await this.#forget(gone, keepMs)
      await this.#deps.layers.emptyTrash()
    } catch (e) {
      this.#deps.daemon.log.warn('layers-not-removed', { error: asFault(e).message })
      this.#lookAgainIn(RETRY_MS)
    } finally {
      this.#dropping = Promise.resolve()
      this.#gone = new Set()
    }
    clearTimeout(this.#timer)
    if (this.#nextMs < Number.POSITIVE_INFINITY)
      this.#timer = setTimeout(() => this.schedule(), Math.max(0, this.#nextMs) + TIMER_SLACK_MS).unref()
    return freed
  }

  async #dropLayers(keepMs: number): Promise<ImageUsage> {
    const { layers, daemon } = this.#deps
    const loose = new Map<Digest, ImageUsage>()
    let freed = NO_USAGE
    let count = 0
    let failure: unknown
    for (const chainId of await layers.list()) {
      if (daemon.signal.aborted) break
      if (this.#deps.store.catalog.all.some((image) => hasLayer(image, chainId))) continue
      const usage = (await layers.read(chainId)) ?? NO_USAGE
      const age = this.#ageMs((await layers.madeAtMs(chainId)) ?? 0)
      // The check and the start of the removal are one step of the event loop: a lease comes before or after.
      const needed = this.#isNeeded(chainId)
      if (needed || (age < keepMs && !this.#freed.has(chainId))) {
        loose.set(chainId, usage)
        if (!needed) this.#lookAgainIn(keepMs - age)
        continue
      }
      const dropping = layers.drop(chainId)
      this.#dropping = dropping.catch(() => {})
      try {
        await dropping
      } catch (e) {
        failure ??= e
        loose.set(chainId, usage)
        continue
      }
      this.#freed.delete(chainId)
      freed = addUsage(freed, usage)
      count++
    }
    this.#loose = loose
    if (failure !== undefined) throw failure
    if (count > 0) daemon.log.info('layers-removed', { layers: count, bytes: Number(freed.bytes) })
    return freed
  }

  /** Parts that are old, and kept blobs that no image has, unless a pull is in flight. */
  async #dropBlobs(keepMs: number): Promise<ImageUsage> {
    const { blobs, store } = this.#deps
    if (!blobs) return NO_USAGE
    const used = new Set<Digest>()
    const over = new Set<Digest>()
    for (const r of store.catalog.byId.values())
      for (const { digest } of r.layers) (r.hidden && this.#gone.has(r.id) ? over : used).add(digest)
    const [parts, kept] = await Promise.all([blobs.parts.list(), blobs.kept.list()])
    const all = [
      ...parts.map((p) => ({ ...p, drop: blobs.parts.drop, used: false })),
      ...kept.map((k) => ({ ...k, drop: blobs.kept.drop, used: used.has(k.digest) })),
    ]
    let left = NO_USAGE
    let freed = NO_USAGE
    for (const blob of all) {
      const usage = { bytes: BigInt(blob.bytes), inodes: 1n }
      const waitMs = over.has(blob.digest) ? 0 : keepMs - this.#ageMs(blob.atMs)
      const isFree = !blob.used && waitMs <= 0
      if (!isFree || this.#leases.size > 0) {
        left = addUsage(left, usage)
        if (isFree) this.#spared = true
        else if (!blob.used) this.#lookAgainIn(waitMs)
        continue
      }
      await blob.drop(blob.digest)
      freed = addUsage(freed, usage)
    }
    this.#blobUsage = left
    return freed
  }

  /** Drops the records of images that are over, unless a pull has brought one back meanwhile. */
  async #forget(gone: readonly ImageRecord[], keepMs: number): Promise<void> {
    if (gone.length === 0) return
    await this.#deps.store.change(this.#deps.daemon, (catalog) => {
      const drop = gone.flatMap(({ id }) => {
        const now = catalog.byId.get(id)
        return now && this.#isOver(now, keepMs) ? [id] : []
      })
      return { drop, value: undefined }
    })
  }

  /** A hidden image of which nothing is wanted any more. */
  #isOver({ id, hidden }: ImageRecord, keepMs: number): boolean {
    if (!hidden || this.#deps.isUsed(id)) return false
    if (hidden.why === 'removed') return true
    const left = keepMs - Number((this.#deps.nowNs() - hidden.atNs) / NS_PER_MS)
    if (left > 0) this.#lookAgainIn(left)
    return left <= 0
  }

  /** Of something made or used then; a clock that was set back does not make it young for ever. */
  #ageMs(atMs: number): number {
    return Math.abs(Number(this.#deps.nowNs() / NS_PER_MS) - atMs)
  }

  #lookAgainIn(ms: number): void {
    this.#nextMs = Math.min(this.#nextMs, ms)
  }

  #isNeeded(chainId: Digest): boolean {
    for (const held of this.#leases) if (held.has(chainId)) return true
    // One that was over when this began may have been pulled again since.
    for (const image of this.#deps.store.catalog.byId.values())
      if ((!image.hidden || !this.#gone.has(image.id)) && hasLayer(image, chainId)) return true
    if (this.#freed.has(chainId)) return false
    const known: ReadonlySet<string> = new Set(this.#deps.store.catalog.byId.keys())
    for (const id of this.#deps.usedImages()) if (!known.has(id)) return true
    return false
  }
}

const hasLayer = (image: ImageRecord, chainId: Digest): boolean =>
  image.layers.some((layer) => layer.chainId === chainId)
