// SPDX-License-Identifier: Apache-2.0
/**
 * The image half, built from the configuration: store, pulls, trust, usage. Constructs, and does nothing else.
 */
import { access } from 'node:fs/promises'
import type { Scope } from './base/scope.ts'
import { type Config, options } from './config/schema.ts'
import { createImages, type Images } from './engine/images/images.ts'
import type { VerifyLayer } from './engine/images/verify.ts'
import type { Catalog } from './engine/state/catalog.ts'
import { keptBlobs } from './host/images/kept-blobs.ts'
import { type LayerStore, layerStore } from './host/images/layers.ts'
import { localLayers } from './host/images/local.ts'
import { powerMarker } from './host/images/power-marker.ts'
import { imagePuller, type PullerOptions } from './host/images/puller.ts'
import { imageRecords } from './host/images/records.ts'
import { spool } from './host/images/spool.ts'
import { imageTransfers } from './host/images/transfers.ts'
import { warmWorkers } from './host/images/warm-workers.ts'
import type { Host } from './host/index.ts'
import type { Native } from './host/native.ts'
import { readRegistriesConf } from './host/registry/registries-conf.ts'
import { choosePolicy } from './host/trust/choice.ts'
import { verifyLayer } from './host/unpack/verify.ts'
import { imagesOf } from './model/container.ts'
import { pinnedBy } from './model/image.ts'
import { containerPaths } from './model/names.ts'
import { PULL } from './model/pull-policy.ts'
import type { TrustFiles } from './model/trust-settings.ts'
import { programs, roots, workerFile } from './places.ts'
import type { Written } from './writable-layers.ts'

interface ImageParts {
  readonly daemon: Scope
  readonly native: Native
  readonly host: Host
  readonly catalog: Catalog
  readonly written: Written
}

/** Nothing of it has been read from the disk yet. */
export function buildImages(config: Config, from: ImageParts): Images {
  const { daemon, native, catalog } = from
  const { facts, clock } = from.host
  const containers = () => [...catalog.containers.byId.values()]
  const layers = layerStore(`${config.root}/layers`, native)
  const { registriesConf: file, registriesConfDir: folder } = config.registry
  const registriesConf = { file, folder }
  const puller: PullerOptions = {
    native,
    layers,
    node: process.execPath,
    worker: workerFile('image-worker'),
    unpackProgram: programs.unpack,
    addon: programs.addon,
    warm: warmWorkers(),
    keepBlobs: config.images.keepBlobs ? `${config.root}/blobs` : undefined,
    certsDirs: config.registry.configPath,
    registriesConf,
    authFiles: config.registry.authFiles,
    helperDirs: config.registry.helperDirs,
    platform: { os: 'linux', architecture: facts.architecture },
    parallelLayers: config.images.maxConcurrentLayers,
    unpackLimits: {
      layerBytes: config.images.maxLayerBytes,
      entries: config.images.maxLayerEntries,
      ratio: config.images.maxLayerRatio,
      devices: config.images.layerDevices,
    },
    noProgressMs: config.images.pullProgressTimeoutMs,
  }
  return createImages({
    records: imageRecords(`${config.root}/images`),
    layers,
    puller: imagePuller(puller),
    transfers: imageTransfers({
      ...puller,
      blobsRoot: `${config.root}/blobs`,
      maxArchiveBytes: config.images.maxArchiveBytes,
    }),
    writableOf(id) {
      const found = containers().find((c) => c.record.id === id)
      return (
        found && {
          upper: containerPaths(roots(config), found.record.id).upper,
          imageId: found.record.imageId,
        }
      )
    },
    localLayers: localLayers(layers, native),
    shortNames: () => readRegistriesConf(registriesConf),
    policyFor: (namespace) => choosePolicy(trustFiles(config), namespace),
    blobs: { parts: spool(layers.root, native), kept: keptBlobs(`${config.root}/blobs`) },
    daemon,
    nowNs: clock.now,
    usedBy: (id) => catalog.usesImage(id),
    usedImages: () => containers().flatMap((c) => imagesOf(c.record)),
    isPinned: pinnedBy(config.images.pinned),
    keepMs: config.images.keepUnusedMs,
    nearlyFull() {
      const { totalBytes, freeBytes } = native.statfs(config.root)
      return freeBytes * BigInt(PULL.keepFreeShare) < totalBytes
    },
    marker: powerMarker(`${config.root}/running.json`, facts.bootId),
    verifyLayer: layerVerifier(native, layers),
    measureWritable: from.written.measure,
  })
}

/** The default policy may be missing, as most nodes have none; one that was chosen may not. */
function trustFiles({ images }: Config): TrustFiles {
  return {
    policyFile: images.signaturePolicy,
    required: images.signaturePolicy !== options['images.signature_policy'].fallback,
    namespaceDir: images.signaturePolicyDir,
    registriesDir: images.signatureLookupDir,
  }
}

/** A layer without a record of its tree is looked at as far as it goes: that it is there, and what it is. */
function layerVerifier(native: Native, layers: LayerStore): VerifyLayer {
  const deps = { native, program: programs.unpack }
  return async (scope, chainId) => {
    if ((await layers.read(chainId)) === undefined) return 'it is not complete'
    const record = layers.recordOf(chainId)
    const there = await access(record).then(
      () => true,
      () => false,
    )
    if (!there) return undefined
    const { whole, path, problem } = await verifyLayer(scope, deps, { fs: layers.fsOf(chainId), record })
    return whole ? undefined : `${path}: ${problem}`
  }
}
