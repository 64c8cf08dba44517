// SPDX-License-Identifier: Apache-2.0
/**
 * oci-image: container images made in memory, for tests: manifests and indexes of the OCI and the Docker
 * schema 2 form over layers of `oci-layer.ts`. The same input gives the same digests: nothing is read from the
 * machine but its architecture. Writing to disk is `oci-layout.ts`, pushing is `registry.ts`.
 */
import type { Layer } from './oci-layer.ts'
import { fixedTimeMs, sha256 } from './oci-layer.ts'

export type ManifestFormat = 'oci' | 'docker'

export interface Blob {
  readonly digest: string
  readonly size: number
  readonly mediaType: string
  readonly bytes: Uint8Array
}

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
}

/** The `config` object of an image config, in its own spelling. */
export interface RunConfig {
  readonly User?: string
  readonly Env?: readonly string[]
  readonly Entrypoint?: readonly string[]
  readonly Cmd?: readonly string[]
  readonly WorkingDir?: string
  readonly Labels?: Readonly<Record<string, string>>
  readonly StopSignal?: string
  readonly Volumes?: Readonly<Record<string, Readonly<Record<string, never>>>>
  readonly ExposedPorts?: Readonly<Record<string, Readonly<Record<string, never>>>>
}

export interface Image {
  readonly kind: 'image'
  readonly format: ManifestFormat
  readonly platform: Platform
  readonly manifest: Blob
  readonly config: Blob
  readonly layers: readonly Blob[]
  readonly diffIds: readonly string[]
}

export interface Index {
  readonly kind: 'index'
  readonly format: ManifestFormat
  readonly manifest: Blob
  readonly images: readonly Image[]
}

export type AnyImage = Image | Index

/**
 * Where an image can be read from, whatever it is kept in. `read` gives the bytes of a manifest, config or
 * layer by digest and rejects for a digest that is not there.
 */
export interface ImageSource {
  readonly digest: string
  readonly mediaType: string
  read(digest: string): Promise<Uint8Array>
}

/** The architecture of this machine as images name it: `amd64`, `arm64`, else Node's own word. */
export function hostArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch
}

/** The platform of this machine as an image of it says it. */
export function hostPlatform(): Platform {
  const architecture = hostArchitecture()
  return architecture === 'arm64'
    ? { os: 'linux', architecture, variant: 'v8' }
    : { os: 'linux', architecture }
}

const suffixes = {
  oci: { gzip: '+gzip', zstd: '+zstd', none: '' },
  docker: { gzip: '.gzip', zstd: '.zstd', none: '' },
} as const

/** Media types of the two families. */
export const mediaTypes = {
  oci: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    index: 'application/vnd.oci.image.index.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar',
  },
  docker: {
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar',
  },
} as const

function jsonBlob(mediaType: string, value: unknown): Blob {
  const bytes = Buffer.from(JSON.stringify(value))
  return { digest: sha256(bytes), size: bytes.length, mediaType, bytes }
}

function descriptor(blob: Blob): { mediaType: string; digest: string; size: number } {
  return { mediaType: blob.mediaType, digest: blob.digest, size: blob.size }
}

/** One image of one platform. */
export function buildImage(input: {
  readonly layers: readonly Layer[]
  readonly config?: RunConfig
  readonly format?: ManifestFormat
  readonly platform?: Platform
}): Image {
  const format = input.format ?? 'oci'
  const platform = input.platform ?? hostPlatform()
  const types = mediaTypes[format]
  const created = new Date(fixedTimeMs).toISOString()
  const diffIds = input.layers.map((l) => l.diffId)
  const config = jsonBlob(types.config, {
    created,
    ...platform,
    config: input.config ?? {},
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: input.layers.map(() => ({ created, created_by: 'gantry test images' })),
  })
  const layers = input.layers.map((l) => ({
    digest: l.digest,
    size: l.bytes.length,
    mediaType: `${types.layer}${suffixes[format][l.compression]}`,
    bytes: l.bytes,
  }))
  const manifest = jsonBlob(types.manifest, {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: descriptor(config),
    layers: layers.map(descriptor),
  })
  return { kind: 'image', format, platform, manifest, config, layers, diffIds }
}

/** An OCI index or a Docker manifest list over images. */
export function buildIndex(images: readonly Image[], format: ManifestFormat = 'oci'): Index {
  const mediaType = mediaTypes[format].index
  const manifests = images.map((i) => ({ ...descriptor(i.manifest), platform: i.platform }))
  return {
    kind: 'index',
    format,
    manifest: jsonBlob(mediaType, { schemaVersion: 2, mediaType, manifests }),
    images,
  }
}

/** Every blob of an image: manifests, configs and layers, the top manifest last. */
export function blobsOf(image: AnyImage): readonly Blob[] {
  const below =
    image.kind === 'index' ? image.images.flatMap((i) => blobsOf(i)) : [...image.layers, image.config]
  return [...below, image.manifest]
}

/** An image in memory as a source to push or serve. */
export function sourceOf(image: AnyImage): ImageSource {
  const blobs = new Map(blobsOf(image).map((b) => [b.digest, b.bytes]))
  return {
    digest: image.manifest.digest,
    mediaType: image.manifest.mediaType,
    read: async (digest) => {
      const bytes = blobs.get(digest)
      if (bytes === undefined) throw new Error(`the image has no blob ${digest}`)
      return bytes
    },
  }
}
