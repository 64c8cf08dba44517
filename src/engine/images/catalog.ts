// SPDX-License-Identifier: Apache-2.0
/**
 * The images as one frozen value: by id, by name, and by the beginning of an id. A change makes a new value, so
 * a reader never waits and never sees half of a change. Hidden images are kept apart: they have no names here.
 * Pure.
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
import { DOCKER_HUB_ONLY, meaningsOf, type ShortNames } from '../../model/short-names.ts'

export interface ImageCatalog {
  /** Every record, hidden ones too. */
  readonly byId: ReadonlyMap<ImageId, ImageRecord>
  /** `name:tag` and `name@digest` → id. */
  readonly byName: ReadonlyMap<string, ImageId>
  /** Newest pull first would move under the reader's feet: sorted by id. Without the hidden ones. */
  readonly all: readonly ImageRecord[]
  readonly hidden: readonly ImageRecord[]
  /** What names without a registry mean. */
  readonly shortNames: ShortNames
}

export function imageCatalog(
  records: Iterable<ImageRecord>,
  shortNames: ShortNames = DOCKER_HUB_ONLY,
): ImageCatalog {
  const every = [...records].sort((a, b) => (a.id < b.id ? -1 : 1))
  const all = every.filter((r) => r.hidden === undefined)
  const hidden = every.filter((r) => r.hidden !== undefined)
  const byId = new Map(every.map((r) => [r.id, r]))
  const byName = new Map(
    all.flatMap((r) => [...r.repoTags, ...r.repoDigests].map((name) => [name, r.id] as const)),
  )
  return Object.freeze({ byId, byName, all: Object.freeze(all), hidden: Object.freeze(hidden), shortNames })
}

/**
 * The image that a client means: a name with or without tag, `name@digest`, `name:tag@digest` (the digest
 * decides), an id with or without `sha256:`, or the beginning of an id if only one image has it. A name comes
 * before an id that it looks like. Undefined if there is none; `invalid` for an ambiguous beginning.
 */
export function findImage(catalog: ImageCatalog, text: string): ImageRecord | undefined {
  return findByName(catalog, text)?.record ?? findById(catalog, text)
}

/** The image that has this name, and the name in its full form. */
export function findByName(
  catalog: ImageCatalog,
  text: string,
): { readonly record: ImageRecord; readonly name: string } | undefined {
  for (const name of namesOf(catalog, text)) {
    const id = catalog.byName.get(name)
    const record = id === undefined ? undefined : catalog.byId.get(id)
    if (record) return { record, name }
  }
  return undefined
}

/** What a text may mean as a name, best first; none for what is no name. */
function namesOf(catalog: ImageCatalog, text: string): string[] {
  let ref: Reference
  try {
    ref = parseReference(text)
  } catch {
    return []
  }
  return meaningsOf(ref, catalog.shortNames).map((r) =>
    r.digest === undefined ? `${repositoryOf(r)}:${r.tag}` : digestName(r, r.digest),
  )
}

function findById(catalog: ImageCatalog, text: string): ImageRecord | undefined {
  const prefix = imageIdPrefix(text)
  if (prefix === undefined) return undefined
  const found = catalog.all.filter((r) => hexOf(r.id).startsWith(prefix))
  if (found.length > 1)
    throw new Fault(
      'invalid',
      `image id "${clip(text)}" is ambiguous: ${found.length} images begin so; give more of its digits`,
    )
  return found[0]
}
