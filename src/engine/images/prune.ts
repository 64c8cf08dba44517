// SPDX-License-Identifier: Apache-2.0
/**
 * Prune: what nobody needs goes now. Without `all` the images that have no tag, with it every image that no
 * container is made from; pinned ones stay in any case. What failed pulls have left goes too.
 */
import { act } from '../../base/act.ts'
import type { Scope } from '../../base/scope.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { ImageId } from '../../model/reference.ts'
import { type ImageCatalog, imageCatalog } from './catalog.ts'
import { hiddenRemoved, type RemoveDeps } from './remove.ts'
import { imageUsage } from './usage.ts'

export interface Pruned {
  /** As they were. */
  readonly images: readonly ImageRecord[]
  /** What became free, or would: layers that no other image has, and what failed pulls have left. */
  readonly bytes: bigint
}

export interface PruneDeps extends RemoveDeps {
  readonly isUsed: (id: ImageId) => boolean
}

/** Linearizable like RemoveImage; the space is free when it returns. `dryRun` only says what would go. @abort finishes */
export async function pruneImages(
  scope: Scope,
  deps: PruneDeps,
  how: { readonly all: boolean; readonly dryRun?: boolean },
): Promise<Pruned> {
  const unneeded = (catalog: ImageCatalog) =>
    catalog.all.filter(
      (r) => !r.local && !r.pinned && (how.all || r.repoTags.length === 0) && !deps.isUsed(r.id),
    )
  if (how.dryRun) {
    const { catalog } = deps.store
    const images = unneeded(catalog)
    const left = imageUsage(imageCatalog([...catalog.byId.values()].filter((r) => !images.includes(r))))
    const all = imageUsage(catalog)
    const loose = deps.collector.looseUsage((chainId) => all.layers.has(chainId))
    return { images, bytes: all.usage.bytes - left.usage.bytes + loose.bytes }
  }
  const images = await act(scope, { work: 'prune-images', name: 'record' }, () =>
    deps.store.change(scope, (catalog) => {
      const gone = unneeded(catalog)
      return { put: gone.flatMap((r) => hiddenRemoved(r, deps.nowNs()).put ?? []), value: gone }
    }),
  )
  const { bytes } = await deps.collector.collect({ all: true })
  return { images, bytes }
}
