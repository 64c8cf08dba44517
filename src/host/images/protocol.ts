// SPDX-License-Identifier: Apache-2.0
/**
 * What the daemon and its image worker say to each other: JSON lines. The daemon sends one request at a time, and
 * `go`; the worker says how the job goes and ends it with `done` or `failed`. It ends itself when its stdin
 * closes. Types and parsers only.
 */
import type { FaultKind } from '../../base/fault.ts'
import { typedLine } from '../../base/json-line.ts'
import type { ImageBlobs, ImageConfig, LayerRecord } from '../../model/image.ts'
import type { UnpackLimits } from '../../model/limits.ts'
import type { Platform } from '../../model/platform.ts'
import type { RegistryAuth } from '../../model/pull-policy.ts'
import type { Digest } from '../../model/reference.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'

/** What every job needs. */
export interface JobBase {
  /** Names the job's temporary folders. */
  readonly workId: string
  readonly platform: Platform
  readonly layersRoot: string
  /** Absolute paths of `gantry-unpack` and of the addon. */
  readonly unpackProgram: string
  readonly addon: string
  readonly parallelLayers: number
  /** What a layer may be; undefined: the program's own limits. */
  readonly unpackLimits?: UnpackLimits | undefined
  /** Where compressed blobs are kept after unpacking; undefined: they are not. */
  readonly keepBlobs?: string | undefined
}

/** How a job gets to its registry, and in. */
export interface RegistryAccess {
  /** The request's credentials; without any for a host, the node's are looked for. */
  readonly auth: RegistryAuth
  /** `certs.d` folders, first wins. */
  readonly certsDirs: readonly string[]
  /** registries.conf and the folder of its drop-ins; undefined: none is read. */
  readonly registriesConf?: { readonly file: string; readonly folder: string } | undefined
  /** Files with the node's credentials, first wins. */
  readonly authFiles: readonly string[]
  /** Folders of credential helpers, first wins. */
  readonly helperDirs: readonly string[]
}

export interface PullJob extends JobBase, RegistryAccess {
  readonly job: 'pull'
  readonly reference: string
  /** The signature policy; undefined: every image is accepted. */
  readonly trust?: TrustSettings | undefined
}

/** A layer that is here, by the blob that it came as. */
export interface LayerOut {
  readonly chainId: Digest
  readonly diffId: Digest
  readonly digest: Digest
  readonly size: number
  readonly mediaType: string
}

/** An image as it leaves this machine. */
export interface ImageOut {
  /** `name:tag`, and `name@digest` where it is the digest of the manifest. */
  readonly names: readonly string[]
  readonly configDigest: Digest
  readonly blobs: ImageBlobs
  /** Bottom first. */
  readonly layers: readonly LayerOut[]
}

export interface SaveJob extends JobBase {
  readonly job: 'save'
  /** `docker` is an OCI layout too. The archive goes to descriptor 3. */
  readonly format: 'docker' | 'oci'
  /** Where compressed blobs are that were kept. */
  readonly blobsRoot: string
  readonly images: readonly ImageOut[]
}

/** The archive comes on descriptor 3. */
export interface LoadJob extends JobBase {
  readonly job: 'load'
  /** The signature policy; undefined: every archive is accepted. */
  readonly trust?: TrustSettings | undefined
  readonly maxBytes: number
}

export interface PushJob extends JobBase, RegistryAccess {
  readonly job: 'push'
  readonly target: string
  readonly blobsRoot: string
  readonly image: ImageOut
}

/** Compares a writable layer, or any other, with what is below it. */
export interface DiffJob extends JobBase {
  readonly job: 'diff'
  readonly upper: string
  /** Topmost first. */
  readonly lower: readonly string[]
}

/** One job; `job` says which. */
export type WorkerRequest = PullJob | SaveJob | LoadJob | PushJob | DiffJob

export interface LoadedImage {
  readonly image: PulledImage
  readonly tags: readonly string[]
  /** Repositories that know the image by its `targetDigest`. */
  readonly repositories: readonly string[]
}

export interface DiffEntry {
  readonly kind: 'added' | 'changed' | 'deleted'
  /** Absolute path in the container; bytes that are no UTF-8 show as the replacement character. */
  readonly path: string
}

