// SPDX-License-Identifier: Apache-2.0
/**
 * A local image: made of a few files of this machine, found by its name but not listed, and in memory only. For
 * the self-check, which needs an image but no registry.
 */
import { createHash } from 'node:crypto'
import type { Scope } from '../../base/scope.ts'
import type { LocalFile, LocalLayers } from '../../host/images/local.ts'
import { type ImageConfig, type ImageRecord, type LayerRecord, NO_CONFIG } from '../../model/image.ts'
import { digestOfHex, formatReference, imageId, parseReference, tagName } from '../../model/reference.ts'
import type { LayerCollector } from './gc.ts'
import type { ImageStore } from './store.ts'

export interface LocalImage {
  readonly name: string
  readonly files: readonly LocalFile[]
  readonly config: Partial<ImageConfig>
}

export interface LocalDeps {
  readonly store: ImageStore
  readonly collector: LayerCollector
  readonly localLayers: LocalLayers
  readonly nowNs: () => bigint
}

/** The same files and configuration give the same image. @abort finishes */
export async function makeLocal(scope: Scope, deps: LocalDeps, image: LocalImage): Promise<ImageRecord> {
  using lease = deps.collector.lease()
  const layer = await deps.localLayers(image.files)
  await lease.add([layer.chainId])
  // A collection that had begun may have taken it before the lease: then it is made again.
  await deps.localLayers(image.files)
  const record = localRecord(image, { layer, nowNs: deps.nowNs() })
  return await deps.store.change(scope, () => ({ put: [record], value: record }))
}

function localRecord(image: LocalImage, made: { layer: LayerRecord; nowNs: bigint }): ImageRecord {
  const ref = parseReference(image.name)
  const config: ImageConfig = { ...NO_CONFIG, ...image.config }
  const text = JSON.stringify({ local: formatReference(ref), config, diffId: made.layer.diffId })
  const id = imageId(digestOfHex(createHash('sha256').update(text).digest('hex')))
  return {
    id,
    manifestDigest: id,
    targetDigest: id,
    repoTags: [tagName(ref)].filter((name) => name !== undefined),
    repoDigests: [],
    size: made.layer.bytes,
    architecture: '',
    os: 'linux',
    createdAt: '',
    config,
    layers: [made.layer],
    pulledAtNs: made.nowNs,
    pinned: false,
    annotations: {},
    local: true,
  }
}
