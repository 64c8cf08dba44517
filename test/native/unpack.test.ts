// SPDX-License-Identifier: Apache-2.0
/** What `gantry-unpack` makes of good archives: the same as GNU tar where both can, the OCI rules where not. */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { base256, gnuLong, paxHeader, tarArchive, tarEntry, tarHeader } from '../support/tar-writer.ts'
import { ground, inspect, look, ok, unpack, xattrs } from './unpack-fixture.ts'

/** Unpacks with both and compares all that lstat, contents and attributes say. */
async function sameAsTar(tar: Buffer): Promise<void> {
  using ours = ground()
  using theirs = ground()
  ok(await unpack(ours.layer, tar))
  execFileSync(
    'tar',
    ['--xattrs', '--xattrs-include=*', '--delay-directory-restore', '-xpf', '-', '-C', theirs.layer],
    {
      input: tar,
      maxBuffer: 1 << 28,
    },
  )
  const [a, b] = [look(ours.layer), look(theirs.layer)]
  a.delete('') // the root has an entry in none of these
  b.delete('')
  expect([...a]).toEqual([...b])
  expect(xattrs(ours.layer)).toEqual(xattrs(theirs.layer))
}

describe('against GNU tar', () => {
  test('all types, owners, modes, attributes, times and hard links come out the same', async () => {
    const caps = Buffer.from('0100000200040000000000000000000000000000', 'hex')
    await sameAsTar(
      tarArchive(
        tarEntry({ name: 'etc/', type: '5', mode: 0o755, mtime: 1_000_000_000 }),
        paxHeader([['mtime', '1234567890.123456789']]),
        tarEntry({ name: 'etc/passwd', uid: 12, gid: 34 }, 'root:x:0:0'),
        tarEntry({ name: 'etc/hard', type: '1', link: 'etc/passwd' }),
        tarEntry({ name: 'etc/soft', type: '2', link: '/etc/passwd', uid: 5 }),
        tarEntry({ name: 'bin/', type: '5', mode: 0o2775, gid: 50 }),
        tarEntry({ name: 'bin/plain' }, 'in a set-group-ID directory'),
        tarEntry({ name: 'bin/dir/', type: '5', mode: 0o700 }),
        tarEntry({ name: 'bin/su', mode: 0o4755, uid: 7 }, 'suid'),
        tarEntry({ name: 'bin/all', mode: 0o7777, uid: 7, gid: 7 }, 'all bits'),
        paxHeader([
          ['SCHILY.xattr.security.capability', caps],
          ['SCHILY.xattr.user.binary', Buffer.from([0xff, 0x80, 0, 0x0a, 0x3d, 0xfe])],
        ]),
        tarEntry({ name: 'bin/ping', mode: 0o755, uid: 9 }, 'ping'),
        paxHeader([['SCHILY.xattr.trusted.note', 'on a link']]),
        tarEntry({ name: 'bin/link', type: '2', link: 'ping' }),
        paxHeader([['SCHILY.xattr.user.dir', 'd']]),
        tarEntry({ name: 'tmp/', type: '5', mode: 0o1777 }),
        tarEntry({ name: 'dev/', type: '5' }),
        tarEntry({ name: 'dev/null', type: '3', major: 1, minor: 3, mode: 0o666 }),
        tarEntry({ name: 'dev/loop', type: '4', major: 7, minor: 1, mode: 0o660, gid: 6 }),
        tarEntry({ name: 'dev/pipe', type: '6', mode: 0o600 }),
        tarEntry({ name: 'dev/pipe2', type: '1', link: 'dev/pipe' }),
        tarEntry({ name: 'etc/late', mtime: 5 }, 'a directory visited again keeps its time'),
        tarEntry({ name: 'tmp/odd', mtime: base256(-7n, 12), uid: base256(3_000_000n, 8) }, 'before 1970'),
        tarEntry({ name: Buffer.from('na\xefve \x01\n', 'latin1') }, 'not UTF-8'),
        tarEntry({ name: 'empty' }),
      ),
    )
  })

  test.each(['ustar', 'gnu', 'pax', 'oldgnu', 'v7'])(
    'a real tree in format %s, with long names',
    async (format) => {
      using g = ground()
      const src = join(g.root, 'src')
      const component = 'n'.repeat(format === 'v7' ? 20 : 80)
      const deep = join(src, component, format === 'ustar' || format === 'v7' ? 'd' : component, 'e')
      mkdirSync(deep, { recursive: true })
      writeFileSync(join(deep, 'f'.repeat(format === 'v7' ? 9 : 60)), 'deep')
      writeFileSync(join(src, 'a'), 'x'.repeat(100_000))
      linkSync(join(src, 'a'), join(src, 'b'))
      symlinkSync(format === 'gnu' || format === 'pax' ? `t${'/up'.repeat(60)}` : 'short', join(src, 'l'))
      const names = execFileSync('ls', ['-A', src], { encoding: 'utf8' }).trim().split('\n')
      await sameAsTar(execFileSync('tar', [`--format=${format}`, '-C', src, '-cf', '-', ...names]))
    },
  )

  test.each(['--sparse-version=0.0', '--sparse-version=0.1', '--sparse-version=1.0', '--format=gnu'])(
    'a sparse file with %s keeps its content and its holes',
    async (how) => {
      using g = ground()
      const src = join(g.root, 'src')
      mkdirSync(src)
      const fd = openSync(join(src, 's'), 'w')
      ftruncateSync(fd, 1 << 20)
      for (let i = 3; i < 61; i += 2) writeSync(fd, Buffer.alloc(4096, `${i}.`), 0, 4096, i * 4096)
      closeSync(fd)
      writeFileSync(join(src, 'after'), 'next entry')
      const format = how.startsWith('--format') ? [how] : ['--format=pax', how]
      const tar = execFileSync('tar', [...format, '-S', '-C', src, '-cf', '-', 's', 'after'])
      expect(tar.length).toBeLessThan(400_000) // it is stored as sparse indeed
      await sameAsTar(tar)
      using again = ground()
      ok(await unpack(again.layer, tar))
      const seen = inspect(again.layer).get('s')
      expect(seen?.size).toBe(1n << 20n)
      expect(seen?.blocks).toBeLessThan(1024n)
    },
  )
})

