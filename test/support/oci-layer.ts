// SPDX-License-Identifier: Apache-2.0
/**
 * oci-layer: layers of container images made in memory, for tests: from a list of entries, or from tar bytes
 * that somebody else wrote, compressed with gzip, zstd or not at all. The same entries give the same digest:
 * times default to one fixed moment. It does not check that a layer makes sense: tests also need those that
 * do not.
 */
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { constants, gzip, zstdCompress } from 'node:zlib'
import * as tar from 'tar-stream'

export type Compression = 'gzip' | 'zstd' | 'none'

/** Every entry that does not say otherwise is of 2024-01-01T00:00:00Z. */
export const fixedTimeMs = 1_704_067_200_000

interface EntryBase {
  /** Path inside the layer, without a leading slash. */
  readonly path: string
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtimeMs?: number
  /** Extended attributes as SCHILY.xattr records; such an entry needs an ASCII path of at most 100 bytes. */
  readonly xattrs?: Readonly<Record<string, Uint8Array>>
}

/** One member of a layer. A hard link's target is a path inside the layer; a symbolic link's is as written. */
export type LayerEntry =
  | (EntryBase & { readonly type: 'file'; readonly content: Uint8Array | string })
  | (EntryBase & { readonly type: 'directory' | 'fifo' })
  | (EntryBase & { readonly type: 'symlink' | 'hardlink'; readonly target: string })
  | (EntryBase & { readonly type: 'char' | 'block'; readonly major: number; readonly minor: number })

export interface Layer {
  readonly compression: Compression
  /** Digest of the tar as it is before compression. */
  readonly diffId: string
  readonly digest: string
  readonly bytes: Uint8Array
}

/** `sha256:<hex>` of the bytes. */
export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

const tarTypes = {
  file: 'file',
  directory: 'directory',
  fifo: 'fifo',
  symlink: 'symlink',
  hardlink: 'link',
  char: 'character-device',
  block: 'block-device',
} as const

/** One pax record `<length> key=value\n`; the length counts itself. Values may be any bytes. */
function paxRecord(key: string, value: Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')])
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

type Member = Partial<tar.Header> & Pick<tar.Header, 'name'>

/** One member as a tar of its own, without the two blocks of zeros that end a tar. */
async function memberOf(header: Member, content?: Uint8Array | string): Promise<Buffer> {
  const pack = tar.pack()
  if (content === undefined) pack.entry(header)
  else pack.entry(header, Buffer.from(content))
  pack.finalize()
  const parts: Uint8Array[] = []
  for await (const part of pack) if (part instanceof Uint8Array) parts.push(part)
  return Buffer.concat(parts).subarray(0, -endOfTar.length)
}

const endOfTar = Buffer.alloc(1024)

/**
 * The pax header that carries the attributes of the entry after it. tar-stream writes only attributes that
 * are text, so its file member is made into a header: type `x`, and the checksum over that.
 */
async function xattrsMember(entry: LayerEntry, mtime: Date): Promise<Buffer> {
  if (!/^[\x20-\x7e]{1,99}$/.test(entry.path))
    throw new Error(
      `layer entry ${JSON.stringify(entry.path)}: an entry with xattrs needs a short ASCII path`,
    )
  const records = Object.entries(entry.xattrs ?? {}).map(([k, v]) => paxRecord(`SCHILY.xattr.${k}`, v))
  const member = await memberOf(
    { name: 'PaxHeader', mode: 0o644, mtime, type: 'file' },
    Buffer.concat(records),
  )
  member.write('x', 156, 'latin1')
  member.fill(' ', 148, 156)
  const sum = member.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  member.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return member
}

async function membersOf(entry: LayerEntry): Promise<Buffer[]> {
  const mtime = new Date(entry.mtimeMs ?? fixedTimeMs)
  const header: Member = {
    name: entry.path,
    type: tarTypes[entry.type],
    mode: entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644),
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    mtime,
  }
  if ('target' in entry) header.linkname = entry.target
  if ('major' in entry) {
    header.devmajor = entry.major
    header.devminor = entry.minor
  }
  const own = await memberOf(header, 'content' in entry ? entry.content : undefined)
  return entry.xattrs === undefined ? [own] : [await xattrsMember(entry, mtime), own]
}

/** The entries as a tar, in the order given. Throws for an entry that cannot be written. */
export async function tarOf(entries: readonly LayerEntry[]): Promise<Buffer> {
  const members = await Promise.all(entries.map(membersOf))
  return Buffer.concat([...members.flat(), endOfTar])
}

/** A layer from tar bytes, whatever is in them: also broken ones. */
export async function layerFromTar(bytes: Uint8Array, compression: Compression = 'gzip'): Promise<Layer> {
  const packed =
    compression === 'gzip'
      ? await promisify(gzip)(bytes, { level: 6 })
      : compression === 'zstd'
        ? await promisify(zstdCompress)(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 3 } })
        : bytes
  return { compression, diffId: sha256(bytes), digest: sha256(packed), bytes: packed }
}

/** A layer from entries. */
export async function buildLayer(
  entries: readonly LayerEntry[],
  compression: Compression = 'gzip',
): Promise<Layer> {
  return layerFromTar(await tarOf(entries), compression)
}
