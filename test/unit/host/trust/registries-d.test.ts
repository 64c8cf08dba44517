// SPDX-License-Identifier: Apache-2.0
/** registries-d: where signatures are looked for, by the narrowest section, and what a bad file does. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { signaturePlaces } from '../../../../src/host/trust/registries-d.ts'
import { parseReference } from '../../../../src/model/reference.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gt-regd-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const write = (name: string, text: string) => writeFile(join(dir, name), text)
const places = async (name: string) => {
  const { lookaside, attachments } = await signaturePlaces(dir, parseReference(name))
  return [lookaside.href, attachments]
}
const builtIn = 'file:///var/lib/containers/sigstore'

test('without files and without a folder the built-in place is used', async () => {
  expect(await places('r.io/a/b')).toEqual([`${builtIn}/a/b`, false])
  const none = await signaturePlaces(join(dir, 'none'), parseReference('busybox'))
  expect(none.lookaside.href).toBe(`${builtIn}/library/busybox`)
})

test('the narrowest section that says it counts, over all files', async () => {
  await write('default.yaml', '# a comment\ndefault-docker:\n  lookaside: https://all.example/s/\n')
  await write(
    'more.yaml',
    'docker:\n  r.io:\n    sigstore: http://r.example:81/x\n    use-sigstore-attachments: true\n' +
      '  "r.io/ns":\n    lookaside: file:///srv/ns\n  r.io/ns/app:one:\n    use-sigstore-attachments: false\n' +
      "  '*.example.com':\n    lookaside: https://wild.example\n",
  )
  await write('not-read.yml', ': [')
  expect(await places('q.io/a/b')).toEqual(['https://all.example/s/a/b', false])
  expect(await places('r.io/a')).toEqual(['http://r.example:81/x/a', true])
  expect(await places('r.io/ns/app:two')).toEqual(['file:///srv/ns/ns/app', true])
  expect(await places('r.io/ns/app:one')).toEqual(['file:///srv/ns/ns/app', false])
  expect(await places('r.io:5000/ns/app')).toEqual(['https://all.example/s/ns/app', false])
  expect(await places('a.example.com/x')).toEqual(['https://wild.example/x', false])
})

test.each([
  ['the distribution default, all comments', '# nothing\n#docker:\n'],
  ['an empty section', 'default-docker:\ndocker:\n  r.io:\n'],
  ['keys for those who sign', 'default-docker:\n  lookaside-staging: file:///x\n'],
])('%s says nothing', async (_, text) => {
  await write('a.yaml', text)
  expect(await places('r.io/a')).toEqual([`${builtIn}/a`, false])
})

test.each([
  ['what does not parse', 'docker:\n  r.io: [\n', /a\.yaml: .*line \d/],
  [
    'a key twice',
    'docker:\n  r.io:\n    lookaside: http://a\n  r.io:\n    lookaside: http://b\n',
    /a\.yaml: .*unique/,
  ],
  ['text for a section', 'docker:\n  r.io: hello\n', /a\.yaml: docker: r\.io: a mapping/],
  ['a list', '- docker\n', /a\.yaml: a mapping/],
  ['text for a switch', 'docker:\n  r.io:\n    use-sigstore-attachments: "yes"\n', /true or false/],
  ['a list of URLs', 'docker:\n  r.io:\n    lookaside: [a]\n', /lookaside: a URL/],
  [
    'another scheme',
    'docker:\n  r.io:\n    lookaside: ftp://a\n',
    /"ftp:\/\/a" is not a file, http or https URL/,
  ],
  ['a bare path', 'docker:\n  r.io:\n    lookaside: /srv\n', /"\/srv" is not/],
])('%s fails, and names the file', async (_, text, message) => {
  await write('a.yaml', text)
  await expect(places('r.io/a')).rejects.toThrow(message)
})

test('one scope in two files fails', async () => {
  await write('a.yaml', 'docker:\n  r.io:\n    lookaside: http://a\n')
  await write('b.yaml', 'docker:\n  r.io:\n    use-sigstore-attachments: true\n')
  await expect(places('x')).rejects.toThrow(/b\.yaml: "docker r\.io" is in .*a\.yaml already/)
})
