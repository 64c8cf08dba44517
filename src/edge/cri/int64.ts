// SPDX-License-Identifier: Apache-2.0
/**
 * int64: protobufjs' Reader and Writer (the minimal build) as the generated codec uses them. 64-bit integers
 * are read as bigint and written from bigint or number, exactly; unknown fields are dropped, not kept. The
 * generated code imports protobufjs through this file, so nobody can use the codec without it. It changes the
 * prototypes of protobufjs in this process and is meant for nothing else there.
 */
import protobuf from 'protobufjs/minimal.js'

type Int64 = bigint | number

interface RawReader {
  buf: Uint8Array
  pos: number
  len: number
}

interface RawWriter {
  buf: Uint8Array
  pos: number
  _reserve(bytes: number): void
}

function tooShort(reader: RawReader): RangeError {
  return new RangeError(`index out of range: ${reader.pos} + 1 > ${reader.len}`)
}

/** Reads one varint of at most ten bytes as two unsigned halves and gives the 64-bit pattern as bigint. */
function readVarint64(reader: RawReader): bigint {
  let lo = 0
  let hi = 0
  for (let i = 0; i < 10; i++) {
    if (reader.pos >= reader.len) throw tooShort(reader)
    const byte = reader.buf[reader.pos++] ?? 0
    const bits = byte & 127
    const shift = i * 7
    if (shift < 28) lo |= bits << shift
    else if (shift === 28) {
      lo |= bits << 28
      hi |= bits >> 4
    } else hi |= bits << (shift - 32)
    if (byte < 128) {
      if (hi === 0) return BigInt(lo >>> 0)
      return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
    }
  }
  throw new Error('invalid varint encoding')
}

/** Writes `value` modulo 2^64 as a varint. A number must be a whole one: BigInt() throws otherwise. */
function writeVarint64(writer: RawWriter, value: Int64): void {
  writer._reserve(10)
  if (typeof value === 'number' && value >= 0 && value <= 0x7fffffff && Number.isInteger(value)) {
    let small = value
    while (small > 127) {
      writer.buf[writer.pos++] = (small & 127) | 128
      small >>>= 7
    }
    writer.buf[writer.pos++] = small
    return
  }
  const bits = BigInt.asUintN(64, BigInt(value))
  let lo = Number(bits & 0xffffffffn)
  let hi = Number(bits >> 32n)
  while (hi !== 0) {
    writer.buf[writer.pos++] = (lo & 127) | 128
    lo = ((lo >>> 7) | (hi << 25)) >>> 0
    hi >>>= 7
  }
  while (lo > 127) {
    writer.buf[writer.pos++] = (lo & 127) | 128
    lo >>>= 7
  }
  writer.buf[writer.pos++] = lo
}

function writePacked(
  writer: RawWriter & { fork(): unknown; ldelim(): unknown },
  values: readonly Int64[],
): void {
  writer.fork()
  for (const value of values) writeVarint64(writer, value)
  writer.ldelim()
}

function readSigned(this: RawReader): bigint {
  return BigInt.asIntN(64, readVarint64(this))
}

function readUnsigned(this: RawReader): bigint {
  return readVarint64(this)
}

function write(this: RawWriter, value: Int64): RawWriter {
  writeVarint64(this, value)
  return this
}

function writeMany(
  this: RawWriter & { fork(): unknown; ldelim(): unknown },
  values: readonly Int64[],
): RawWriter {
  writePacked(this, values)
  return this
}

// Reader#int64s and #uint64s read their elements through #int64 and #uint64, so they need no change.
Object.assign(protobuf.Reader.prototype, { int64: readSigned, uint64: readUnsigned })
Object.assign(protobuf.Writer.prototype, {
  int64: write,
  uint64: write,
  int64s: writeMany,
  uint64s: writeMany,
})
protobuf.Reader.discardUnknown = true

export { protobuf }
