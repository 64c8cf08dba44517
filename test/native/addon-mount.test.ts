// SPDX-License-Identifier: Apache-2.0
/** Overlay and bind mounts, umount, propagation: each on a private tmpfs of its own. */
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeRoot, mountAt, mountsBelow, native, openFdCount, run } from './addon-fixture.ts'

let root: string
let remove: () => Promise<void>
beforeEach(async () => {
  ;({ path: root, remove } = makeRoot())
  await native.mount({ type: 'tmpfs', source: 'gt-test', target: root, data: 'size=64m,mode=755' })
  await native.setPropagation(root, 'private')
})
afterEach(() => remove())

function dir(...names: string[]): string {
  const path = join(root, ...names)
  mkdirSync(path, { recursive: true })
  return path
}

function layers(count: number, base = 'layers'): string[] {
  return Array.from({ length: count }, (_, i) => {
    const path = dir(base, `${i}`)
    writeFileSync(join(path, `own-${i}`), `${i}`)
    writeFileSync(join(path, 'same'), `layer ${i}`)
    return path
  })
}

describe('mountOverlay', () => {
  test.each([1, 2, 200])('%i layers, topmost first, writable', async (count) => {
    const target = dir('merged')
    const lower = layers(count)
    const fds = await openFdCount()
    await native.mountOverlay({ lower, upper: dir('upper'), work: dir('work'), target })
    expect(readFileSync(join(target, 'same'), 'utf8')).toBe('layer 0')
    for (let i = 0; i < count; i++) expect(existsSync(join(target, `own-${i}`))).toBe(true)
    writeFileSync(join(target, 'new'), 'x')
    expect(existsSync(join(root, 'upper/new'))).toBe(true)
    expect(mountAt(target)).toMatchObject({ type: 'overlay' })
    await native.umount(target, false)
    expect(mountAt(target)).toBeUndefined()
    expect(await openFdCount()).toBe(fds)
  })

  test.each([1, 2, 3])('%i layers without upper: read-only', async (count) => {
    const target = dir('merged')
    await native.mountOverlay({ lower: layers(count), target })
    expect(readFileSync(join(target, 'same'), 'utf8')).toBe('layer 0')
    expect(() => writeFileSync(join(target, 'new'), 'x')).toThrow('EROFS')
    expect(mountAt(target)?.options).toContain('ro')
  })

  test('paths that the kernel would split, unescape or refuse for their length', async () => {
    const target = dir('merged')
    const lower = layers(2, 'a:b,c\\d').concat(layers(1, `${'l'.repeat(200)}/${'m'.repeat(200)}`))
    await native.mountOverlay({ lower, upper: dir('up:per,\\'), work: dir('wo,rk'), target })
    expect(readFileSync(join(target, 'own-1'), 'utf8')).toBe('1')
    writeFileSync(join(target, 'new'), 'x')
    expect(existsSync(join(root, 'up:per,\\', 'new'))).toBe(true)
  })

  test('volatile', async () => {
    const target = dir('merged')
    await native.mountOverlay({ lower: layers(1), upper: dir('u'), work: dir('w'), target, volatile: true })
    expect(mountAt(target)?.superOptions).toMatch(/,(fsync=)?volatile(,|$)/) // newer kernels print it so
  })

  test('a missing layer is named, nothing is mounted, no descriptor stays', async () => {
    const target = dir('merged')
    const fds = await openFdCount()
    const missing = join(root, 'layers/missing')
    const given = { lower: [...layers(2), missing], upper: dir('u'), work: dir('w'), target }
    await expect(native.mountOverlay(given)).rejects.toMatchObject({ code: 'ENOENT', path: missing })
    expect(mountAt(target)).toBeUndefined()
    expect(await openFdCount()).toBe(fds)
  })

  test('what the kernel says about a refusal is in the message', async () => {
    const target = dir('merged')
    const file = join(root, 'file')
    writeFileSync(file, '')
    await expect(native.mountOverlay({ lower: [...layers(1), file], target })).rejects.toThrow(
      /^E[A-Z]+: .*fsconfig\(lowerdir\+\) '.*\/file' \(.*not a directory.*\)$/,
    )
  })

  test('a link as the target is not followed', async () => {
    symlinkSync(dir('elsewhere'), join(root, 'link'))
    await expect(native.mountOverlay({ lower: layers(2), target: join(root, 'link') })).rejects.toThrow()
    expect(mountAt(join(root, 'elsewhere'))).toBeUndefined()
  })

  test.each([
    [{ lower: [] }, 'lower must be not empty'],
    [{ lower: ['relative'] }, 'lower must be an absolute path'],
    [{ upper: '/x' }, 'upper and work must be given together'],
  ])('%j is refused', async (given, message) => {
    const options = { lower: ['/usr'], target: dir('merged'), ...given }
    await expect(native.mountOverlay(options)).rejects.toThrow(message)
  })
})

