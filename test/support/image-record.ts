// SPDX-License-Identifier: Apache-2.0
/** image-record: records of images that never were, for tests of the rules about them. */
import { createHash } from 'node:crypto'
import type { ImageRecord, LayerRecord } from '../../src/model/image.ts'
import { type Digest, digestOfHex, imageId } from '../../src/model/reference.ts'

/** A digest that is always the same for the same seed. */
export function digestOf(seed: string): Digest {
  return digestOfHex(createHash('sha256').update(seed).digest('hex'))
}

export function layerRecord(seed: string): LayerRecord {
  return {
    diffId: digestOf(`diff ${seed}`),
    chainId: digestOf(`chain ${seed}`),
    digest: digestOf(`blob ${seed}`),
    blobBytes: 10n,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    bytes: 100n,
    inodes: 3n,
  }
}

/** An image without names; its layers are named by `layers`. */
export function imageRecord(seed: string, layers: readonly string[] = [seed]): ImageRecord {
  return {
    id: imageId(digestOf(seed)),
    manifestDigest: digestOf(`manifest ${seed}`),
    targetDigest: digestOf(`target ${seed}`),
    repoTags: [],
    repoDigests: [],
    size: 100n * BigInt(layers.length) + 5n,
    architecture: 'amd64',
    os: 'linux',
    createdAt: '2024-01-01T00:00:00Z',
    config: {
      env: ['A=1'],
      entrypoint: [],
      cmd: ['sh'],
      workingDir: '/',
      user: '',
      volumes: [],
      stopSignal: '',
      labels: {},
    },
    layers: layers.map(layerRecord),
    pulledAtNs: 1n,
    pinned: false,
    annotations: {},
    local: false,
  }
}
