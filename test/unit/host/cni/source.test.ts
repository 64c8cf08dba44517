// SPDX-License-Identifier: Apache-2.0
/** Which configuration is in force: order, broken files, the default network, and reading again on change. */
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BUILT_IN, createSource } from '../../../../src/host/cni/source.ts'
import { tempDir } from './fixture.ts'

const conf = (name: string) => JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'a' }] })

test('the first valid file in lexical order wins, the broken one before it is a problem', async () => {
  const dir = await tempDir()
  await writeFile(join(dir, '30-c.conflist'), conf('c'))
  await writeFile(join(dir, '20-b.conflist'), conf('b'))
  await writeFile(join(dir, '10-a.conflist'), '{"name":')
  await writeFile(join(dir, '00-readme.txt'), 'nothing')
  const reading = await createSource({ confDir: dir }).current()
  expect(reading.list?.name).toBe('b')
  expect(reading.from).toBe(join(dir, '20-b.conflist'))
  expect(reading.problems).toEqual([{ file: join(dir, '10-a.conflist'), why: expect.stringMatching(/JSON/) }])
})

test('a folder in the place of a file and a dangling link are problems, not failures', async () => {
  const dir = await tempDir()
  await mkdir(join(dir, '1.conflist'))
  await symlink('/nowhere/at/all', join(dir, '2.conflist'))
  const reading = await createSource({ confDir: dir }).current()
  expect(reading.list).toBeUndefined()
  expect(reading.problems.map((p) => p.file)).toEqual([join(dir, '1.conflist'), join(dir, '2.conflist')])
})

test('the default network serves an absent and an empty folder, never a broken one', async () => {
  const root = await tempDir()
  const dir = join(root, 'net.d')
  const source = createSource({ confDir: dir, defaultNetwork: { name: 'mine' } })
  expect(await source.current()).toMatchObject({ from: BUILT_IN, list: { name: 'mine' } })
  await mkdir(dir)
  expect(await source.current()).toMatchObject({ from: BUILT_IN, list: { name: 'mine' } })
  await writeFile(join(dir, 'x.conflist'), 'oops')
  expect(await source.current()).toMatchObject({ from: undefined, list: undefined })
  await writeFile(join(dir, 'x.conflist'), conf('real'))
  expect(await source.current()).toMatchObject({ list: { name: 'real' }, problems: [] })
  await rm(dir, { recursive: true })
  expect((await source.current()).from).toBe(BUILT_IN)
})

test('reads again when a file changed, the folder was swapped or a link was turned, and only then', async () => {
  const root = await tempDir()
  await mkdir(join(root, 'one'))
  await mkdir(join(root, 'two'))
  await writeFile(join(root, 'one', 'n.conflist'), conf('one'))
  await writeFile(join(root, 'two', 'n.conflist'), conf('two'))
  const link = join(root, 'net.d')
  await symlink('one', link)
  const source = createSource({ confDir: link })
  const first = await source.current()
  expect(first.list?.name).toBe('one')
  expect(await source.current()).toBe(first)
  await rm(link)
  await symlink('two', link)
  expect((await source.current()).list?.name).toBe('two')
  await rm(link)
  await rename(join(root, 'one'), link)
  expect((await source.current()).list?.name).toBe('one')
  await writeFile(join(link, 'n.conflist'), conf('new'))
  expect((await source.current()).list?.name).toBe('new')
})
