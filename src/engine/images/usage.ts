// SPDX-License-Identifier: Apache-2.0
/**
 * How much the images take, from the sizes that were recorded when they were unpacked: no tree is walked.
 * A layer that several images share counts once. Pure; one result is kept for one catalog.
 */
import type { ImageCatalog } from './catalog.ts'

export interface ImageUsage {
  readonly bytes: bigint
  readonly inodes: bigint
}

const known = new WeakMap<ImageCatalog, ImageUsage>()

export function imageUsage(catalog: ImageCatalog): ImageUsage {
  const before = known.get(catalog)
  if (before) return before
  const seen = new Set<string>()
  let bytes = 0n
  let inodes = 0n
  for (const image of catalog.all) {
    for (const layer of image.layers) {
      if (seen.has(layer.chainId)) continue
      seen.add(layer.chainId)
      bytes += layer.bytes
      inodes += layer.inodes
    }
  }
  const usage = Object.freeze({ bytes, inodes })
  known.set(catalog, usage)
  return usage
}
