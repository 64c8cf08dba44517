// SPDX-License-Identifier: Apache-2.0
/** Blobs that lie about size, digest or compression, and bombs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { tarArchive, tarEntry } from '../support/tar-writer.ts'
import { attack, type Expected } from './unpack-attack.ts'
import { ground, sha256, UNPACK, unpack } from './unpack-fixture.ts'

describe('blobs that lie', () => {
  const tar = tarArchive(
    tarEntry({ name: 'a' }, 'content'),
    tarEntry({ name: 'b' }, Buffer.alloc(2_000_000, 'b')),
  )
  const other = `sha256:${'0'.repeat(64)}`
  const cases: readonly (readonly [string, Buffer, Expected])[] = [
    [
      'another digest',
      gzipSync(tar),
      { what: 'corrupt/verify', says: new RegExp(`expected ${other}`), options: { digest: other } },
    ],
    [
      'another diff id',
      gzipSync(tar),
      { what: 'corrupt/verify', says: /image expects/, options: { diffId: other } },
    ],
    [
      'more bytes than declared',
      Buffer.concat([gzipSync(tar), Buffer.from('x')]),
      { what: 'corrupt/read', says: /longer than the declared/, options: { size: gzipSync(tar).length } },
    ],
    [
      'fewer bytes than declared',
      gzipSync(tar),
      { what: 'corrupt/read', says: /ended after \d+ of 999999 bytes/, options: { size: 999_999 } },
    ],
    [
      'a gzip stream cut short',
      gzipSync(tar).subarray(0, -9),
      { what: 'corrupt/inflate', says: /cut short/ },
    ],
    [
      'a gzip trailer cut short',
      gzipSync(tar).subarray(0, -1),
      { what: 'corrupt/inflate', says: /cut short/ },
    ],
    ['a gzip header cut short', gzipSync(tar).subarray(0, 5), { what: 'corrupt/inflate', says: /cut short/ }],
    ['a wrong gzip checksum', flip(gzipSync(tar), -8), { what: 'corrupt/inflate', says: /checksum/ }],
    [
      'bytes after the last member',
      Buffer.concat([gzipSync(tar), Buffer.from('garbage after it')]),
      { what: 'corrupt/inflate', says: /no gzip header/ },
    ],
    [
      'a zstd stream cut short',
      zstdCompressSync(tar).subarray(0, -3),
      { what: 'corrupt/inflate', says: /cut short/ },
    ],
    ['damaged zstd', flip(zstdCompressSync(tar), 9), { what: 'corrupt/inflate', says: /zstd/ }],
    [
      'bytes after the last frame',
      Buffer.concat([zstdCompressSync(tar), Buffer.from('garbage after it')]),
      { what: 'corrupt/inflate', says: /zstd near byte/ },
    ],
    ['bzip2', Buffer.from('BZh91AY&SY'), { what: 'unsupported/inflate', says: /bzip2 and xz/ }],
    ['no archive at all', Buffer.from('<html>'.repeat(200)), { what: 'corrupt/tar', says: /checksum/ }],
    [
      'a gzip bomb',
      gzipSync(Buffer.alloc(50_000_000)),
      {
        what: 'exhausted/inflate',
        says: /beyond the limit of 1000000 bytes/,
        options: { more: ['--max-bytes', '1000000'] },
      },
    ],
  ]
  test.each(cases)('%s', async (_, blob, expected) => {
    await attack(blob, expected)
  })

  test('a zstd window above 128 MiB is refused as unsupported', async () => {
    // magic, frame descriptor 0 (a window byte follows), window byte for 2^30 bytes, then an empty last raw block
    const blob = Buffer.from('28b52ffd00a0010000', 'hex')
    await attack(blob, { what: 'unsupported/inflate', says: /memory/ })
  })

  test('a ratio bomb is stopped beyond the first GiB', async () => {
    const gib = gzipSync(Buffer.alloc(1 << 28), { level: 9 })
    const blob = Buffer.concat([...Array.from({ length: 6 }, () => gib)])
    await attack(blob, {
      what: 'exhausted/inflate',
      says: /refused as a bomb/,
      options: { more: ['--max-ratio', '100'] },
    })
  })

  test('a blob that is too long is refused while the writer still writes', async () => {
    using g = ground()
    const child = spawn(UNPACK, ['--into', g.layer, '--digest', sha256(tar), '--size', '1000'])
    child.stdin.on('error', () => {})
    child.stdin.write(tar) // and no end
    const [code] = await once(child, 'close')
    expect(code).toBe(1)
  })
})

describe('the command line', () => {
  test('a command line that is wrong is one clear error', async () => {
    using g = ground()
    const blob = tarArchive()
    for (const [more, says] of [
      [['--no-such', 'x'], /unknown option --no-such/],
      [['--max-bytes', 'many'], /needs a number/],
      [['--diff-id', 'md5:00'], /sha256: or sha512:/],
      [['--max-bytes'], /needs a value/],
    ] as const) {
      const answer = await unpack(g.layer, blob, { more })
      expect(answer.error?.message).toMatch(says)
      expect(answer.code).toBe(1)
    }
    const missing = await unpack(join(g.root, 'nowhere'), blob)
    expect(missing.error?.message).toMatch(/directory of the layer.*No such file/)
  })
})

function flip(data: Buffer, at: number): Buffer {
  const copy = Buffer.from(data)
  const index = at < 0 ? copy.length + at : at
  copy[index] = (copy[index] ?? 0) ^ 0xff
  return copy
}