describe('bind', () => {
  function source(): string {
    const path = dir('source')
    writeFileSync(join(path, 'file'), 'content')
    return path
  }

  async function withSubMount(): Promise<string> {
    const path = source()
    await native.mount({ type: 'tmpfs', source: 'gt-sub', target: dir('source/sub') })
    await native.setPropagation(join(path, 'sub'), 'private')
    return path
  }

  test('a folder, a file, and through a link as the source', async () => {
    const from = source()
    symlinkSync(from, join(root, 'link'))
    writeFileSync(join(root, 'file'), '')
    await native.bind({ source: join(root, 'link'), target: dir('t') })
    await native.bind({ source: join(from, 'file'), target: join(root, 'file') })
    expect(readFileSync(join(root, 't/file'), 'utf8')).toBe('content')
    expect(readFileSync(join(root, 'file'), 'utf8')).toBe('content')
  })

  test('readonly, nosuid, nodev, noexec are on the mount and not on the source', async () => {
    const from = source()
    const target = dir('t')
    await native.bind({ source: from, target, readonly: true, nosuid: true, nodev: true, noexec: true })
    expect(mountAt(target)?.options).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']))
    expect(() => writeFileSync(join(target, 'x'), '')).toThrow('EROFS')
    writeFileSync(join(from, 'x'), '')
    expect(mountAt(root)?.options).not.toContain('ro')
  })

  test('sub-mounts come along only when recursive, and stay writable below a plain readonly', async () => {
    const from = await withSubMount()
    await native.bind({ source: from, target: dir('flat'), readonly: true })
    expect(mountAt(join(root, 'flat/sub'))).toBeUndefined()
    await native.bind({ source: from, target: dir('deep'), readonly: true, recursive: true })
    expect(mountAt(join(root, 'deep'))?.options).toContain('ro')
    expect(mountAt(join(root, 'deep/sub'))?.options).toContain('rw')
  })

  test('recursiveReadonly: no sub-mount is writable', async () => {
    const from = await withSubMount()
    await native.bind({ source: from, target: dir('deep'), recursive: true, recursiveReadonly: true })
    expect(mountAt(join(root, 'deep'))?.options).toContain('ro')
    expect(mountAt(join(root, 'deep/sub'))?.options).toContain('ro')
    expect(() => writeFileSync(join(root, 'deep/sub/x'), '')).toThrow('EROFS')
    writeFileSync(join(from, 'sub/x'), '')
  })

  test.each([
    ['private', []],
    ['rprivate', []],
    ['shared', ['shared']],
    ['rshared', ['shared']],
    ['slave', ['master']],
    ['rslave', ['master']],
    ['unbindable', ['unbindable']],
    ['runbindable', ['unbindable']],
  ] as const)('propagation %s', async (propagation, tags) => {
    const from = await withSubMount()
    for (const path of [root, join(from, 'sub')]) await native.setPropagation(path, 'shared')
    const target = dir('t')
    const recursive = propagation.startsWith('r')
    await native.bind({ source: from, target, propagation, recursive })
    const kinds = (path: string) => (mountAt(path)?.tags ?? []).map((t) => t.split(':')[0])
    expect(kinds(target)).toEqual(tags)
    if (recursive) expect(kinds(join(target, 'sub'))).toEqual(tags)
  })

  test('a user namespace maps the owners', async () => {
    const from = source()
    chownSync(join(from, 'file'), 0, 0)
    const user = join(root, 'user')
    await native.createNamespaces({ user, uidMap: '0 100000 65536', gidMap: '0 100000 65536' })
    const userns = openSync(user, 'r')
    try {
      const target = dir('t')
      await native.bind({ source: from, target, idmapUserns: userns })
      expect(mountAt(target)?.options).toContain('idmapped')
      expect(statSync(join(target, 'file')).uid).toBe(100000)
      expect(statSync(join(from, 'file')).uid).toBe(0)
    } finally {
      closeSync(userns)
    }
  })

  test('missing source and target are named; nothing is mounted', async () => {
    const from = source()
    const before = mountsBelow(root).length
    const missing = join(root, 'missing')
    await expect(native.bind({ source: missing, target: from })).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'open_tree',
      path: missing,
    })
    await expect(native.bind({ source: from, target: missing, readonly: true })).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'move_mount',
      path: missing,
    })
    expect(mountsBelow(root).length).toBe(before)
  })

  test('recursiveReadonly without recursive, unknown propagation: refused', async () => {
    const given = { source: '/usr', target: dir('t') }
    await expect(native.bind({ ...given, recursiveReadonly: true })).rejects.toThrow('recursiveReadonly')
    await expect(native.bind({ ...given, propagation: 'odd' as never })).rejects.toThrow('propagation')
  })
})

