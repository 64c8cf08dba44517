// SPDX-License-Identifier: Apache-2.0
/** Users of an image: request over image, names over numbers, groups merged or not, broken lines passed over. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Native } from '../../../../src/host/native.ts'
import { parseGroup, parsePasswd, resolveUser, userInLayers } from '../../../../src/host/rootfs/users.ts'
import type { RequestedUser } from '../../../../src/model/security.ts'

const passwd = parsePasswd(
  [
    'root:x:0:0:root:/root:/bin/sh',
    'app:x:1000:1001:App:/home/app:/bin/sh',
    '1002:x:7:8::/num:/bin/sh',
    'nohome:x:1003:1003',
    'broken',
    'bad:x:abc:0::/:',
    '',
  ].join('\n'),
)
const group = parseGroup(
  ['root:x:0:', 'wheel:x:10:app,root', 'video:x:44:other, app', 'app:x:1001:', 'bad:x::app', 'x'].join('\n'),
)
const none: RequestedUser = {
  uid: undefined,
  gid: undefined,
  name: '',
  supplementalGroups: [],
  groupsPolicy: 'merge',
}
const resolve = (requested: Partial<RequestedUser>, imageUser = '') =>
  resolveUser({ ...none, ...requested }, imageUser, { passwd, group })

test('lines that do not parse are passed over', () => {
  expect(passwd.map((p) => p.name)).toEqual(['root', 'app', '1002', 'nohome'])
  expect(group.map((g) => g.name)).toEqual(['root', 'wheel', 'video', 'app'])
})

describe('who', () => {
  test.each([
    ['nobody said: root with its home', {}, '', { uid: 0, gid: 0, home: '/root', additionalGids: [0] }],
    [
      'the image, by name',
      {},
      'app',
      { uid: 1000, gid: 1001, home: '/home/app', additionalGids: [10, 1001] },
    ],
    ['the image, by number', {}, '1000', { uid: 1000, gid: 1001, home: '/home/app' }],
    ['the image, with a group', {}, 'app:video', { uid: 1000, gid: 44 }],
    ['the image, with a number for a group', {}, 'app:5', { gid: 5 }],
    ['the image, a number that passwd does not know', {}, '4000:5', { uid: 4000, gid: 5, home: '/' }],
    ['the image, a group alone', {}, ':video', { uid: 0, gid: 44 }],
    ['the request, by number, over the image', { uid: 5n }, 'app', { uid: 5, gid: 0, home: '/' }],
    ['the request, by name, over the image', { name: 'app' }, 'root', { uid: 1000, gid: 1001 }],
    ['the request, with a group', { uid: 1000n, gid: 9n }, 'app:video', { gid: 9 }],
    ['a name of digits is a name first', {}, '1002', { uid: 7, gid: 8, home: '/num' }],
    ['a user without a home lives in /', {}, 'nohome', { uid: 1003, home: '/' }],
    ['uid 0 by number', { uid: 0n }, 'app', { uid: 0, gid: 0, home: '/root' }],
  ])('%s', (_what, requested, imageUser, wanted) => {
    expect(resolve(requested, imageUser)).toMatchObject(wanted)
  })

  test.each([
    ['a group without a user', { gid: 5n }, '', /run_as_group needs/],
    ['a name that the image does not know', { name: 'nope' }, '', /user "nope" is not in the image/],
    ['a number as a name, which has to be in the image', { name: '4000' }, '', /user "4000"/],
    ['an image that names nobody it knows', {}, 'nope', /user "nope"/],
    ['an image that names no group it knows', {}, 'app:nope', /group "nope"/],
    ['a number out of range', { uid: 2n ** 32n }, '', /run_as_user 4294967296 is not/],
    ['the number that means nobody', { uid: 0xffffffffn }, '', /run_as_user/],
    ['a negative one', { uid: 1n, gid: -1n }, '', /run_as_group -1/],
    ['a supplemental one out of range', { supplementalGroups: [2n ** 40n] }, '', /supplemental_groups/],
  ])('refused: %s', (_what, requested, imageUser, why) => {
    expect(() => resolve(requested, imageUser)).toThrow(why)
  })
})

describe('groups', () => {
  test('merged: the image’s memberships, the primary and the supplemental ones, once each, sorted', () => {
    const got = resolve({ name: 'app', supplementalGroups: [99n, 10n, 1001n] })
    expect(got.additionalGids).toEqual([10, 99, 1001])
  })

  test('strict: without the image’s memberships', () => {
    const got = resolve({ name: 'app', supplementalGroups: [99n], groupsPolicy: 'strict' })
    expect(got.additionalGids).toEqual([99, 1001])
  })
})

test('a home with a newline would break into the environment and is refused', () => {
  const bad = [{ name: 'x', uid: 1, gid: 1, home: '/a\nLD_PRELOAD=/b' }]
  expect(() => resolveUser({ ...none, name: 'x' }, '', { passwd: bad, group: [] })).toThrow(/newline/)
})

test('the files are read as the stacked layers show them, up to a bound', async () => {
  const top = await mkdtemp(join(tmpdir(), 'gt-users-'))
  await mkdir(join(top, 'etc'))
  await writeFile(join(top, 'etc/passwd'), 'app:x:1000:1001::/home/app:/bin/sh\n')
  const asked = { requested: { ...none, name: 'app' }, imageUser: '' }
  const native = (text: string) =>
    ({
      readInRoot: (_root: string, path: string) => {
        if (text === 'EFBIG') throw Object.assign(new Error('x'), { code: text })
        return Buffer.from(path === '/passwd' ? text : '')
      },
      isOpaque: () => false,
    }) as unknown as Native
  const read = (text: string) => userInLayers(native(text), [top], asked)
  expect(await read('app:x:1000:1001::/home/app:/bin/sh')).toMatchObject({ uid: 1000, gid: 1001 })
  await expect(read('EFBIG')).rejects.toThrow(/is larger than/)
  await rm(top, { recursive: true })
})
