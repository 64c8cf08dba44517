// SPDX-License-Identifier: Apache-2.0
/**
 * Compressed blobs that are kept after unpacking, one file each below `blobs/sha256/`. What is there has been
 * verified. Does not decide which are kept.
 */
import { mkdir, readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestOfHex, hexOf } from '../../model/reference.ts'

export interface KeptBlobs {
  pathOf(digest: Digest): string
  /** Makes the folder. @abort finishes */
  prepare(): Promise<void>
  /** Blobs that are there, their bytes on disk, and since when. @abort finishes */
  list(): Promise<readonly { readonly digest: Digest; readonly bytes: number; readonly keptAtMs: number }[]>
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
    async list() {
      const found = []
      for (const name of await readdir(folder).catch(() => [])) {
        if (!/^[0-9a-f]{64}$/.test(name)) continue
        const there = await stat(join(folder, name)).catch(() => undefined)
        if (there)
          found.push({ digest: digestOfHex(name), bytes: there.blocks * 512, keptAtMs: there.mtimeMs })
      }
      return found
    },
    async drop(digest) {
      await unlink(pathOf(digest)).catch(() => {})
    },
  }
}
