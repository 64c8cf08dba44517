// SPDX-License-Identifier: Apache-2.0
/**
 * A tar writer for tests that has its hand on every byte: fields may lie, checksums may be wrong, names may be
 * any bytes. Makes no sense of what it writes; well-formed images are built elsewhere.
 */

export interface TarHeader {
  /** Cut to 100 bytes, as the field is. */
  readonly name?: string | Buffer
  readonly mode?: number
  readonly uid?: number | Buffer
  readonly gid?: number | Buffer
  /** Overrides the length of the data; a Buffer is the raw field. */
  readonly size?: number | Buffer
  readonly mtime?: number | Buffer
  /** The type flag: '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' directory, '6' fifo, … */
  readonly type?: string
  readonly link?: string | Buffer
  readonly prefix?: string
  readonly major?: number
  readonly minor?: number
  readonly magic?: 'ustar' | 'gnu' | 'v7'
  /** Overrides the checksum. */
  readonly checksum?: number
  /** Last hand on the block before the checksum. */
  readonly patch?: (block: Buffer) => void
}

function octal(block: Buffer, at: number, width: number, value: number | Buffer): void {
  if (Buffer.isBuffer(value)) value.copy(block, at, 0, width)
  else block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, width, 'latin1')
}

function field(block: Buffer, at: number, width: number, value: string | Buffer): void {
  ;(Buffer.isBuffer(value) ? value : Buffer.from(value)).copy(block, at, 0, width)
}

/** A number as base 256, big-endian, as GNU tar writes what octal cannot hold. */
export function base256(value: bigint, width: number): Buffer {
  const out = Buffer.alloc(width)
  let rest = BigInt.asUintN(width * 8, value)
  for (let i = width - 1; i >= 0; i--) {
    out[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  out[0] = (out[0] ?? 0) | 0x80
  return out
}

/** One header block. */
export function tarHeader(h: TarHeader): Buffer {
  const block = Buffer.alloc(512)
  const type = h.type ?? '0'
  field(block, 0, 100, h.name ?? 'file')
  octal(block, 100, 8, h.mode ?? (type === '5' ? 0o755 : 0o644))
  octal(block, 108, 8, h.uid ?? 0)
  octal(block, 116, 8, h.gid ?? 0)
  octal(block, 124, 12, h.size ?? 0)
  octal(block, 136, 12, h.mtime ?? 1_600_000_000)
  block.write(type, 156, 1, 'latin1')
  field(block, 157, 100, h.link ?? '')
  if (h.magic !== 'v7') {
    block.write(h.magic === 'gnu' ? 'ustar  \0' : 'ustar\u000000', 257, 8, 'latin1')
    octal(block, 329, 8, h.major ?? 0)
    octal(block, 337, 8, h.minor ?? 0)
    field(block, 345, 155, h.prefix ?? '')
  }
  h.patch?.(block)
  block.fill(' ', 148, 156)
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${(h.checksum ?? sum).toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1')
  return block
}

/** Data padded to whole blocks. */
export function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)])
}

/** A header with its data. */
export function tarEntry(h: TarHeader, data: string | Buffer = ''): Buffer {
  const bytes = Buffer.isBuffer(data) ? data : Buffer.from(data)
  return Buffer.concat([tarHeader({ size: bytes.length, ...h }), padded(bytes)])
}

/** One record of an extended header, with its own length in front. */
export function paxRecord(key: string, value: string | Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')])
  let length = body.length + 1
  while (String(length).length + body.length !== length) length = String(length).length + body.length
  return Buffer.concat([Buffer.from(String(length)), body])
}

/** An extended header: of the next entry ('x') or of all that follow ('g'). */
export function paxHeader(
  records: readonly (readonly [key: string, value: string | Buffer])[],
  type: 'x' | 'g' = 'x',
): Buffer {
  return tarEntry({ name: 'PaxHeaders/x', type }, Buffer.concat(records.map(([k, v]) => paxRecord(k, v))))
}

/** A GNU long name ('L') or long link target ('K') for the next entry. */
export function gnuLong(type: 'L' | 'K', text: string | Buffer): Buffer {
  const data = Buffer.concat([Buffer.from(text), Buffer.from([0])])
  return tarEntry({ name: '././@LongLink', type, magic: 'gnu', mode: 0 }, data)
}

/** Parts and the two zero blocks that end an archive. */
export function tarArchive(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}
