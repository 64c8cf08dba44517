// SPDX-License-Identifier: Apache-2.0
/** What files with credentials say about a repository at a host, what is wrong with one, and how one is changed. */
import { chmod, lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  changeAuthFile,
  entryFor,
  keyOf,
  keysOf,
  readAuthFile,
} from '../../../../src/host/registry/auth-file.ts'
import { credentialLookup } from '../../../../src/host/registry/lookup.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-auth-file-'))
  path = join(folder, 'auth.json')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const login = (user: string) => ({ auth: Buffer.from(`${user}:pw`).toString('base64') })

/** The user or helper that the file names for the repository. */
async function found(content: object, host: string, repository: string): Promise<string | undefined> {
  await writeFile(path, JSON.stringify(content))
  const file = await readAuthFile(path)
  const entry = file && entryFor(file, new URL(host), repository)
  if (entry?.is === 'helper') return `helper ${entry.name}`
  const { basic, identityToken } = entry?.credentials ?? {}
  return basic?.username ?? identityToken
}

describe('who is found', () => {
  const nested = {
    auths: { 'reg.io': login('host'), 'reg.io/ns': login('ns'), 'reg.io/ns/app/web': login('web') },
  }
  test.each<[string, object, string, string, string | undefined]>([
    ['an empty file', {}, 'https://reg.io', 'a', undefined],
    ['the host', nested, 'https://reg.io', 'other/a', 'host'],
    ['the longest path', nested, 'https://reg.io', 'ns/app/web', 'web'],
    ['a path above', nested, 'https://reg.io', 'ns/app/webshop', 'ns'],
    ['not half a word of a path', nested, 'https://reg.io', 'nsx', 'host'],
    ['not another host', nested, 'https://reg.io.evil.io', 'ns', undefined],
    ['not another port', nested, 'https://reg.io:5000', 'ns', undefined],
    ['a key with a scheme', { auths: { 'https://reg.io/v1/': login('old') } }, 'https://reg.io', 'a', 'old'],
    [
      'of which only the host counts',
      { auths: { 'http://reg.io/x/y': login('old') } },
      'https://reg.io',
      'a',
      'old',
    ],
    ['a key that ends in /v2/', { auths: { 'reg.io/v2/': login('old') } }, 'https://reg.io', 'a', 'old'],
    [
      'a plain key before one with a scheme',
      { auths: { 'https://reg.io': login('old'), 'reg.io': login('new') } },
      'https://reg.io',
      'a',
      'new',
    ],
    ['upper case and the usual port', { auths: { 'REG.io:443': login('a') } }, 'https://reg.io', 'a', 'a'],
    [
      'Docker Hub by its old key',
      { auths: { 'https://index.docker.io/v1/': login('hub') } },
      'https://registry-1.docker.io',
      'library/a',
      'hub',
    ],
    [
      'Docker Hub by its name and a path',
      { auths: { 'docker.io/me': login('me') } },
      'https://registry-1.docker.io',
      'me/app',
      'me',
    ],
    [
      'username and password',
      { auths: { 'reg.io': { username: 'ann', password: 'pw' } } },
      'https://reg.io',
      'a',
      'ann',
    ],
    [
      'an identity token',
      { auths: { 'reg.io': { ...login(''), identitytoken: 'it' } } },
      'https://reg.io',
      'a',
      '',
    ],
    [
      'a pattern of the kubelet',
      { auths: { '*.reg.io/team': login('any') } },
      'https://eu.reg.io',
      'team/a',
      'any',
    ],
    [
      'a pattern for one part of a name only',
      { auths: { '*.reg.io': login('any') } },
      'https://a.b.reg.io',
      'a',
      undefined,
    ],
    ['a dot for a dot', { auths: { '*.reg.io': login('any') } }, 'https://a.regxio', 'a', undefined],
    ['no pattern for a port', { auths: { 'reg.io*': login('any') } }, 'https://reg.io:5000', 'a', undefined],
    [
      'the host itself before a pattern with a path',
      { auths: { '*.reg.io/a': login('any'), 'eu.reg.io': login('host') } },
      'https://eu.reg.io',
      'a',
      'host',
    ],
    ['nothing in an empty entry', { auths: { 'reg.io': {} } }, 'https://reg.io', 'a', undefined],
    [
      'the next above an empty entry',
      { auths: { 'reg.io/a': {}, 'reg.io': login('host') } },
      'https://reg.io',
      'a',
      'host',
    ],
    [
      'a helper of the host before entries',
      { auths: { 'reg.io': login('host') }, credHelpers: { 'reg.io': 'x' } },
      'https://reg.io',
      'a',
      'helper x',
    ],
    [
      'a helper of Docker Hub',
      { credHelpers: { 'https://index.docker.io/v1/': 'x' } },
      'https://registry-1.docker.io',
      'a',
      'helper x',
    ],
    [
      'an entry before the helper for all',
      { auths: { 'reg.io': login('host') }, credsStore: 'all' },
      'https://reg.io',
      'a',
      'host',
    ],
    [
      'the helper for all',
      { auths: { 'reg.io': {} }, credsStore: 'all' },
      'https://reg.io',
      'a',
      'helper all',
    ],
    [
      'not the helper of another host',
      { credHelpers: { 'other.io': 'x' } },
      'https://reg.io',
      'a',
      undefined,
    ],
    [
      'what has no credentials',
      { auths: { __proto__: null, 'reg.io': null }, HttpHeaders: {} },
      'https://reg.io',
      'a',
      undefined,
    ],
  ])('%s', async (_what, content, host, repository, expected) => {
    expect(await found(content, host, repository)).toBe(expected)
  })

  test('a missing file is passed over, a blank one has nothing', async () => {
    expect(await readAuthFile(path)).toBeUndefined()
    expect(await readAuthFile(join(path, 'below'))).toBeUndefined()
    await writeFile(path, ' \n')
    expect((await readAuthFile(path))?.auths).toEqual({})
  })

  test('the first file that has something decides; one that all may read is warned about when it is used', async () => {
    const [one, two, three] = ['1', '2', '3'].map((n) => join(folder, n))
    if (!one || !two || !three) throw new Error('no paths')
    await writeFile(one, JSON.stringify({ auths: { 'other.io': login('no') } }), { mode: 0o644 })
    await writeFile(two, JSON.stringify({ auths: { 'reg.io': login('two') } }), { mode: 0o640 })
    await writeFile(three, JSON.stringify({ auths: { 'reg.io': login('three') } }), { mode: 0o600 })
    const warnings: string[] = []
    const lookup = credentialLookup(
      { auth: { username: 'of-the-request', password: 'pw' }, domain: 'own.io' },
      {
        files: [one, join(folder, 'missing'), two, three],
        ask: async () => undefined,
        warn: (message) => warnings.push(message),
      },
    )
    const user = async (host: string) => (await lookup(new URL(host), 'a'))?.basic?.username
    expect(await user('https://reg.io')).toBe('two')
    expect(await user('https://own.io')).toBe('of-the-request')
    expect(await user('https://mirror.io')).toBeUndefined()
    expect(warnings).toEqual([])
    expect(await user('https://other.io')).toBe('no')
    expect(warnings).toEqual([`${one} has credentials in it and anybody may read it: chmod 600 ${one}`])
  })

  test('a helper that has none sends on to the next file', async () => {
    const next = join(folder, 'next')
    await writeFile(path, JSON.stringify({ credsStore: 'empty' }))
    await writeFile(next, JSON.stringify({ auths: { 'reg.io': login('next') } }))
    const asked: unknown[] = []
    const lookup = credentialLookup(
      { auth: {}, domain: 'reg.io' },
      {
        files: [path, next],
        ask: async (question) => {
          asked.push(question)
          return undefined
        },
        warn: () => {},
      },
    )
    const host = new URL('https://reg.io')
    expect((await lookup(host, 'a'))?.basic?.username).toBe('next')
    expect(asked).toEqual([{ name: 'empty', host, namedIn: path }])
  })
})

