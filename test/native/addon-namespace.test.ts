// SPDX-License-Identifier: Apache-2.0
/** createNamespaces(): new, pinned, set up from within, and nothing left when a step fails. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeRoot, mountAt, mountsBelow, native, openFdCount, run } from './addon-fixture.ts'

let root: string
let remove: () => Promise<void>
beforeEach(() => {
  ;({ path: root, remove } = makeRoot())
})
afterEach(() => remove())

const KINDS = ['net', 'ipc', 'uts'] as const

function inode(kind: string): string {
  return readlinkSync(`/proc/self/ns/${kind}`)
}

async function inside(script: string): Promise<string> {
  const flags = KINDS.filter((k) => existsSync(join(root, k))).map((k) => `--${k}=${join(root, k)}`)
  const got = await run(root, ['/usr/bin/nsenter', ...flags, '/bin/sh', '-c', script])
  return got.out.trim()
}

const all = () => ({ net: join(root, 'net'), ipc: join(root, 'ipc'), uts: join(root, 'uts') })

test('each kind asked for is new, pinned on its file, and ours stay as they were', async () => {
  const own = KINDS.map(inode)
  await native.createNamespaces(all())
  expect(KINDS.map(inode)).toEqual(own)
  for (const kind of KINDS) {
    const pin = join(root, kind)
    expect(mountAt(pin)?.type).toBe('nsfs')
    expect(`${kind}:[${statSync(pin).ino}]`).not.toBe(inode(kind))
    expect(await inside(`readlink /proc/self/ns/${kind}`)).toBe(`${kind}:[${statSync(pin).ino}]`)
  }
})

test('a kind not asked for is not made', async () => {
  await native.createNamespaces({ uts: join(root, 'uts') })
  expect(mountsBelow(root).map((m) => m.target)).toEqual([join(root, 'uts')])
  expect(await inside('readlink /proc/self/ns/net')).toBe(inode('net'))
})

test('loopback is up only when asked for', async () => {
  await native.createNamespaces({ net: join(root, 'net'), loopback: true })
  expect(await inside('ip -o link show lo')).toMatch(/<LOOPBACK,UP,LOWER_UP>/)
  expect(await inside('ip -o addr show lo')).toContain('127.0.0.1/8')
  await native.unpinNamespace(join(root, 'net'))
  await native.createNamespaces({ net: join(root, 'net') })
  expect(await inside('ip -o link show lo')).toMatch(/<LOOPBACK>/)
})

test('host name and sysctls of all three kinds are written inside, not outside', async () => {
  const paths = [
    '/proc/sys/kernel/hostname',
    '/proc/sys/kernel/shmmni',
    '/proc/sys/net/ipv4/ip_unprivileged_port_start',
  ]
  const own = paths.map((p) => readFileSync(p, 'utf8'))
  await native.createNamespaces({
    ...all(),
    hostname: 'gt-pod-host',
    sysctls: [
      ['/proc/sys/kernel/shmmni', '77'],
      ['/proc/sys/net/ipv4/ip_unprivileged_port_start', '80'],
      ['/proc/sys/net/ipv4/ip_unprivileged_port_start', '81'],
      ['/proc/sys/fs/mqueue/msg_max', '33'],
    ],
  })
  expect(await inside(`cat ${paths.join(' ')} /proc/sys/fs/mqueue/msg_max`)).toBe('gt-pod-host\n77\n81\n33')
  expect(paths.map((p) => readFileSync(p, 'utf8'))).toEqual(own)
})

describe('with a user namespace', () => {
  const mapped = () => ({ ...all(), user: join(root, 'user'), uidMap: '0 70000 100', gidMap: '0 80000 100' })
  const within = async (script: string) => {
    const flags = [...KINDS, 'user'].map((k) => `--${k}=${join(root, k)}`)
    return (await run(root, ['/usr/bin/nsenter', ...flags, '/bin/sh', '-c', script])).out.trim()
  }

  test('the others belong to it, and sysctls are written as its root', async () => {
    await native.createNamespaces({
      ...mapped(),
      hostname: 'gt-mapped',
      loopback: true,
      sysctls: [
        ['/proc/sys/net/ipv4/ping_group_range', '0 50'],
        ['/proc/sys/kernel/shmmni', '77'],
      ],
    })
    expect((await within('cat /proc/self/uid_map /proc/self/gid_map')).split(/\s+/)).toEqual(
      ['', '0', '70000', '100', '0', '80000', '100'].slice(1),
    )
    // Only its owner may do so.
    expect(
      await within('ip link set lo mtu 1400 && hostname gt-other && hostname && cat /proc/sys/kernel/shmmni'),
    ).toBe('gt-other\n77')
    expect(await within('cat /proc/sys/net/ipv4/ping_group_range')).toBe('0\t50')
    expect(readFileSync('/proc/sys/kernel/hostname', 'utf8')).not.toContain('gt-')
  })

  test('no process is left, and after a failure no pin', async () => {
    const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
    const before = children()
    await native.createNamespaces({ user: join(root, 'user'), uidMap: '0 70000 1', gidMap: '0 70000 1' })
    await native.unpinNamespace(join(root, 'user'))
    const fds = await openFdCount()
    for (const [change, code, path] of [
      [{ uidMap: 'nonsense' }, 'EINVAL', /uid_map$/],
      [{ sysctls: [['/proc/sys/net/ipv4/ping_group_range', '0 100']] }, 'EINVAL', /ping_group_range$/],
      [{ user: join(root, 'missing/user') }, 'ENOENT', /missing\/user$/],
    ] as const)
      await expect(native.createNamespaces({ ...mapped(), ...change })).rejects.toMatchObject({
        code,
        path: expect.stringMatching(path),
      })
    for (const kind of [...KINDS, 'user']) expect(existsSync(join(root, kind))).toBe(false)
    expect(mountsBelow(root)).toEqual([])
    expect(await openFdCount()).toBe(fds)
    expect(children()).toBe(before)
  })

  test('many at once', async () => {
    const names = Array.from({ length: 16 }, (_, i) => `${root}/${i}`)
    await Promise.all(
      names.map((user) =>
        native.createNamespaces({ user, net: `${user}-net`, uidMap: '0 9 9', gidMap: '0 9 9' }),
      ),
    )
    expect(new Set(names.map((user) => statSync(user).ino)).size).toBe(16)
  })

  test('mappings and pin belong together', async () => {
    for (const given of [
      { user: join(root, 'user') },
      { uts: join(root, 'uts'), uidMap: '0 1 1', gidMap: '0 1 1' },
    ])
      await expect(native.createNamespaces(given)).rejects.toThrow(
        /user, uidMap and gidMap must be given together/,
      )
  })
})

test('a sysctl that fails names its path, and nothing is left', async () => {
  const fds = await openFdCount()
  const bad = '/proc/sys/net/ipv4/gt_no_such'
  await expect(native.createNamespaces({ ...all(), sysctls: [[bad, '1']] })).rejects.toMatchObject({
    code: 'ENOENT',
    syscall: 'open',
    path: bad,
  })
  await expect(
    native.createNamespaces({ ...all(), sysctls: [['/proc/sys/net/ipv4/ip_forward', 'nonsense']] }),
  ).rejects.toMatchObject({ code: 'EINVAL', syscall: 'write', path: '/proc/sys/net/ipv4/ip_forward' })
  for (const kind of KINDS) expect(existsSync(join(root, kind))).toBe(false)
  expect(mountsBelow(root)).toEqual([])
  expect(await openFdCount()).toBe(fds)
})

test('a pin that cannot be made undoes those before it', async () => {
  const given = { net: join(root, 'net'), ipc: join(root, 'ipc'), uts: join(root, 'missing/uts') }
  await expect(native.createNamespaces(given)).rejects.toMatchObject({ code: 'ENOENT', path: given.uts })
  expect(existsSync(given.net)).toBe(false)
  expect(existsSync(given.ipc)).toBe(false)
  expect(mountsBelow(root)).toEqual([])
})

test('an existing pin is refused and stays; a left-over empty file is taken', async () => {
  await native.createNamespaces({ net: join(root, 'net') })
  const ino = statSync(join(root, 'net')).ino
  await expect(native.createNamespaces(all())).rejects.toMatchObject({
    code: 'EEXIST',
    path: join(root, 'net'),
  })
  expect(statSync(join(root, 'net')).ino).toBe(ino)
  expect(existsSync(join(root, 'uts'))).toBe(false)
  writeFileSync(join(root, 'uts'), '')
  await native.createNamespaces({ uts: join(root, 'uts') })
  expect(mountAt(join(root, 'uts'))?.type).toBe('nsfs')
})

test('a link in place of the pin file is refused', async () => {
  writeFileSync(join(root, 'victim'), '')
  symlinkSync(join(root, 'victim'), join(root, 'uts'))
  await expect(native.createNamespaces({ uts: join(root, 'uts') })).rejects.toMatchObject({ code: 'ELOOP' })
  expect(mountAt(join(root, 'victim'))).toBeUndefined()
})

test('unpin ends the mount and the file, and again is success', async () => {
  await native.createNamespaces(all())
  for (const kind of KINDS) {
    await native.unpinNamespace(join(root, kind))
    expect(existsSync(join(root, kind))).toBe(false)
    await native.unpinNamespace(join(root, kind))
  }
  await native.unpinNamespace(join(root, 'no/such/folder'))
  expect(mountsBelow(root)).toEqual([])
})

test('30 pods at once are all distinct, and ours stay', async () => {
  const own = KINDS.map(inode)
  await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const dir = join(root, `p${i}`)
      mkdirSync(dir)
      await native.createNamespaces({ net: join(dir, 'net'), ipc: join(dir, 'ipc'), uts: join(dir, 'uts') })
    }),
  )
  const inos = new Set(mountsBelow(root).map((m) => statSync(m.target).ino))
  expect(inos.size).toBe(90)
  expect(KINDS.map(inode)).toEqual(own)
  await Promise.all(mountsBelow(root).map((m) => native.unpinNamespace(m.target)))
})

test.each([
  ['net, ipc, uts or user', {}],
  ['hostname', { net: '/tmp/gt-x', hostname: 'a' }],
  ['loopback', { uts: '/tmp/gt-x', loopback: true }],
  ['sysctls', { net: '/tmp/gt-x', sysctls: [['/etc/passwd', 'x']] }],
  ['sysctls', { net: '/tmp/gt-x', sysctls: [['/proc/sys/net/../kernel/core_pattern', 'x']] }],
  ['uts', { uts: 'relative' }],
])('wrong %s is refused before anything is done', async (name, options) => {
  await expect(native.createNamespaces(options as never)).rejects.toThrow(`createNamespaces: ${name}`)
  expect(existsSync('/tmp/gt-x')).toBe(false)
})
