// SPDX-License-Identifier: Apache-2.0
/** Files below a root that is not ours, small kernel files, and trees: hostile ones too. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeRoot, mountAt, native, openFdCount, run } from './addon-fixture.ts'

let root: string
let remove: () => Promise<void>
beforeEach(() => {
  ;({ path: root, remove } = makeRoot())
})
afterEach(() => remove())

function image(): string {
  const path = join(root, 'image')
  mkdirSync(join(path, 'etc'), { recursive: true })
  writeFileSync(join(path, 'etc/passwd'), 'inside')
  writeFileSync(join(root, 'secret'), 'outside')
  return path
}

describe('readInRoot', () => {
  test.each(['etc/passwd', '/etc/passwd', '../../etc/passwd', '/../etc/./passwd', 'etc/../etc/passwd'])(
    '%s is the file inside',
    (path) => {
      expect(native.readInRoot(image(), path, 100).toString()).toBe('inside')
    },
  )

  test('absolute and climbing links resolve inside the root', () => {
    const path = image()
    symlinkSync('/etc/passwd', join(path, 'absolute'))
    symlinkSync('../../../../../../etc/passwd', join(path, 'climbing'))
    symlinkSync('/etc', join(path, 'folder'))
    for (const name of ['absolute', 'climbing', 'folder/passwd'])
      expect(native.readInRoot(path, name, 100).toString()).toBe('inside')
  })

  test('a link to a file that is only outside finds nothing', () => {
    const path = image()
    symlinkSync(join(root, 'secret'), join(path, 'out'))
    symlinkSync('../secret', join(path, 'up'))
    for (const name of ['out', 'up', '../secret'])
      expect(() => native.readInRoot(path, name, 100)).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  test('magic links are refused', () => {
    expect(() => native.readInRoot('/proc', 'self/root/etc/passwd', 1 << 20)).toThrow(
      expect.objectContaining({ code: 'ELOOP', syscall: 'openat2' }),
    )
  })

  test('the bound is exact', () => {
    const path = image()
    expect(native.readInRoot(path, 'etc/passwd', 6).toString()).toBe('inside')
    expect(() => native.readInRoot(path, 'etc/passwd', 5)).toThrow(expect.objectContaining({ code: 'EFBIG' }))
    writeFileSync(join(path, 'empty'), '')
    expect(native.readInRoot(path, 'empty', 0).length).toBe(0)
    truncateSync(join(path, 'empty'), 2 ** 40) // a huge sparse file costs nothing
    expect(() => native.readInRoot(path, 'empty', 1 << 20)).toThrow(
      expect.objectContaining({ code: 'EFBIG' }),
    )
  })

  test('a file without a size (proc) is read whole', () => {
    expect(native.readInRoot('/proc', '/sys/kernel/ostype', 100).toString()).toBe('Linux\n')
    expect(() => native.readInRoot('/proc', '/sys/kernel/ostype', 5)).toThrow(
      expect.objectContaining({ code: 'EFBIG' }),
    )
  })

  test('no folder, FIFO or device is read, and none blocks', async () => {
    const path = image()
    await run(root, ['/usr/bin/mkfifo', join(path, 'fifo')])
    await run(root, ['/bin/mknod', join(path, 'zero'), 'c', '1', '5'])
    expect(() => native.readInRoot(path, 'etc', 10)).toThrow(expect.objectContaining({ code: 'EISDIR' }))
    for (const name of ['fifo', 'zero'])
      expect(() => native.readInRoot(path, name, 10)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

describe('mkdirInRoot', () => {
  test('makes what is missing with exactly the mode, whatever the umask; again is fine', () => {
    const path = image()
    native.mkdirInRoot(path, '/a/b/c', 0o1777)
    native.mkdirInRoot(path, 'a/b/c', 0o700)
    for (const name of ['a', 'a/b', 'a/b/c']) expect(statSync(join(path, name)).mode & 0o7777).toBe(0o1777)
    native.mkdirInRoot(path, '/', 0o755)
  })

  test('links and .. stay inside', () => {
    const path = image()
    mkdirSync(join(path, 'run'))
    mkdirSync(join(path, 'var'))
    symlinkSync('/run', join(path, 'var/run'))
    symlinkSync('../../../..', join(path, 'top'))
    native.mkdirInRoot(path, '/var/run/lock', 0o755)
    native.mkdirInRoot(path, 'top/made', 0o755)
    native.mkdirInRoot(path, '../../../up', 0o755)
    expect(statSync(join(path, 'run/lock')).isDirectory()).toBe(true)
    expect(readdirSync(path).sort()).toEqual(['etc', 'made', 'run', 'top', 'up', 'var'])
    expect(readdirSync(root).sort()).toEqual(['image', 'secret'])
  })

  test('a link out of the root makes nothing outside', () => {
    const path = image()
    symlinkSync(join(root, 'out'), join(path, 'link'))
    expect(() => native.mkdirInRoot(path, 'link/x', 0o755)).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    )
    expect(existsSync(join(root, 'out'))).toBe(false)
  })

  test('a file in the way is ENOTDIR with its path', async () => {
    const path = image()
    const fds = await openFdCount()
    expect(() => native.mkdirInRoot(path, '/etc/passwd/x', 0o755)).toThrow(
      expect.objectContaining({ code: 'ENOTDIR', path: '/etc/passwd' }),
    )
    expect(await openFdCount()).toBe(fds)
  })
})

describe('small files', () => {
  test('readMany gives contents and codes side by side', async () => {
    writeFileSync(join(root, 'full'), Buffer.alloc(65536, 'x'))
    writeFileSync(join(root, 'over'), Buffer.alloc(65537, 'x'))
    await run(root, ['/usr/bin/mkfifo', join(root, 'fifo')])
    const fds = await openFdCount()
    const names = ['full', 'over', 'missing', 'full/below']
    const got = native.readMany([
      ...names.map((n) => join(root, n)),
      root,
      '/proc/sys/kernel/ostype',
      join(root, 'fifo'),
    ])
    expect(got[0]).toEqual(readFileSync(join(root, 'full')))
    expect(got.slice(1, 5)).toEqual([
      { code: 'EFBIG' },
      { code: 'ENOENT' },
      { code: 'ENOTDIR' },
      { code: 'EISDIR' },
    ])
    expect(String(got[5])).toBe('Linux\n')
    expect(got[6]).toEqual(Buffer.alloc(0))
    expect(native.readMany([])).toEqual([])
    expect(await openFdCount()).toBe(fds)
  })

  test('writeFile is one write to an existing file', () => {
    const path = join(root, 'f')
    expect(() => native.writeFile(path, 'x')).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'open', path }),
    )
    writeFileSync(path, '12345')
    native.writeFile(path, 'ab')
    expect(readFileSync(path, 'utf8')).toBe('ab345')
    expect(() => native.writeFile('/proc/sys/kernel/ostype', 'x')).toThrow(
      expect.objectContaining({ syscall: 'open' }),
    )
    expect(() => native.writeFile('/proc/self/oom_score_adj', 'nonsense')).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'write', path: '/proc/self/oom_score_adj' }),
    )
  })

  test('statfs tells type and sizes', async () => {
    await native.mount({ type: 'tmpfs', source: 'gt-x', target: root, data: 'size=8m,nr_inodes=100' })
    const fs = native.statfs(root)
    expect(fs).toMatchObject({ type: 0x01021994, totalBytes: 8n << 20n, totalInodes: 100n, freeInodes: 99n })
    expect(fs.freeBytes).toBeLessThanOrEqual(fs.totalBytes)
    expect(() => native.statfs(join(root, 'no'))).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'statfs' }),
    )
  })

  test('syncfs', async () => {
    await native.syncfs(root)
    await expect(native.syncfs(join(root, 'no'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

/** A chain of folders far deeper than PATH_MAX, from the innermost outwards: all names used are short. */
function deep(path: string, depth: number): void {
  for (let i = 0; i < depth; i++) {
    mkdirSync(`${path}-outer`)
    writeFileSync(`${path}-outer/file`, 'x')
    if (i > 0) renameSync(path, `${path}-outer/dddddddd`)
    renameSync(`${path}-outer`, path)
  }
}