describe('a file that cannot be used is named, and nothing of it is shown', () => {
  test.each([
    ['no JSON', '{\n"auths": {\n"reg.io": { "auth": "a" "secret" } } }', /auth\.json:3 is not JSON: correct/],
    ['cut short', '{"auths": {"secret.io": {"auth": "secret', /auth\.json:1 is not JSON/],
    ['a word', 'secret', /auth\.json is not JSON/],
    ['a list', '["secret"]', 'is not a JSON object'],
    ['auths', '{"auths": "secret"}', '"auths" is not an object'],
    ['credHelpers', '{"credHelpers": ["secret"]}', '"credHelpers" is not an object'],
    ['credsStore', '{"credsStore": {"secret": 1}}', '"credsStore" is not a string'],
    ['an entry', '{"auths": {"reg.io": {"auth": {"secret": 1}}}}', '"auth" is not a string'],
    [
      'an auth',
      '{"auths": {"reg.io": {"auth": "c2VjcmV0"}}}',
      'auth.json for reg.io: "auth" is not the base64',
    ],
    ['a helper', '{"credHelpers": {"reg.io": 7}}', 'the helper of reg.io is not a string'],
    ['too large', `"${'secret'.repeat(200_000)}"`, 'has more than 1048576 bytes'],
  ])('%s', async (_what, text, why) => {
    await writeFile(path, text)
    const lookup = credentialLookup(
      { auth: {}, domain: 'reg.io' },
      { files: [path], ask: async () => undefined, warn: () => {} },
    )
    const failed = lookup(new URL('https://reg.io'), 'a')
    await expect(failed).rejects.toMatchObject({ kind: 'invalid' })
    await expect(failed).rejects.toThrow(why)
    await expect(failed).rejects.toThrow(path)
    await expect(failed).rejects.not.toThrow(/secret|c2Vj/)
  })

  test('a folder', async () => {
    await expect(readAuthFile(folder)).rejects.toThrow(`${folder} is not a file`)
  })
})

