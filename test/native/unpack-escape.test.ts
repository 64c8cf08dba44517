// SPDX-License-Identifier: Apache-2.0
/** Archives that try to leave their layer: links, dot-dot, absolute names, whiteouts. Nothing is written outside. */
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { paxHeader, tarArchive, tarEntry } from '../support/tar-writer.ts'
import { attack } from './unpack-attack.ts'
import { ground, inspect, unpack, xattrs } from './unpack-fixture.ts'

const OUTSIDE = '../outside'

describe('names that lead out', () => {
  test.each([
    ['a .. component', '../outside/secret'],
    ['a .. in the middle', 'a/../../outside/secret'],
    ['a lone ..', '..'],
    ['an absolute name with ..', '/../outside/secret'],
  ])('%s is refused', async (_, name) => {
    await attack(tarArchive(tarEntry({ name }, 'x')), {
      what: 'corrupt/tar',
      says: /'\.\.' component/,
      left: [],
    })
  })

  test('an absolute name stays in the layer', () =>
    attack(tarArchive(tarEntry({ name: '/etc/gt-unpack-absolute' }, 'x')), {
      left: ['etc', 'etc/gt-unpack-absolute'],
    }).then(() => expect(existsSync('/etc/gt-unpack-absolute')).toBe(false)))

  test.each([
    ['relative', OUTSIDE],
    ['absolute', '/outside'],
    ['of dots only', '../../../../../../../../outside'],
    ['through /proc', '/proc/self/cwd/../outside'],
  ])('writing through a symbolic link, %s, ends inside', (_, link) =>
    attack(
      tarArchive(tarEntry({ name: 'l', type: '2', link }), tarEntry({ name: 'l/secret' }, 'pwned')),
      {},
    ).then((a) => expect(a.json?.entries).toBe(2)),
  )

  test('a link that is swapped in for a directory in use is not followed out', () =>
    attack(
      tarArchive(
        tarEntry({ name: 'd/', type: '5' }),
        tarEntry({ name: 'd/a' }, 'x'),
        tarEntry({ name: 'd', type: '2', link: OUTSIDE }),
        tarEntry({ name: 'd/secret' }, 'pwned'),
      ),
      { left: ['d', 'outside', 'outside/secret'] },
    ))

  test('a file entry over a symbolic link replaces the link', () =>
    attack(
      tarArchive(
        tarEntry({ name: 'x', type: '2', link: '../outside/secret' }),
        tarEntry({ name: 'x', mode: 0o777, uid: 9 }, 'pwned'),
      ),
      { left: ['x'] },
    ))

  test('a directory entry over a symbolic link replaces the link and chmods nothing else', () =>
    attack(
      tarArchive(
        tarEntry({ name: 'x', type: '2', link: OUTSIDE }),
        tarEntry({ name: 'x/', type: '5', mode: 0o777 }),
      ),
      { left: ['x'] },
    ))

  test('chains of links end, loops are an error', () =>
    attack(
      tarArchive(
        tarEntry({ name: 'a', type: '2', link: 'b' }),
        tarEntry({ name: 'b', type: '2', link: 'a' }),
        tarEntry({ name: 'a/x' }, 'x'),
      ),
      { what: 'corrupt/write', says: /^a\/x: .*symbolic links/i, left: ['a', 'b'] },
    ))

  test('dangling links that grow without end are an error', () =>
    attack(
      tarArchive(tarEntry({ name: 'a', type: '2', link: 'n/../a/b/c' }), tarEntry({ name: 'a/x' }, 'x')),
      { what: 'corrupt/write', says: /symbolic links/i },
    ))

  test.each([
    ['../outside/secret', 'corrupt/tar', /hard link target has a '\.\.'/],
    ['/outside/secret', 'corrupt/write', /hard link to 'outside\/secret', which the layer does not have/],
    ['l/secret', 'corrupt/write', /^h: a hard link to 'l\/secret', which the layer does not have/],
    ['', 'corrupt/tar', /without a target/],
    ['.', 'corrupt/tar', /without a target/],
    ['d', 'corrupt/write', /hard link to the directory 'd'/],
  ])('a hard link to %j is refused', async (link, what, says) => {
    const tar = tarArchive(
      tarEntry({ name: 'd/', type: '5' }),
      tarEntry({ name: 'l', type: '2', link: OUTSIDE }),
      tarEntry({ name: 'h', type: '1', link }),
    )
    await attack(tar, { what, says, left: ['d', 'l'] })
  })

  test('a hard link to a symbolic link links the link, so that writing over it writes nothing outside', () =>
    attack(
      tarArchive(
        tarEntry({ name: 'l', type: '2', link: '../outside/secret' }),
        tarEntry({ name: 'h', type: '1', link: 'l' }),
        tarEntry({ name: 'h' }, 'pwned'),
      ),
      { left: ['h', 'l'] },
    ))

  test('a chain of hard links is one file, and none leads out', async () => {
    await attack(
      tarArchive(
        tarEntry({ name: 'a' }, 'x'),
        tarEntry({ name: 'b', type: '1', link: 'a' }),
        tarEntry({ name: 'd/c', type: '1', link: '/b' }),
        tarEntry({ name: 'l', type: '2', link: OUTSIDE }),
      ),
      { left: ['a', 'b', 'd', 'd/c', 'l'] },
    )
    await attack(
      tarArchive(
        tarEntry({ name: 'l', type: '2', link: '../outside' }),
        tarEntry({ name: 'h', type: '1', link: 'l/secret' }),
        tarEntry({ name: 'h' }, 'pwned'),
      ),
      { what: 'corrupt/write', says: /^h: a hard link to 'l\/secret', which the layer does not have/ },
    )
  })

  test('a hard link whose place holds its own target is an error, not a loss unnoticed', () =>
    attack(tarArchive(tarEntry({ name: 'd/t' }, 'x'), tarEntry({ name: 'd', type: '1', link: 'd/t' })), {
      what: 'corrupt/write',
      says: /^d: a hard link to 'd\/t'/,
    }))

  test('an entry below a file is an error that names both', () =>
    attack(tarArchive(tarEntry({ name: 'f' }, 'x'), tarEntry({ name: 'f/x' })), {
      what: 'corrupt/write',
      says: /^f\/x: 'f' on its path is not a directory/,
      left: ['f'],
    }))
})

