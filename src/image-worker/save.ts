// SPDX-License-Identifier: Apache-2.0
/**
 * The job `save`: images of this machine as one archive to descriptor 3. Configurations stay as they are, so an
 * image keeps its id; a manifest changes only where the blob of a layer was not kept, and then it is told.
 */
import { Socket } from 'node:net'
import { archiveWriter, type OutImage } from '../host/archive/write.ts'
import type { ImageOut, SaveJob } from '../host/images/protocol.ts'
import { type Digest, hexOf } from '../model/reference.ts'
import type { JobContext } from './job.ts'
import { openLayerFile } from './layer-file.ts'
import { type LayerBlob, withLayers } from './manifest-out.ts'
import { reporting } from './progress.ts'

export interface Saved {
  readonly bytes: number
  readonly warnings: readonly string[]
}

/** Writes the archive to its end. Throws `unsupported` or `corrupt`, naming image and layer. @abort stops */
export async function saveJob(context: JobContext, job: SaveJob): Promise<Saved> {
  const out = new Socket({ fd: 3, readable: false, writable: true })
  let made = 0
  using _ = reporting(context, () => ({ layers: [], archiveBytes: made + out.bytesWritten }))
  const writer = archiveWriter(out, context.scope.signal)
  try {
    const written = new Map<Digest, Written>()
    const images: OutImage[] = []
    const warnings: string[] = []
    for (const image of job.images) {
      const layers: Written[] = []
      for (const layer of image.layers) {
        const had = written.get(layer.chainId)
        const now = had ?? (await writeLayer(layer))
        written.set(layer.chainId, now)
        layers.push(now)
      }
      images.push(outImage(image, layers, warnings))
    }
    await writer.finish(images, job.format)
    return { bytes: out.bytesWritten, warnings }
  } catch (e) {
    writer.abandon(e instanceof Error ? e : new Error(String(e)))
    out.destroy()
    throw e
  }

  async function writeLayer(layer: ImageOut['layers'][number]): Promise<Written> {
    await using file = await openLayerFile(context, {
      job,
      layer,
      compress: 'none',
      onMade: (count) => {
        made += count
      },
    })
    await writer.blob(file)
    const { digest, size, compression, from } = file
    return { digest, size, compression, from }
  }
}

type Written = LayerBlob & { readonly from: 'kept' | 'made' }

function outImage(image: ImageOut, layers: readonly Written[], warnings: string[]): OutImage {
  const raw = Buffer.from(image.blobs.manifest, 'base64')
  const { bytes, mediaType } = withLayers(raw, layers)
  const made = layers.filter((layer) => layer.from === 'made').length
  const names = image.names.filter((name) => bytes === raw || !name.includes('@'))
  if (bytes !== raw)
    warnings.push(
      `${names[0] ?? image.configDigest}: the blobs of ${made} of its ${layers.length} layers were not kept: they are in the archive uncompressed, so its manifest has another digest than in the registry. The image ID ${hexOf(image.configDigest).slice(0, 13)} stays`,
    )
  const config = Buffer.from(image.blobs.config, 'base64')
  return { names, mediaType, manifest: bytes, config, layers: layers.map((layer) => layer.digest) }
}
