// SPDX-License-Identifier: Apache-2.0
/** gzip, zstd and plain layers, in one and in several members; truncated and oversized ones are refused. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { tarArchive, tarEntry, tarHeader } from '../support/tar-writer.ts'
import { ground, look, ok, sha256, unpack } from './unpack-fixture.ts'

describe('compression', () => {
  const tar = tarArchive(
    tarEntry({ name: 'a' }, Buffer.alloc(700_000, 'abcdefgh')),
    tarEntry({ name: 'b' }, 'B'),
  )
  const kinds: readonly (readonly [string, Buffer])[] = [
    ['plain', tar],
    ['gzip', gzipSync(tar)],
    ['gzip with a name and comment', gzipNamed(tar)],
    ['zstd', zstdCompressSync(tar)],
    [
      'zstd frames',
      Buffer.concat([zstdCompressSync(tar.subarray(0, 1000)), zstdCompressSync(tar.subarray(1000))]),
    ],
    ['zstd after a skippable frame', Buffer.concat([skippable(17), zstdCompressSync(tar), skippable(3)])],
  ]
  test.each(kinds)('%s: both digests are those of the streams', async (_, blob) => {
    using g = ground()
    const result = ok(await unpack(g.layer, blob, { diffId: sha256(tar) }))
    expect(result).toMatchObject({
      blobDigest: sha256(blob),
      blobSize: blob.length,
      diffId: sha256(tar),
      entries: 2,
      inodes: 2,
    })
    expect(readFileSync(join(g.layer, 'b'), 'utf8')).toBe('B')
    expect(readFileSync(join(g.layer, 'a')).equals(Buffer.alloc(700_000, 'abcdefgh'))).toBe(true)
  })

  test('gzip members split at any place are one stream', async () => {
    const small = tarArchive(tarEntry({ name: 'm' }, createHash('sha512').update('m').digest()))
    for (const at of [0, 1, 2, 100, 511, 512, 513, 1023, small.length - 1, small.length]) {
      using g = ground()
      const blob = Buffer.concat([
        gzipSync(small.subarray(0, at)),
        gzipSync(small.subarray(at)),
        gzipSync(''),
      ])
      expect(ok(await unpack(g.layer, blob)).diffId).toBe(sha256(small))
    }
  })

  test('a member that ends exactly at the end of the read buffer goes on in the next', async () => {
    const noise = Buffer.concat(
      Array.from({ length: 9000 }, (_, i) => createHash('sha512').update(`${i}`).digest()),
    )
    const whole = tarArchive(tarEntry({ name: 'noise' }, noise))
    const tuned = gzipOfSize(whole.subarray(0, 262_000), 256 * 1024)
    using g = ground()
    const blob = Buffer.concat([tuned, gzipSync(whole.subarray(262_000))])
    expect(ok(await unpack(g.layer, blob)).diffId).toBe(sha256(whole))
  })

  test('sha512 digests are verified too', async () => {
    using g = ground()
    const hex = (b: Buffer) => `sha512:${createHash('sha512').update(b).digest('hex')}`
    const blob = gzipSync(tar)
    const result = ok(await unpack(g.layer, blob, { digest: hex(blob), diffId: hex(tar) }))
    expect(result.diffId).toBe(hex(tar))
    using h = ground()
    expect(ok(await unpack(h.layer, tar, { digest: hex(tar) })).diffId).toBe(sha256(tar))
  })

  test('what follows the end of the archive is digested, not read as tar', async () => {
    using g = ground()
    const long = Buffer.concat([tar, Buffer.alloc(300_000, 'trailing')])
    expect(ok(await unpack(g.layer, gzipSync(long), { diffId: sha256(long) })).entries).toBe(2)
  })

  test('a zstd window of 128 MiB, as --long=27 asks for, is taken, and none above it', async () => {
    const small = tarArchive(tarEntry({ name: 'w' }, 'window'))
    using g = ground()
    expect(ok(await unpack(g.layer, zstdOfWindow(27, small))).diffId).toBe(sha256(small))
    using h = ground()
    expect((await unpack(h.layer, zstdOfWindow(28, small))).error?.what).toBe('unsupported/inflate')
  })

  test('an empty layer is a layer', async () => {
    using g = ground()
    expect(ok(await unpack(g.layer, gzipSync(tarArchive()))).inodes).toBe(0)
    expect([...look(g.layer).keys()]).toEqual([''])
  })
})

test('1 000 000 entries in a bounded time and with bounded memory', async () => {
  using g = ground('/dev/shm')
  const frames: Buffer[] = []
  for (let at = 0; at < 1_000_000; at += 50_000) {
    const headers = Array.from({ length: 50_000 }, (_, i) => numbered(at + i))
    frames.push(zstdCompressSync(Buffer.concat(headers)))
  }
  frames.push(zstdCompressSync(Buffer.alloc(1024)))
  let peakKb = 0
  let sampling: NodeJS.Timeout | undefined
  const sample = (pid: number | undefined) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    peakKb = Math.max(peakKb, Number(/^VmHWM:\s*(\d+)/m.exec(status)?.[1] ?? 0))
  }
  const start = process.hrtime.bigint()
  const answer = await unpack(g.layer, Buffer.concat(frames), {
    more: ['--record', join(g.root, 'record')],
    onPid: (pid) => {
      sampling = setInterval(() => sample(pid), 50)
    },
  }).finally(() => clearInterval(sampling))
  expect(ok(answer)).toMatchObject({ entries: 1_000_000, inodes: 1_001_000, impliedCount: 1000 })
  expect(process.hrtime.bigint() - start).toBeLessThan(60_000_000_000n)
  expect(peakKb).toBeGreaterThan(1024) // it was sampled indeed
  expect(peakKb).toBeLessThan(32 * 1024)
}, 180_000)

const PLAIN = tarHeader({ name: 'd000/f0000000' })
const SUM =
  PLAIN.subarray(0, 148).reduce((a, b) => a + b, 256) + PLAIN.subarray(156).reduce((a, b) => a + b, 0)

/** The header of empty file number i, in one of a thousand directories; made by hand, because it has to be quick. */
function numbered(i: number): Buffer {
  const block = Buffer.from(PLAIN)
  const name = `d${String(Math.floor(i / 1000)).padStart(3, '0')}/f${String(i).padStart(7, '0')}`
  block.write(name, 0, 'latin1')
  let sum = SUM
  for (let at = 0; at < name.length; at++) sum += name.charCodeAt(at) - (PLAIN[at] ?? 0)
  block.write(sum.toString(8).padStart(6, '0'), 148, 'latin1')
  return block
}

