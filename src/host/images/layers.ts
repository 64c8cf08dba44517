// SPDX-License-Identifier: Apache-2.0
/**
 * The layer store: one folder a layer, named by chain id, with the layer's root in `fs/` and what is known of it
 * in `layer.json`. Both appear by one rename, so a layer is there whole or not at all. `unsynced` beside them
 * says that the layer is not known to be on the disk yet: it counts until the machine stops. `.tmp-*` is a layer
 * in the making, `.trash-*` one on its way out; whoever finds one at start may remove it. Used by the daemon and by
 * the image worker. Does not know which image needs which layer.
 */
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode, unlessMissing } from '../../base/fault.ts'
import { formatJson, parseJson } from '../../base/json-file.ts'
import { type LayerRecord, parseLayerRecord } from '../../model/image.ts'
import { type Digest, hexOf, parseDigest } from '../../model/reference.ts'
import type { Native } from '../native.ts'
import { removeFree, waitForLock } from './file-lock.ts'

export interface PendingLayer {
  /** The folder that will become the layer's; its root inside, and the unpacker's record of it. */
  readonly folder: string
  readonly fs: string
  readonly record: string
}

export interface LayerStore {
  readonly root: string
  /** The root directory of a layer: a lower directory of overlay mounts. */
  fsOf(chainId: Digest): string
  /** What `packLayer` and `verifyLayer` need of a layer. */
  recordOf(chainId: Digest): string
  /** What is known of a whole layer; undefined when it is missing or damaged. @abort finishes */
  read(chainId: Digest): Promise<LayerRecord | undefined>
  /** Chain ids of the layers that are there. @abort finishes */
  list(): Promise<Digest[]>
  /** When a layer was made, ms since the epoch; undefined if there is none. @abort finishes */
  madeAtMs(chainId: Digest): Promise<number | undefined>
  /** An empty pending layer; `owner` names its temporary folder. @abort finishes */
  begin(owner: string): Promise<PendingLayer>
  /** Removes a pending layer that is not wanted. @abort finishes */
  discard(pending: PendingLayer): Promise<void>
  /**
   * Gives a pending layer its name and what is known of it: from now on it is there, also after the death of
   * this process, but not yet after a power failure. One that another process has made meanwhile stays, ours is
   * dropped. @abort finishes
   */
  keep(pending: PendingLayer, facts: LayerRecord): Promise<void>
  /**
   * Makes these layers durable, and what else was written to their file system before, with one syncfs; nothing
   * to do if they are. @abort finishes
   */
  settle(chainIds: readonly Digest[]): Promise<void>
  /** The right to make a layer, until it is disposed of; waits while another process has it. @abort stops */
  lock(signal: AbortSignal, chainId: Digest): Promise<AsyncDisposable>
  /** Takes the layer's name away by one rename; success also if it is missing. `emptyTrash` frees the space. */
  drop(chainId: Digest): Promise<void>
  /** Removes dropped layers. @abort finishes */
  emptyTrash(): Promise<void>
  /** Removes what jobs left half-made: all of it, or of one owner. @abort finishes */
  sweep(owner?: string): Promise<void>
  /** Removes layers that were not known to be on the disk when the machine stopped. @abort finishes */
  dropUnsynced(): Promise<void>
  /** Makes the store's folder. @abort finishes */
  prepare(): Promise<void>
}

const TMP = '.tmp-'
const TRASH = '.trash-'
const LOCK = '.lock-'
const UNSYNCED = 'unsynced'
const FACTS = 'layer.json'
let counter = 0
let boot: Promise<string> | undefined
const bootId = () => (boot ??= readFile('/proc/sys/kernel/random/boot_id', 'utf8').then((id) => id.trim()))

