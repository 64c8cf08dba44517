// SPDX-License-Identifier: Apache-2.0
/**
 * Files and folders that the engine needs on the host: small writes, folders, device nodes, and trees on their
 * way out. A tree is dropped by one rename into the trash folder, so that a crash never leaves half of it under
 * its name; the trash is emptied later, after the call that filled it (on ext4 files made right after a mass
 * delete are ten times slower).
 */
import {
  chmod,
  lchown,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { errnoCode, Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { MountPropagation } from '../model/container.ts'
import { clip } from '../model/ids.ts'
import { LIMITS } from '../model/limits.ts'
import type { HostDevice } from '../model/plan/spec/devices.ts'
import type { Native } from './native.ts'
import { expectPropagation } from './propagation.ts'

export interface Files {
  /** mkdir -p of each, mode 0700 (or `mode`) for new ones. @abort finishes */
  ensureFolders(paths: readonly string[], mode?: number): Promise<void>
  /** Writes a small file whole; not durable. @abort finishes */
  write(path: string, text: string | Buffer, mode?: number): Promise<void>
  /** Reads a small file (LIMITS.smallFileBytes); undefined if it is missing. @abort finishes */
  read(path: string): Promise<string | undefined>
  remove(path: string): Promise<void>
  /** Names in a folder; none if it is missing. */
  names(path: string): Promise<readonly string[]>
  /** Drops a tree by one rename; success if it is missing. Its removal goes on in the background. @abort finishes */
  drop(path: string): Promise<void>
  /** Removes a small tree at once (run folders, which are on another file system than the trash). @abort finishes */
  removeTree(path: string): Promise<void>
  /** Moves a record that cannot be read out of the way, for a person to look at. */
  quarantine(path: string): Promise<string>
  /** Empties the trash; runs by itself a moment after a drop. Never throws. @abort finishes */
  emptyTrash(): Promise<void>
  /**
   * A mount source with its links followed; a missing folder is made (0755), as the kubelet expects. Fault
   * `invalid` for one from which mounts do not spread as asked.
   */
  mountSource(path: string, propagation: MountPropagation): Promise<string>
  /** Device nodes at a path: one, or all below a folder. */
  devices(path: string): Promise<readonly HostDevice[]>
  /** A log folder and file place: parent made, a dangling link at the path removed. */
  prepareLog(path: string): Promise<void>
  copyProgram(from: string, to: string): Promise<void>
  /** Gives files or folders, not what is in them, to somebody else; links are not followed. @abort finishes */
  own(paths: readonly string[], owner: Owner): Promise<void>
}

export interface Owner {
  readonly uid: number
  readonly gid: number
  /** The mode to have from then on. */
  readonly mode?: number
}

async function deviceAt(path: string): Promise<HostDevice | undefined> {
  const s = await stat(path)
  const type = s.isCharacterDevice() ? 'c' : s.isBlockDevice() ? 'b' : undefined
  if (!type) return undefined
  // dev_t of Linux: 12 bits major, 20 bits minor, interleaved (makedev(3)).
  const major = Number((BigInt(s.rdev) >> 8n) & 0xfffn)
  const minor = Number((BigInt(s.rdev) & 0xffn) | ((BigInt(s.rdev) >> 12n) & 0xfff00n))
  return { path, type, major, minor, mode: s.mode, uid: s.uid, gid: s.gid }
}

/** A path at which there cannot be anything. */
const NOWHERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'])

/** Not devices for containers: their own pts, shm, mqueue and console. */
const SKIP_FOLDERS = new Set(['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev', 'hugepages'])

async function devicesBelow(folder: string): Promise<HostDevice[]> {
  const out: HostDevice[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory() && !SKIP_FOLDERS.has(entry.name)) out.push(...(await devicesBelow(path)))
    else if ((entry.isCharacterDevice() || entry.isBlockDevice()) && entry.name !== 'console') {
      // One that is unplugged at this moment is none.
      const device = await deviceAt(path).catch((e: unknown) => {
        if (errnoCode(e) !== 'ENOENT') throw e
      })
      if (device) out.push(device)
    }
  }
  return out
}

/** From a drop to the emptying of the trash, milliseconds. */
const TRASH_MS = 250

export function files(deps: { native: Native; log: Log; trash: string; quarantine: string }): Files {
  let dropped = 0
  let emptying: Promise<void> | undefined
  let soon: NodeJS.Timeout | undefined

  /** What cannot be removed now is passed over; the next sweep tries again. */
  async function sweep(): Promise<void> {
    const failed = new Set<string>()
    for (;;) {
      const names = (await readdir(deps.trash).catch(() => [])).filter((name) => !failed.has(name))
      if (names.length === 0) return
      for (const name of names) {
        try {
          await deps.native.removeTree(`${deps.trash}/${name}`)
        } catch (e) {
          failed.add(name)
          deps.log.warn('trash-not-removed', { name, error: e instanceof Error ? e.message : String(e) })
        }
      }
    }
  }

  function emptyTrash(): Promise<void> {
    clearTimeout(soon)
    soon = undefined
    emptying ??= sweep().finally(() => {
      emptying = undefined
    })
    return emptying
  }

  /** After the call that dropped something, not in it. */
  function emptySoon(): void {
    soon ??= setTimeout(() => void emptyTrash(), TRASH_MS)
    soon.unref()
  }

  return {
    async own(paths, { uid, gid, mode }) {
      for (const path of paths) {
        await lchown(path, uid, gid)
        if (mode !== undefined) await chmod(path, mode)
      }
    },
    async ensureFolders(paths, mode = 0o700) {
      await Promise.all(paths.map((path) => mkdir(path, { recursive: true, mode })))
    },
    async write(path, text, mode = 0o600) {
      await writeFile(path, text, { mode })
    },
    async read(path) {
      try {
        if ((await stat(path)).size > LIMITS.smallFileBytes)
          throw new Fault('exhausted', `${path} is too large`)
        return await readFile(path, 'utf8')
      } catch (e) {
        if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return undefined
        throw e
      }
    },
    async remove(path) {
      await rm(path, { force: true })
    },
    async names(path) {
      try {
        return await readdir(path)
      } catch (e) {
        if (errnoCode(e) === 'ENOENT') return []
        throw e
      }
    },
    async drop(path) {
      try {
        await rename(path, `${deps.trash}/${basename(path)}-${process.pid}-${++dropped}`)
        emptySoon()
      } catch (e) {
        if (errnoCode(e) === 'ENOENT') return
        throw e
      }
    },
    removeTree: (path) => deps.native.removeTree(path),
    async quarantine(path) {
      const to = `${deps.quarantine}/${basename(path)}-${Date.now()}`
      await mkdir(deps.quarantine, { recursive: true, mode: 0o700 })
      await rename(path, to)
      return to
    },
    emptyTrash,
    async mountSource(path, propagation) {
      const source = await mountSource(path)
      await expectPropagation(source, propagation)
      return source
    },
    async devices(path) {
      try {
        const one = await deviceAt(path)
        return one ? [one] : (await stat(path)).isDirectory() ? await devicesBelow(path) : []
      } catch (e) {
        if (NOWHERE.has(errnoCode(e) ?? '')) return []
        throw e
      }
    },
    async prepareLog(path) {
      await mkdir(dirname(path), { recursive: true, mode: 0o755 })
      const link = await lstat(path).catch(() => undefined)
      if (!link?.isSymbolicLink()) return
      if (
        await stat(path).then(
          () => false,
          () => true,
        )
      )
        await rm(path, { force: true })
    },
    async copyProgram(from, to) {
      await writeFile(to, await readFile(from), { mode: 0o755 })
    },
  }
}

async function mountSource(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (e) {
    const code = errnoCode(e)
    if (code === 'ELOOP') throw new Fault('invalid', `host_path ${clip(path)} is a loop of links`)
    if (!NOWHERE.has(code ?? '')) throw e
    if (code !== 'ENOENT') throw new Fault('invalid', `host_path ${clip(path)} cannot be: ${code}`)
  }
  const link = await lstat(path).catch(() => undefined)
  if (link) throw new Fault('invalid', `host_path ${clip(path)} is a link to nothing`)
  await mkdir(path, { recursive: true, mode: 0o755 })
  return realpath(path)
}
