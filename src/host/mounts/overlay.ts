// SPDX-License-Identifier: Apache-2.0
/**
 * The root file system of a container: the image's layers below, a writable layer on top. Mounting and
 * unmounting are idempotent; the folders belong to the caller.
 */
import type { Scope } from '../../base/scope.ts'
import type { ContainerPaths } from '../../model/names.ts'
import type { Native } from '../native.ts'

export interface Rootfs {
  /** `lower` topmost first. The folders of `paths` exist. @abort finishes */
  mount(scope: Scope, paths: ContainerPaths, lower: readonly string[]): Promise<void>
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
    unmount: (_scope, path) => native.umount(path, true),
  }
}