describe('whiteouts and attributes that lie', () => {
  test.each(['.wh.', '.wh..', '.wh...', 'd/.wh...'])('the whiteout %j is refused', async (name) => {
    await attack(tarArchive(tarEntry({ name })), {
      what: 'corrupt/tar',
      says: /whiteout of nothing or of a dot name/,
    })
  })

  test('a whiteout through a link to the outside hides nothing there', () =>
    attack(
      tarArchive(tarEntry({ name: 'l', type: '2', link: OUTSIDE }), tarEntry({ name: 'l/.wh.secret' })),
      { left: ['l', 'outside', 'outside/secret'] },
    ))

  test('an entry below a whiteout name is refused', () =>
    attack(tarArchive(tarEntry({ name: '.wh.d/x' })), { what: 'corrupt/tar', says: /below a whiteout/ }))

  test("overlay's own attributes are left out", async () => {
    using g = ground()
    const forged = [
      'trusted.overlay.redirect',
      'trusted.overlay.opaque',
      'trusted.overlay.metacopy',
      'user.overlay.x',
    ]
    const answer = await unpack(
      g.layer,
      tarArchive(
        paxHeader([
          ...forged.map((k) => [`SCHILY.xattr.${k}`, '/etc'] as const),
          ['SCHILY.xattr.user.ok', 'k'],
        ]),
        tarEntry({ name: 'd/', type: '5' }),
      ),
    )
    expect(answer.json).toMatchObject({ xattrsSkipped: 4 })
    expect(xattrs(g.layer)).toEqual(['d user.ok=6b'])
  })

  test('a real 0:0 device is kept and counted', async () => {
    const answer = await attack(tarArchive(tarEntry({ name: 'z', type: '3' })), { left: ['z'] })
    expect(answer.json).toMatchObject({ zeroDevices: 1 })
  })

  test('a default access list does not colour what comes after it', async () => {
    using g = ground()
    const acl = Buffer.from(
      '0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff',
      'hex',
    )
    const answer = await unpack(
      g.layer,
      tarArchive(
        paxHeader([['SCHILY.xattr.system.posix_acl_default', acl]]),
        tarEntry({ name: 'd/', type: '5' }),
        tarEntry({ name: 'd/f', mode: 0o600 }, 'x'),
        tarEntry({ name: 'd/s/', type: '5', mode: 0o700 }),
      ),
    )
    expect(answer.error).toBeUndefined()
    expect(xattrs(g.layer)).toEqual([`d system.posix_acl_default=${acl.toString('hex')}`])
    expect(inspect(g.layer).get('d/f')?.mode).toBe('600')
    expect(inspect(g.layer).get('d/s')?.mode).toBe('700')
  })

  test('device nodes are refused where they are not allowed, whiteouts are not', async () => {
    const options = { more: ['--devices', 'refuse'] }
    const says = /^dev\/null: a device node, and those are not allowed/
    const device = (type: string) =>
      tarArchive(tarEntry({ name: '.wh.gone' }), tarEntry({ name: 'dev/null', type, major: 1, minor: 3 }))
    await attack(device('3'), { what: 'unsupported/tar', says, left: ['gone'], options })
    await attack(device('4'), { what: 'unsupported/tar', says, options })
    await attack(device('6'), { left: ['dev', 'dev/null', 'gone'], options })
    await attack(device('3'), { left: ['dev', 'dev/null', 'gone'] })
  })

  test('an attribute of 300 KB is refused by name', () =>
    attack(
      tarArchive(paxHeader([['SCHILY.xattr.user.big', Buffer.alloc(300_000, 'x')]]), tarEntry({ name: 'f' })),
      { what: 'unsupported/tar', says: /^f: .*user\.big has 300000 bytes/ },
    ))

  test('an attribute that does not fit into the file system is refused by name', () =>
    attack(
      tarArchive(paxHeader([['SCHILY.xattr.user.big', Buffer.alloc(60_000, 'x')]]), tarEntry({ name: 'f' })),
      { what: 'unsupported/write', says: /^f: the extended attribute user\.big/ },
    ))
})
