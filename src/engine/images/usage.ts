// SPDX-License-Identifier: Apache-2.0
/**
 * How much the images take, from the sizes that were recorded when they were unpacked: no tree is walked for
 * the answer. A layer that several images share counts once. What containers have written has to be measured:
 * that is done in the background, and the answer is the last measurement.
 */
import { asFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Digest } from '../../model/reference.ts'
import type { ImageCatalog } from './catalog.ts'

export interface ImageUsage {
  readonly bytes: bigint
  readonly inodes: bigint
}

/** A part of what is on disk, and the folder that names the disk. */
export interface FsPart extends ImageUsage {
  readonly mountpoint: string
}

export const NO_USAGE: ImageUsage = Object.freeze({ bytes: 0n, inodes: 0n })

export const addUsage = (a: ImageUsage, b: ImageUsage): ImageUsage => ({
  bytes: a.bytes + b.bytes,
  inodes: a.inodes + b.inodes,
})

interface Known {
  readonly usage: ImageUsage
  readonly layers: ReadonlySet<Digest>
}

const known = new WeakMap<ImageCatalog, Known>()

/** One result is kept for one catalog. */
export function imageUsage(catalog: ImageCatalog): Known {
  const before = known.get(catalog)
  if (before) return before
  const layers = new Set<Digest>()
  let usage = NO_USAGE
  for (const image of catalog.byId.values()) {
    // Of a damaged one nobody knows what is there: the collector looks.
    if (image.hidden?.why === 'broken') continue
    for (const layer of image.layers) {
      if (layers.has(layer.chainId)) continue
      layers.add(layer.chainId)
      usage = addUsage(usage, layer)
    }
  }
  const result = Object.freeze({ usage: Object.freeze(usage), layers })
  known.set(catalog, result)
  return result
}

/** How old a measurement of the writable layers may be before the next question starts another, milliseconds. */
const MEASURE_EVERY_MS = 10_000
/** And how many times longer than the last one took: so that measuring takes a tenth of the time at most. */
const REST = 10

/** The last measurement, before the first `none`; asking never waits and never throws. */
export function keptMeasurement(
  measure: () => Promise<FsPart>,
  deps: { readonly none: FsPart; readonly log: Log; readonly nowMs: () => number },
): () => FsPart {
  let last = deps.none
  let nextMs = Number.NEGATIVE_INFINITY
  let running = false
  return () => {
    const beganMs = deps.nowMs()
    if (!running && beganMs >= nextMs) {
      running = true
      measure()
        .then(
          (usage) => {
            last = usage
          },
          (e: unknown) => deps.log.warn('writable-layers-not-measured', { error: asFault(e).message }),
        )
        .finally(() => {
          running = false
          const endedMs = deps.nowMs()
          nextMs = endedMs + Math.max(MEASURE_EVERY_MS, (endedMs - beganMs) * REST)
        })
    }
    return last
  }
}
