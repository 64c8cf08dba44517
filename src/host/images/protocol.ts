// SPDX-License-Identifier: Apache-2.0
/**
 * What the daemon and its pull worker say to each other: JSON lines, the request and `go` on the worker's stdin,
 * the rest on its stdout. The worker ends when its stdin closes. Types and parsers only.
 */
import { Fault, type FaultKind } from '../../base/fault.ts'
import type { ImageConfig, LayerRecord } from '../../model/image.ts'
import type { Platform } from '../../model/platform.ts'
import type { RegistryAuth } from '../../model/pull-policy.ts'
import type { Digest } from '../../model/reference.ts'

export interface WorkerRequest {
  /** Names the worker's temporary folders. */
  readonly pullId: string
  readonly reference: string
  readonly auth: RegistryAuth
  /** `certs.d` folders, first wins. */
  readonly certsDirs: readonly string[]
  readonly platform: Platform
  readonly layersRoot: string
  /** Absolute paths of `gantry-unpack` and of the addon. */
  readonly unpackProgram: string
  readonly addon: string
  readonly parallelLayers: number
}

export interface PulledImage {
  readonly configDigest: Digest
  readonly targetDigest: Digest
  readonly manifestDigest: Digest
  readonly configBytes: number
  readonly os: string
  readonly architecture: string
  readonly createdAt: string
  readonly config: ImageConfig
  readonly layers: readonly LayerRecord[]
  /** How many of the layers were there already. */
  readonly layersHad: number
}

export interface PullProgress {
  readonly layers: readonly {
    readonly digest: string
    readonly doneBytes: number
    readonly totalBytes: number
  }[]
}

export type WorkerMessage =
  /** The layers the image needs; the worker goes on when it has read `go`. */
  | { readonly type: 'plan'; readonly chainIds: readonly Digest[] }
  | ({ readonly type: 'progress' } & PullProgress)
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'done'; readonly image: PulledImage }
  | { readonly type: 'failed'; readonly kind: FaultKind; readonly message: string; readonly reason?: string }

/** A line of the protocol. Plain JSON: sizes are numbers, so that no text of an image can pass for one. */
export function formatLine(message: WorkerMessage | WorkerRequest | { readonly go: true }): string {
  return `${JSON.stringify(message, (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value))}\n`
}

/** The first line of the worker's stdin. The daemon is of the same build: its own type comes back. */
export function parseRequest(line: string): WorkerRequest {
  return JSON.parse(line) as WorkerRequest
}

/** One line of the worker's stdout. Both ends are the same build: only the frame is checked. */
export function parseWorkerLine(line: string): WorkerMessage {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    value = undefined
  }
  const type: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'type') : undefined
  if (typeof type !== 'string' || !['plan', 'progress', 'warning', 'done', 'failed'].includes(type)) {
    throw new Fault('internal', 'the pull worker said something that is not of its protocol')
  }
  const message = value as WorkerMessage
  if (message.type !== 'done') return message
  const layers = message.image.layers.map((layer) => ({
    ...layer,
    blobBytes: BigInt(layer.blobBytes),
    bytes: BigInt(layer.bytes),
    inodes: BigInt(layer.inodes),
  }))
  return { ...message, image: { ...message.image, layers } }
}