describe('changing one', () => {
  const about = async () => JSON.parse(await readFile(path, 'utf8'))

  test('makes it with its folder, for its owner only, and leaves nothing beside it', async () => {
    path = join(folder, 'new', 'auth.json')
    await changeAuthFile(path, undefined, { remove: [], put: ['reg.io', login('ann')] })
    expect(await about()).toEqual({ auths: { 'reg.io': login('ann') } })
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await readdir(join(folder, 'new'))).toEqual(['auth.json'])
  })

  test('keeps what it does not know, closes what was open, and stays where a link leads', async () => {
    const real = join(folder, 'real.json')
    const other = { HttpHeaders: { 'X-A': 'b' }, credHelpers: { 'x.io': 'x' } }
    await writeFile(real, JSON.stringify({ ...other, auths: { 'https://reg.io': login('old'), 'x.io': {} } }))
    await chmod(real, 0o644)
    await symlink(real, path)
    const file = await readAuthFile(path)
    if (!file) throw new Error('no file')
    expect(keysOf(file, 'reg.io')).toEqual(['https://reg.io'])
    await changeAuthFile(path, file, { remove: keysOf(file, 'reg.io'), put: ['reg.io', login('ann')] })
    expect(await about()).toEqual({ ...other, auths: { 'x.io': {}, 'reg.io': login('ann') } })
    expect((await lstat(path)).isSymbolicLink()).toBe(true)
    expect((await stat(real)).mode & 0o777).toBe(0o600)
  })

  test('a folder that cannot be made is named', async () => {
    await writeFile(path, '')
    await expect(changeAuthFile(join(path, 'below'), undefined, { remove: [] })).rejects.toThrow(
      'cannot be written: EEXIST',
    )
  })

  test.each([
    ['docker.io', 'https://index.docker.io/v1/'],
    ['index.docker.io', 'https://index.docker.io/v1/'],
    ['reg.io:5000', 'reg.io:5000'],
    ['reg.io/ns', 'reg.io/ns'],
  ])('the key of %s is %s, and found again', async (registry, key) => {
    expect(keyOf(registry)).toBe(key)
    await changeAuthFile(path, undefined, { remove: [], put: [key, login('ann')] })
    const file = await readAuthFile(path)
    expect(file && keysOf(file, registry)).toEqual([key])
    expect(file && keysOf(file, 'another.io')).toEqual([])
  })
})
