// SPDX-License-Identifier: Apache-2.0
/**
 * Image volumes: the layers of an image as one read-only mount, which all containers share that have the image
 * as a volume, and a path inside it. Mounting is idempotent; who uses the mount, and when it goes, is the
 * caller's to know (`Rootfs.unmount` takes it away). No link in an image leads out of it.
 */
import type { Stats } from 'node:fs'
import { lstat, readFile, readlink, realpath } from 'node:fs/promises'
import { errnoCode, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import type { ImageVolumePaths } from '../../model/names.ts'
import type { Native } from '../native.ts'
import { mountPointOf } from '../propagation.ts'

export interface ImageVolumes {
  /** Success if it is mounted already. `lower` topmost first. The folders of `paths` exist. @abort finishes */
  mount(scope: Scope, paths: ImageVolumePaths, lower: readonly string[]): Promise<void>
  /**
   * The file or folder that `subPath` names in the mount, without links in it: a link that is absolute, or climbs too
   * far, ends at the mount's root, as in a container. Faults `not-found`, `invalid` for what is neither.
   * @abort finishes
   */
  resolve(scope: Scope, mounted: string, subPath: string): Promise<string>
}

/** As many links as the kernel follows in one path (path_resolution(7)). */
const MAX_LINKS = 40

/**
 * Always an overlay, of two layers at least: without an upper one the kernel refuses to make it writable, whatever a
 * container may do to its own bind mount. A bind mount of the only layer could be made so by CAP_SYS_ADMIN.
 */
export function imageVolumes(native: Pick<Native, 'mountOverlay'>): ImageVolumes {
  return {
    async mount(_scope, { files, empty }, lower) {
      const at = await realpath(files)
      if (mountPointOf(await readFile('/proc/self/mountinfo', 'utf8'), at)?.path === at) return
      await native.mountOverlay({
        lower: [...lower, ...empty.slice(Math.min(lower.length, 2))],
        target: files,
      })
    },
    async resolve(_scope, mounted, subPath) {
      const seen = (path: string) => statOf(path, subPath)
      const path = `${mounted}${await insideOf(mounted, subPath, seen)}`
      const stats = await seen(path)
      if (stats.isFile() || stats.isDirectory()) return path
      throw new Fault('invalid', `"${clip(subPath)}" is neither a file nor a folder`)
    },
  }
}

/**
 * `subPath` below `root` without links in it: '' or '/…', of the root itself ''. Step by step, which is safe where
 * nothing can change meanwhile. `look` gives undefined where it takes a missing name for one that will be made.
 */
export async function insideOf(
  root: string,
  subPath: string,
  look: (path: string) => Promise<Stats | undefined>,
): Promise<string> {
  const todo = subPath.split('/').reverse()
  let done: string[] = []
  let links = 0
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === '' || part === '.') continue
    if (part === '..') {
      done.pop()
      continue
    }
    const at = [root, ...done, part].join('/')
    if (!(await look(at))?.isSymbolicLink()) {
      done.push(part)
      continue
    }
    if (++links > MAX_LINKS) throw new Fault('invalid', `"${clip(subPath)}" is a loop of links`)
    const target = await readlink(at)
    if (target.startsWith('/')) done = []
    todo.push(...target.split('/').reverse())
  }
  return ['', ...done].join('/')
}

async function statOf(path: string, subPath: string): Promise<Stats> {
  try {
    return await lstat(path)
  } catch (e) {
    if (errnoCode(e) !== 'ENOENT' && errnoCode(e) !== 'ENOTDIR' && errnoCode(e) !== 'ENAMETOOLONG') throw e
    throw new Fault('not-found', `"${clip(subPath)}" is not in the image`)
  }
}
