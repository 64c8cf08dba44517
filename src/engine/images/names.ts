// SPDX-License-Identifier: Apache-2.0
/**
 * Names of images: given, moved and taken away. A tag is at one image only, so who gets it takes it from whoever
 * has it. An image that loses its last name by `untag` is removed; one that loses a tag to another image stays.
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { addNames, type ImageRecord, removeTag } from '../../model/image.ts'
import { digestName, formatReference, type ImageId, type Reference, tagName } from '../../model/reference.ts'
import { findByName, findImage, type ImageCatalog } from './catalog.ts'
import { hiddenRemoved, type RemoveDeps } from './remove.ts'
import type { Change } from './store.ts'

/** The records that change when `record` is named by `names`: itself first, then those that lose a tag to it. */
export function named(
  catalog: ImageCatalog,
  record: ImageRecord,
  names: readonly Reference[],
): readonly [ImageRecord, ...ImageRecord[]] {
  let own = record
  const losers = new Map<ImageId, ImageRecord>()
  for (const ref of names) {
    const tag = tagName(ref)
    own = addNames(own, { tag, digestName: digestName(ref, record.targetDigest) })
    const id = tag === undefined ? undefined : catalog.byName.get(tag)
    const loser = id === undefined || id === record.id ? undefined : (losers.get(id) ?? catalog.byId.get(id))
    if (loser && tag !== undefined) losers.set(loser.id, removeTag(loser, tag))
  }
  return [own, ...losers.values()]
}

/** `now`, or just after the last pull when the clock has gone back: the order decides who owns a tag. */
export function after(catalog: ImageCatalog, now: bigint): bigint {
  let at = now
  for (const { pulledAtNs } of catalog.byId.values()) if (pulledAtNs >= at) at = pulledAtNs + 1n
  return at
}

/** Gives the image `source` the tag `target` too, and takes it from whoever has it. Idempotent. @abort finishes */
export async function tagImage(
  scope: Scope,
  deps: RemoveDeps,
  of: { readonly source: string; readonly target: Reference },
): Promise<ImageRecord> {
  const tag = tagName(of.target)
  if (tag === undefined)
    throw new Fault(
      'invalid',
      `"${clip(formatReference(of.target))}" has a digest: a tag is a name without one`,
    )
  return await act(scope, { work: 'tag-image', name: 'record' }, () =>
    deps.store.change(scope, (catalog) => {
      const found = findImage(catalog, of.source)
      if (!found) throw new Fault('not-found', `image "${clip(of.source)}" is not here`)
      const put = named(catalog, { ...found, pulledAtNs: after(catalog, deps.nowNs()) }, [of.target])
      return { put, value: put[0] }
    }),
  )
}

export interface Untagged {
  /** Names that are gone. */
  readonly untagged: readonly string[]
  /** The image, if that was its last name. */
  readonly removed: ImageId | undefined
}

/**
 * Takes one name away; with a repository's last tag its digest names go too, and with the last name the image.
 * An id stands for all names. `not-found` if there is no such image. @abort finishes
 */
export async function untagImage(scope: Scope, deps: RemoveDeps, reference: string): Promise<Untagged> {
  const done = await act(scope, { work: 'untag-image', name: 'record' }, () =>
    deps.store.change(scope, (catalog): Change & { readonly value: Untagged } => {
      const byName = findByName(catalog, reference)
      const record = byName?.record ?? findImage(catalog, reference)
      if (!record) throw new Fault('not-found', `image "${clip(reference)}" is not here`)
      const before = [...record.repoTags, ...record.repoDigests]
      const left = byName ? without(record, byName.name) : { ...record, repoTags: [], repoDigests: [] }
      const names = [...left.repoTags, ...left.repoDigests]
      const untagged = before.filter((name) => !names.includes(name))
      if (names.length > 0) return { put: [left], value: { untagged, removed: undefined } }
      return { ...hiddenRemoved(record, deps.nowNs()), value: { untagged, removed: record.id } }
    }),
  )
  if (done.removed !== undefined) deps.collector.schedule()
  return done
}

function without(record: ImageRecord, name: string): ImageRecord {
  const repoTags = record.repoTags.filter((tag) => tag !== name)
  const at = name.indexOf('@')
  if (at >= 0) return { ...record, repoDigests: record.repoDigests.filter((digest) => digest !== name) }
  const repository = name.slice(0, name.lastIndexOf(':'))
  const hasMore = repoTags.some((tag) => tag.slice(0, tag.lastIndexOf(':')) === repository)
  const repoDigests = record.repoDigests.filter((d) => hasMore || d.slice(0, d.indexOf('@')) !== repository)
  return { ...record, repoTags, repoDigests }
}
