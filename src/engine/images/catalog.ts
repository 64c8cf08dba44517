// SPDX-License-Identifier: Apache-2.0
/**
 * The images as one frozen value: by id, by name, and by the beginning of an id. A change makes a new value, so
 * a reader never waits and never sees half of a change. Pure.
 */
import { Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import type { ImageRecord } from '../../model/image.ts'
import {
  digestName,
  hexOf,
  type ImageId,
  imageIdPrefix,
  parseReference,
  type Reference,
  repositoryOf,
} from '../../model/reference.ts'

export interface ImageCatalog {
  readonly byId: ReadonlyMap<ImageId, ImageRecord>
  /** `name:tag` and `name@digest` → id. */
  readonly byName: ReadonlyMap<string, ImageId>
  /** Newest pull first would move under the reader's feet: sorted by id. */
  readonly all: readonly ImageRecord[]
}

export function imageCatalog(records: Iterable<ImageRecord>): ImageCatalog {
  const all = [...records].sort((a, b) => (a.id < b.id ? -1 : 1))
  const byId = new Map(all.map((r) => [r.id, r]))
  const byName = new Map(
    all.flatMap((r) => [...r.repoTags, ...r.repoDigests].map((name) => [name, r.id] as const)),
  )
  return Object.freeze({ byId, byName, all: Object.freeze(all) })
}

/**
 * The image that a client means: a name with or without tag, `name@digest`, `name:tag@digest` (the digest
 * decides), an id with or without `sha256:`, or the beginning of an id if only one image has it. A name comes
 * before an id that it looks like. Undefined if there is none; `invalid` for an ambiguous beginning.
 */
export function findImage(catalog: ImageCatalog, text: string): ImageRecord | undefined {
  const named = nameOf(text)
  const id = named === undefined ? undefined : catalog.byName.get(named)
  const record = id === undefined ? undefined : catalog.byId.get(id)
  return record ?? findById(catalog, text)
}

function nameOf(text: string): string | undefined {
  let ref: Reference
  try {
    ref = parseReference(text)
  } catch {
    return undefined
  }
  return ref.digest === undefined ? `${repositoryOf(ref)}:${ref.tag}` : digestName(ref, ref.digest)
}

function findById(catalog: ImageCatalog, text: string): ImageRecord | undefined {
  const prefix = imageIdPrefix(text)
  if (prefix === undefined) return undefined
  const found = catalog.all.filter((r) => hexOf(r.id).startsWith(prefix))
  if (found.length > 1)
    throw new Fault('invalid', `image id "${clip(text)}" is ambiguous: ${found.length} images begin so`)
  return found[0]
}