describe('whiteouts', () => {
  const char = (g: { layer: string }, path: string) => inspect(g.layer).get(path)
  test('become 0:0 devices and opaque marks', async () => {
    using g = ground()
    ok(
      await unpack(
        g.layer,
        tarArchive(
          tarEntry({ name: 'd/', type: '5' }),
          tarEntry({ name: 'd/.wh.gone' }),
          tarEntry({ name: 'd/.wh..wh..opq' }),
          tarEntry({ name: 'implied/.wh.x' }),
          tarEntry({ name: '.wh..wh..opq' }),
          tarEntry({ name: '.wh..wh.plnk/1.2' }, 'aufs'),
          tarEntry({ name: '.wh..wh.aufs' }, 'aufs'),
        ),
      ),
    )
    expect(char(g, 'd/gone')).toMatchObject({ type: 'char', rdev: 0n })
    expect(char(g, 'implied/x')).toMatchObject({ type: 'char', rdev: 0n })
    expect([...look(g.layer).keys()]).toEqual(['', 'd', 'd/gone', 'implied', 'implied/x'])
    expect(xattrs(g.layer)).toEqual([' trusted.overlay.opaque=79', 'd trusted.overlay.opaque=79'])
  })

  test('hide the lower layers only, whatever the order of the entries', async () => {
    for (const first of [true, false]) {
      using g = ground()
      const whiteouts = [tarEntry({ name: '.wh.f' }), tarEntry({ name: '.wh.d' })]
      const own = [
        tarEntry({ name: 'f' }, 'mine'),
        tarEntry({ name: 'd/', type: '5' }),
        tarEntry({ name: 'd/x' }),
      ]
      ok(await unpack(g.layer, tarArchive(...(first ? [...whiteouts, ...own] : [...own, ...whiteouts]))))
      expect([...look(g.layer).keys()]).toEqual(['', 'd', 'd/x', 'f'])
      expect(xattrs(g.layer)).toEqual(['d trusted.overlay.opaque=79'])
    }
  })

  test('a path through a whited-out name starts a new opaque directory', async () => {
    using g = ground()
    const result = ok(
      await unpack(g.layer, tarArchive(tarEntry({ name: '.wh.d' }), tarEntry({ name: 'd/x' }, 'x'))),
    )
    expect([...look(g.layer).keys()]).toEqual(['', 'd', 'd/x'])
    expect(xattrs(g.layer)).toEqual(['d trusted.overlay.opaque=79'])
    expect(result.implied).toEqual([])
  })
})