describe('removeTree', () => {
  test('files, links, odd names and modes go; what links point at stays', async () => {
    const path = join(root, 'tree')
    mkdirSync(join(path, 'a/b/c'), { recursive: true })
    for (let i = 0; i < 3000; i++) writeFileSync(join(path, 'a', `f${i}`), '')
    for (let i = 0; i < 200; i++) mkdirSync(join(path, 'a/b', `d${i}`))
    writeFileSync(join(root, 'kept'), 'x')
    mkdirSync(join(root, 'keptdir'))
    writeFileSync(join(root, 'keptdir/f'), 'x')
    symlinkSync(join(root, 'kept'), join(path, 'l1'))
    symlinkSync(join(root, 'keptdir'), join(path, 'l2'))
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0x0a, 0xfe])]), '')
    chmodSync(join(path, 'a/b'), 0)
    await native.removeTree(path)
    expect(readdirSync(root).sort()).toEqual(['kept', 'keptdir'])
    expect(readFileSync(join(root, 'keptdir/f'), 'utf8')).toBe('x')
  })

  test('missing is success; a file and a link are removed as such', async () => {
    await native.removeTree(join(root, 'missing'))
    await native.removeTree(join(root, 'no/such/parent'))
    mkdirSync(join(root, 'd'))
    writeFileSync(join(root, 'd/f'), '')
    await native.removeTree(join(root, 'd/f/below'))
    symlinkSync(join(root, 'd'), join(root, 'l'))
    await native.removeTree(join(root, 'l'))
    expect(existsSync(join(root, 'd/f'))).toBe(true)
    await native.removeTree(join(root, 'd/f'))
    expect(existsSync(join(root, 'd/f'))).toBe(false)
  })

  test('a mount below is EBUSY with its path and keeps its content; so is a mount as the root', async () => {
    const path = join(root, 'tree')
    mkdirSync(join(path, 'x/mnt'), { recursive: true })
    mkdirSync(join(root, 'data'))
    writeFileSync(join(root, 'data/precious'), 'x')
    await native.bind({ source: join(root, 'data'), target: join(path, 'x/mnt') }) // the same file system
    const fds = await openFdCount()
    await expect(native.removeTree(path)).rejects.toMatchObject({ code: 'EBUSY', path: join(path, 'x/mnt') })
    await expect(native.removeTree(join(path, 'x/mnt'))).rejects.toMatchObject({ code: 'EBUSY' })
    expect(readFileSync(join(root, 'data/precious'), 'utf8')).toBe('x')
    expect(mountAt(join(path, 'x/mnt'))).toBeDefined()
    expect(await openFdCount()).toBe(fds)
    await native.umount(join(path, 'x/mnt'), false)
    await native.removeTree(path)
    expect(existsSync(path)).toBe(false)
  })

  test('a mounted file is EBUSY', async () => {
    mkdirSync(join(root, 'tree'))
    writeFileSync(join(root, 'tree/f'), '')
    writeFileSync(join(root, 'data'), 'x')
    await native.bind({ source: join(root, 'data'), target: join(root, 'tree/f') })
    await expect(native.removeTree(join(root, 'tree'))).rejects.toMatchObject({
      code: 'EBUSY',
      syscall: 'unlink',
      path: join(root, 'tree/f'),
    })
    expect(readFileSync(join(root, 'data'), 'utf8')).toBe('x')
  })

  test.each(['/', '/..', '/proc/self/root/'])('the root of the machine as %s is refused', async (path) => {
    await expect(native.removeTree(path)).rejects.toMatchObject({
      code: expect.stringMatching(/^(EBUSY|EPERM)$/),
    })
  })

  test('3000 levels deep, with few descriptors', async () => {
    deep(join(root, 'deep'), 3000)
    const usage = await native.treeUsage(join(root, 'deep'))
    expect(usage.inodes).toBe(6000n)
    await native.removeTree(join(root, 'deep'))
    expect(existsSync(join(root, 'deep'))).toBe(false)
  })

  test('two at once on the same tree both succeed', async () => {
    const path = join(root, 'tree')
    for (let i = 0; i < 300; i++) mkdirSync(join(path, `a${i % 7}/b${i}/c`), { recursive: true })
    await Promise.all([native.removeTree(path), native.removeTree(path)])
    expect(existsSync(path)).toBe(false)
  })
})

