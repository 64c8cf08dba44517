// SPDX-License-Identifier: Apache-2.0
/** Folders of hook files: their order, which of two counts, changes, and files that cannot be used. */
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { hooks } from '../../../src/host/hooks.ts'

let root: string
let dirs: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-hooks-'))
  dirs = [join(root, 'a'), join(root, 'b')]
  for (const dir of dirs) await mkdir(dir)
})
afterEach(() => rm(root, { recursive: true }))

const put = (path: string, program: string) =>
  writeFile(
    join(root, path),
    JSON.stringify({
      version: '1.0.0',
      hook: { path: program },
      when: { always: true },
      stages: ['poststop'],
    }),
  )

it('come in the order of their names, a later folder over an earlier one, and as they are now', async () => {
  const read = hooks()
  const programs = async () => (await read([...dirs, join(root, 'missing')])).map((f) => f.hook.path)
  expect(await programs()).toEqual([])
  await put('b/10-x.json', '/x')
  await put('a/20-y.json', '/y')
  await put('a/10-x.json', '/hidden')
  await writeFile(join(root, 'a/readme.txt'), 'no hook')
  expect(await programs()).toEqual(['/x', '/y'])
  await put('a/20-y.json', '/changed')
  expect(await programs()).toEqual(['/x', '/changed'])
  await rm(join(root, 'b/10-x.json'))
  expect(await programs()).toEqual(['/hidden', '/changed'])
})

it('of which one cannot be used are an error with its name, until it is mended', async () => {
  const read = hooks()
  await writeFile(join(root, 'a/bad.json'), '{')
  await expect(read(dirs)).rejects.toThrow(`hook file ${root}/a/bad.json: no JSON`)
  await writeFile(join(root, 'a/bad.json'), ' '.repeat(65 * 1024))
  await expect(read(dirs)).rejects.toThrow(/bad\.json: more than 65536 bytes/)
  await put('a/bad.json', '/good')
  expect(await read(dirs)).toHaveLength(1)
  await mkdir(join(root, 'b/folder.json'))
  await expect(read(dirs)).rejects.toThrow(/folder\.json: is not a file/)
  await rm(join(root, 'b/folder.json'), { recursive: true })
  execFileSync('mkfifo', [join(root, 'b/pipe.json')])
  await expect(read(dirs)).rejects.toThrow(/pipe\.json: is not a file/)
})
