// SPDX-License-Identifier: Apache-2.0
/**
 * Writing an image archive as one tar stream: blobs as they are given, then the documents that say what they
 * are. The result is an OCI layout, and with `docker` also what `docker load` of any age reads. The same input
 * gives the same bytes. Each blob's digest is verified while it passes. Knows no store, keeps nothing.
 */
import { createHash } from 'node:crypto'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import tar from 'tar-stream'
import { Fault } from '../../base/fault.ts'
import { type Digest, digestOfHex, hexOf, parseReference, tagName } from '../../model/reference.ts'

export interface OutBlob {
  readonly digest: Digest
  readonly size: number
  open(): AsyncIterable<Buffer>
}

/** One image of the archive; its layers have been written before. */
export interface OutImage {
  /** `name:tag` and `name@digest`. */
  readonly names: readonly string[]
  readonly mediaType: string
  readonly manifest: Buffer
  readonly config: Buffer
  /** Bottom first. */
  readonly layers: readonly Digest[]
}

export interface ArchiveWriter {
  /** Writes a blob once. Throws `corrupt` for one that is not what its digest says. @abort stops */
  blob(blob: OutBlob): Promise<void>
  /** Writes manifests, configurations and documents, and ends the stream. @abort stops */
  finish(images: readonly OutImage[], format: 'docker' | 'oci'): Promise<void>
  /** Gives up: the stream is destroyed. Idempotent. */
  abandon(why: Error): void
}

const EPOCH = new Date(0)

/** Writes into `into`, at its pace. Its failure is thrown by the next step. */
export function archiveWriter(into: Writable, signal: AbortSignal): ArchiveWriter {
  const pack = tar.pack()
  const written = new Set<Digest>()
  const draining = pipeline(pack, into, { signal })
  draining.catch(() => {}) // told by `finish`, or overtaken by the failure of an entry

  async function entry(name: string, size: number, pieces: AsyncIterable<Buffer>): Promise<void> {
    await pipeline(pieces, pack.entry({ name, size, mtime: EPOCH, mode: 0o644 }))
  }

  async function document(name: string, value: unknown): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(value))
    await entry(name, bytes.length, one(bytes))
  }

  async function blob({ digest, size, open }: OutBlob): Promise<void> {
    if (written.has(digest)) return
    written.add(digest)
    const hash = createHash('sha256')
    const hashed = async function* () {
      for await (const piece of open()) {
        hash.update(piece)
        yield piece
      }
    }
    await entry(`blobs/sha256/${hexOf(digest)}`, size, hashed())
    const found = hash.digest('hex')
    if (found !== hexOf(digest))
      throw new Fault('corrupt', `blob ${digest}: what is kept of it has the digest sha256:${found}`)
  }

  return {
    blob,
    async finish(images, format) {
      const small = async (bytes: Buffer) => {
        const digest = digestOfHex(createHash('sha256').update(bytes).digest('hex'))
        await blob({ digest, size: bytes.length, open: () => one(bytes) })
        return digest
      }
      const manifests: object[] = []
      const docker: object[] = []
      for (const image of images) {
        const config = await small(image.config)
        const digest = await small(image.manifest)
        const descriptor = { mediaType: image.mediaType, digest, size: image.manifest.length }
        const notes = image.names.map((name) => ({ ...descriptor, annotations: annotationsOf(name) }))
        manifests.push(...(notes.length === 0 ? [descriptor] : notes))
        const tags = image.names.filter((name) => !name.includes('@'))
        const path = (d: Digest) => `blobs/sha256/${hexOf(d)}`
        docker.push({
          Config: path(config),
          RepoTags: tags.length === 0 ? null : tags,
          Layers: image.layers.map(path),
        })
      }
      const mediaType = 'application/vnd.oci.image.index.v1+json'
      await document('index.json', { schemaVersion: 2, mediaType, manifests })
      if (format === 'docker') await document('manifest.json', docker)
      await document('oci-layout', { imageLayoutVersion: '1.0.0' })
      pack.finalize()
      await draining
    },
    abandon: (why) => pack.destroy(why),
  }
}

async function* one(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

/** As containerd and Docker write them; other tools look at the second, and take it for a tag. */
function annotationsOf(name: string): Record<string, string> {
  const ref = parseReference(name)
  const tag = tagName(ref) === undefined ? undefined : ref.tag
  return {
    'io.containerd.image.name': name,
    ...(tag === undefined ? {} : { 'org.opencontainers.image.ref.name': tag }),
  }
}
