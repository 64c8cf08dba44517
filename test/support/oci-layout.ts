// SPDX-License-Identifier: Apache-2.0
/**
 * oci-layout: images in an OCI layout folder (oci-layout, index.json, blobs/sha256). One folder holds many
 * images; each is found by its whole reference in the annotation `org.opencontainers.image.ref.name`. Writing
 * is not atomic: whoever needs that writes to a folder beside and renames it. Content is not verified on read:
 * tests also keep broken images.
 */
import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AnyImage, ImageSource } from './oci-image.ts'
import { blobsOf } from './oci-image.ts'

const nameKey = 'org.opencontainers.image.ref.name'

interface LayoutEntry {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly annotations: Readonly<Record<string, string>>
}

export interface Layout {
  readonly dir: string
  /** The references in it, in the order written. */
  readonly names: readonly string[]
  /** The image of that reference. Throws, naming those that are there, when it is not. */
  image(name: string): ImageSource
}

function blobPath(dir: string, digest: string): string {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1]
  if (hex === undefined) throw new Error(`not a sha256 digest: ${JSON.stringify(digest)}`)
  return join(dir, 'blobs/sha256', hex)
}

/** Writes the images into `dir` (made if absent; blobs that are there already are kept) and its index.json. */
export async function writeLayout(
  dir: string,
  images: readonly { readonly name: string; readonly image: AnyImage }[],
): Promise<Layout> {
  await mkdir(join(dir, 'blobs/sha256'), { recursive: true })
  for (const { image } of images)
    for (const blob of blobsOf(image)) {
      const path = blobPath(dir, blob.digest)
      const there = await access(path).then(
        () => true,
        () => false,
      )
      if (!there) await writeFile(path, blob.bytes)
    }
  const manifests: LayoutEntry[] = images.map(({ name, image }) => ({
    mediaType: image.manifest.mediaType,
    digest: image.manifest.digest,
    size: image.manifest.size,
    annotations: { [nameKey]: name },
  }))
  await writeFile(join(dir, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }, undefined, 1))
  return layoutOf(dir, manifests)
}

/** Opens a layout that `writeLayout` wrote. Rejects when there is none. */
export async function readLayout(dir: string): Promise<Layout> {
  const index: { manifests: LayoutEntry[] } = JSON.parse(await readFile(join(dir, 'index.json'), 'utf8'))
  return layoutOf(dir, index.manifests)
}

function layoutOf(dir: string, manifests: readonly LayoutEntry[]): Layout {
  const byName = new Map(manifests.map((m) => [m.annotations[nameKey] ?? m.digest, m]))
  return {
    dir,
    names: [...byName.keys()],
    image: (name) => {
      const found = byName.get(name)
      if (found === undefined)
        throw new Error(`no image ${JSON.stringify(name)} in ${dir}; it has ${[...byName.keys()].join(', ')}`)
      return {
        digest: found.digest,
        mediaType: found.mediaType,
        read: (digest) => readFile(blobPath(dir, digest)),
      }
    },
  }
}
