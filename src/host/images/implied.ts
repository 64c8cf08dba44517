// SPDX-License-Identifier: Apache-2.0
/**
 * Folders that a layer uses without having an entry for them. Unpacked on its own such a layer makes them anew,
 * and in the overlay they would hide the owner and mode of the same folder below (`/tmp` would lose its sticky
 * bit). So they take owner, mode and time from the topmost lower layer that has them. Follows no links.
 */

import type { Stats } from 'node:fs'
import { chmod, chown, lstat, utimes } from 'node:fs/promises'
import { join } from 'node:path'

/** `lower` are the roots of the layers below, topmost first. Paths that are not plain folders are left alone. */
export async function adoptImplied(
  fs: string,
  implied: readonly string[],
  lower: readonly string[],
): Promise<void> {
  for (const path of implied) {
    const parts = path.split('/').filter((p) => p !== '')
    if (parts.length === 0 || parts.includes('..') || parts.includes('.')) continue
    const own = await folderAt(fs, parts)
    if (own === undefined || own === 'hidden') continue
    for (const root of lower) {
      const found = await folderAt(root, parts)
      if (found === 'hidden') break
      if (found === undefined) continue
      await adopt(join(fs, ...parts), found)
      break
    }
  }
}

async function adopt(path: string, from: Stats): Promise<void> {
  await chown(path, from.uid, from.gid)
  await chmod(path, from.mode & 0o7777)
  await utimes(path, from.atime, from.mtime)
}

/** The folder at a path below `root`; 'hidden' if something else is in the way, undefined if nothing is there. */
async function folderAt(root: string, parts: readonly string[]): Promise<Stats | 'hidden' | undefined> {
  let at = root
  let stats: Stats | undefined
  for (const part of parts) {
    at = join(at, part)
    stats = await lstat(at).catch(() => undefined)
    if (stats === undefined) return undefined
    if (!stats.isDirectory()) return 'hidden'
  }
  return stats
}