describe('entries over entries', () => {
  test('the last one wins; directories keep what is in them', async () => {
    using g = ground()
    const result = ok(
      await unpack(
        g.layer,
        tarArchive(
          tarEntry({ name: 'twice' }, 'first'),
          tarEntry({ name: 'keep', type: '1', link: 'twice' }),
          tarEntry({ name: 'twice', mode: 0o600 }, 'second'),
          tarEntry({ name: 'dir/', type: '5', mode: 0o700 }),
          tarEntry({ name: 'dir/in' }, 'stays'),
          tarEntry({ name: 'dir/', type: '5', mode: 0o751, uid: 3, mtime: 42 }),
          tarEntry({ name: 'tree/a/b/c' }, 'deep'),
          tarEntry({ name: 'tree/a/l', type: '2', link: '/etc' }),
          tarEntry({ name: 'tree' }, 'a file over a tree'),
          tarEntry({ name: 'file' }, 'x'),
          tarEntry({ name: 'file/', type: '5' }),
          tarEntry({ name: 'file/inside' }, 'a directory over a file'),
          tarEntry({ name: 'dev', type: '3', major: 1, minor: 3 }),
          tarEntry({ name: 'dev' }, 'a file over a device'),
          tarEntry({ name: 'link', type: '2', link: 'dir/in' }),
          tarEntry({ name: 'link' }, 'a file over a link, not through it'),
          tarEntry({ name: 'self', type: '0' }, 'self'),
          tarEntry({ name: 'self', type: '1', link: './self' }),
        ),
      ),
    )
    const read = (p: string) => readFileSync(join(g.layer, p), 'utf8')
    expect(['twice', 'keep', 'dir/in', 'tree', 'file/inside', 'dev', 'link', 'self'].map(read)).toEqual([
      'second',
      'first',
      'stays',
      'a file over a tree',
      'a directory over a file',
      'a file over a device',
      'a file over a link, not through it',
      'self',
    ])
    expect(inspect(g.layer).get('dir')).toMatchObject({ mode: '751', owner: '3:0', mtimeNs: 42_000_000_000n })
    expect(result.inodes).toBe(
      new Set([...inspect(g.layer)].filter(([p]) => p !== '').map(([, s]) => s.ino)).size,
    )
    expect(result.implied).toEqual([])
  })

  test('missing parents are made 0755 root and named, until an entry describes them', async () => {
    using g = ground()
    const result = ok(
      await unpack(
        g.layer,
        tarArchive(
          tarEntry({ name: 'set/', type: '5', mode: 0o2777, gid: 77, mtime: 99 }),
          tarEntry({ name: 'set/made/up/file', uid: 4 }, 'x'),
          tarEntry({ name: 'later/described/file' }, 'x'),
          tarEntry({ name: 'later/', type: '5', mode: 0o711 }),
        ),
      ),
    )
    const seen = inspect(g.layer)
    expect(seen.get('set/made')).toMatchObject({ mode: '755', owner: '0:0' })
    expect(seen.get('set/made/up')).toMatchObject({ mode: '755', owner: '0:0' })
    expect(seen.get('set')).toMatchObject({ mode: '2777', mtimeNs: 99_000_000_000n })
    expect(result).toMatchObject({ implied: ['set/made', 'set/made/up', 'later/described'], impliedCount: 3 })
  })

  test('the root entry describes the layer directory itself', async () => {
    using g = ground()
    ok(
      await unpack(
        g.layer,
        tarArchive(
          paxHeader([['SCHILY.xattr.user.root', 'r']]),
          tarEntry({ name: './', type: '5', mode: 0o1711, uid: 8, gid: 9, mtime: 77 }),
          tarEntry({ name: './f' }),
        ),
      ),
    )
    expect(inspect(g.layer).get('')).toMatchObject({ mode: '1711', owner: '8:9', mtimeNs: 77_000_000_000n })
    expect(xattrs(g.layer)).toEqual([' user.root=72'])
  })

  test('a symbolic link in the path resolves as in the container, also where its target is not there yet', async () => {
    using g = ground()
    ok(
      await unpack(
        g.layer,
        tarArchive(
          tarEntry({ name: 'usr/bin/', type: '5' }),
          tarEntry({ name: 'bin', type: '2', link: '/usr/bin' }),
          tarEntry({ name: 'bin/sh' }, 'sh'),
          tarEntry({ name: 'var/run', type: '2', link: '../run' }),
          tarEntry({ name: 'var/run/pid' }, '1'),
          tarEntry({ name: 'hard', type: '1', link: 'bin/sh' }),
          tarEntry({ name: 'up', type: '2', link: '../../../../usr' }),
          tarEntry({ name: 'up/lib/x' }, 'x'),
        ),
      ),
    )
    expect([...look(g.layer).keys()].filter((p) => inspect(g.layer).get(p)?.type === 'file').sort()).toEqual([
      'hard',
      'run/pid',
      'usr/bin/sh',
      'usr/lib/x',
    ])
  })
})

