// SPDX-License-Identifier: Apache-2.0
/**
 * ImageStore: the images in memory and on disk, changed by one writer at a time. The disk is written first, then
 * the catalog is swapped; a reader takes the catalog as it is. A tag is at one image only, and a crash between
 * two files is mended at the next start. Does not know of pulls, containers or layers on disk.
 */
import { Fault } from '../../base/fault.ts'
import { KeyedLock } from '../../base/keyed-lock.ts'
import type { Scope } from '../../base/scope.ts'
import type { ImageRecords, KeptBlobs, RecordProblem } from '../../host/images/records.ts'
import { type ImageBlobs, type ImageRecord, removeTag } from '../../model/image.ts'
import type { Digest, ImageId } from '../../model/reference.ts'
import type { ShortNames } from '../../model/short-names.ts'
import { type ImageCatalog, imageCatalog } from './catalog.ts'

export interface Change {
  readonly put?: readonly ImageRecord[]
  readonly drop?: readonly ImageId[]
  /** Of the first of `put`. */
  readonly blobs?: ImageBlobs
}

export interface StoreDeps {
  readonly records: ImageRecords
  readonly isPinned: (name: string) => boolean
  readonly nowNs: () => bigint
}

export class ImageStore {
  readonly #deps: StoreDeps
  readonly #lock = new KeyedLock()
  #catalog: ImageCatalog = imageCatalog([])

  constructor(deps: StoreDeps) {
    this.#deps = deps
  }

  /** The images as they are now. */
  get catalog(): ImageCatalog {
    return this.#catalog
  }

  /** From now on names without a registry mean this. */
  setShortNames(shortNames: ShortNames): void {
    this.#catalog = Object.freeze({ ...this.#catalog, shortNames })
  }

  /** The bytes of configuration and manifest; undefined if they were not kept or are damaged. @abort finishes */
  blobs(record: ImageRecord): Promise<KeptBlobs | undefined> {
    return record.local ? Promise.resolve(undefined) : this.#deps.records.blobs(record)
  }

  /**
   * Reads all records. An image whose layers are not all in `layers` is hidden: the next pull of it fetches what
   * is missing. Returns which records could not be read. @abort finishes
   */
  async load(layers: ReadonlySet<Digest>): Promise<readonly RecordProblem[]> {
    const { records, problems } = await this.#deps.records.readAll()
    const owners = new Map<string, ImageRecord>()
    for (const record of [...records].sort((a, b) => (a.pulledAtNs < b.pulledAtNs ? -1 : 1))) {
      if (!record.hidden) for (const tag of record.repoTags) owners.set(tag, record)
    }
    const mended: ImageRecord[] = []
    for (const record of records) {
      let next = record.repoTags.reduce(
        (r, tag) => ((owners.get(tag) ?? record) === record ? r : removeTag(r, tag)),
        record,
      )
      const missing = next.layers.find((layer) => !layers.has(layer.chainId))
      if (!missing && next.hidden?.why === 'broken') {
        const { hidden: _, ...whole } = next
        next = whole
      }
      if (missing && !next.hidden) next = { ...next, hidden: { why: 'broken', atNs: this.#deps.nowNs() } }
      if (next !== record) await this.#deps.records.write(next)
      mended.push(this.#pin(next))
    }
    this.#catalog = imageCatalog(mended, this.#catalog.shortNames)
    return problems
  }

  /**
   * Makes one change that `decide` derives from the catalog as it is then; no other change comes between. It is
   * visible when this returns, and durable unless it brings a new image, which is after the next `settle`. If the scope ends meanwhile, it is taken back and thrown as the
   * scope's fault: nothing appears after the caller has gone. @abort stops while waiting, else finishes
   */
  async change<T>(
    scope: Scope,
    decide: (catalog: ImageCatalog) => Change & { readonly value: T },
  ): Promise<T> {
    using _ = await this.#lock.exclusive(scope, 'images')
    const before = this.#catalog
    const change = decide(before)
    try {
      await this.#write(change)
    } catch (e) {
      // It may have come to the disk all the same, or in part.
      await this.#write(inverse(before, change)).catch(() => {})
      throw e
    }
    if (scope.signal.aborted) {
      await this.#write(inverse(before, change))
      throw scope.signal.reason instanceof Fault
        ? scope.signal.reason
        : new Fault('cancelled', 'the caller went away')
    }
    const next = new Map(before.byId)
    for (const record of change.put ?? []) next.set(record.id, this.#pin(record))
    for (const id of change.drop ?? []) next.delete(id)
    this.#catalog = imageCatalog(next.values(), this.#catalog.shortNames)
    return change.value
  }

  /** Whether an image is pinned follows from the configuration of today, not from that of its pull. */
  #pin(record: ImageRecord): ImageRecord {
    const pinned = [...record.repoTags, ...record.repoDigests].some(this.#deps.isPinned)
    return pinned === record.pinned ? record : { ...record, pinned }
  }

  /** A new image may be lost with the power, a tag of an old one may not. */
  #how(record: ImageRecord, { blobs, put }: Change) {
    return blobs ? { blobs, sync: this.#catalog.byId.has(record.id) || put?.length !== 1 } : {}
  }

  /** Puts come in the order given: the new owner of a tag before the one that loses it. */
  async #write(change: Change): Promise<void> {
    const { records } = this.#deps
    for (const [i, record] of (change.put ?? []).entries())
      if (!record.local) await records.write(record, i === 0 ? this.#how(record, change) : {})
    for (const id of change.drop ?? []) if (!this.#catalog.byId.get(id)?.local) await records.remove(id)
  }
}

function inverse(before: ImageCatalog, change: Change): Change {
  const ids = [...(change.put ?? []).map((r) => r.id), ...(change.drop ?? [])]
  const old = ids.flatMap((id) => before.byId.get(id) ?? [])
  return { put: old, drop: ids.filter((id) => !before.byId.has(id)) }
}
