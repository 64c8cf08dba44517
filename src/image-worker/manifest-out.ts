// SPDX-License-Identifier: Apache-2.0
/** The manifest of an image whose layers leave this machine as other blobs than it says. Pure. */
import { listIn, objectIn, parseDocument, textIn } from '../model/document.ts'
import type { Digest } from '../model/reference.ts'

export type LayerCompression = 'gzip' | 'zstd' | 'none'

/** The blob of a layer, as it leaves. */
export interface LayerBlob {
  readonly digest: Digest
  readonly size: number
  readonly compression: LayerCompression
}

const OCI = 'application/vnd.oci.image.manifest.v1+json'
const LAYER = {
  oci: { type: 'application/vnd.oci.image.layer.v1.tar', mark: '+' },
  docker: { type: 'application/vnd.docker.image.rootfs.diff.tar', mark: '.' },
} as const

/** What the media type of a layer says of its compression. */
export function compressionIn(mediaType: string): LayerCompression {
  const found = /[+.](gzip|zstd)$/.exec(mediaType)?.[1]
  return found === 'gzip' || found === 'zstd' ? found : 'none'
}

/** `raw` with these layers, bottom first; `raw` itself, the same object, if it has just these. Throws `corrupt`. */
export function withLayers(
  raw: Buffer,
  blobs: readonly LayerBlob[],
): { readonly bytes: Buffer; readonly mediaType: string } {
  const where = 'the manifest that was kept'
  const root = objectIn(parseDocument(raw.toString('utf8'), where), where)
  const mediaType = textIn(root.mediaType ?? OCI, `${where}: mediaType`)
  const { type, mark } = LAYER[mediaType.includes('docker') ? 'docker' : 'oci']
  let changed = false
  const layers = listIn(root.layers, `${where}: layers`).map((value, i) => {
    const old = objectIn(value, `${where}: layers[${i}]`)
    const blob = blobs[i]
    if (blob === undefined || blob.digest === old.digest) return value
    changed = true
    const { digest, size, compression } = blob
    return { mediaType: compression === 'none' ? type : `${type}${mark}${compression}`, size, digest }
  })
  return { mediaType, bytes: changed ? Buffer.from(JSON.stringify({ ...root, layers })) : raw }
}