describe('extended headers', () => {
  test('long names, global headers, big numbers and exact times', async () => {
    using g = ground()
    const name = `${'p'.repeat(200)}/${'q'.repeat(255)}`
    ok(
      await unpack(
        g.layer,
        tarArchive(
          paxHeader(
            [
              ['comment', 'of the whole archive'],
              ['uid', '1000'],
            ],
            'g',
          ),
          paxHeader([
            ['path', name],
            ['gid', '4294967294'],
            ['mtime', '-1.5'],
          ]),
          tarEntry({ name: 'short' }, 'x'),
          gnuLong('L', `${'l'.repeat(150)}/f`),
          gnuLong('K', 't'.repeat(300)),
          tarEntry({ name: 'cut', type: '2', link: 'cut', magic: 'gnu' }),
          tarEntry({ name: 'tail', prefix: 'pre/fix' }, 'x'),
          paxHeader([['mtime', '1700000000.9999999999']]),
          tarEntry({ name: '//abs///./path' }, 'x'),
          paxHeader([['size', '3']]),
          tarEntry({ name: 'sized', size: 0 }, 'abc').subarray(0, 512),
          Buffer.concat([Buffer.from('abc'), Buffer.alloc(509)]),
          tarEntry({ name: 'v7/', type: '\0', magic: 'v7' }),
          tarEntry({ name: 'label', type: 'V', magic: 'gnu' }),
        ),
      ),
    )
    const seen = inspect(g.layer)
    expect(seen.get(name)).toMatchObject({ owner: '1000:4294967294', mtimeNs: -1_500_000_000n })
    expect(seen.get(`${'l'.repeat(150)}/f`)).toMatchObject({ type: 'link', content: 't'.repeat(300) })
    expect(seen.get('pre/fix/tail')?.type).toBe('file')
    expect(seen.get('abs/path')?.mtimeNs).toBe(1_700_000_000_999_999_999n)
    expect(readFileSync(join(g.layer, 'sized'), 'utf8')).toBe('abc')
    expect(seen.get('v7')?.type).toBe('dir')
    expect(seen.has('label')).toBe(false)
  })

  test('a link or directory with a size carries no data, as Go reads it', async () => {
    using g = ground()
    ok(
      await unpack(
        g.layer,
        tarArchive(
          tarEntry({ name: 'f' }, 'x'),
          tarHeader({ name: 'h', type: '1', link: 'f', size: 1 }),
          tarHeader({ name: 'd/', type: '5', size: 4096 }),
          tarEntry({ name: 'end' }),
        ),
      ),
    )
    expect([...look(g.layer).keys()]).toEqual(['', 'd', 'end', 'f', 'h'])
  })
})
