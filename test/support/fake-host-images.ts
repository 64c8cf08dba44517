// SPDX-License-Identifier: Apache-2.0
/**
 * fake-host-images: the image half of the engine over the books of a machine that is not there. Every change of
 * the disk and every pull worker is a step at which a test can make something happen; what only reads is none.
 * What a failed pull has brought is kept for no time here, so that a test sees what is left for good.
 */
import { Fault } from '../../src/base/fault.ts'
import type { Scope } from '../../src/base/scope.ts'
import { createImages, type Images } from '../../src/engine/images/images.ts'
import type { LayerStore } from '../../src/host/images/layers.ts'
import type { ImagePuller } from '../../src/host/images/puller.ts'
import type { ImageRecords } from '../../src/host/images/records.ts'
import type { Books } from './fake-host-books.ts'
import type { Steps } from './fake-host-steps.ts'
import { fakeLayers, pulledOf } from './fake-images.ts'
import { imageRecord, layerRecord } from './image-record.ts'

/** The image that the fake world's containers are made from. */
export const WORLD_IMAGE = 'world'

export interface ImageWorld {
  readonly books: Books
  readonly steps: Steps
  readonly daemon: Scope
  readonly usedBy: (id: string) => boolean
}

export function worldImages({ books, steps, daemon, usedBy }: ImageWorld): Images {
  return createImages({
    records: steppedRecords(books, steps),
    layers: steppedLayers(books, steps),
    puller: steppedPuller(books, steps),
    localLayers: () => Promise.reject(new Fault('internal', 'no image is made here')),
    daemon,
    nowNs: () => books.nowNs++,
    usedBy,
    keepMs: 0,
  })
}

function steppedRecords({ imageRecords: disk }: Books, steps: Steps): ImageRecords {
  const step = (name: string, act: () => void) =>
    steps.step(`records.${name}`, { kind: 'finishes' }, async () => act())
  return {
    readAll: async () => ({ records: [...disk.values()], problems: [] }),
    write: (record) => step(`write ${record.hidden?.why ?? 'whole'}`, () => void disk.set(record.id, record)),
    remove: (id) => step('remove', () => void disk.delete(id)),
    blobs: async () => undefined,
  }
}

function steppedLayers(books: Books, steps: Steps): LayerStore {
  const kind = 'finishes'
  return {
    ...fakeLayers().layers,
    list: async () => [...books.layers],
    read: async (chainId) => (books.layers.has(chainId) ? { ...layerRecord('any'), chainId } : undefined),
    drop: (chainId) =>
      steps.step('layers.drop', { kind }, async () => {
        if (books.mountedLayers.has(chainId)) books.violated(`layer ${chainId} is dropped under a container`)
        books.layers.delete(chainId)
        books.layerTrash++
      }),
    async emptyTrash() {
      if (books.layerTrash > 0)
        await steps.step('layers.emptyTrash', { kind }, async () => {
          books.layerTrash = 0
        })
    },
  }
}

/** Brings two layers, one that all images share; killed half-way it has brought one. */
function steppedPuller(books: Books, steps: Steps): ImagePuller {
  return {
    async pull(scope, { reference }, events) {
      const seed = reference.path
      const image = pulledOf(seed, ['shared', seed])
      const [base, top] = image.layers.map((layer) => layer.chainId)
      await events.onPlan(image.layers.map((layer) => layer.chainId))
      await steps.step('puller.pull', { kind: 'kills', scope, middle: true }, async (middle) => {
        if (base) books.layers.add(base)
        await middle()
        if (top) books.layers.add(top)
      })
      return image
    },
  }
}

export const worldImageId = imageRecord(WORLD_IMAGE).id