/** `native`: removal that follows no link and crosses no mount, syncfs, locks, and a hint to the file system. */
export function layerStore(
  root: string,
  native: Pick<Native, 'removeTree' | 'syncfs' | 'flock' | 'spreadFolders'>,
): LayerStore {
  const folderOf = (chainId: Digest) => join(root, hexOf(chainId))
  const fresh = (prefix: string) => join(root, `${prefix}${process.pid}-${++counter}`)

  /** A link to nowhere that names the boot. */
  const markOf = (chainId: Digest) => join(folderOf(chainId), UNSYNCED)

  async function read(chainId: Digest): Promise<LayerRecord | undefined> {
    const mark = await markAt(markOf(chainId))
    if (mark !== undefined && mark !== (await bootId())) return undefined
    const facts = await readFacts(join(folderOf(chainId), FACTS))
    if (facts?.chainId !== chainId) return undefined
    const there = await lstat(join(folderOf(chainId), 'fs')).catch(() => undefined)
    return there?.isDirectory() ? facts : undefined
  }

  async function drop(chainId: Digest): Promise<void> {
    await rename(folderOf(chainId), fresh(TRASH)).catch(unlessMissing)
  }

  async function place(pending: PendingLayer, facts: LayerRecord): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await rename(pending.folder, folderOf(facts.chainId))
      } catch (e) {
        if (errnoCode(e) !== 'ENOTEMPTY' && errnoCode(e) !== 'EEXIST') throw e
        if (await read(facts.chainId)) return await native.removeTree(pending.folder)
        if (attempt > 0) throw e
        await rename(folderOf(facts.chainId), fresh(TRASH)).catch(unlessMissing)
      }
    }
  }

  async function list(): Promise<Digest[]> {
    return (await names(root)).flatMap((name) =>
      /^[0-9a-f]{64}$/.test(name) ? [parseDigest(`sha256:${name}`)] : [],
    )
  }

  async function removeAll(prefix: string): Promise<void> {
    for (const name of await names(root))
      if (name.startsWith(prefix)) await native.removeTree(join(root, name))
  }

  return {
    root,
    fsOf: (chainId) => join(folderOf(chainId), 'fs'),
    recordOf: (chainId) => join(folderOf(chainId), 'record'),
    read,
    drop,
    list,
    async begin(owner) {
      const folder = join(root, `${TMP}${owner}-${process.pid}-${++counter}`)
      const fs = join(folder, 'fs')
      await mkdir(folder, { mode: 0o700 })
      await mkdir(fs)
      await chmod(fs, 0o755)
      return { folder, fs, record: join(folder, 'record') }
    },
    discard: (pending) => native.removeTree(pending.folder),
    async madeAtMs(chainId) {
      return (await lstat(folderOf(chainId)).catch(() => undefined))?.mtimeMs
    },
    async keep(pending, facts) {
      await writeFile(join(pending.folder, FACTS), formatJson(facts), { mode: 0o600 })
      await symlink(await bootId(), join(pending.folder, UNSYNCED))
      await place(pending, facts)
    },
    async settle(chainIds) {
      const marks: string[] = []
      for (const id of chainIds) if ((await markAt(markOf(id))) === (await bootId())) marks.push(markOf(id))
      if (marks.length === 0) return
      await native.syncfs(root)
      // A mark that the power brings back costs a layer, nothing else.
      for (const path of marks) await unlink(path).catch(unlessMissing)
    },
    async dropUnsynced() {
      for (const id of await list()) {
        const mark = await markAt(markOf(id))
        if (mark !== undefined && mark !== (await bootId())) await drop(id)
      }
      await removeAll(TRASH)
    },
    lock: (signal, chainId) => waitForLock(signal, native, join(root, `${LOCK}${hexOf(chainId)}`)),
    emptyTrash: () => removeAll(TRASH),
    async sweep(owner) {
      if (owner === undefined) for (const prefix of [TMP, TRASH]) await removeAll(prefix)
      else await removeAll(`${TMP}${owner}-`)
      for (const name of await names(root))
        if (name.startsWith(LOCK)) await removeFree(native, join(root, name))
    },
    async prepare() {
      await mkdir(root, { recursive: true, mode: 0o700 })
      native.spreadFolders(root)
    },
  }
}

async function readFacts(path: string): Promise<LayerRecord | undefined> {
  try {
    return parseLayerRecord(parseJson(await readFile(path, 'utf8')))
  } catch {
    return undefined
  }
}

/** The boot that an `unsynced` names; undefined if there is none. */
async function markAt(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch (e) {
    unlessMissing(e)
    return undefined
  }
}

async function names(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (e) {
    unlessMissing(e)
    return []
  }
}
