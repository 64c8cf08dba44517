// SPDX-License-Identifier: Apache-2.0
/**
 * OCI artifacts: manifests whose configuration is not that of an image, such as models, charts or policies. Each
 * blob becomes one file, named by its title (`org.opencontainers.image.title`, as oras writes it), else by its
 * digest, in a layer of its own; so that an artifact is stored, shared, collected and mounted like an image.
 */
import { Fault } from '../../base/fault.ts'
import { type Descriptor, descriptorIn, type Json, objectIn, textIn } from '../../model/document.ts'
import { clip } from '../../model/ids.ts'
import { NO_CONFIG } from '../../model/image.ts'
import { LIMITS } from '../../model/limits.ts'
import { PULL } from '../../model/pull-policy.ts'
import { type Digest, hexOf } from '../../model/reference.ts'
import { sha256Of } from './client.ts'
import type { FetchedManifest, ImageSource } from './source.ts'

const TITLE = 'org.opencontainers.image.title'
const CREATED = 'org.opencontainers.image.created'

/** A layer that is one file with the bytes of the blob, not an archive. */
export interface FileLayer extends Descriptor {
  readonly diffId: Digest
  /** Of the bytes and the path together. */
  readonly chainId: Digest
  /** Relative path; no part of it is `.`, `..` or empty. */
  readonly file: string
}

/**
 * What there is to be fetched of the artifact with this manifest, in the shape of an image. Its configuration can be
 * anything and is not kept; it is fetched, because then a signature policy is asked. Throws `corrupt`. @abort stops
 */
export async function readArtifact(
  source: ImageSource,
  parsed: Json,
  at: {
    readonly target: FetchedManifest
    readonly manifest: FetchedManifest
    readonly configAt: Descriptor
    readonly layers: readonly unknown[]
  },
) {
  const { target, manifest, configAt } = at
  const where = `manifest ${manifest.digest}`
  const note = (of: Json, key: string, place: string) =>
    textIn(
      objectIn(of.annotations ?? {}, `${place}: annotations`)[key] ?? '',
      `${place}: annotations: ${key}`,
    )
  const blobs = at.layers.map((value, i) => {
    const place = `${where}: layers[${i}]`
    return { blob: descriptorIn(value, place), title: note(objectIn(value, place), TITLE, place) }
  })
  const layers = artifactLayers(blobs, where)
  await source.smallBlob(configAt, PULL.configBytes)
  const bytes = manifest.bytes.toString('base64')
  return {
    targetDigest: target.digest,
    manifestDigest: manifest.digest,
    // Artifacts share one empty configuration: what makes one what it is, is the manifest.
    configDigest: manifest.digest,
    configBytes: manifest.bytes.length,
    os: '',
    architecture: '',
    createdAt: note(parsed, CREATED, where),
    config: NO_CONFIG,
    blobs: { config: bytes, manifest: bytes },
    layers,
    artifactType: textIn(parsed.artifactType ?? configAt.mediaType, `${where}: artifactType`),
  }
}

/**
 * The files of an artifact as layers, in the manifest's order. The same file twice is one. Throws `corrupt` for a
 * title that is no path below the volume, and for two that cannot be files side by side.
 */
export function artifactLayers(
  blobs: readonly { readonly blob: Descriptor; readonly title: string }[],
  where: string,
): readonly FileLayer[] {
  const byPath = new Map<string, FileLayer>()
  for (const { blob, title } of blobs) {
    const file = title === '' ? hexOf(blob.digest) : checkTitle(title, where)
    const known = byPath.get(file)
    if (known && known.digest !== blob.digest)
      throw new Fault('corrupt', `${where}: two blobs have the title "${clip(file)}"`)
    const chainId = sha256Of(`artifact file\n${blob.digest}\n${file}`)
    byPath.set(file, { ...blob, file, diffId: blob.digest, chainId })
  }
  for (const path of byPath.keys())
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1))
      if (byPath.has(path.slice(0, at)))
        throw new Fault('corrupt', `${where}: "${clip(path.slice(0, at))}" is a file and a folder`)
  return [...byPath.values()]
}

const NAME_BYTES = 255

function checkTitle(title: string, where: string): string {
  const parts = title.split('/')
  const isBad = (part: string) =>
    part === '' || part === '.' || part === '..' || Buffer.byteLength(part) > NAME_BYTES
  if (!title.includes('\0') && Buffer.byteLength(title) <= LIMITS.pathBytes && !parts.some(isBad))
    return title
  throw new Fault('corrupt', `${where}: the title "${clip(title)}" is not a path of a file in the volume`)
}
