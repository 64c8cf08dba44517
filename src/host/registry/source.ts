// SPDX-License-Identifier: Apache-2.0
/**
 * ImageSource: where the parts of an image come from, as the readers of images see it. A registry is one; an
 * archive can be another. Types only.
 */
import type { Descriptor } from '../../model/document.ts'
import type { Digest } from '../../model/reference.ts'

export interface FetchedManifest {
  readonly bytes: Buffer
  readonly mediaType: string
  readonly digest: Digest
}

export interface ImageSource {
  /** The manifest or index that a tag or digest names, verified. With `expected` its size must fit. @abort stops */
  manifest(what: string | Digest, expected?: Descriptor): Promise<FetchedManifest>
  /** A whole small blob, verified by size and digest. @abort stops */
  smallBlob(blob: Descriptor, maxBytes: number): Promise<Buffer>
  /** The bytes of a blob in order, exactly `size` of them or an error; the digest is not verified. @abort stops */
  blob(blob: Descriptor): AsyncIterable<Buffer>
  /** The same of a part of it; only sources that can read from the middle have this. @abort stops */
  part?(blob: Descriptor, part: BlobPart): AsyncIterable<Buffer>
  /** Who has sent what came of this blob, for messages. */
  sendersOf?(digest: Digest): readonly string[]
  /** What has come of this blob was wrong. True: there is another place to have it from. */
  distrust?(digest: Digest): boolean
}

export interface BlobPart {
  readonly start: number
  /** One past the last byte. */
  readonly end: number
  /** Called when a host begins to answer. `whole`: it sends all from `start` to the blob's end, not to `end`. */
  readonly onOpen?: (whole: boolean) => void
  readonly signal?: AbortSignal
}
