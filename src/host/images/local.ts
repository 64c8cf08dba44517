// SPDX-License-Identifier: Apache-2.0
/**
 * A layer made on this machine from a few files: for the self-check pod, which needs an image but no registry.
 * The same files give the same layer. It is not synced to disk: after a crash it is garbage, and is collected.
 */
import { createHash } from 'node:crypto'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { absPath } from '../../model/ids.ts'
import type { LayerRecord } from '../../model/image.ts'
import { digestOfHex } from '../../model/reference.ts'
import type { Native } from '../native.ts'
import type { LayerStore } from './layers.ts'

export interface LocalFile {
  /** Absolute path in the image. */
  readonly path: string
  /** File on this machine whose bytes it gets. */
  readonly source: string
  readonly mode: number
}

export type LocalLayers = (files: readonly LocalFile[]) => Promise<LayerRecord>

export function localLayers(
  layers: LayerStore,
  native: Pick<Native, 'treeUsage' | 'removeTree'>,
): LocalLayers {
  /** Makes the layer, or finds it. @abort finishes */
  return async (files) => {
    const hash = createHash('sha256')
    const contents: { path: string; bytes: Buffer; mode: number }[] = []
    for (const file of files) {
      const bytes = await readFile(file.source)
      contents.push({ path: absPath(file.path), bytes, mode: file.mode })
      hash.update(JSON.stringify([file.path, file.mode, createHash('sha256').update(bytes).digest('hex')]))
    }
    const digest = digestOfHex(hash.digest('hex'))
    const known = await layers.read(digest)
    if (known) return known
    const pending = await layers.begin('local')
    try {
      for (const file of contents) {
        const path = join(pending.fs, file.path)
        await mkdir(dirname(path), { recursive: true, mode: 0o755 })
        await writeFile(path, file.bytes)
        await chmod(path, file.mode)
      }
      const usage = await native.treeUsage(pending.fs)
      const size = contents.reduce((sum, file) => sum + BigInt(file.bytes.length), 0n)
      const facts: LayerRecord = {
        diffId: digest,
        chainId: digest,
        digest,
        blobBytes: size,
        mediaType: 'local',
        ...usage,
      }
      await layers.keep(pending, facts)
      return facts
    } catch (e) {
      await native.removeTree(pending.folder)
      throw e
    }
  }
}