describe('treeUsage', () => {
  test('agrees with du: allocated bytes, hard links once', async () => {
    const path = join(root, 'tree')
    mkdirSync(join(path, 'a/b'), { recursive: true })
    for (let i = 0; i < 600; i++) {
      writeFileSync(join(path, 'a', `f${i}`), 'x'.repeat(i * 20))
      linkSync(join(path, 'a', `f${i}`), join(path, 'a/b', `l${i}`))
    }
    writeFileSync(join(path, 'sparse'), '')
    truncateSync(join(path, 'sparse'), 1 << 30)
    symlinkSync('/usr', join(path, 'link'))
    const du = await run(root, ['/usr/bin/du', '--block-size=1', '-s', path])
    const count = await run(root, ['/usr/bin/du', '--inodes', '-s', path])
    expect(await native.treeUsage(path)).toEqual({
      bytes: BigInt(du.out.split('\t')[0] ?? ''),
      inodes: BigInt(count.out.split('\t')[0] ?? ''),
    })
  })

  test('other mounts are not counted, be it of a folder or of a file', async () => {
    const path = join(root, 'tree')
    mkdirSync(join(path, 'mnt'), { recursive: true })
    writeFileSync(join(path, 'f'), '')
    const before = await native.treeUsage(path)
    expect(before.inodes).toBe(3n)
    await native.mount({ type: 'tmpfs', source: 'gt-x', target: join(path, 'mnt') })
    writeFileSync(join(path, 'mnt/big'), Buffer.alloc(1 << 20))
    writeFileSync(join(root, 'big'), Buffer.alloc(1 << 20))
    await native.bind({ source: join(root, 'big'), target: join(path, 'f') })
    expect(await native.treeUsage(path)).toEqual({ bytes: expect.any(BigInt), inodes: 1n })
  })

  test('a mount as the root is counted; a missing one is ENOENT', async () => {
    const path = join(root, 'mnt')
    mkdirSync(path)
    await native.mount({ type: 'tmpfs', source: 'gt-x', target: path })
    writeFileSync(join(path, 'f'), Buffer.alloc(8192))
    expect(await native.treeUsage(path)).toEqual({ bytes: 8192n, inodes: 2n })
    await expect(native.treeUsage(join(root, 'no'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

const EXT4 = 0xef53

describe('spreadFolders', () => {
  test('sets the hint where the file system has it, and once more', async () => {
    const path = join(root, 'spread')
    mkdirSync(path)
    native.spreadFolders(path)
    native.spreadFolders(path)
    const { out } = await run(root, ['/bin/sh', '-c', `lsattr -d ${path} || true`])
    expect(out.split(' ')[0]?.includes('T')).toBe(native.statfs(path).type === EXT4)
  })

  test('is success on a file system that has none, and not for what is no folder', () => {
    native.spreadFolders('/proc')
    writeFileSync(join(root, 'plain'), '')
    expect(() => native.spreadFolders(join(root, 'plain'))).toThrow(/ENOTDIR/)
    expect(() => native.spreadFolders(join(root, 'no'))).toThrow(/ENOENT/)
  })
})

describe('isOpaque', () => {
  test('knows the folder that overlayfs has marked, by any name', async () => {
    const [lower, upper, work, target] = ['lower', 'upper', 'work', 'merged'].map((name) => join(root, name))
    for (const path of [lower, upper, work, target]) mkdirSync(path ?? '')
    const odd = Buffer.concat([Buffer.from(`${lower}/`), Buffer.from([0xff, 0xfe])])
    for (const path of [odd, `${lower}/kept`]) mkdirSync(path)
    await native.mountOverlay({
      lower: [lower ?? ''],
      upper: upper ?? '',
      work: work ?? '',
      target: target ?? '',
    })
    const merged = Buffer.concat([Buffer.from(`${target}/`), Buffer.from([0xff, 0xfe])])
    rmSync(merged, { recursive: true })
    mkdirSync(merged)
    mkdirSync(`${target}/kept/new`)
    const above = Buffer.concat([Buffer.from(`${upper}/`), Buffer.from([0xff, 0xfe])])
    expect(native.isOpaque(above)).toBe(true)
    expect(native.isOpaque(Buffer.from(`${upper}/kept`))).toBe(false)
    expect(native.isOpaque(Buffer.from(`${upper}/no`))).toBe(false)
  })

  test.each([[Buffer.alloc(0)], [Buffer.from('/a\0b')], [Buffer.alloc(4096, 'a')]])(
    '%# is no path',
    (path) => {
      expect(() => native.isOpaque(path)).toThrow(/isOpaque: path must be a path/)
    },
  )
})
