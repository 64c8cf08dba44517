// SPDX-License-Identifier: Apache-2.0
/**
 * Save: images as one archive into a stream, for another node or another tool. The bytes come from a worker
 * and pass through at the pace of the reader. Changes nothing. The images are held meanwhile, so that no layer
 * goes from under it.
 */
import type { Writable } from 'node:stream'
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { ImageOut, ImageTransfers } from '../../host/images/transfers.ts'
import { clip } from '../../model/ids.ts'
import type { ImageRecord } from '../../model/image.ts'
import { digestName, type ImageId, parseReference, tagName } from '../../model/reference.ts'

/** `docker`: what `docker load` reads, and an OCI layout as well, as Docker writes it since 25. `oci`: the layout only. */
export type ArchiveFormat = 'docker' | 'oci'

export interface SaveCommand {
  /** Names, digests or ids; each image is in the archive once, with the names that were asked for. */
  readonly references: readonly string[]
  readonly format: ArchiveFormat
}

export interface Saved {
  readonly images: readonly { readonly id: ImageId; readonly names: readonly string[] }[]
  /** What a person should know: an image whose manifest had to change, for example. */
  readonly warnings: readonly string[]
  readonly bytes: number
}

/** Leaves `sink` open; a piece that is written is the sink's until it calls back, and not longer. */
export type SaveImages = (scope: Scope, command: SaveCommand, sink: Writable) => Promise<Saved>

export interface OutDeps {
  readonly find: (reference: string) => ImageRecord | undefined
  readonly blobsOf: (
    id: string,
  ) => Promise<{ readonly config: Buffer; readonly manifest: Buffer } | undefined>
  readonly hold: (id: ImageId) => Disposable
  readonly transfers: ImageTransfers
}

/** Faults: `not-found`, `unsupported` for what cannot be given back exactly. @abort kills */
export function saveImages(deps: OutDeps): SaveImages {
  return async (scope, { references, format }, sink) => {
    using holds = new DisposableStack()
    const wanted = new Map<ImageRecord, Set<string>>()
    for (const reference of references) {
      const record = expectImage(deps, reference)
      holds.use(deps.hold(record.id))
      const names = wanted.get(record) ?? new Set()
      for (const name of namesMeant(record, reference)) names.add(name)
      wanted.set(record, names)
    }
    const images: ImageOut[] = []
    for (const [record, names] of wanted) images.push(await imageOut(deps, record, [...names]))
    const { bytes, warnings } = await act(scope, { work: 'save', name: 'worker' }, () =>
      deps.transfers.save(scope, { format, images }, sink),
    )
    scope.log.info('images-saved', { images: images.map((i) => i.configDigest), bytes })
    return {
      bytes,
      warnings,
      images: [...wanted].map(([{ id }, names]) => ({ id, names: [...names] })),
    }
  }
}

/** The image, or `not-found`. */
export function expectImage(deps: Pick<OutDeps, 'find'>, reference: string): ImageRecord {
  const record = deps.find(reference)
  if (record) return record
  throw new Fault('not-found', `image "${clip(reference)}" is not here`)
}

/** The name that was asked for; for an id, or what only leads to the image, all its tags. */
export function namesMeant(record: ImageRecord, reference: string): readonly string[] {
  const name = nameIn(reference)
  const known = name !== undefined && [...record.repoTags, ...record.repoDigests].includes(name)
  return known ? [name] : record.repoTags
}

/** `name:tag` or `name@digest` as records have it; undefined for what is no name. */
export function nameIn(reference: string): string | undefined {
  try {
    const ref = parseReference(reference)
    return ref.digest === undefined ? tagName(ref) : digestName(ref, ref.digest)
  } catch {
    return undefined
  }
}

/** The image as a worker needs it. `name@digest` is told only where it is the digest of the manifest that goes. */
export async function imageOut(
  deps: Pick<OutDeps, 'blobsOf'>,
  record: ImageRecord,
  names: readonly string[],
): Promise<ImageOut> {
  const name = record.repoTags[0] ?? record.id
  if (record.artifactType !== undefined) {
    throw new Fault(
      'unsupported',
      `${name} is an artifact: only images can be saved and pushed, copy it from its registry`,
    )
  }
  const blobs = await deps.blobsOf(record.id)
  if (!blobs) {
    throw new Fault('unsupported', `image ${name}: its exact configuration was not kept: pull it again`)
  }
  return {
    names: names.filter((name) => !name.includes('@') || name.endsWith(`@${record.manifestDigest}`)),
    configDigest: record.id,
    blobs: { config: blobs.config.toString('base64'), manifest: blobs.manifest.toString('base64') },
    layers: record.layers.map(({ chainId, diffId, digest, blobBytes, mediaType }) => ({
      chainId,
      diffId,
      digest,
      size: Number(blobBytes),
      mediaType,
    })),
  }
}