export interface PulledImage {
  /** What was pulled, in its normal form, if the request was a short name. */
  readonly reference?: string
  readonly configDigest: Digest
  readonly targetDigest: Digest
  readonly manifestDigest: Digest
  readonly configBytes: number
  readonly os: string
  readonly architecture: string
  readonly createdAt: string
  readonly config: ImageConfig
  readonly blobs: ImageBlobs
  readonly layers: readonly LayerRecord[]
  /** Set: an artifact of that type. */
  readonly artifactType?: string
  /** How many of the layers were there already. */
  readonly layersHad: number
}

/** `waiting` for its turn or for another pull that makes it; `unpacking` when all has been fetched; `had` before. */
export type LayerState = 'waiting' | 'fetching' | 'packing' | 'sending' | 'unpacking' | 'done' | 'had'

export interface LayerProgress {
  readonly digest: string
  readonly state: LayerState
  /** Of the compressed blob: fetched, given to the unpacker, and all. */
  readonly doneBytes: number
  readonly unpackedBytes: number
  readonly totalBytes: number
}

export interface PullProgress {
  /** Bottom first. */
  readonly layers: readonly LayerProgress[]
  /** Bytes that were read of an archive, or written. */
  readonly archiveBytes?: number
}

/** How a job ended well. */
export type DoneMessage<Job extends WorkerRequest['job'] = WorkerRequest['job']> = Extract<
  WorkerMessage,
  { readonly type: 'done'; readonly job: Job }
>

export type WorkerMessage =
  /** The layers the image needs; the worker goes on when it has read `go`. */
  | { readonly type: 'plan'; readonly chainIds: readonly Digest[] }
  | ({ readonly type: 'progress' } & PullProgress)
  | { readonly type: 'warning'; readonly message: string }
  /** A layer has been fetched, or unpacked, in so many milliseconds. */
  | { readonly type: 'stage'; readonly name: 'fetch' | 'unpack'; readonly ms: number }
  | { readonly type: 'done'; readonly job: 'pull'; readonly image: PulledImage }
  | {
      readonly type: 'done'
      readonly job: 'save'
      readonly bytes: number
      readonly warnings: readonly string[]
    }
  | {
      readonly type: 'done'
      readonly job: 'load'
      readonly images: readonly LoadedImage[]
      readonly warnings: readonly string[]
    }
  | {
      readonly type: 'done'
      readonly job: 'push'
      readonly digest: Digest
      readonly warnings: readonly string[]
    }
  | {
      readonly type: 'done'
      readonly job: 'diff'
      readonly entries: readonly DiffEntry[]
      readonly truncated: boolean
    }
  | { readonly type: 'failed'; readonly kind: FaultKind; readonly message: string; readonly reason?: string }

/** A line of the protocol. Plain JSON: sizes are numbers, so that no text of an image can pass for one. */
export function formatLine(message: WorkerMessage | WorkerRequest | { readonly go: true }): string {
  return `${JSON.stringify(message, (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value))}\n`
}

/** A request on the worker's stdin. The daemon is of the same build: its own type comes back. */
export function parseRequest(line: string): WorkerRequest {
  return JSON.parse(line) as WorkerRequest
}

const types = new Set<WorkerMessage['type']>(['plan', 'progress', 'warning', 'stage', 'done', 'failed'])

/** One line of the worker's stdout. Both ends are the same build: only the frame is checked. Throws `internal`. */
export function parseWorkerLine(line: string): WorkerMessage {
  const message = typedLine<WorkerMessage>(line, types, 'the image worker')
  if (message.type !== 'done') return message
  if (message.job === 'pull') return { ...message, image: withSizes(message.image) }
  if (message.job !== 'load') return message
  return { ...message, images: message.images.map((one) => ({ ...one, image: withSizes(one.image) })) }
}

/** Sizes of layers are numbers on the line and bigints elsewhere. */
function withSizes(image: PulledImage): PulledImage {
  const layers = image.layers.map((layer) => ({
    ...layer,
    blobBytes: BigInt(layer.blobBytes),
    bytes: BigInt(layer.bytes),
    inodes: BigInt(layer.inodes),
  }))
  return { ...image, layers }
}
