// SPDX-License-Identifier: Apache-2.0
/** The thread that serves the bench's images: says its host, then takes images to add. Started by images.ts. */
import { parentPort } from 'node:worker_threads'
import type { StoredImage } from './image-set.ts'
import { serveHere } from './images.ts'

const registry = await serveHere()
parentPort?.on('message', (image: Omit<StoredImage, 'manifest'> & { readonly manifest: string }) => {
  registry.add({ ...image, manifest: Buffer.from(image.manifest, 'base64') })
})
parentPort?.postMessage(registry.host)
