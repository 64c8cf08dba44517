// SPDX-License-Identifier: Apache-2.0
/**
 * ImageStore: the images in memory and on disk, changed by one writer at a time. The disk is written first, then
 * the catalog is swapped; a reader takes the catalog as it is. A tag is at one image only, and a crash between
 * two files is mended at the next start. Does not know of pulls, containers or layers on disk.
 */
import { Fault } from '../../base/fault.ts'
import { KeyedLock } from '../../base/keyed-lock.ts'
import type { Scope } from '../../base/scope.ts'
import type { ImageRecords, RecordProblem } from '../../host/images/records.ts'
import { type ImageRecord, removeTag } from '../../model/image.ts'
import type { Digest, ImageId } from '../../model/reference.ts'
import { type ImageCatalog, imageCatalog } from './catalog.ts'

export interface Change {
  readonly put?: readonly ImageRecord[]
  readonly drop?: readonly ImageId[]
}

export class ImageStore {
  readonly #records: ImageRecords
  readonly #lock = new KeyedLock()
  #catalog: ImageCatalog = imageCatalog([])

  constructor(records: ImageRecords) {
    this.#records = records
  }

  /** The images as they are now. */
  get catalog(): ImageCatalog {
    return this.#catalog
  }

  /**
   * Reads all records. An image whose layers are not all in `layers` is set aside: the next pull of it fetches
   * what is missing. Returns what a person should know. @abort finishes
   */
  async load(layers: ReadonlySet<Digest>): Promise<RecordProblem[]> {
    const { records, problems } = await this.#records.readAll()
    const told: RecordProblem[] = [...problems]
    const whole: ImageRecord[] = []
    for (const record of records) {
      const missing = record.layers.find((layer) => !layers.has(layer.chainId))
      if (!missing) {
        whole.push(record)
        continue
      }
      told.push({ file: record.id, why: `layer ${missing.chainId} is missing: pull the image again` })
      await this.#records.setAside(record.id)
    }
    const owners = new Map<string, ImageRecord>()
    for (const record of whole.sort((a, b) => (a.pulledAtNs < b.pulledAtNs ? -1 : 1))) {
      for (const tag of record.repoTags) owners.set(tag, record)
    }
    const mended = whole.map((record) =>
      record.repoTags.reduce((r, tag) => (owners.get(tag) === record ? r : removeTag(r, tag)), record),
    )
    for (const [i, record] of mended.entries()) if (record !== whole[i]) await this.#records.write(record)
    this.#catalog = imageCatalog(mended)
    return told
  }

  /**
   * Makes one change that `decide` derives from the catalog as it is then; no other change comes between. It is
   * durable and visible when this returns. If the scope ends meanwhile, it is taken back and thrown as the
   * scope's fault: nothing appears after the caller has gone. @abort stops while waiting, else finishes
   */
  async change<T>(
    scope: Scope,
    decide: (catalog: ImageCatalog) => Change & { readonly value: T },
  ): Promise<T> {
    using _ = await this.#lock.exclusive(scope, 'images')
    const before = this.#catalog
    const change = decide(before)
    await this.#write(change)
    if (scope.signal.aborted) {
      await this.#write(inverse(before, change))
      throw scope.signal.reason instanceof Fault
        ? scope.signal.reason
        : new Fault('cancelled', 'the caller went away')
    }
    const next = new Map(before.byId)
    for (const record of change.put ?? []) next.set(record.id, record)
    for (const id of change.drop ?? []) next.delete(id)
    this.#catalog = imageCatalog(next.values())
    return change.value
  }

  /** Puts come in the order given: the new owner of a tag before the one that loses it. */
  async #write(change: Change): Promise<void> {
    for (const record of change.put ?? []) if (!record.local) await this.#records.write(record)
    for (const id of change.drop ?? []) if (!this.#catalog.byId.get(id)?.local) await this.#records.remove(id)
  }
}

function inverse(before: ImageCatalog, change: Change): Change {
  const ids = [...(change.put ?? []).map((r) => r.id), ...(change.drop ?? [])]
  const old = ids.flatMap((id) => before.byId.get(id) ?? [])
  return { put: old, drop: ids.filter((id) => !before.byId.has(id)) }
}
