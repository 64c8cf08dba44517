// SPDX-License-Identifier: Apache-2.0
/**
 * Spool files: compressed blobs on their way in, below the layers' root as `.part-<digest hex>`, written at any
 * offset and read in order while they grow. Behind the blob's bytes stands one byte a segment that says whether
 * it is whole, so what a killed process has fetched counts for the next one. The file is its own lock: one
 * process at a time. Whether the bytes are the right ones is for its reader to say.
 */
import { type FileHandle, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { unlessMissing } from '../../base/fault.ts'
import { PULL } from '../../model/pull-policy.ts'
import { type Digest, hexOf } from '../../model/reference.ts'
import type { Native } from '../native.ts'
import { openLocked, removeFree } from './file-lock.ts'
import { type BlobFile, blobFiles } from './kept-blobs.ts'

export interface Spool {
  /** The file of a blob, new or with what an earlier pull has left; undefined if another process uses it. @abort finishes */
  open(blob: { readonly digest: Digest; readonly size: number }): Promise<SpoolFile | undefined>
  /** Files that are there. @abort finishes */
  list(): Promise<readonly BlobFile[]>
  /** Removes a file unless a process uses it; success if there is none. @abort finishes */
  drop(digest: Digest): Promise<void>
}

export interface Segment {
  readonly index: number
  readonly start: number
  readonly end: number
}

export interface SpoolFile {
  /** Bytes that were there already. */
  readonly resumed: number
  /** Segments that are not whole, first to last. */
  missing(): readonly Segment[]
  /** Writes pieces one after another from `at` on, which must be where the writing of its segment has got to. */
  write(pieces: readonly Buffer[], at: number): Promise<void>
  /** The blob in order, each piece as soon as it is there and valid until the next is asked for. @abort stops */
  read(signal: AbortSignal): AsyncGenerator<Buffer>
  /** Closes it. `keep` leaves it for the next pull if it holds anything; a path moves the whole blob there. Idempotent. */
  close(how: 'keep' | 'drop' | { readonly moveTo: string }): Promise<void>
}

const PART = '.part-'
const READ_BYTES = 256 * 1024

export function spool(root: string, native: Pick<Native, 'flock'>): Spool {
  const pathOf = (digest: Digest) => join(root, `${PART}${hexOf(digest)}`)
  return {
    async open({ digest, size }) {
      const path = pathOf(digest)
      const handle = await openLocked(native, path)
      if (handle === undefined) return undefined
      try {
        return spoolFile(handle, { path, size, whole: await wholeSegments(handle, size) })
      } catch (e) {
        await handle.close()
        throw e
      }
    },
    list: () => blobFiles(root, PART),
    async drop(digest) {
      if ((await stat(pathOf(digest)).catch(() => undefined)) === undefined) return
      await removeFree(native, pathOf(digest))
    },
  }
}

const countOf = (size: number): number => Math.ceil(size / PULL.segmentBytes)

/** The bytes behind the blob; a file of another length is made anew. */
async function wholeSegments(handle: FileHandle, size: number): Promise<Buffer> {
  const whole = Buffer.alloc(countOf(size))
  const { size: length } = await handle.stat()
  if (length === size + whole.length) await handle.read(whole, 0, whole.length, size)
  else {
    await handle.truncate(0)
    await handle.truncate(size + whole.length)
  }
  return whole
}

function spoolFile(
  handle: FileHandle,
  of: { readonly path: string; readonly size: number; readonly whole: Buffer },
): SpoolFile {
  const { path, size, whole } = of
  const segments = Array.from(whole, (_, index): Segment => {
    const start = index * PULL.segmentBytes
    return { index, start, end: Math.min(size, start + PULL.segmentBytes) }
  })
  /** How far each segment is written: an offset in the file. */
  const filled = segments.map((s) => (whole[s.index] === 1 ? s.end : s.start))
  const resumed = segments.reduce((sum, s) => sum + (filled[s.index] ?? 0) - s.start, 0)
  let wake = () => {}
  let open = true

  async function advance(to: number, from: number): Promise<void> {
    for (let i = Math.floor(from / PULL.segmentBytes); ; i++) {
      const segment = segments[i]
      if (segment === undefined || segment.start >= to) break
      filled[i] = Math.max(filled[i] ?? 0, Math.min(segment.end, to))
      if (filled[i] === segment.end && whole[i] !== 1) {
        whole[i] = 1
        await handle.write(whole, i, 1, size + i)
      }
    }
    wake()
  }

  return {
    resumed,
    missing: () => segments.filter((s) => whole[s.index] !== 1),
    async write(pieces, at) {
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0)
      let { bytesWritten } = await handle.writev(pieces, at)
      if (bytesWritten < bytes) {
        const rest = Buffer.concat(pieces)
        while (bytesWritten < bytes)
          bytesWritten += (await handle.write(rest, bytesWritten, bytes - bytesWritten, at + bytesWritten))
            .bytesWritten
      }
      await advance(at + bytes, at)
    },
    async *read(signal) {
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
      const onAbort = () => wake()
      signal.addEventListener('abort', onAbort)
      try {
        for (let at = 0; at < size; ) {
          if (signal.aborted) throw signal.reason
          const there = filled[Math.floor(at / PULL.segmentBytes)] ?? 0
          if (there <= at) {
            await new Promise<void>((resolve) => {
              wake = resolve
            })
            continue
          }
          const { bytesRead } = await handle.read(buffer, 0, Math.min(READ_BYTES, there - at), at)
          yield buffer.subarray(0, bytesRead)
          at += bytesRead
        }
      } finally {
        signal.removeEventListener('abort', onAbort)
      }
    },
    async close(how) {
      if (!open) return
      open = false
      try {
        if (typeof how === 'object') {
          await handle.truncate(size)
          await rename(path, how.moveTo)
        } else if (how === 'drop' || !whole.includes(1)) await unlink(path).catch(unlessMissing)
      } finally {
        await handle.close()
      }
    },
  }
}
