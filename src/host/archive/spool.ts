// SPDX-License-Identifier: Apache-2.0
/**
 * An image archive laid aside: the members of a tar stream, in any order, one after the other in one temporary
 * file that has lost its name before the first byte comes, so that nothing of it outlives the process. No path
 * of the archive ever becomes a path here. Each member's digest is computed while it passes, and held against
 * the name of a member that is named by its digest. Does not know what the members mean.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import tar from 'tar-stream'
import { errnoCode, Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import { ARCHIVE_LIMITS } from '../../model/limits.ts'
import { type Digest, digestOfHex } from '../../model/reference.ts'

export interface Member {
  readonly offset: number
  readonly size: number
  readonly digest: Digest
}

export interface Spool {
  /** The file at a path of the archive, links between members followed; undefined if there is none. */
  find(path: string): Member | undefined
  /** A whole small member; `corrupt` if it is larger than `maxBytes`. @abort finishes */
  read(member: Member, maxBytes: number): Promise<Buffer>
  /** The bytes of a member in order. @abort finishes */
  stream(member: Member): AsyncGenerator<Buffer>
  /** Frees the space. Idempotent. @abort finishes */
  close(): Promise<void>
}

export interface SpoolOptions {
  /** Where the temporary file is; it must not exist. */
  readonly file: string
  readonly maxBytes: number
  readonly signal: AbortSignal
}

type Found = Member | { readonly linkTo: string }

const PIECE = 256 * 1024
/** `blobs/sha256/HEX` of an OCI layout, `HEX.json` and `sha256:HEX` as docker archives call a configuration. */
const BY_DIGEST = /^(?:blobs\/sha256\/([0-9a-f]{64})|([0-9a-f]{64})\.json|sha256:([0-9a-f]{64}))$/

/**
 * Reads the tar stream to its end. Throws `corrupt`, `unsupported`, `exhausted`; then nothing is left. The caller
 * closes what it gets. @abort stops
 */
export async function spoolArchive(source: AsyncIterable<Buffer>, options: SpoolOptions): Promise<Spool> {
  const handle = await open(options.file, 'wx+', 0o600)
  await unlink(options.file)
  try {
    const members = await readMembers(source, handle, options)
    return spoolOf(handle, members)
  } catch (e) {
    await handle.close()
    throw errnoCode(e) === 'ENOSPC'
      ? new Fault('exhausted', `no space is left for it beside ${options.file}`, { cause: e })
      : e
  }
}

async function readMembers(
  source: AsyncIterable<Buffer>,
  handle: FileHandle,
  options: SpoolOptions,
): Promise<Map<string, Found>> {
  const members = new Map<string, Found>()
  const extract = tar.extract()
  let offset = 0
  let count = 0
  const taking = async () => {
    for await (const entry of extract) {
      if (++count > ARCHIVE_LIMITS.members)
        throw new Fault('exhausted', `it has more than ${ARCHIVE_LIMITS.members} members`)
      const { name, type, size, linkname } = entry.header
      const path = memberPath(name, name)
      if (type === 'symlink' || type === 'link') {
        const base = type === 'link' ? '' : path.slice(0, path.lastIndexOf('/') + 1)
        add(members, path, { linkTo: memberPath(`${base}${linkname ?? ''}`, name) })
      } else if (type === 'file' || type === 'contiguous-file') {
        if (offset + (size ?? 0) > options.maxBytes)
          throw new Fault(
            'exhausted',
            `member ${clip(name)}: the archive is larger than ${options.maxBytes} bytes`,
          )
        const member = await takeOne(entry, handle, { path, offset })
        add(members, path, member)
        offset += member.size
      } else if (type !== 'directory') {
        throw new Fault('corrupt', `member ${clip(name)} is no file, folder or link`)
      }
      entry.resume()
    }
  }
  const feeding = pipeline(Readable.from(source, { objectMode: false }), extract, { signal: options.signal })
  const taken = taking().catch((e: unknown) => {
    extract.destroy(e instanceof Error ? e : new Error(String(e)))
    throw e
  })
  const [fed, took] = await Promise.allSettled([feeding, taken])
  // The source's own failure is the cause of the parser's, a fault of ours the cause of the source's end.
  if (took.status === 'rejected' && ofTar(took.reason) === took.reason) throw took.reason
  if (fed.status === 'rejected') throw ofTar(fed.reason)
  if (took.status === 'rejected') throw ofTar(took.reason)
  return members
}

