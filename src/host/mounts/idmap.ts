// SPDX-License-Identifier: Apache-2.0
/**
 * Id-mapped mounts for the pods that have a user namespace: files keep their owners on disk and show them as the
 * pod's ids, so that nothing is ever chowned. One such mount of the layer store serves all containers of a pod.
 * Also tells whether pods can have user namespaces here, by trying all of it once. Mounting is undone by path
 * (`Rootfs.unmount`).
 */
import { close, open } from 'node:fs'
import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { asFault, errnoCode, Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { clip } from '../../model/ids.ts'
import { folders, type Roots } from '../../model/names.ts'
import type { Native } from '../native.ts'

export interface IdmapRequest {
  /** A file or a folder. */
  readonly source: string
  /** Made if it is missing: a file for a file. */
  readonly target: string
  /** The pin of the user namespace with the mappings; without one the mount is plain. */
  readonly userns?: string
  /** Files to read, no more: read-only, without set-user-ID bits and devices. */
  readonly readonly?: boolean
}

export interface Idmaps {
  /**
   * A bind mount of the source and of what is mounted below it. The mapping is of the source's own file system
   * alone, as with the OCI mount option `idmap`. Fault `unsupported` where that file system takes none.
   * @abort finishes
   */
  bind(scope: Scope, request: IdmapRequest): Promise<void>
}

const [openFile, closeFile] = [promisify(open), promisify(close)]

export function idmaps(native: Pick<Native, 'bind'>): Idmaps {
  return { bind: (_scope, request) => bind(native, request) }
}

async function bind(native: Pick<Native, 'bind'>, request: IdmapRequest): Promise<void> {
  const { source, target, userns, readonly = false } = request
  const mount = { source, target, recursive: true, readonly, nosuid: readonly, nodev: readonly }
  if ((await stat(source)).isDirectory()) await mkdir(target, { recursive: true, mode: 0o700 })
  else await writeFile(target, '', { mode: 0o600, flag: 'a' })
  if (userns === undefined) return await native.bind(mount)
  const fd = await openFile(userns, 'r')
  try {
    await native.bind({ ...mount, idmapUserns: fd })
  } catch (e) {
    if (errnoCode(e) !== 'EINVAL' && errnoCode(e) !== 'ENOSYS') throw e
    throw new Fault(
      'unsupported',
      `the file system of ${clip(source)} takes no id mapping on this kernel (tmpfs does since Linux 6.3, ` +
        'network file systems mostly do not): use another volume, or run the pod with hostUsers',
      { cause: e },
    )
  } finally {
    await closeFile(fd)
  }
}

type Prober = Pick<Native, 'bind' | 'createNamespaces' | 'mountOverlay' | 'umount' | 'unpinNamespace'>

/**
 * Why pods cannot have user namespaces on this machine; undefined if they can. Tries what a pod needs: the
 * namespace, an id-mapped mount of the image store, and an overlay on top of that. The folders of `roots` exist.
 * Leaves nothing. @abort finishes
 */
export async function whyNoUserNamespaces(native: Prober, roots: Roots): Promise<string | undefined> {
  const at = `${roots.run}/userns-probe`
  const [userns, mapped, merged] = [`${at}/user`, `${at}/mapped`, `${at}/merged`]
  const { layers } = folders(roots)
  const clear = async () => {
    await native.umount(merged, true)
    await native.umount(mapped, true)
    await native.unpinNamespace(userns)
    await rm(at, { recursive: true, force: true })
  }
  try {
    await clear() // of a daemon that was killed here
    await mkdir(merged, { recursive: true })
    await mkdir(`${at}/empty`)
    await mkdir(layers, { recursive: true, mode: 0o700 })
    await native.createNamespaces({ user: userns, uidMap: '0 65536 65536', gidMap: '0 65536 65536' })
    await bind(native, { source: layers, target: mapped, userns, readonly: true })
    await native.mountOverlay({ lower: [mapped, `${at}/empty`], target: merged })
    return undefined
  } catch (e) {
    return asFault(e).message
  } finally {
    await clear()
  }
}
