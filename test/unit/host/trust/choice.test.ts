// SPDX-License-Identifier: Apache-2.0
/** choice: the namespace's policy wins if it is there, and a namespace is never a path. */
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { choosePolicy } from '../../../../src/host/trust/choice.ts'
import type { TrustFiles, TrustSettings } from '../../../../src/model/trust-settings.ts'

const node: TrustSettings = { policyFile: '/p.json', required: false, registriesDir: '/r.d' }
let dir: string
let files: TrustFiles
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gt-choice-'))
  files = { ...node, namespaceDir: dir }
  await writeFile(join(dir, 'prod.json'), '{}')
})
afterAll(() => rm(dir, { recursive: true, force: true }))

test('a namespace with a file has its own policy, which must be there', async () => {
  expect(await choosePolicy(files, 'prod')).toEqual({
    ...node,
    policyFile: join(dir, 'prod.json'),
    required: true,
  })
})

test.each(['', 'dev', 'prod.json', 'PROD'])(
  'the namespace %j has the policy of the node',
  async (namespace) => {
    expect(await choosePolicy(files, namespace)).toEqual(node)
    expect(await choosePolicy({ ...files, namespaceDir: '/nonexistent' }, namespace)).toEqual(node)
  },
)

test.each(['..', '.', '../etc/x', 'a/b', '/prod', 'a\0b', 'prod\n', ' ', 'x'.repeat(254)])(
  'the namespace %j is refused',
  async (namespace) => {
    await expect(choosePolicy(files, namespace)).rejects.toMatchObject({ kind: 'invalid' })
  },
)

test('a policy that cannot be found out about is not taken for none', async () => {
  const folderIsFile = { ...files, namespaceDir: join(dir, 'prod.json') }
  await expect(choosePolicy(folderIsFile, 'prod')).rejects.toMatchObject({ kind: 'invalid' })
  await symlink('/nonexistent', join(dir, 'dangling.json'))
  expect(await choosePolicy(files, 'dangling')).toMatchObject({ policyFile: join(dir, 'dangling.json') })
})
