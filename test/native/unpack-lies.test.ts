// SPDX-License-Identifier: Apache-2.0
/** Archives that lie about themselves: sizes, checksums, digests, names. Each is refused, and nothing is left outside. */
import { describe, expect, test } from 'vitest'
import { base256, gnuLong, paxHeader, tarArchive, tarEntry, tarHeader } from '../support/tar-writer.ts'
import { attack, type Expected } from './unpack-attack.ts'

describe('headers that lie', () => {
  const max = ['--max-bytes', '100000']
  const cases: readonly (readonly [string, Buffer, Expected])[] = [
    ['a wrong checksum', tarArchive(tarEntry({ checksum: 1 })), { what: 'corrupt/tar', says: /checksum/ }],
    [
      'a size of 2^62',
      tarArchive(tarHeader({ size: base256(1n << 62n, 12) })),
      { what: 'exhausted/tar', says: /^file: a file larger/ },
    ],
    [
      'a negative size',
      tarArchive(tarHeader({ size: base256(-512n, 12) })),
      { what: 'corrupt/tar', says: /negative size/ },
    ],
    [
      'a size beyond 63 bits',
      tarArchive(tarHeader({ size: Buffer.alloc(12, 0xbf) })),
      { what: 'corrupt/tar', says: /bad size/ },
    ],
    [
      'a size that is no number',
      tarArchive(tarHeader({ size: Buffer.from('9z') })),
      { what: 'corrupt/tar', says: /bad size/ },
    ],
    [
      'more size than there is',
      tarEntry({ name: 'short', size: 5000 }, 'x'),
      { what: 'corrupt/tar', says: /^short: .*ends inside/ },
    ],
    [
      'an archive cut in a header',
      tarArchive(tarEntry({}, 'x')).subarray(0, 1100),
      { what: 'corrupt/tar', says: /ends inside/ },
    ],
    [
      'an archive cut in its padding',
      tarEntry({}, 'x').subarray(0, 600),
      { what: 'corrupt/tar', says: /ends inside/ },
    ],
    [
      'one zero block and then more',
      Buffer.concat([Buffer.alloc(512), tarEntry({})]),
      { what: 'corrupt/tar', says: /single zero block/ },
    ],
    [
      'an unknown type',
      tarArchive(tarEntry({ type: 'Q' })),
      { what: 'unsupported/tar', says: /unknown type 'Q'/ },
    ],
    [
      'a GNU multi-volume part',
      tarArchive(tarEntry({ type: 'M' })),
      { what: 'unsupported/tar', says: /unknown type 'M'/ },
    ],
    [
      'no name at all',
      tarArchive(tarEntry({ name: '' }, 'x')),
      { what: 'corrupt/tar', says: /without a name/ },
    ],
    [
      'an owner of -1',
      tarArchive(tarEntry({ uid: base256(-1n, 8) })),
      { what: 'corrupt/tar', says: /owner/ },
    ],
    [
      'an owner of 2^32 - 1',
      tarArchive(paxHeader([['uid', '4294967295']]), tarEntry({})),
      { what: 'corrupt/tar', says: /owner/ },
    ],
    [
      'a device number too large',
      tarArchive(tarEntry({ type: '3', major: 4096 })),
      { what: 'corrupt/tar', says: /device number/ },
    ],
    [
      'an empty link target',
      tarArchive(tarEntry({ type: '2' })),
      { what: 'corrupt/tar', says: /symbolic link/ },
    ],
    [
      'a component of 256 bytes',
      tarArchive(gnuLong('L', 'c'.repeat(256)), tarEntry({})),
      { what: 'corrupt/tar', says: /component longer than 255/ },
    ],
    ['a path of 4096 bytes', tarArchive(gnuLong('L', 'p/'.repeat(2048)), tarEntry({})), {}],
    [
      'a path of 4097 bytes',
      tarArchive(gnuLong('L', `${'p/'.repeat(2048)}p`), tarEntry({})),
      { what: 'corrupt/tar', says: /longer than 4095/ },
    ],
    [
      'a NUL in a name',
      tarArchive(paxHeader([['path', 'a\0b']]), tarEntry({})),
      { what: 'corrupt/tar', says: /NUL/ },
    ],
    [
      'a NUL in a link',
      tarArchive(paxHeader([['linkpath', 'a\0b']]), tarEntry({ type: '2' })),
      { what: 'corrupt/tar', says: /NUL/ },
    ],
    [
      'an extended header of 2 MiB',
      tarArchive(tarEntry({ type: 'x' }, Buffer.alloc(2 << 20))),
      { what: 'unsupported/tar', says: /the most is 1048576/ },
    ],
    [
      'an extended header that claims 2^40',
      tarHeader({ type: 'x', size: base256(1n << 40n, 12) }),
      { what: 'unsupported/tar', says: /the most is/ },
    ],
    [
      'a record longer than its header',
      tarArchive(tarEntry({ type: 'x' }, '99 path=a\n'), tarEntry({})),
      { what: 'corrupt/tar', says: /malformed record/ },
    ],
    [
      'a record without a line end',
      tarArchive(tarEntry({ type: 'x' }, '10 path=ab'), tarEntry({})),
      { what: 'corrupt/tar', says: /malformed record/ },
    ],
    [
      'a record without a key',
      tarArchive(tarEntry({ type: 'x' }, '6 =ab\n'), tarEntry({})),
      { what: 'corrupt/tar', says: /without a key/ },
    ],
    [
      'a time that is no number',
      tarArchive(paxHeader([['mtime', '1e9']]), tarEntry({})),
      { what: 'corrupt/tar', says: /time/ },
    ],
    [
      'an extended header before nothing',
      paxHeader([['path', 'x']]),
      { what: 'corrupt/tar', says: /after an extended header/ },
    ],
    [
      'more entries than allowed',
      tarArchive(tarEntry({}), tarEntry({}), tarEntry({})),
      { what: 'exhausted/tar', says: /limit of 2 entries/, options: { more: ['--max-entries', '2'] } },
    ],
    [
      'a file larger than allowed',
      tarArchive(tarHeader({ name: 'big', size: 200_000 })),
      { what: 'exhausted/tar', says: /^big: /, options: { more: max } },
    ],
    [
      'a sparse file larger than allowed',
      sparse('0,1', '1000000', 'x'),
      { what: 'exhausted/tar', says: /larger than the limit/, options: { more: max } },
    ],
    ['a sparse map with overlaps', sparse('0,2,1,1', '10', 'abc'), { what: 'corrupt/tar', says: /overlap/ }],
    [
      'a sparse map beyond the file',
      sparse('8,3', '10', 'abc'),
      { what: 'corrupt/tar', says: /overlap or leave/ },
    ],
    [
      'a sparse map that wraps',
      sparse('9223372036854775807,9223372036854775807', '10', 'abc'),
      { what: 'corrupt/tar', says: /leave the file/ },
    ],
    [
      'a sparse map for other data',
      sparse('0,2', '10', 'abc'),
      { what: 'corrupt/tar', says: /2 bytes over 3/ },
    ],
    [
      'a sparse map with half a pair',
      sparse('0', '10', 'abc'),
      { what: 'corrupt/tar', says: /malformed sparse map/ },
    ],
    [
      'a sparse map in data that ends',
      sparse1('9\n0\n'),
      { what: 'corrupt/tar', says: /malformed sparse map/ },
    ],
    [
      'a sparse map of 2^62 extents',
      sparse1('4611686018427387904\n0\n1\n'),
      { what: 'corrupt/tar', says: /malformed sparse map/ },
    ],
  ]
  test.each(cases)('%s', async (_, tar, expected) => {
    await attack(tar, expected)
  })

  test('2 000 levels of directories, and their replacement by a file', async () => {
    const path = 'd/'.repeat(2000)
    const answer = await attack(
      tarArchive(gnuLong('L', `${path}f`), tarEntry({}, 'deep'), tarEntry({ name: 'd' }, 'flat')),
      { left: ['d'] },
    )
    expect(answer.json).toMatchObject({ inodes: 1, implied: [] })
  })
})

function sparse(map: string, size: string, data: string): Buffer {
  return tarArchive(
    paxHeader([
      ['GNU.sparse.size', size],
      ['GNU.sparse.map', map],
    ]),
    tarEntry({ name: 's' }, data),
  )
}

function sparse1(map: string): Buffer {
  const head: readonly (readonly [string, string])[] = [
    ['GNU.sparse.major', '1'],
    ['GNU.sparse.minor', '0'],
    ['GNU.sparse.name', 's'],
    ['GNU.sparse.realsize', '10'],
  ]
  const block = Buffer.alloc(512)
  block.write(map)
  return tarArchive(paxHeader(head), tarEntry({ name: 'x' }, block))
}