describe('mount and umount', () => {
  test('flags and data arrive', async () => {
    const target = dir('t')
    const flags = ['ro', 'nosuid', 'nodev', 'noexec', 'noatime']
    await native.mount({ type: 'tmpfs', source: 'gt-x', target, flags, data: 'size=4096k' })
    expect(mountAt(target)?.options).toEqual(flags)
    expect(mountAt(target)?.superOptions).toContain('size=4096k')
    await expect(native.mount({ type: 'tmpfs', source: 'x', target, flags: ['odd'] })).rejects.toThrow(
      'flags[]',
    )
    await expect(native.mount({ type: 'gt-no-fs', source: 'x', target })).rejects.toMatchObject({
      code: 'ENODEV',
    })
  })

  test('a link as the target is refused', async () => {
    symlinkSync(dir('elsewhere'), join(root, 'link'))
    const given = { type: 'tmpfs', source: 'x', target: join(root, 'link') }
    await expect(native.mount(given)).rejects.toMatchObject({ code: 'ELOOP', path: given.target })
    expect(mountAt(join(root, 'elsewhere'))).toBeUndefined()
  })

  test('umount of what is not mounted or not there is success; a link is not followed', async () => {
    const target = dir('t')
    await native.mount({ type: 'tmpfs', source: 'gt-x', target })
    symlinkSync(target, join(root, 'link'))
    await native.umount(join(root, 'link'), false)
    expect(mountAt(target)).toBeDefined()
    await native.umount(target, false)
    await native.umount(target, false)
    await native.umount(target, true)
    await native.umount(join(root, 'no/such'), true)
    expect(mountAt(target)).toBeUndefined()
  })

  test('a busy mount is EBUSY, and detach takes it away', async () => {
    const target = dir('t')
    await native.mount({ type: 'tmpfs', source: 'gt-x', target })
    const pipe = native.pipe()
    const child = run(root, ['/bin/cat'], { cwd: target, fds: [pipe[0], 2, 2] })
    await expect(native.umount(target, false)).rejects.toMatchObject({ code: 'EBUSY', path: target })
    await native.umount(target, true)
    expect(mountAt(target)).toBeUndefined()
    for (const fd of pipe) native.close(fd)
    await child
  })
})
