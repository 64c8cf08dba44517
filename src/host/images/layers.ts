// SPDX-License-Identifier: Apache-2.0
/**
 * The layer store: one folder a layer, named by chain id, with the layer's root in `fs/` and what is known of it
 * in `layer.json`. Both appear by one rename, so a layer is there whole or not at all. `.tmp-*` is a layer in
 * the making, `.trash-*` one on its way out; whoever finds one at start may remove it. Used by the daemon and
 * by the pull worker. Does not know which image needs which layer.
 */
import { chmod, lstat, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode } from '../../base/fault.ts'
import { formatJson, parseJson, syncFolder } from '../../base/json-file.ts'
import { type LayerRecord, parseLayerRecord } from '../../model/image.ts'
import { type Digest, hexOf, parseDigest } from '../../model/reference.ts'
import type { Native } from '../native.ts'

export interface PendingLayer {
  /** The folder that will become the layer's, and its root inside. */
  readonly folder: string
  readonly fs: string
}

export interface LayerStore {
  readonly root: string
  /** The root directory of a layer: a lower directory of overlay mounts. */
  fsOf(chainId: Digest): string
  /** What is known of a whole layer; undefined when it is missing or damaged. @abort finishes */
  read(chainId: Digest): Promise<LayerRecord | undefined>
  /** Chain ids of the layers that are there. @abort finishes */
  list(): Promise<Digest[]>
  /** An empty pending layer; `owner` names its temporary folder. @abort finishes */
  begin(owner: string): Promise<PendingLayer>
  /** Removes a pending layer that is not wanted. @abort finishes */
  discard(pending: PendingLayer): Promise<void>
  /** Writes what is known of a pending layer. Not durable by itself: `commit` syncs. @abort finishes */
  describe(pending: PendingLayer, facts: LayerRecord): Promise<void>
  /**
   * Makes pending layers durable with one syncfs and gives them their names, in order. A layer that another
   * pull has committed meanwhile stays, ours is dropped. Without `durable` nothing is synced. @abort finishes
   */
  commit(
    layers: readonly { readonly pending: PendingLayer; readonly facts: LayerRecord }[],
    options?: { readonly durable: boolean },
  ): Promise<void>
  /** Takes the layer's name away by one rename; success also if it is missing. `emptyTrash` frees the space. */
  drop(chainId: Digest): Promise<void>
  /** Removes dropped layers. @abort finishes */
  emptyTrash(): Promise<void>
  /** Removes what pulls left behind: all of it, or of one owner. @abort finishes */
  sweep(owner?: string): Promise<void>
  /** Makes the store's folder. @abort finishes */
  prepare(): Promise<void>
}

const TMP = '.tmp-'
const TRASH = '.trash-'
const FACTS = 'layer.json'
let counter = 0

/** `native`: removal that follows no link and crosses no mount, and syncfs. */
export function layerStore(root: string, native: Pick<Native, 'removeTree' | 'syncfs'>): LayerStore {
  const folderOf = (chainId: Digest) => join(root, hexOf(chainId))
  const fresh = (prefix: string) => join(root, `${prefix}${process.pid}-${++counter}`)

  async function read(chainId: Digest): Promise<LayerRecord | undefined> {
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
        await drop(facts.chainId)
      }
    }
  }

  async function removeAll(prefix: string): Promise<void> {
    for (const name of await names(root))
      if (name.startsWith(prefix)) await native.removeTree(join(root, name))
  }

  return {
    root,
    fsOf: (chainId) => join(folderOf(chainId), 'fs'),
    read,
    drop,
    async list() {
      return (await names(root)).flatMap((name) =>
        /^[0-9a-f]{64}$/.test(name) ? [parseDigest(`sha256:${name}`)] : [],
      )
    },
    async begin(owner) {
      const folder = join(root, `${TMP}${owner}-${process.pid}-${++counter}`)
      const fs = join(folder, 'fs')
      await mkdir(folder, { mode: 0o700 })
      await mkdir(fs)
      await chmod(fs, 0o755)
      return { folder, fs }
    },
    discard: (pending) => native.removeTree(pending.folder),
    async describe(pending, facts) {
      await writeFile(join(pending.folder, FACTS), formatJson(facts), { mode: 0o600 })
    },
    async commit(layers, { durable } = { durable: true }) {
      if (layers.length === 0) return
      if (durable) await native.syncfs(root)
      for (const { pending, facts } of layers) await place(pending, facts)
      if (durable) await syncFolder(root)
    },
    emptyTrash: () => removeAll(TRASH),
    async sweep(owner) {
      await removeAll(owner === undefined ? TMP : `${TMP}${owner}-`)
      if (owner === undefined) await removeAll(TRASH)
    },
    async prepare() {
      await mkdir(root, { recursive: true, mode: 0o700 })
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

async function names(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (e) {
    unlessMissing(e)
    return []
  }
}

function unlessMissing(e: unknown): void {
  if (errnoCode(e) !== 'ENOENT') throw e
}
