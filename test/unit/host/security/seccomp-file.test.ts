// SPDX-License-Identifier: Apache-2.0
/** Seccomp profiles of files: found by absolute and relative path, and each way of being none. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readSeccompFile } from '../../../../src/host/security/seccomp-file.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-seccomp-'))
})
afterAll(() => rm(folder, { recursive: true }))

const good = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ERRNO' }] }

test('a profile is read as it is, by an absolute path and by one below the folder', async () => {
  await writeFile(join(folder, 'good.json'), JSON.stringify({ ...good, flags: ['SECCOMP_FILTER_FLAG_LOG'] }))
  for (const ref of ['good.json', join(folder, 'good.json')])
    expect(await readSeccompFile(folder, ref)).toEqual({ ...good, flags: ['SECCOMP_FILTER_FLAG_LOG'] })
})

test('a profile without rules is one', async () => {
  await writeFile(join(folder, 'empty.json'), '{"defaultAction":"SCMP_ACT_LOG"}')
  expect(await readSeccompFile(folder, 'empty.json')).toEqual({ defaultAction: 'SCMP_ACT_LOG' })
})

test.each([
  ['not JSON', '{', /is not JSON/],
  ['a list', '[]', /is not a profile/],
  ['no default action', '{"syscalls":[]}', /needs a defaultAction/],
  ['an action of no kind', '{"defaultAction":"allow"}', /is not a profile/],
  ['rules that are no list', '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}', /is not a profile/],
  [
    'a rule without names',
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_KILL"}]}',
    /names/,
  ],
  ['a question that nobody answers', '{"defaultAction":"SCMP_ACT_NOTIFY"}', /without a listenerPath/],
])('%s is refused with the path', async (_what, text, why) => {
  await writeFile(join(folder, 'bad.json'), text)
  const refused = readSeccompFile(folder, 'bad.json')
  await expect(refused).rejects.toMatchObject({ kind: 'invalid', message: expect.stringMatching(why) })
  await expect(refused).rejects.toThrow(join(folder, 'bad.json'))
})

test('one that is missing or cannot be read is refused with the path', async () => {
  await expect(readSeccompFile(folder, 'gone.json')).rejects.toThrow(/gone\.json does not exist on this node/)
  await expect(readSeccompFile(folder, '/proc/self')).rejects.toThrow(
    /seccomp profile \/proc\/self cannot be read/,
  )
})
