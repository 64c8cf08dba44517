// SPDX-License-Identifier: Apache-2.0
/** image-store: an image store of one's own below a folder, with the real worker and unpacker, for one suite. */
import { join } from 'node:path'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import { createImages, type Images, type ImagesDeps } from '../../src/engine/images/images.ts'
import { keptBlobs } from '../../src/host/images/kept-blobs.ts'
import { type LayerStore, layerStore } from '../../src/host/images/layers.ts'
import { localLayers } from '../../src/host/images/local.ts'
import { imagePuller, type PullerOptions } from '../../src/host/images/puller.ts'
import { imageRecords } from '../../src/host/images/records.ts'
import { spool } from '../../src/host/images/spool.ts'
import { imageTransfers } from '../../src/host/images/transfers.ts'
import { loadNative } from '../../src/host/native.ts'

const repo = join(import.meta.dirname, '../..')
const addon = join(repo, 'native/build/gantry.node')
export const native = loadNative(addon)
export const scope: Scope = { signal: new AbortController().signal, log: silent }

export interface ImageStoreOptions {
  readonly keepBlobs?: boolean
  readonly maxArchiveBytes?: number
  /** The signature policy. */
  readonly policyFile?: string
  readonly puller?: Partial<PullerOptions>
  readonly deps?: Partial<ImagesDeps>
}

/** How a worker of the source as it is pulls into the layers of `root`: no credentials, hosts of `certs.d`. */
export function pullerOptions(root: string, more: Partial<PullerOptions> = {}): PullerOptions {
  return {
    native,
    layers: layerStore(join(root, 'layers'), native),
    node: process.execPath,
    worker: join(repo, 'src/image-worker.ts'),
    unpackProgram: join(repo, 'native/build/gantry-unpack'),
    addon,
    certsDirs: [join(root, 'certs.d')],
    authFiles: [],
    helperDirs: [],
    platform: { os: 'linux', architecture: process.arch },
    ...more,
  }
}

/** Not loaded yet. The folder `root` stays the caller's to remove. */
export function newImageStore(
  root: string,
  options: ImageStoreOptions = {},
): { readonly images: Images; readonly layers: LayerStore } {
  const blobsRoot = join(root, 'blobs')
  const { policyFile } = options
  const keep = options.keepBlobs ? { keepBlobs: blobsRoot } : {}
  const puller = pullerOptions(root, { ...keep, ...options.puller })
  const { layers } = puller
  const images = createImages({
    records: imageRecords(join(root, 'images')),
    layers,
    puller: imagePuller(puller),
    transfers: imageTransfers({ ...puller, blobsRoot, maxArchiveBytes: options.maxArchiveBytes ?? 2 ** 30 }),
    blobs: { parts: spool(layers.root, native), kept: keptBlobs(blobsRoot) },
    localLayers: localLayers(layers, native),
    daemon: scope,
    nowNs: () => BigInt(Date.now()) * 1_000_000n,
    usedBy: () => false,
    keepMs: 0,
    ...(policyFile === undefined
      ? {}
      : {
          policyFor: async () => ({ policyFile, required: true, registriesDir: join(root, 'registries.d') }),
        }),
    ...options.deps,
  })
  return { images, layers }
}

/** Loaded and ready: its folders are there. */
export async function imageStore(root: string, options: ImageStoreOptions = {}) {
  const store = newImageStore(root, options)
  await store.images.load()
  return store
}
