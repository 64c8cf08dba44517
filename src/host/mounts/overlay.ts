// SPDX-License-Identifier: Apache-2.0
/**
 * The root file system of a container: the image's layers below, a writable layer on top. Mounting and
 * unmounting are idempotent; the folders belong to the caller.
 */
import { lchown, lstat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import type { ContainerPaths } from '../../model/names.ts'
import type { Owner } from '../files.ts'
import type { Native } from '../native.ts'
import { insideOf } from './volumes.ts'

export interface Rootfs {
  /** `lower` topmost first. The folders of `paths` exist. @abort finishes */
  mount(scope: Scope, paths: ContainerPaths, lower: readonly string[]): Promise<void>
  /**
   * A folder in a mounted rootfs in which nothing runs yet: made if it is missing (0755, of `owner`), links followed
   * inside. Answers where it is, '/…', without links; '' for the root. What is there stays as it is. Fault `invalid`
   * where no folder can be. @abort finishes
   */
  folder(scope: Scope, at: { readonly rootfs: string; readonly path: string }, owner: Owner): Promise<string>
  /** Success if nothing is mounted. @abort finishes */
  unmount(scope: Scope, path: string): Promise<void>
}

export function rootfs(native: Native): Rootfs {
  return {
    mount: (_scope, paths, lower) => {
      // An image without layers: overlayfs wants at least one lower folder.
      if (lower.length === 0) return native.bind({ source: paths.upper, target: paths.rootfs })
      return native.mountOverlay({
        lower,
        upper: paths.upper,
        work: paths.work,
        target: paths.rootfs,
        volatile: true,
      })
    },
    async folder(_scope, { rootfs: root, path }, owner) {
      try {
        const inside = await insideOf(root, path, statIfThere)
        const missing: string[] = []
        for (let at = inside; !(await statIfThere(`${root}${at}`)); at = dirname(at)) missing.push(at)
        if (missing.length > 0) native.mkdirInRoot(root, inside, 0o755)
        for (const at of missing) await lchown(`${root}${at}`, owner.uid, owner.gid)
        return inside
      } catch (e) {
        const code = errnoCode(e)
        if (code === 'ENOTDIR' || code === 'ENAMETOOLONG')
          throw new Fault('invalid', `no folder can be at ${clip(path)} in the image: ${code}`, { cause: e })
        throw e
      }
    },
    unmount: (_scope, path) => native.umount(path, true),
  }
}

const statIfThere = (path: string) =>
  lstat(path).catch((e: unknown) => {
    if (errnoCode(e) === 'ENOENT') return undefined
    throw e
  })
