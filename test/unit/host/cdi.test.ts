// SPDX-License-Identifier: Apache-2.0
/** CDI devices in folders of spec files: which file counts, what is seen of a change, and files that mean harm. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cdi } from '../../../src/host/cdi.ts'
import { LIMITS } from '../../../src/model/limits.ts'

let root: string
let dirs: readonly string[]
let look: ReturnType<typeof cdi>

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'gt-cdi-'))
  dirs = [join(root, 'etc'), join(root, 'run')]
  for (const dir of dirs) mkdirSync(dir)
  look = cdi(dirs)
})
afterEach(() => rmSync(root, { recursive: true }))

const spec = (device: string, value: string, kind = 'vendor.com/gpu') =>
  JSON.stringify({
    cdiVersion: '0.6.0',
    kind,
    containerEdits: { env: ['COMMON=1'] },
    devices: [{ name: device, containerEdits: { env: [`V=${value}`] } }],
  })
const put = (path: string, text: string) => writeFileSync(join(root, path), text)
const env = async (...names: string[]) => (await look(names)).env
const GPU = 'vendor.com/gpu=0'

describe('a device', () => {
  test('is found in JSON and in YAML, whose 0644 is octal', async () => {
    put('etc/a.json', spec('0', 'json'))
    put(
      'run/b.yaml',
      'cdiVersion: "1.0.0"\nkind: other.com/nic\ndevices:\n- name: eth0\n  containerEdits:\n' +
        '    deviceNodes:\n    - {path: /dev/nic, fileMode: 0644}\n    env: ["Y=1"]\n',
    )
    const { env, deviceNodes } = await look([GPU, 'other.com/nic=eth0'])
    expect(env).toEqual(['COMMON=1', 'V=json', 'Y=1'])
    expect(deviceNodes).toEqual([
      { path: '/dev/nic', hostPath: '/dev/nic', fileMode: 0o644, permissions: '' },
    ])
  })

  test('comes in the order of the request, with the common edits of its file once', async () => {
    const both = { ...JSON.parse(spec('0', 'a')) }
    both.devices.push({ name: '1', containerEdits: { env: ['V=b'] } })
    put('etc/a.json', JSON.stringify(both))
    expect(await env('vendor.com/gpu=1', GPU)).toEqual(['COMMON=1', 'V=b', 'V=a'])
  })

  test('of two folders the later one has it', async () => {
    put('etc/a.json', spec('0', 'etc'))
    put('run/a.json', spec('0', 'run'))
    expect(await env(GPU)).toEqual(['COMMON=1', 'V=run'])
  })

  test('of two files of one folder nobody has it, but the later folder may', async () => {
    put('etc/a.json', spec('0', 'a'))
    put('etc/b.yaml', spec('0', 'b'))
    await expect(env(GPU)).rejects.toThrow(`${dirs[0]}/a.json and ${dirs[0]}/b.yaml`)
    put('run/c.json', spec('0', 'c'))
    expect(await env(GPU)).toEqual(['COMMON=1', 'V=c'])
  })

  test('that no spec has is refused, with the places that were looked at', async () => {
    put('etc/a.json', spec('0', 'a'))
    await expect(env(GPU, 'vendor.com/gpu=7')).rejects.toThrow(
      `CDI device vendor.com/gpu=7 is in no spec in ${dirs.join(', ')}`,
    )
  })

  test('is in no folder that is missing, and nowhere where there are no folders', async () => {
    look = cdi([join(root, 'none')])
    await expect(env(GPU)).rejects.toThrow('is in no spec')
    look = cdi([])
    await expect(env(GPU)).rejects.toThrow(expect.objectContaining({ kind: 'unsupported' }))
  })
})

test('a file that is new, changed, renamed over another or gone counts at once', async () => {
  await expect(env(GPU)).rejects.toThrow('is in no spec')
  put('run/a.json', spec('0', 'one'))
  expect(await env(GPU)).toEqual(['COMMON=1', 'V=one'])
  put('run/a.json', spec('0', 'other'))
  expect(await env(GPU)).toEqual(['COMMON=1', 'V=other'])
  put('run/.tmp', spec('0', 'three'))
  renameSync(join(root, 'run/.tmp'), join(root, 'run/a.json'))
  expect(await env(GPU)).toEqual(['COMMON=1', 'V=three'])
  rmSync(join(root, 'run/a.json'))
  await expect(env(GPU)).rejects.toThrow('is in no spec')
})

test('a link to a spec is followed; other names, and folders, are no specs', async () => {
  put('target', spec('0', 'linked'))
  symlinkSync(join(root, 'target'), join(root, 'etc/a.json'))
  put('etc/b.txt', 'no spec')
  mkdirSync(join(root, 'etc/sub.json'))
  expect(await env(GPU)).toEqual(['COMMON=1', 'V=linked'])
})

describe('a spec that cannot be used', () => {
  const bomb = `a0: &a0 [x, x, x, x, x, x, x, x]\n${[1, 2, 3, 4, 5, 6, 7, 8]
    .map(
      (n) =>
        `a${n}: &a${n} [${Array(8)
          .fill(`*a${n - 1}`)
          .join(', ')}]\n`,
    )
    .join('')}kind: *a8\n`
  test.each<[string, string, string]>([
    ['is no JSON', 'bad.json', '{'],
    ['is no YAML', 'bad.yaml', 'a: [\n'],
    ['is empty', 'bad.yaml', ''],
    ['has a field that is wrong', 'bad.json', spec('0', 'x').replace('0.6.0', '9')],
    ['is too large', 'bad.json', `${' '.repeat(LIMITS.cdiFileBytes)}{}`],
    ['multiplies aliases', 'bad.yaml', bomb],
    ['is nested without end', 'bad.json', '['.repeat(500_000)],
    ['is nested without end', 'bad.yaml', '['.repeat(20_000)],
  ])(
    'because it %s is told to who asks for what is nowhere, by its name, and to nobody else',
    async (_what, file, text) => {
      put(`run/${file}`, text)
      put('etc/good.json', spec('0', 'good'))
      expect(await env(GPU)).toEqual(['COMMON=1', 'V=good'])
      await expect(env('vendor.com/gpu=1')).rejects.toThrow(`not usable are ${join(root, 'run', file)}`)
    },
  )

  test('because it is a pipe, a device or a link to nothing neither', async () => {
    put('etc/good.json', spec('0', 'good'))
    execFileSync('mkfifo', [join(root, 'run/pipe.json')])
    symlinkSync('/dev/zero', join(root, 'run/zero.json'))
    symlinkSync('/nowhere', join(root, 'run/nowhere.json'))
    expect(await env(GPU)).toEqual(['COMMON=1', 'V=good'])
    await expect(env('vendor.com/gpu=1')).rejects.toThrow('pipe.json: is not a file')
  })
})

test('a folder with too many specs is refused by its name', async () => {
  for (let i = 0; i <= LIMITS.cdiFiles; i++) put(`run/${i}.json`, '')
  await expect(env(GPU)).rejects.toThrow(`${dirs[1]} has ${LIMITS.cdiFiles + 1} specs`)
})
