// SPDX-License-Identifier: Apache-2.0
/** A layer that is one file of an artifact: the blob as it is, verified while it is written. No archive is parsed. */
import { createHash } from 'node:crypto'
import { chmod, mkdir, open, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoCode, Fault } from '../base/fault.ts'
import type { PendingLayer } from '../host/images/layers.ts'
import type { JobBase } from '../host/images/protocol.ts'
import type { Native } from '../host/native.ts'
import type { FileLayer } from '../host/registry/artifact.ts'
import { UNPACK_LIMITS } from '../model/limits.ts'

export interface FileWork {
  readonly job: Pick<JobBase, 'unpackLimits'>
  readonly native: Pick<Native, 'treeUsage'>
}

/**
 * Writes the blob into the layer under the path that its title says. Throws `corrupt` when size or digest are not
 * those of the manifest, `exhausted` when it is larger than a layer may be; the caller drops the layer then.
 */
export async function storeFile(
  { job, native }: FileWork,
  layer: FileLayer,
  from: { readonly pending: Pick<PendingLayer, 'fs'>; readonly bytes: AsyncIterable<Buffer> },
) {
  const limit = (job.unpackLimits ?? UNPACK_LIMITS).layerBytes
  if (layer.size > limit)
    throw new Fault('exhausted', `layer ${layer.digest}: ${layer.size} bytes, a layer has at most ${limit}`)
  const path = await makeFolders(from.pending.fs, layer.file)
  const hash = createHash('sha256')
  let size = 0
  const file = await open(path, 'wx', 0o644)
  try {
    for await (const piece of from.bytes) {
      size += piece.length
      if (size > layer.size) break
      hash.update(piece)
      await file.writeFile(piece)
    }
    // Whatever the umask is: users of any id read it.
    await file.chmod(0o644)
  } catch (e) {
    if (errnoCode(e) === 'ENOSPC')
      throw new Fault('exhausted', `layer ${layer.digest}: no space is left for it`, { cause: e })
    throw e
  } finally {
    await file.close()
  }
  if (size !== layer.size)
    throw new Fault(
      'corrupt',
      `layer ${layer.digest}: ${size} bytes came, not the ${layer.size} of the manifest`,
    )
  const found = `sha256:${hash.digest('hex')}`
  if (found !== layer.digest)
    throw new Fault('corrupt', `layer ${layer.digest}: what came has the digest ${found}`)
  const [all, root] = await Promise.all([native.treeUsage(from.pending.fs), stat(from.pending.fs)])
  return { bytes: all.bytes - BigInt(root.blocks) * 512n, inodes: all.inodes - 1n, warnings: [], implied: [] }
}

async function makeFolders(root: string, file: string): Promise<string> {
  const path = join(root, file)
  await mkdir(dirname(path), { recursive: true })
  for (let at = dirname(path); at.length > root.length; at = dirname(at)) await chmod(at, 0o755)
  return path
}
