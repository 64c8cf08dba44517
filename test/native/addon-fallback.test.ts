// SPDX-License-Identifier: Apache-2.0
/** Kernels without the new calls: the same mounts by mount(2), and a clear refusal of what cannot be had there. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ADDON_PATH, makeRoot, mountAt, native, run } from './addon-fixture.ts'

const MOUNT_API = [428, 429, 430, 431, 432, 433, 442]
const MOUNT_SETATTR = [442]
const OPENAT2 = [437]

let root: string
let remove: () => Promise<void>
beforeEach(async () => {
  ;({ path: root, remove } = makeRoot())
  const source = fileURLToPath(new URL('addon-deny.c', import.meta.url))
  const built = await run(root, ['/usr/bin/cc', '-Wall', '-Werror', '-o', join(root, 'deny'), source], {
    env: ['PATH=/usr/bin:/bin'],
  })
  expect(built).toMatchObject({ code: 0, out: '' })
  await native.mount({ type: 'tmpfs', source: 'gt-test', target: dir('m') })
  await native.setPropagation(join(root, 'm'), 'private')
})
afterEach(() => remove())

function dir(...names: string[]): string {
  const path = join(root, ...names)
  mkdirSync(path, { recursive: true })
  return path
}

/** Runs a script with the addon as `native`, without the given system calls. */
async function without(calls: readonly number[], script: string): Promise<string> {
  const path = join(root, 'script.cjs')
  writeFileSync(
    path,
    `const native = require(${JSON.stringify(ADDON_PATH)})
     const say = (p) => p.then(() => console.log('done'), (e) => console.log(e.code, e.syscall))
     ;(async () => { ${script} })()`,
  )
  const env = Object.entries(process.env).map(([k, v]) => `${k}=${v}`)
  const got = await run(root, [join(root, 'deny'), ...calls.map(String), '--', process.execPath, path], {
    env,
  })
  expect(got).toMatchObject({ code: 0 })
  return got.out.trim()
}

function layers(count: number, base: string): string[] {
  return Array.from({ length: count }, (_, i) => {
    const path = dir('m', base, `${i}`)
    writeFileSync(join(path, `own-${i}`), `${i}`)
    writeFileSync(join(path, 'same'), `layer ${i}`)
    return path
  })
}

const js = JSON.stringify

test('the probe says so', async () => {
  const all = { newMountApi: true, lowerdirPlus: true, mountSetattr: true, openat2: true, pidfd: true }
  const script = 'console.log(JSON.stringify(native.probe()))'
  expect(JSON.parse(await without([], script))).toEqual(native.probe())
  expect(JSON.parse(await without(MOUNT_API, script))).toEqual({
    ...all,
    newMountApi: false,
    lowerdirPlus: false,
    mountSetattr: false,
  })
  expect(JSON.parse(await without(MOUNT_SETATTR, script)).mountSetattr).toBe(false)
  expect(JSON.parse(await without(OPENAT2, script)).openat2).toBe(false)
})

// 200 long paths are several pages: they only fit as descriptors.
test.each([
  [1, 'l'],
  [3, 'l'],
  [3, 'a:b,c\\d'],
  [60, 'x'.repeat(200)],
])('overlay of %i layers by mount(2) (%s)', async (count, base) => {
  const options = {
    lower: layers(count, base),
    upper: dir('m/u'),
    work: dir('m/w'),
    target: dir('m/t'),
    volatile: true,
  }
  expect(await without(MOUNT_API, `await say(native.mountOverlay(${js(options)}))`)).toBe('done')
  expect(readFileSync(join(options.target, 'same'), 'utf8')).toBe('layer 0')
  for (let i = 0; i < count; i++) expect(existsSync(join(options.target, `own-${i}`))).toBe(true)
  writeFileSync(join(options.target, 'new'), 'x')
  expect(existsSync(join(options.upper, 'new'))).toBe(true)
  expect(mountAt(options.target)?.superOptions).toMatch(/volatile/)
})

test.each([1, 2])('read-only overlay of %i layers by mount(2)', async (count) => {
  const options = { lower: layers(count, 'l'), target: dir('m/t') }
  expect(await without(MOUNT_API, `await say(native.mountOverlay(${js(options)}))`)).toBe('done')
  expect(readFileSync(join(options.target, 'same'), 'utf8')).toBe('layer 0')
  expect(() => writeFileSync(join(options.target, 'new'), 'x')).toThrow('EROFS')
})

test.each([
  ['no new mount API', MOUNT_API],
  ['no mount_setattr', MOUNT_SETATTR],
])('bind with attributes and propagation: %s', async (_name, calls) => {
  const source = dir('m/s')
  await native.mount({ type: 'tmpfs', source: 'gt-x', target: source, flags: ['nosuid'] })
  const bind = { source, target: dir('m/t'), readonly: true, nodev: true, propagation: 'shared' }
  expect(await without(calls, `await say(native.bind(${js(bind)}))`)).toBe('done')
  expect(mountAt(bind.target)?.options).toEqual(expect.arrayContaining(['ro', 'nodev', 'nosuid']))
  expect(mountAt(bind.target)?.tags[0]).toMatch(/^shared:/)
  expect(mountAt(source)?.options).toContain('rw')
})

test('what only mount_setattr can do is ENOSYS, and nothing is mounted', async () => {
  const bind = { source: dir('m/s'), target: dir('m/t'), recursive: true, recursiveReadonly: true }
  expect(await without(MOUNT_API, `await say(native.bind(${js(bind)}))`)).toBe('ENOSYS mount_setattr')
  expect(await without(MOUNT_SETATTR, `await say(native.bind(${js(bind)}))`)).toBe('ENOSYS mount_setattr')
  expect(mountAt(bind.target)).toBeUndefined()
})

test('without openat2 nothing is read below a foreign root: there is no safe other way', async () => {
  const script = `try { native.readInRoot('/', '/etc/passwd', 1e6) } catch (e) { console.log(e.code, e.syscall) }`
  expect(await without(OPENAT2, script)).toBe('ENOSYS openat2')
})
