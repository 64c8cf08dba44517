// SPDX-License-Identifier: Apache-2.0
/** fake-images: the hosts' side of the image half in memory, with books, for tests of the engine's part. */
import { Fault } from '../../src/base/fault.ts'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import { createImages, type ImagesDeps } from '../../src/engine/images/images.ts'
import type { LayerStore } from '../../src/host/images/layers.ts'
import type { ImagePuller, PulledImage } from '../../src/host/images/puller.ts'
import type { ImageRecords } from '../../src/host/images/records.ts'
import type { ImageBlobs, ImageRecord } from '../../src/model/image.ts'
import { seal } from '../../src/model/pull-policy.ts'
import { type Digest, parseReference } from '../../src/model/reference.ts'
import { imageRecord, layerRecord } from './image-record.ts'

export const scope: Scope = { signal: new AbortController().signal, log: silent }

/** Records as they would be on disk. `gate` holds writes back until it resolves. */
export function fakeRecords(initial: readonly ImageRecord[] = []) {
  const disk = new Map(initial.map((r) => [r.id, r]))
  const kept = new Map<string, ImageBlobs>()
  const books = { disk, kept, writes: [] as string[], gate: Promise.resolve() }
  const records: ImageRecords = {
    readAll: async () => ({ records: [...disk.values()], problems: [] }),
    async write(record, { blobs } = {}) {
      await books.gate
      books.writes.push(record.id)
      if (blobs) kept.set(record.id, blobs)
      disk.set(record.id, record)
    },
    remove: async (id) => void disk.delete(id),
    blobs: async ({ id }) => {
      const blobs = kept.get(id)
      return (
        blobs && {
          config: Buffer.from(blobs.config, 'base64'),
          manifest: Buffer.from(blobs.manifest, 'base64'),
        }
      )
    },
  }
  return { records, books }
}

export function fakeLayers(initial: readonly Digest[] = []) {
  const there = new Set(initial)
  const books = {
    there,
    dropped: [] as Digest[],
    dropGate: Promise.resolve(),
    /** Layers that cannot be removed. */
    stuck: new Set<Digest>(),
    /** When layers were made, ms; those that are not named at 0. */
    madeAt: new Map<Digest, number>(),
    settled: [] as (readonly Digest[])[],
  }
  const notUsed = () => Promise.reject(new Fault('internal', 'the engine does not do this'))
  const layers: LayerStore = {
    root: '/layers',
    fsOf: (chainId) => `/layers/${chainId.slice(7)}/fs`,
    recordOf: (chainId) => `/layers/${chainId.slice(7)}/record`,
    read: async (chainId) => (there.has(chainId) ? { ...layerRecord('any'), chainId } : undefined),
    list: async () => [...there],
    begin: notUsed,
    discard: notUsed,
    madeAtMs: async (chainId) => books.madeAt.get(chainId) ?? 0,
    keep: notUsed,
    settle: async (chainIds) => void books.settled.push(chainIds),
    lock: notUsed,
    drop: async (chainId) => {
      await books.dropGate
      if (books.stuck.has(chainId)) throw new Fault('internal', 'the disk does not answer')
      there.delete(chainId)
      books.dropped.push(chainId)
    },
    emptyTrash: async () => {},
    sweep: async () => {},
    dropUnsynced: async () => {},
    prepare: async () => {},
  }
  return { layers, books }
}

/** What a worker would bring of an image. */
export function pulledOf(seed: string, layers: readonly string[] = [seed]): PulledImage {
  const record = imageRecord(seed, layers)
  return {
    configDigest: record.id,
    targetDigest: record.targetDigest,
    manifestDigest: record.manifestDigest,
    configBytes: 5,
    os: 'linux',
    architecture: 'amd64',
    createdAt: '',
    config: record.config,
    blobs: {
      config: Buffer.from(JSON.stringify({ of: seed })).toString('base64'),
      manifest: Buffer.from('{}').toString('base64'),
    },
    layers: record.layers,
    layersHad: 0,
  }
}

export interface FakePull {
  readonly name: string
  readonly scope: Scope
  /** Told by the worker: the plan is made and the layers are there. */
  finish(image: PulledImage): void
  fail(fault: Fault): void
}

export function fakeImages(
  options: { records?: readonly ImageRecord[]; layers?: readonly Digest[]; deps?: Partial<ImagesDeps> } = {},
) {
  const { records, books: disk } = fakeRecords(options.records)
  const { layers, books: store } = fakeLayers(
    options.layers ?? options.records?.flatMap((r) => r.layers.map((l) => l.chainId)),
  )
  const pulls: FakePull[] = []
  let prepared: PulledImage | undefined
  const puller: ImagePuller = {
    async pull(own, request, events) {
      const { promise, resolve, reject } = Promise.withResolvers<PulledImage>()
      promise.catch(() => {})
      own.signal.addEventListener('abort', () => reject(own.signal.reason), { once: true })
      pulls.push({
        name: `${request.reference.path}:${request.reference.tag ?? request.reference.digest}`,
        scope: own,
        finish: resolve,
        fail: reject,
      })
      const image = prepared ?? (await promise)
      await events.onPlan(image.layers.map((l) => l.chainId))
      for (const layer of image.layers) store.there.add(layer.chainId)
      return image
    },
  }
  const time = { nowNs: 100n }
  const images = createImages({
    records,
    layers,
    puller,
    localLayers: async () => {
      const layer = layerRecord('local')
      store.there.add(layer.chainId)
      return layer
    },
    daemon: scope,
    nowNs: () => ++time.nowNs,
    usedBy: () => false,
    ...options.deps,
  })
  /** Pulls `name` and brings `image`. */
  const pull = async (name: string, image: PulledImage): Promise<ImageRecord> => {
    prepared = image
    try {
      return await images.pull(scope, { reference: parseReference(name), auth: seal({}) })
    } finally {
      prepared = undefined
    }
  }
  /** The pull that has reached the worker last. */
  const atWorker = async (count = 1): Promise<FakePull> => {
    while (pulls.length < count) await new Promise((resolve) => setTimeout(resolve, 1))
    const last = pulls[count - 1]
    if (!last) throw new Error('no pull')
    return last
  }
  return { images, pulls, pull, atWorker, disk, store, time }
}