/** What the parser says is about the archive; faults and errors of the system stay what they are. */
function ofTar(e: unknown): unknown {
  if (e instanceof Fault || !(e instanceof Error) || e.name === 'AbortError') return e
  if (/^E[A-Z]+$/.test(errnoCode(e) ?? '')) return e
  return new Fault('corrupt', `it is no whole tar archive: ${clip(e.message)}`, { cause: e })
}

async function takeOne(
  entry: AsyncIterable<unknown>,
  handle: FileHandle,
  at: { readonly path: string; readonly offset: number },
): Promise<Member> {
  const hash = createHash('sha256')
  let size = 0
  for await (const piece of entry) {
    if (!Buffer.isBuffer(piece)) continue
    hash.update(piece)
    for (let done = 0; done < piece.length; ) {
      const { bytesWritten } = await handle.write(piece, done, piece.length - done, at.offset + size + done)
      done += bytesWritten
    }
    size += piece.length
  }
  const hex = hash.digest('hex')
  const named = BY_DIGEST.exec(at.path)
  const wanted = named?.[1] ?? named?.[2] ?? named?.[3]
  if (wanted !== undefined && wanted !== hex)
    throw new Fault('corrupt', `member ${at.path}: its content has the digest sha256:${hex}`)
  return { offset: at.offset, size, digest: digestOfHex(hex) }
}

/** Twice the same file is harmless where the name is the digest; elsewhere nobody can say which is meant. */
function add(members: Map<string, Found>, path: string, found: Found): void {
  const before = members.get(path)
  if (before !== undefined && !(BY_DIGEST.test(path) && 'digest' in before && 'digest' in found))
    throw new Fault('corrupt', `member ${clip(path)} is in it twice`)
  members.set(path, found)
}

/** `a/b` of `./a//b`; throws `corrupt` for a path or link that leaves the archive. */
function memberPath(text: string, name: string): string {
  const parts: string[] = []
  for (const part of text.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (text === name || parts.pop() === undefined)
      throw new Fault('corrupt', `member ${clip(name)} points out of the archive`)
  }
  return parts.join('/')
}

/** A part of a file in order; throws `corrupt` if the file ends before. @abort finishes */
export async function* piecesOf(
  handle: FileHandle,
  part: { readonly offset: number; readonly size: number },
): AsyncGenerator<Buffer> {
  for (let done = 0; done < part.size; ) {
    const want = Math.min(PIECE, part.size - done)
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(want), 0, want, part.offset + done)
    if (bytesRead === 0) throw new Fault('corrupt', `a file of ours ends after ${done} of ${part.size} bytes`)
    done += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

function spoolOf(handle: FileHandle, members: ReadonlyMap<string, Found>): Spool {
  let closed: Promise<void> | undefined
  const stream = (member: Member) => piecesOf(handle, member)
  return {
    find(path) {
      let found = members.get(path)
      for (let hop = 0; found !== undefined && 'linkTo' in found; hop++) {
        if (hop >= ARCHIVE_LIMITS.links)
          throw new Fault('corrupt', `member ${clip(path)} is a chain or circle of links`)
        found = members.get(found.linkTo)
      }
      return found
    },
    async read(member, maxBytes) {
      if (member.size > maxBytes)
        throw new Fault('corrupt', `a document of ${member.size} bytes, more than ${maxBytes} are not read`)
      const parts: Buffer[] = []
      for await (const piece of stream(member)) parts.push(piece)
      return Buffer.concat(parts)
    },
    stream,
    close() {
      closed ??= handle.close()
      return closed
    },
  }
}
