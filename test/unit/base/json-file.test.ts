// SPDX-License-Identifier: Apache-2.0
/** json-file: what is written comes back the same; what cannot be believed is said to be corrupt; crashes are survived. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatJson, parseJson, readJson, writeJson } from '../../../src/base/json-file.ts'

let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gt-json-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

describe('values', () => {
  test.each([
    ['a bigint', { n: 0n, big: 2n ** 63n - 1n, negative: -5n }],
    ['text that looks like a bigint', { a: '5n', b: '-5n', c: '=5n', d: '==12n', e: '5nn', f: 'n', g: '' }],
    ['text of other scripts, controls and lone halves', { t: 'häß\u0000\u2028\ud800 ☃' }],
    ['nested lists and objects', { a: [1, [2n, null, { b: true }]], o: {} }],
    ['a key that is special in JavaScript', JSON.parse('{"labels":{"__proto__":"x","constructor":"y"}}')],
  ])('%s survives', async (_what, value) => {
    const path = join(dir, 'value.json')
    await writeJson(path, value)
    const read = await readJson(path)
    expect(read).toEqual({ is: 'value', value: { v: 1, ...value } })
    expect(parseJson(formatJson(value))).toEqual(value)
  })

  test('undefined fields are not written', async () => {
    await writeJson(join(dir, 'u.json'), { a: undefined, b: 1 })
    expect(await readFile(join(dir, 'u.json'), 'utf8')).toBe('{"v":1,"b":1}\n')
  })
})

describe('reading', () => {
  test.each([
    ['nothing at all', ''],
    ['half a file', '{"v":1,"record":{'],
    ['zeros, as after a power cut', '\0'.repeat(64)],
    ['a list', '[1]'],
    ['null', 'null'],
    ['no version', '{"a":1}'],
    ['a later version', '{"v":2}'],
    ['a version of another type', '{"v":"1"}'],
  ])('%s is corrupt, and says why', async (_what, text) => {
    const path = join(dir, 'bad.json')
    await writeFile(path, text)
    expect(await readJson(path)).toEqual({ is: 'corrupt', why: expect.stringMatching(/./) })
  })

  test('a file that is too large is corrupt', async () => {
    const path = join(dir, 'large.json')
    await writeJson(path, { a: 'x'.repeat(100) })
    expect(await readJson(path, 50)).toMatchObject({ is: 'corrupt', why: 'larger than 50 bytes' })
  })

  test('a file that is not there is absent, also when its folder is not or is a file', async () => {
    await writeFile(join(dir, 'plain'), '')
    for (const path of ['none.json', 'none/a.json', 'plain/a.json'])
      expect(await readJson(join(dir, path))).toEqual({ is: 'absent' })
  })

  test('a file that cannot be read is an error, not an absent one', async () => {
    await mkdir(join(dir, 'folder.json'))
    await expect(readJson(join(dir, 'folder.json'))).rejects.toMatchObject({ code: 'EISDIR' })
  })
})

describe('writing', () => {
  test('replaces the file as a whole, with its mode, and leaves nothing beside it', async () => {
    const folder = await mkdtemp(join(dir, 'w-'))
    const path = join(folder, 'a.json')
    await writeJson(path, { a: 1 }, { mode: 0o640 })
    await writeJson(path, { a: 2 })
    expect([await readdir(folder), (await stat(path)).mode & 0o777]).toEqual([['a.json'], 0o600])
    expect(await readJson(path)).toMatchObject({ value: { a: 2 } })
  })

  test('a link at the place is replaced, not written through', async () => {
    const folder = await mkdtemp(join(dir, 'l-'))
    await writeFile(join(folder, 'other'), 'other')
    await symlink(join(folder, 'other'), join(folder, 'a.json'))
    await writeJson(join(folder, 'a.json'), { a: 1 })
    expect(await readFile(join(folder, 'other'), 'utf8')).toBe('other')
  })

  test('what a crash left of an earlier write is neither read nor in the way', async () => {
    const folder = await mkdtemp(join(dir, 'c-'))
    const path = join(folder, 'a.json')
    await writeJson(path, { a: 1 })
    await writeFile(`${path}.77-1.tmp`, '{"v":1,"a":')
    expect(await readJson(path)).toMatchObject({ value: { a: 1 } })
    await writeJson(path, { a: 2 })
    await truncate(`${path}.77-1.tmp`)
    expect(await readJson(path)).toMatchObject({ value: { a: 2 } })
  })

  test('into a folder that is gone fails, and many at once leave one whole value', async () => {
    const folder = await mkdtemp(join(dir, 'm-'))
    await expect(writeJson(join(folder, 'gone/a.json'), {})).rejects.toMatchObject({ code: 'ENOENT' })
    const path = join(folder, 'a.json')
    await Promise.all(Array.from({ length: 20 }, (_, n) => writeJson(path, { n, pad: 'x'.repeat(n * 100) })))
    expect(await readJson(path)).toMatchObject({ is: 'value', value: { n: expect.any(Number) } })
    expect(await readdir(folder)).toEqual(['a.json'])
  })

  test('a value that cannot be written leaves the old one and no other file', async () => {
    const folder = await mkdtemp(join(dir, 'k-'))
    const path = join(folder, 'a.json')
    await writeJson(path, { a: 1 })
    const loop: Record<string, unknown> = {}
    loop.self = loop
    await expect(writeJson(path, loop)).rejects.toThrow()
    expect([await readdir(folder), await readJson(path)]).toMatchObject([['a.json'], { value: { a: 1 } }])
  })
})
