// SPDX-License-Identifier: Apache-2.0
/**
 * Images: the image half of the engine on one page. Reads answer from memory and never wait; pulls, removals and
 * names are the verbs of the neighbouring files. Constructed once by `compose.ts`.
 */

import { asFault, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { SharedTasks } from '../../base/shared-task.ts'
import type { LayerStore } from '../../host/images/layers.ts'
import type { LocalLayers } from '../../host/images/local.ts'
import type { PowerMarker } from '../../host/images/power-marker.ts'
import type { ImagePuller, PullProgress } from '../../host/images/puller.ts'
import type { ImageRecords, RecordProblem } from '../../host/images/records.ts'
import type { ImageTransfers } from '../../host/images/transfers.ts'
import { clip } from '../../model/ids.ts'
import type { ImageRecord } from '../../model/image.ts'
import { PULL } from '../../model/pull-policy.ts'
import type { Digest, ImageId, Reference } from '../../model/reference.ts'
import type { ShortNames } from '../../model/short-names.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'
import { findImage } from './catalog.ts'
import { type BlobFiles, LayerCollector } from './gc.ts'
import { type HistoryStep, imageHistory } from './history.ts'
import { Holds } from './holds.ts'
import { type LocalImage, makeLocal } from './local.ts'
import { tagImage, type Untagged, untagImage } from './names.ts'
import { type Pruned, pruneImages } from './prune.ts'
import {
  bringLayers,
  type Flight,
  type NewImage,
  type PullCommand,
  type PullDeps,
  pullImage,
  recordImage,
} from './pull.ts'
import { removeImage } from './remove.ts'
import { Settler } from './settle.ts'
import { ImageStore } from './store.ts'
import { type TransferVerbs, transferVerbs } from './transfer.ts'
import { addUsage, type FsPart, imageUsage, keptMeasurement, NO_USAGE } from './usage.ts'
import { LayerVerifier, type VerifyLayer } from './verify.ts'

export interface ImagesDeps {
  readonly records: ImageRecords
  readonly layers: LayerStore
  /** Files of compressed blobs; none if it is not given. */
  readonly blobs?: BlobFiles
  readonly puller: ImagePuller
  /** Brings images in and out by archives, and to registries; without it none goes or comes so. */
  readonly transfers?: ImageTransfers
  /** The writable layer of a container and its image; without it there are no containers. */
  readonly writableOf?: (
    container: string,
  ) => { readonly upper: string; readonly imageId: string } | undefined
  readonly localLayers: LocalLayers
  /** The daemon's scope: pulls end with it. */
  readonly daemon: Scope
  readonly nowNs: () => bigint
  /** Is a container (or anything else that lives) made from the image? */
  readonly usedBy: (id: ImageId) => boolean
  /** The image ids of all containers: one whose record is lost makes every layer one that may be in use. */
  readonly usedImages?: () => Iterable<string>
  /** Does the operator want this name kept from the kubelet's garbage collection? */
  readonly isPinned?: (name: string) => boolean
  /** How long layers and parts of blobs of failed pulls are kept, milliseconds. */
  readonly keepMs?: number
  /** Is there so little room that nothing is kept for later? */
  readonly nearlyFull?: () => boolean
  /** Notices a power failure; without it none is. */
  readonly marker?: PowerMarker
  readonly verifyLayer?: VerifyLayer
  /** Measures what containers have written. */
  readonly measureWritable?: () => Promise<FsPart>
  /** What names without a registry mean now; asked at the start and when one was pulled. Docker Hub without it. */
  readonly shortNames?: () => Promise<ShortNames>
  /** The signature policy of a namespace, asked at each pull; without it every image is accepted. */
  readonly policyFor?: (namespace: string) => Promise<TrustSettings>
}

export interface FsUsage extends FsPart {
  readonly atNs: bigint
  /** The writable layers of containers, as last measured. */
  readonly writable: FsPart
}

export interface PullInFlight {
  readonly reference: string
  readonly startedAtNs: bigint
  readonly progress: PullProgress
  /** Requests that wait for it. */
  readonly callers: number
}

/** The exact bytes that make an image what it is. */
export interface RawImage {
  readonly config: Buffer
  readonly manifest: Buffer
  /** Of the manifest. */
  readonly mediaType: string
}

export interface Images extends TransferVerbs {
  /** Reads the store; call before anything else. Returns the records that could not be read. @abort finishes */
  load(): Promise<readonly RecordProblem[]>
  /** What a person should know now: images with a layer that is damaged or missing. */
  problems(): readonly string[]
  /** All images, or the one that a filter names. */
  list(filter?: string): readonly ImageRecord[]
  /** The image that a name, digest or id (or its beginning) means; `invalid` if that is ambiguous. */
  find(reference: string): ImageRecord | undefined
  /** Also an image that was removed while a container is made from it. */
  byId(id: string): ImageRecord | undefined
  /** Configuration and manifest; undefined for a local image, and for one that was pulled before they were kept. */
  blobsOf(id: string): Promise<RawImage | undefined>
  /** How it was made, newest step first; `not-found`. */
  history(reference: string): Promise<readonly HistoryStep[]>
  /** Fetches the image and gives it the name of the reference. Joins an equal pull in flight. @abort kills */
  pull(scope: Scope, command: PullCommand): Promise<ImageRecord>
  inFlight(): readonly PullInFlight[]
  /** Runs `work` that brings layers, see pull.ts: those it tells to `onPlan` stay until it settles. @abort finishes */
  bring<T>(work: (onPlan: (chainIds: readonly Digest[]) => Promise<void>) => Promise<T>): Promise<T>
  /** Records an image whose layers `bring` has brought, within it. @abort finishes */
  importImage(scope: Scope, image: NewImage): Promise<ImageRecord>
  /** Removes the image with all its names; success if there is none. @abort finishes */
  remove(scope: Scope, reference: string): Promise<void>
  /** Gives the image one tag more, and takes it from whoever has it; `not-found`. @abort finishes */
  tag(scope: Scope, source: string, target: Reference): Promise<ImageRecord>
  /** Takes one name away, and with the last one the image; an id means all names. `not-found`. @abort finishes */
  untag(scope: Scope, reference: string): Promise<Untagged>
  /** Removes what nobody needs, see prune.ts. @abort finishes */
  prune(scope: Scope, how: { readonly all: boolean; readonly dryRun?: boolean }): Promise<Pruned>
  /** While held, the layers stay: from look-up until a container's record names the image, or while it is read. */
  hold(id: ImageId): Disposable
  /** A container that was made from the image has gone: if it was the last and the image is removed, its layers go. */
  released(id: string): void
  /** Throws `not-found` if a layer of the image turns out to be damaged. At once unless the power had failed. @abort finishes */
  expectWhole(record: ImageRecord): Promise<void>
  fsInfo(): FsUsage
  /** Layer folders topmost first; none for an image without layers. */
  lowerDirs(record: ImageRecord): readonly string[]
  /** Makes an image of local files, in memory only and not listed: for the self-check. @abort finishes */
  addLocal(scope: Scope, image: LocalImage): Promise<ImageRecord>
  /** Removes layers that nothing needs; call once when the containers are known. Never throws. @abort finishes */
  collect(): Promise<void>
  /** After a power failure compares all layers with their records. Never throws. @abort stops */
  verify(): Promise<void>
  /** The daemon ends in good order. @abort finishes */
  close(): Promise<void>
  /** Pulls in flight. */
  readonly pulling: number
}

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

interface Pieces {
  readonly deps: ImagesDeps
  readonly store: ImageStore
  readonly collector: LayerCollector
  readonly verifier: LayerVerifier
  readonly settler: Settler
  readonly holds: Holds
  readonly isUsed: (id: ImageId) => boolean
}

function piecesOf(deps: ImagesDeps): Pieces {
  const store = new ImageStore({ ...deps, isPinned: deps.isPinned ?? (() => false) })
  const holds = new Holds()
  const isUsed = (id: ImageId) => holds.has(id) || deps.usedBy(id)
  const collector = new LayerCollector({
    ...deps,
    store,
    blobs: deps.blobs,
    keepMs: deps.keepMs ?? PULL.keepUnusedMs,
    nearlyFull: deps.nearlyFull ?? (() => false),
    isUsed,
    usedImages: deps.usedImages ?? (() => []),
  })
  const verify = deps.verifyLayer ?? (async () => undefined)
  const verifier = new LayerVerifier({ ...deps, store, collector, verify })
  const settler = new Settler(deps.layers, deps.daemon.log)
  return { deps, store, collector, verifier, settler, holds, isUsed }
}

export function createImages(deps: ImagesDeps): Images {
  const pieces = piecesOf(deps)
  const { store, collector, verifier, settler } = pieces
  const tasks = new SharedTasks<ImageRecord>(deps.daemon)
  const pulls: PullDeps = { ...deps, store, collector, verifier, settler, tasks, flights: new Set<Flight>() }
  const known = reads(pieces)
  const bring: Images['bring'] = (work) => bringLayers(pulls, work)
  const importImage: Images['importImage'] = (scope, image) => recordImage(scope, pulls, image)
  return {
    ...known,
    ...transferVerbs({ ...known, bring, importImage, ...transfersOf(deps) }),
    ...upkeep(pieces),
    async pull(scope, command) {
      const record = await pullImage(scope, pulls, command)
      if (command.reference.short !== undefined) await readShortNames(deps, store)
      return record
    },
    inFlight: () =>
      [...pulls.flights].map(({ key, ...flight }) => ({ ...flight, callers: tasks.callers(key) })),
    bring,
    importImage,
    remove: (scope, reference) => removeImage(scope, pulls, reference),
    tag: (scope, source, target) => tagImage(scope, pulls, { source, target }),
    untag: (scope, reference) => untagImage(scope, pulls, reference),
    prune: (scope, how) => pruneImages(scope, { ...pulls, isUsed: pieces.isUsed }, how),
    addLocal: (scope, image) => makeLocal(scope, { ...pulls, localLayers: deps.localLayers }, image),
    get pulling() {
      return tasks.size
    },
  }
}

function transfersOf({ transfers, writableOf, policyFor }: ImagesDeps) {
  const none = () => Promise.reject(new Fault('unsupported', 'this store takes and gives no archives'))
  return {
    transfers: transfers ?? { save: none, load: none, push: none, diff: none },
    writableOf: writableOf ?? (() => undefined),
    ...(policyFor === undefined ? {} : { policyFor }),
  }
}

function reads({ deps, store, collector, verifier, holds }: Pieces) {
  const { root: mountpoint } = deps.layers
  const none: FsPart = { ...NO_USAGE, mountpoint }
  const nowMs = () => Number(deps.nowNs() / 1_000_000n)
  const writable = keptMeasurement(deps.measureWritable ?? (async () => none), {
    none,
    log: deps.daemon.log,
    nowMs,
  })
  const byId = (id: string) => {
    const all: ReadonlyMap<string, ImageRecord> = store.catalog.byId
    return all.get(id)
  }
  const released = (id: string) => {
    if (byId(id)?.hidden) collector.schedule()
  }
  const blobsOf = async (id: string): Promise<RawImage | undefined> => {
    const record = byId(id)
    const blobs = record && (await store.blobs(record))
    return blobs && { ...blobs, mediaType: mediaTypeOf(blobs.manifest) }
  }
  return {
    byId,
    blobsOf,
    problems: () =>
      store.catalog.hidden
        .filter((r) => r.hidden?.why === 'broken')
        .map(
          (r) => `image ${nameOf(r)} has damaged or missing layers: pull it again, only those are fetched`,
        ),
    list(filter = '') {
      if (filter === '') return store.catalog.all.filter((r) => !r.local)
      const one = findImage(store.catalog, filter)
      return one && !one.local ? [one] : []
    },
    find: (reference) => findImage(store.catalog, reference),
    async history(reference) {
      const record = findImage(store.catalog, reference)
      if (!record) throw new Fault('not-found', `image "${clip(reference)}" is not here`)
      return imageHistory(record, (await blobsOf(record.id))?.config)
    },
    hold: (id) => holds.hold(id, () => released(id)),
    released,
    async expectWhole(record) {
      const isWhole = await verifier.ensure(record.layers.map((layer) => layer.chainId))
      // One that was looked at for somebody else meanwhile is not told of again.
      if (isWhole && store.catalog.byId.get(record.id)?.hidden?.why !== 'broken') return
      throw new Fault('not-found', `image ${nameOf(record)} has a damaged layer: pull it again`)
    },
    fsInfo() {
      const { usage, layers } = imageUsage(store.catalog)
      const loose = collector.looseUsage((chainId) => layers.has(chainId))
      return { ...addUsage(usage, loose), mountpoint, atNs: deps.nowNs(), writable: writable() }
    },
    lowerDirs: (record) => record.layers.map((layer) => deps.layers.fsOf(layer.chainId)).reverse(),
  } satisfies Partial<Images>
}

function upkeep({ deps, store, collector, verifier, settler }: Pieces) {
  return {
    async load() {
      await deps.layers.prepare()
      await deps.layers.sweep()
      const suspect = (await deps.marker?.begin()) ?? false
      if (suspect) await deps.layers.dropUnsynced()
      const there = await deps.layers.list()
      if (suspect) verifier.suspect(there)
      await readShortNames(deps, store)
      return store.load(new Set(there))
    },
    async collect() {
      await collector.collect()
      // What the daemon before this one has left unsynced. A list that fails was just told by the collector.
      settler.soon(await deps.layers.list().catch(() => []))
    },
    async verify() {
      const layers = verifier.left
      if (layers === 0) return
      deps.daemon.log.info('layers-to-verify', { layers, why: 'the machine had not been shut down' })
      try {
        await verifier.all()
        if (verifier.left > 0) return
        await deps.marker?.trust()
        deps.daemon.log.info('layers-verified', { layers })
      } catch (e) {
        deps.daemon.log.warn('layers-not-verified', { error: asFault(e).message })
      }
    },
    async close() {
      collector.stop()
      await settler.end()
      await deps.marker?.end()
    },
  } satisfies Partial<Images>
}

/** Look-ups follow the rules of pulls. A file that cannot be read fails the next pull; here the old rules stay. */
async function readShortNames(deps: ImagesDeps, store: ImageStore): Promise<void> {
  try {
    if (deps.shortNames) store.setShortNames(await deps.shortNames())
  } catch (e) {
    deps.daemon.log.warn('short-names-not-read', { error: asFault(e).message })
  }
}

const nameOf = (record: ImageRecord): string => record.repoTags[0] ?? record.repoDigests[0] ?? record.id

/** A manifest without a type of its own is an OCI one: Docker's have to have it. */
function mediaTypeOf(manifest: Buffer): string {
  const parsed: unknown = JSON.parse(manifest.toString('utf8'))
  const type: unknown = typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'mediaType') : ''
  return typeof type === 'string' && type !== '' ? type : OCI_MANIFEST
}
