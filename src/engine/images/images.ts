// SPDX-License-Identifier: Apache-2.0
/**
 * Images: the image half of the engine on one page. Reads answer from memory and never wait; pulls and removals
 * are the verbs of the neighbouring files. Constructed once by `compose.ts`.
 */
import { createHash } from 'node:crypto'
import type { Scope } from '../../base/scope.ts'
import { SharedTasks } from '../../base/shared-task.ts'
import type { LayerStore } from '../../host/images/layers.ts'
import type { LocalFile, LocalLayers } from '../../host/images/local.ts'
import type { ImagePuller } from '../../host/images/puller.ts'
import type { ImageRecords, RecordProblem } from '../../host/images/records.ts'
import type { ImageConfig, ImageRecord } from '../../model/image.ts'
import {
  digestOfHex,
  formatReference,
  type ImageId,
  imageId,
  parseReference,
  tagName,
} from '../../model/reference.ts'
import { findImage } from './catalog.ts'
import { LayerCollector } from './gc.ts'
import { type PullCommand, type PullDeps, pullImage } from './pull.ts'
import { removeImage } from './remove.ts'
import { ImageStore } from './store.ts'
import { type ImageUsage, imageUsage } from './usage.ts'

export interface ImagesDeps {
  readonly records: ImageRecords
  readonly layers: LayerStore
  readonly puller: ImagePuller
  readonly localLayers: LocalLayers
  /** The daemon's scope: pulls end with it. */
  readonly daemon: Scope
  readonly nowNs: () => bigint
  /** A container (or anything else) that is made from the image, by a name for messages. */
  readonly usedBy: (id: ImageId) => string | undefined
  /** Layer folders that are mounted, beyond those of `usedBy`. */
  readonly mountedLayers?: () => Iterable<string>
  /** Does the operator want this name kept from the kubelet's garbage collection? */
  readonly isPinned?: (name: string) => boolean
}

export interface FsUsage extends ImageUsage {
  readonly mountpoint: string
  readonly atNs: bigint
}

export interface LocalImage {
  readonly name: string
  readonly files: readonly LocalFile[]
  readonly config: Partial<ImageConfig>
}

export interface Images {
  /** Reads the store; call before anything else. Returns what a person should know. @abort finishes */
  load(): Promise<readonly RecordProblem[]>
  /** All images, or the one that a filter names. */
  list(filter?: string): readonly ImageRecord[]
  /** The image that a name, digest or id (or its beginning) means; `invalid` if that is ambiguous. */
  find(reference: string): ImageRecord | undefined
  /** Fetches the image and gives it the name of the reference. Joins an equal pull in flight. @abort kills */
  pull(scope: Scope, command: PullCommand): Promise<ImageRecord>
  /** Removes the image with all its names; success if there is none; `wrong-state` if it is in use. @abort finishes */
  remove(scope: Scope, reference: string): Promise<void>
  /** While held, the image cannot be removed: from look-up until a container's record names it. */
  hold(id: ImageId, who: string): Disposable
  fsInfo(): FsUsage
  /** Layer folders topmost first; none for an image without layers. */
  lowerDirs(record: ImageRecord): readonly string[]
  /** Makes an image of local files, in memory only and not listed: for the self-check. @abort finishes */
  addLocal(scope: Scope, image: LocalImage): Promise<ImageRecord>
  /** Removes layers that nothing needs; call once when the containers are known. Never throws. @abort finishes */
  collect(): Promise<void>
  /** Pulls in flight. */
  readonly pulling: number
}

export function createImages(deps: ImagesDeps): Images {
  const store = new ImageStore(deps.records)
  const holds = new Map<ImageId, string[]>()
  const collector = new LayerCollector({
    store,
    layers: deps.layers,
    daemon: deps.daemon,
    mounted: deps.mountedLayers ?? (() => []),
  })
  const tasks = new SharedTasks<ImageRecord>(deps.daemon)
  const pulls: PullDeps = { ...deps, store, collector, tasks, isPinned: deps.isPinned ?? (() => false) }
  const user = (id: ImageId) => holds.get(id)?.[0] ?? deps.usedBy(id)
  return {
    async load() {
      await deps.layers.prepare()
      await deps.layers.sweep()
      return store.load(new Set(await deps.layers.list()))
    },
    list(filter) {
      if (filter === undefined || filter === '') return store.catalog.all.filter((r) => !r.local)
      const one = findImage(store.catalog, filter)
      return one && !one.local ? [one] : []
    },
    find: (reference) => findImage(store.catalog, reference),
    pull: (scope, command) => pullImage(scope, pulls, command),
    remove: (scope, reference) => removeImage(scope, { store, collector, user }, reference),
    hold: (id, who) => hold(holds, id, who),
    fsInfo: () => ({ ...imageUsage(store.catalog), mountpoint: deps.layers.root, atNs: deps.nowNs() }),
    lowerDirs: (record) => record.layers.map((layer) => deps.layers.fsOf(layer.chainId)).reverse(),
    async addLocal(scope, image) {
      using lease = collector.lease()
      const layer = await deps.localLayers(image.files)
      await lease.add([layer.chainId])
      // A collection that had begun may have taken it before the lease: then it is made again.
      await deps.localLayers(image.files)
      const record = localRecord(image, { layer, nowNs: deps.nowNs() })
      return await store.change(scope, () => ({ put: [record], value: record }))
    },
    collect: () => collector.collect(),
    get pulling() {
      return tasks.size
    },
  }
}

function hold(holds: Map<ImageId, string[]>, id: ImageId, who: string): Disposable {
  holds.set(id, [...(holds.get(id) ?? []), who])
  let open = true
  return {
    [Symbol.dispose]: () => {
      if (!open) return
      open = false
      const left = [...(holds.get(id) ?? [])]
      left.splice(left.indexOf(who), 1)
      if (left.length > 0) holds.set(id, left)
      else holds.delete(id)
    },
  }
}

function localRecord(
  image: LocalImage,
  made: { layer: ImageRecord['layers'][number]; nowNs: bigint },
): ImageRecord {
  const ref = parseReference(image.name)
  const config: ImageConfig = {
    env: [],
    entrypoint: [],
    cmd: [],
    workingDir: '',
    user: '',
    volumes: [],
    stopSignal: '',
    labels: {},
    ...image.config,
  }
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
