// SPDX-License-Identifier: Apache-2.0
/**
 * Header blocks of SPDY/3.1: name and value pairs, compressed by one zlib stream a direction that begins with a
 * fixed dictionary. Reading inflates one block at a time, bounded, with the last 32 KiB of what came before as
 * the window; writing stores without compressing, for all we ever send is an empty block.
 * Source: SPDY Protocol Draft 3.1, section 2.6.10.
 */
import { constants, inflateRawSync } from 'node:zlib'
import { Fault } from '../../../base/fault.ts'
import { STREAMING } from '../limits.ts'

const WINDOW = 32 * 1024

/** The words of the dictionary that stand behind their length, 4 bytes each, and the text after them. */
const WORDS =
  'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin'
const TEXT =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.'

export const DICTIONARY: Buffer = Buffer.concat([
  ...WORDS.split(' ').map((word) => counted(word.replace('_', ' '))),
  Buffer.from(TEXT, 'latin1'),
])

function counted(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1')
  const out = Buffer.alloc(4 + bytes.length)
  out.writeUInt32BE(bytes.length)
  bytes.copy(out, 4)
  return out
}

/** zlib's header with a preset dictionary: CMF, FLG, Adler-32 of the dictionary. */
const ZLIB_HEAD = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2])

export type Headers = ReadonlyMap<string, string>

/** Reads the blocks of one connection, in their order. A block that cannot be read ends the connection. */
export function headerReader(): (block: Buffer) => Headers {
  let window: Buffer = DICTIONARY
  let begun = false
  return (block) => {
    let body = block
    if (!begun) {
      if (block.length < 6 || (block.readUInt8(0) & 0x0f) !== 8 || (block.readUInt8(1) & 0x20) === 0)
        throw bad('does not begin with the dictionary of SPDY/3')
      body = block.subarray(block.readUInt32BE(2) === ZLIB_HEAD.readUInt32BE(2) ? 6 : block.length)
      begun = true
    }
    const plain = inflate(body, window)
    window = Buffer.concat([window, plain]).subarray(-WINDOW)
    return parsePairs(plain)
  }
}

function inflate(body: Buffer, dictionary: Buffer): Buffer {
  try {
    return inflateRawSync(body, {
      dictionary,
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: STREAMING.headerBytes,
    })
  } catch (cause) {
    const tooLarge = cause instanceof Error && Reflect.get(cause, 'code') === 'ERR_BUFFER_TOO_LARGE'
    throw bad(tooLarge ? `is larger than ${STREAMING.headerBytes} bytes` : 'cannot be inflated')
  }
}

function parsePairs(plain: Buffer): Headers {
  const headers = new Map<string, string>()
  let at = 0
  const word = () => {
    if (at + 4 > plain.length) throw bad('ends too early')
    const value = plain.readUInt32BE(at)
    at += 4
    return value
  }
  const text = () => {
    const length = word()
    if (length > plain.length - at) throw bad('ends too early')
    at += length
    return plain.toString('utf8', at - length, at)
  }
  const pairs = word()
  if (pairs > STREAMING.headerPairs) throw bad(`has ${pairs} pairs`)
  for (let i = 0; i < pairs; i++) {
    const name = text().toLowerCase()
    headers.set(name, text())
  }
  if (at !== plain.length) throw bad('has bytes behind its pairs')
  return headers
}

function bad(what: string): Fault {
  return new Fault('invalid', `SPDY: a header block ${what}`)
}

/** Writes the blocks of one connection: no headers in any. */
export function emptyBlocks(): () => Buffer {
  let begun = false
  return () => {
    // A stored block of the four bytes of the count, then an empty one: without it some readers wait for more.
    const stored = Buffer.from([0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
    const block = begun ? stored : Buffer.concat([ZLIB_HEAD, stored])
    begun = true
    return block
  }
}