function gzipNamed(data: Buffer): Buffer {
  const plain = gzipSync(data)
  const head = Buffer.from(plain.subarray(0, 10))
  head[3] = 0x18 // FNAME | FCOMMENT
  return Buffer.concat([head, Buffer.from('layer.tar\0a comment\0'), plain.subarray(10)])
}

function skippable(size: number): Buffer {
  const head = Buffer.from('502a4d1800000000', 'hex')
  head.writeUInt32LE(size, 4)
  return Buffer.concat([head, Buffer.alloc(size, 7)])
}

/** A gzip member of exactly `size` bytes: stored blocks would vary, so a name in the header fills it up. */
function gzipOfSize(data: Buffer, size: number): Buffer {
  const plain = gzipSync(data, { level: 0 })
  const room = size - plain.length
  if (room < 1) throw new Error('too large already')
  const head = Buffer.from(plain.subarray(0, 10))
  head[3] = 0x08
  return Buffer.concat([head, Buffer.alloc(room - 1, 'n'), Buffer.from([0]), plain.subarray(10)])
}

/** One frame that asks for a window of 2^log bytes and has its data in one raw block. */
function zstdOfWindow(log: number, data: Buffer): Buffer {
  const head = Buffer.from('28b52ffd0000000000', 'hex')
  head[5] = (log - 10) << 3
  head.writeUIntLE((data.length << 3) | 1, 6, 3)
  return Buffer.concat([head, data])
}
