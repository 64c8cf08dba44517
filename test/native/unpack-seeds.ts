// SPDX-License-Identifier: Apache-2.0
/** Archives to start from, for the fuzzers: every kind of entry and header once, and blobs of every form. */
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { gnuLong, paxHeader, tarArchive, tarEntry } from '../support/tar-writer.ts'

/** One archive with all kinds of entries, headers and maps. */
export function seedArchive(): Buffer {
  return tarArchive(
    paxHeader([['comment', 'g']], 'g'),
    tarEntry({ name: './', type: '5' }),
    tarEntry({ name: 'd/', type: '5', mode: 0o2755 }),
    tarEntry({ name: 'd/f', mode: 0o4755 }, 'x'.repeat(700)),
    tarEntry({ name: 'l', type: '2', link: 'd' }),
    tarEntry({ name: 'l/x' }, 'through'),
    tarEntry({ name: 'h', type: '1', link: 'd/f' }),
    paxHeader([
      ['path', 'd/long/name'],
      ['mtime', '1.5'],
      ['uid', '3000000'],
      ['SCHILY.xattr.user.k', Buffer.from([0, 1, 2])],
      [
        'SCHILY.xattr.system.posix_acl_default',
        Buffer.from('0200000001000700ffffffff04000500ffffffff20000500ffffffff', 'hex'),
      ],
    ]),
    tarEntry({ name: 'p', type: '5' }),
    gnuLong('L', 'n'.repeat(150)),
    gnuLong('K', 't'.repeat(150)),
    tarEntry({ name: 'cut', type: '2', link: 'cut', magic: 'gnu' }),
    tarEntry({ name: 'd/.wh.x' }),
    tarEntry({ name: '.wh..wh..opq' }),
    tarEntry({ name: 'dev', type: '3', major: 1, minor: 3 }),
    tarEntry({ name: 'fifo', type: '6' }),
    paxHeader([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 's1'],
      ['GNU.sparse.realsize', '5000'],
    ]),
    tarEntry(
      { name: 's' },
      Buffer.concat([Buffer.from('2\n0\n3\n4000\n4\n'), Buffer.alloc(512 - 13), Buffer.from('abcdefg')]),
    ),
    paxHeader([
      ['GNU.sparse.size', '100'],
      ['GNU.sparse.map', '0,3,50,4'],
    ]),
    tarEntry({ name: 's01' }, 'abcdefg'),
    paxHeader([
      ['GNU.sparse.size', '100'],
      ['GNU.sparse.numblocks', '1'],
      ['GNU.sparse.offset', '10'],
      ['GNU.sparse.numbytes', '7'],
    ]),
    tarEntry({ name: 's00' }, 'abcdefg'),
    tarEntry(
      {
        name: 'S',
        type: 'S',
        magic: 'gnu',
        patch: (b) => {
          b.write('00000000000\x00000000007\0', 386, 'latin1')
          b.write('00000010000\0', 483, 'latin1')
        },
      },
      'abcdefg',
    ),
    tarEntry({ name: 'd' }, 'a file over the tree'),
  )
}

/** Small blobs by name, each a good layer. */
export function seedBlobs(): Readonly<Record<string, Buffer>> {
  const all = seedArchive()
  const file = tarEntry({ name: 'a/f' }, 'x'.repeat(600))
  const over = tarArchive(
    file,
    tarEntry({ name: 'a/h', type: '1', link: 'a/f' }),
    tarEntry({ name: 'a/', type: '5', mode: 0o700 }),
    tarEntry({ name: 'a/', type: '5', mode: 0o755, uid: 7 }),
    tarEntry({ name: 'b/.wh.a' }),
    tarEntry({ name: 'b/a/c' }, 'below what was hidden'),
    tarEntry({ name: 'b/.wh..wh..opq' }),
    tarEntry({ name: 'a/f' }, 'again'),
  )
  const links = tarArchive(
    tarEntry({ name: 'l1', type: '2', link: '/l2/x' }),
    tarEntry({ name: 'l2', type: '2', link: '../../d' }),
    tarEntry({ name: 'l1/y/z' }, 'through two'),
    tarEntry({ name: 'l1', type: '2', link: 'e' }),
    tarEntry({ name: 'l1/z', type: '1', link: 'd/x/y/z' }),
  )
  return {
    all,
    over,
    links,
    gzip: Buffer.concat([gzipSync(over.subarray(0, 700)), gzipSync(over.subarray(700))]),
    zstd: Buffer.concat([zstdCompressSync(links), zstdCompressSync(Buffer.alloc(3))]),
    empty: tarArchive(),
  }
}
