// SPDX-License-Identifier: Apache-2.0
/**
 * Compressed blobs that are kept after unpacking, one file each below `blobs/sha256/`. What is there has been
 * verified. Does not decide which are kept.
 */
import { mkdir, readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestOfHex, hexOf } from '../../model/reference.ts'

export interface BlobFile {
  readonly digest: Digest
  /** On disk. */
  readonly bytes: number
  /** When it was last written. */
  readonly atMs: number
}

export interface KeptBlobs {
  pathOf(digest: Digest): string
  /** Makes the folder. @abort finishes */
  prepare(): Promise<void>
  /** Blobs that are there. @abort finishes */
  list(): Promise<readonly BlobFile[]>
  /** Success also if there is none. @abort finishes */
  drop(digest: Digest): Promise<void>
}

/** `root` is the daemon's `<root>/blobs`. */
export function keptBlobs(root: string): KeptBlobs {
  const folder = join(root, 'sha256')
  const pathOf = (digest: Digest) => join(folder, hexOf(digest))
  return {
    pathOf,
    async prepare() {
      await mkdir(folder, { recursive: true, mode: 0o700 })
    },
    list: () => blobFiles(folder, ''),
    async drop(digest) {
      await unlink(pathOf(digest)).catch(() => {})
    },
  }
}

/** The files in `folder` that are named by `prefix` and the hex of a digest. @abort finishes */
export async function blobFiles(folder: string, prefix: string): Promise<readonly BlobFile[]> {
  const found: BlobFile[] = []
  for (const name of await readdir(folder).catch(() => [])) {
    const hex = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    if (!/^[0-9a-f]{64}$/.test(hex)) continue
    const there = await stat(join(folder, name)).catch(() => undefined)
    if (there) found.push({ digest: digestOfHex(hex), bytes: there.blocks * 512, atMs: there.mtimeMs })
  }
  return found
}
