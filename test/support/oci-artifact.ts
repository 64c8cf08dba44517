// SPDX-License-Identifier: Apache-2.0
/** oci-artifact: OCI artifacts made in memory, as oras writes them: blobs with titles over the empty configuration. */
import { type Blob, type ImageSource, mediaTypes } from './oci-image.ts'
import { sha256 } from './oci-layer.ts'

export interface ArtifactFile {
  readonly content: string | Uint8Array
  /** Without one the blob has no title. */
  readonly title?: string
  readonly mediaType?: string
}

export interface Artifact {
  readonly manifest: Blob
  readonly config: Blob
  readonly files: readonly Blob[]
}

const EMPTY = 'application/vnd.oci.empty.v1+json'

function blob(content: string | Uint8Array, mediaType: string): Blob {
  const bytes = Buffer.from(content)
  return { digest: sha256(bytes), size: bytes.length, mediaType, bytes }
}

export function buildArtifact(
  files: readonly ArtifactFile[],
  artifactType = 'application/vnd.gantry.test.model.v1',
): Artifact {
  const config = blob('{}', EMPTY)
  const blobs = files.map((f) => blob(f.content, f.mediaType ?? 'application/octet-stream'))
  const entry = ({ digest, size, mediaType }: Blob, title?: string) => ({
    mediaType,
    digest,
    size,
    ...(title === undefined ? {} : { annotations: { 'org.opencontainers.image.title': title } }),
  })
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.oci.manifest,
    artifactType,
    config: entry(config),
    layers: blobs.map((b, i) => entry(b, files[i]?.title)),
    annotations: { 'org.opencontainers.image.created': '2026-01-02T03:04:05Z' },
  }
  return { config, files: blobs, manifest: blob(JSON.stringify(manifest), mediaTypes.oci.manifest) }
}

/** It as a source to push. */
export function artifactSource({ manifest, config, files }: Artifact): ImageSource {
  const blobs = new Map([manifest, config, ...files].map((one) => [one.digest, one.bytes]))
  return {
    digest: manifest.digest,
    mediaType: manifest.mediaType,
    read: async (digest) =>
      blobs.get(digest) ?? Promise.reject(new Error(`the artifact has no blob ${digest}`)),
  }
}

/** Serves it as `repository:tag`. */
export function serveArtifact(
  to: { put(repository: string, name: string, content: { mediaType: string; bytes: Uint8Array }): void },
  name: { readonly repository: string; readonly tag: string },
  { manifest, config, files }: Artifact,
): void {
  for (const one of [manifest, config, ...files]) to.put(name.repository, one.digest, one)
  to.put(name.repository, name.tag, manifest)
}
