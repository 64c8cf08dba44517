// SPDX-License-Identifier: Apache-2.0
/**
 * Finds a file as overlayfs will show it, in the layer folders of an image before anything is mounted. Whiteouts and
 * opaque folders hide what is below them, and links are followed by these rules and no others: inside the root, from
 * layer to layer. Layers are complete and do not change, so that what was looked at is what is read.
 */
import type { Stats } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { errnoCode } from '../../base/fault.ts'
import type { Native } from '../native.ts'

/** As many as the kernel follows (path_resolution(7)). */
const MAX_LINKS = 40

type Seen = { readonly folders: readonly string[] } | { readonly path: string; readonly stats: Stats }

const statOf = (path: string): Promise<Stats | undefined> =>
  lstat(path).catch((e: unknown) => {
    if (errnoCode(e) === 'ENOENT') return undefined
    throw e
  })

/** What the merged folder that lies in `folders`, topmost first, shows as `name`; undefined for nothing. */
async function look(native: Native, folders: readonly string[], name: string): Promise<Seen | undefined> {
  const found: string[] = []
  const all = await Promise.all(folders.map((folder) => statOf(`${folder}/${name}`)))
  for (const [i, stats] of all.entries()) {
    const path = `${folders[i]}/${name}`
    if (!stats) continue
    if (!stats.isDirectory()) {
      // Over folders of higher layers it is hidden by them; a device 0:0 is a whiteout.
      if (found.length > 0 || (stats.isCharacterDevice() && stats.rdev === 0)) break
      return { path, stats }
    }
    found.push(path)
    if (native.isOpaque(Buffer.from(path))) break
  }
  return found.length > 0 ? { folders: found } : undefined
}

/** The host's path of the file that is at `path` in the stacked layers; undefined if there is none. @abort finishes */
export async function findInLayers(
  native: Native,
  lowerDirs: readonly string[],
  path: string,
): Promise<string | undefined> {
  const todo = path.split('/')
  let at: (readonly string[])[] = [lowerDirs]
  let links = 0
  for (let name = todo.shift(); name !== undefined; name = todo.shift()) {
    if (name === '' || name === '.') continue
    if (name === '..') {
      if (at.length > 1) at.pop()
      continue
    }
    const seen = await look(native, at.at(-1) ?? [], name)
    if (!seen) return undefined
    if ('folders' in seen) {
      at.push(seen.folders)
    } else if (seen.stats.isSymbolicLink()) {
      if (++links > MAX_LINKS) return undefined
      const target = await readlink(seen.path)
      if (target.startsWith('/')) at = [lowerDirs]
      todo.unshift(...target.split('/'))
    } else return seen.stats.isFile() && todo.every((n) => n === '' || n === '.') ? seen.path : undefined
  }
  return undefined
}

/** Where dynamically linked programs of the small sister of an architecture look for their loader. */
const LOADERS = {
  amd64: ['/lib/ld-linux.so.2', '/lib/ld-musl-i386.so.1'],
  arm64: [
    '/lib/ld-linux-armhf.so.3',
    '/lib/ld-linux.so.3',
    '/lib/ld-musl-armhf.so.1',
    '/lib/ld-musl-arm.so.1',
  ],
} as const

/** Answers are kept by the topmost layer's folder, whose name tells all layers below it. */
const KEPT_ANSWERS = 256

/** Asks whether an image can run dynamically linked 32-bit programs. @abort finishes */
export function smallLoaders(
  native: Native,
  architecture: keyof typeof LOADERS,
): (lowerDirs: readonly string[]) => Promise<boolean> {
  const known = new Map<string, boolean>()
  return async (lowerDirs) => {
    const [top = ''] = lowerDirs
    const answer = known.get(top)
    if (answer !== undefined) return answer
    const found = await Promise.all(
      LOADERS[architecture].map((path) => findInLayers(native, lowerDirs, path)),
    )
    const [oldest] = known.keys()
    if (known.size >= KEPT_ANSWERS && oldest !== undefined) known.delete(oldest)
    const has = found.some((path) => path !== undefined)
    known.set(top, has)
    return has
  }
}
