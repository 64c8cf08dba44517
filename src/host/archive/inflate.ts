// SPDX-License-Identifier: Apache-2.0
/**
 * The outside of an image archive: finds by the first bytes whether the whole is compressed, and inflates it,
 * watching for bombs. Does not look at what is inside.
 */
import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { Fault } from '../../base/fault.ts'
import { ARCHIVE_LIMITS } from '../../model/limits.ts'

const MIB = 1024 * 1024
/** Expansion is not judged before so much came out. */
const RATIO_FLOOR = 1024 * MIB
const HEAD_BYTES = 6

const MAGIC = {
  gzip: '1f8b',
  zstd: '28b52ffd',
  xz: 'fd377a585a00',
  bzip2: '425a68',
  zip: '504b0304',
} as const

export type Compression = 'gzip' | 'zstd' | 'none'

/** What the first bytes say; throws `unsupported` for a compression that is not read here. */
export function compressionOf(head: Buffer): Compression {
  const hex = head.toString('hex')
  const found = Object.entries(MAGIC).find(([, magic]) => hex.startsWith(magic))?.[0]
  if (found === undefined) return 'none'
  if (found === 'gzip' || found === 'zstd') return found
  throw new Fault('unsupported', `it is compressed with ${found}: decompress it first, or use gzip or zstd`)
}

/** The archive's own bytes, inflated if need be. Throws `corrupt`, `unsupported`. @abort stops */
export async function* inflated(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const from = source[Symbol.asyncIterator]()
  const first: Buffer[] = []
  let had = 0
  while (had < HEAD_BYTES) {
    const step = await from.next()
    if (step.done) break
    first.push(step.value)
    had += step.value.length
  }
  const head = Buffer.concat(first)
  if (head.length === 0) throw new Fault('corrupt', 'it is empty')
  const kind = compressionOf(head)
  let taken = 0
  const whole = async function* () {
    taken += head.length
    yield head
    for (let step = await from.next(); !step.done; step = await from.next()) {
      taken += step.value.length
      yield step.value
    }
  }
  if (kind === 'none') return yield* whole()
  const inflater =
    kind === 'gzip' ? createGunzip({ chunkSize: MIB }) : createZstdDecompress({ chunkSize: MIB })
  const compressed = Readable.from(whole(), { objectMode: false })
  compressed.on('error', (e) => inflater.destroy(e))
  let out = 0
  try {
    for await (const piece of compressed.pipe(inflater)) {
      if (!Buffer.isBuffer(piece)) continue
      out += piece.length
      if (out > RATIO_FLOOR && (out - RATIO_FLOOR) / ARCHIVE_LIMITS.ratio > taken) {
        throw new Fault('exhausted', `it expands more than ${ARCHIVE_LIMITS.ratio} times: refused as a bomb`)
      }
      yield piece
    }
  } catch (e) {
    throw isOfZlib(e) ? new Fault('corrupt', `its ${kind} data is damaged: ${e.message}`, { cause: e }) : e
  } finally {
    compressed.destroy()
    inflater.destroy()
  }
}

function isOfZlib(e: unknown): e is Error {
  return e instanceof Error && /^(?:Z_|ZSTD_|ERR_ZLIB)/.test(String(Reflect.get(e, 'code')))
}
