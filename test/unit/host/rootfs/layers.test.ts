// SPDX-License-Identifier: Apache-2.0
/** Files of an image before it is mounted: what overlayfs will show, whiteouts, opaque folders and links included. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Native } from '../../../../src/host/native.ts'
import { findInLayers, smallLoaders } from '../../../../src/host/rootfs/layers.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-layers-'))
})
afterEach(() => rm(root, { recursive: true }))

const opaque = new Set<string>()
const native = { isOpaque: (path: Buffer) => opaque.has(path.toString()) } as unknown as Native
const dirs = () => ['top', 'middle', 'bottom'].map((name) => join(root, name))

async function file(layer: string, path: string): Promise<string> {
  const full = join(root, layer, path)
  await mkdir(dirname(full), { recursive: true })
  await writeFile(full, layer)
  return full
}
async function link(layer: string, path: string, target: string): Promise<void> {
  const full = join(root, layer, path)
  await mkdir(dirname(full), { recursive: true })
  await symlink(target, full)
}
const find = async (path = '/etc/passwd') => {
  for (const dir of dirs()) await mkdir(dir, { recursive: true })
  return findInLayers(native, dirs(), path)
}

test('the topmost layer that has it shows it', async () => {
  const bottom = await file('bottom', 'etc/passwd')
  expect(await find()).toBe(bottom)
  const middle = await file('middle', 'etc/passwd')
  await file('top', 'etc/other')
  expect(await find()).toBe(middle)
  expect(await find('/etc/group')).toBeUndefined()
})

test('an opaque folder hides what is in lower ones', async () => {
  await file('bottom', 'etc/passwd')
  await file('middle', 'etc/group')
  opaque.add(join(root, 'middle/etc'))
  expect(await find()).toBeUndefined()
  opaque.clear()
})

test('a file in place of a folder hides the folder, and a folder in place of a file the file', async () => {
  await file('bottom', 'etc/passwd')
  await file('middle', 'etc')
  expect(await find()).toBeUndefined()
  const top = await file('top', 'etc/passwd')
  expect(await find()).toBe(top)
})

test('links are followed from layer to layer and never out of the root', async () => {
  const real = await file('bottom', 'usr/etc/passwd')
  await file('bottom', 'etc/passwd')
  await link('top', 'etc/passwd', '../usr/etc/passwd')
  expect(await find()).toBe(real)
  await rm(join(root, 'top'), { recursive: true })
  await link('top', 'etc/passwd', '/../../usr/./etc/passwd')
  expect(await find()).toBe(real)
  await rm(join(root, 'top'), { recursive: true })
  await link('top', 'etc', '/proc/self/root/etc')
  expect(await find()).toBeUndefined()
})

test('links in a circle, and what is no file, are nothing', async () => {
  await link('top', 'etc/passwd', 'passwd')
  expect(await find()).toBeUndefined()
  await mkdir(join(root, 'top/etc/group'), { recursive: true })
  expect(await find('/etc/group')).toBeUndefined()
})

test.skipIf(process.getuid?.() !== 0)('a whiteout hides what is below it (only root makes one)', async () => {
  await file('bottom', 'etc/passwd')
  await file('middle', 'etc/x')
  await promisify(execFile)('mknod', [join(root, 'middle/etc/passwd'), 'c', '0', '0'])
  expect(await find()).toBeUndefined()
})

test('an image has 32-bit programs when it has their loader; the answer is kept', async () => {
  const has = smallLoaders(native, 'amd64')
  await file('middle', 'bin/sh')
  expect(await has([join(root, 'middle')])).toBe(false)
  await file('bottom', 'usr/lib/ld-linux.so.2')
  await link('bottom', 'lib', 'usr/lib')
  const layers = [join(root, 'bottom')]
  expect(await has(layers)).toBe(true)
  await rm(join(root, 'bottom'), { recursive: true })
  expect(await has(layers)).toBe(true)
  expect(await smallLoaders(native, 'arm64')(layers)).toBe(false)
})
