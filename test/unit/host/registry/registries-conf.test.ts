// SPDX-License-Identifier: Apache-2.0
/** registries.conf: its tables, how drop-ins add to it, which table is for a name, and what is refused. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  coveredBy,
  NO_CONF,
  parseRegistriesConf,
  readRegistriesConf,
  tableFor,
} from '../../../../src/host/registry/registries-conf.ts'

const FILE = '/etc/r.conf'
const parse = (text: string) => parseRegistriesConf(text, FILE)

describe('a file', () => {
  test('gives its tables with the places they stand in', () => {
    const text = `# comment
unqualified-search-registries = ["a.io", "b.io:5000/"]
short-name-mode = "enforcing"

[[registry]]
prefix = "example.com/foo"
location = "internal.net/bar/"
insecure = true
mirror-by-digest-only = true
  [[registry.mirror]]
  location = "m0.io/foo"
  [[registry.mirror]]
  location = "m1.io"
  insecure = true

[[registry]]
location = "b.io"
blocked = true
[[registry.mirror]]
location = "m2.io"
pull-from-mirror = "tag-only"

[aliases]
app = "reg.io/team/app"
"gone" = ""
`
    expect(parse(text)).toEqual({
      registries: [
        {
          prefix: 'example.com/foo',
          location: 'internal.net/bar',
          insecure: true,
          blocked: false,
          place: '/etc/r.conf:5',
          mirrors: [
            { location: 'm0.io/foo', insecure: false, use: 'digest-only', place: '/etc/r.conf:10' },
            { location: 'm1.io', insecure: true, use: 'digest-only', place: '/etc/r.conf:12' },
          ],
        },
        {
          prefix: 'b.io',
          location: 'b.io',
          insecure: false,
          blocked: true,
          place: '/etc/r.conf:16',
          mirrors: [{ location: 'm2.io', insecure: false, use: 'tag-only', place: '/etc/r.conf:19' }],
        },
      ],
      aliases: new Map([
        ['app', 'reg.io/team/app'],
        ['gone', ''],
      ]),
      search: ['a.io', 'b.io:5000'],
      searchPlace: '/etc/r.conf:2',
      mode: 'enforcing',
      warnings: [],
    })
  })

  test('may be empty, also in the way of version 1', () => {
    const { registries, search, mode } = parse('[registries.search]\nregistries = []\n[registries.block]\n')
    expect([registries, search, mode]).toEqual([[], undefined, undefined])
  })

  test.each([
    ['[[registry]]\nlocation = "a.io"\ninsecur = true', '/etc/r.conf:3: registry.insecur: unknown'],
    ['creds = 1', '/etc/r.conf:1: creds: unknown'],
    [
      '[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\nlocation = "b"\nblocked = true',
      'mirror.blocked: unknown',
    ],
    ['[[registry]]\nprefix = "*example.com"\nlocation = "a"', 'matches nothing'],
    ['[[registry]]\nprefix = "a.*.com"\nlocation = "a"', 'matches nothing'],
    ['[[registry]]\nprefix = "*"\nlocation = "a"', 'matches nothing'],
  ])('%j is taken, with a warning: %s', (text, why) => {
    expect(parse(text).warnings).toEqual([expect.stringContaining(why)])
  })

  test('of two tables with one prefix in it the first counts', () => {
    const text = '[[registry]]\nprefix="a.io"\nlocation="b.io"\n[[registry]]\nprefix="a.io"\nlocation="c.io"'
    expect(parse(text).registries.map((r) => r.location)).toEqual(['b.io'])
  })
})

describe('refused with file and line', () => {
  test.each([
    ['a = 1\nb = [', /^\/etc\/r\.conf:2:\d+: /],
    ['[registries.search]\nregistries = ["a.io"]', ':1: registries: [registries.search] is version 1'],
    ['[registries.insecure]\nregistries = ["a.io"]', 'version 1'],
    ['[registries.block]\nregistries = ["a.io"]\n[[registry]]\nlocation = "a.io"', 'version 1'],
    ['registry = "a"', ':1: registry: must be an array of tables'],
    ['[registry]\nlocation = "a.io"', ':1: registry: must be an array of tables: write [[registry]]'],
    ['\n[[registry]]\ninsecure = true', ':2: registry.location: prefix and location are both missing'],
    ['[[registry]]\nlocation = ""', 'both missing'],
    ['[[registry]]\nprefix = "a.io"', ':1: registry.location: is missing; only a prefix such as'],
    ['[[registry]]\nlocation = "https://a.io"', ':2: registry.location: "https://a.io" must be without'],
    ['[[registry]]\nlocation = "a.io"\nprefix = "a b"', ':3: registry.prefix: "a b" is not'],
    ['[[registry]]\nlocation = 5', ':2: registry.location: must be a string'],
    ['[[registry]]\nlocation = "a.io"\nblocked = "yes"', ':3: registry.blocked: must be true or false'],
    ['[[registry]]\nlocation = "a.io"\npull-from-mirror = "all"', 'belongs in [[registry.mirror]]'],
    ['[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\n', ':3: registry.mirror.location: is missing'],
    [
      '[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\nlocation = "b.io"\npull-from-mirror = "never"',
      ':5: registry.mirror.pull-from-mirror: "never" is none of all, digest-only, tag-only',
    ],
    [
      '[[registry]]\nlocation="a.io"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation="b.io"\npull-from-mirror="all"',
      ':6: registry.mirror.pull-from-mirror: cannot stand beside',
    ],
    [
      '[[registry]]\nlocation="a.io"\n[[registry]]\nprefix="b.io"\nlocation="a.io"\ninsecure=true',
      ':3: "a.io" has another "insecure" at /etc/r.conf:1',
    ],
    [
      '[[registry]]\nlocation="a.io"\n[[registry]]\nprefix="b.io"\nlocation="a.io"\nblocked=true',
      '"blocked"',
    ],
    ['unqualified-search-registries = ["a.io/b"]', ':1: unqualified-search-registries: "a.io/b" is not host'],
    ['unqualified-search-registries = [""]', 'is not host'],
    ['unqualified-search-registries = ["https://a.io"]', 'is not host'],
    ['unqualified-search-registries = [1]', 'must be a string or a list of strings'],
    ['short-name-mode = "loose"', 'is none of enforcing, permissive, disabled'],
    ['[aliases]\napp = "app"', ':2: aliases.app: "app" must be registry/repository'],
    ['[aliases]\napp = "reg.io/app:1"', 'must be registry/repository'],
    ['[aliases]\napp = "reg.io:1/App"', 'aliases.app: image reference "reg.io:1/App"'],
    ['[aliases]\n"reg.io/app" = "reg.io/app"', 'an alias is a name without registry'],
    ['[aliases]\n"app:1" = "reg.io/app"', 'an alias is a name without registry'],
    ['[aliases]\napp = 3', 'aliases.app: must be a string'],
  ])('%j: %s', (text, why) => {
    let told = ''
    try {
      parse(text)
    } catch (e) {
      expect(e).toMatchObject({ kind: 'invalid' })
      told = e instanceof Error ? e.message : ''
    }
    if (typeof why === 'string') expect(told).toContain(why)
    else expect(told).toMatch(why)
    expect(told).toMatch(/^\/etc\/r\.conf:\d+/)
  })
})

describe('drop-ins', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gt-rconf-'))
    await mkdir(join(root, 'd'))
    await mkdir(join(root, 'd', 'sub.conf'))
  })
  afterEach(() => rm(root, { recursive: true, force: true }))
  const read = () => readRegistriesConf({ file: join(root, 'main'), folder: join(root, 'd') })

  test('nothing is there', async () => {
    expect(await read()).toEqual(NO_CONF)
    expect(await readRegistriesConf({ file: join(root, 'no'), folder: join(root, 'no.d') })).toEqual(NO_CONF)
  })

  test('count after the file, in the order of their names; what they say replaces', async () => {
    await writeFile(
      join(root, 'main'),
      'unqualified-search-registries = ["a.io"]\nshort-name-mode = "disabled"\n[[registry]]\nlocation = "x.io"\n[[registry.mirror]]\nlocation = "m.io"\n[[registry]]\nlocation = "y.io"\n[aliases]\na = "a.io/a"\nb = "a.io/b"\nc = "a.io/c"',
    )
    await writeFile(
      join(root, 'd', '10.conf'),
      '[[registry]]\nlocation = "x.io"\nblocked = true\n[aliases]\na = ""\nb = "1.io/b"',
    )
    await writeFile(join(root, 'd', '20.conf'), 'unqualified-search-registries = []\n[aliases]\nb = "2.io/b"')
    await writeFile(join(root, 'd', '30.ignored'), 'not TOML')
    const conf = await read()
    expect(conf.registries.map((r) => [r.prefix, r.blocked, r.mirrors.length])).toEqual([
      ['y.io', false, 0],
      ['x.io', true, 0],
    ])
    expect(Object.fromEntries(conf.aliases)).toEqual({ b: '2.io/b', c: 'a.io/c' })
    expect([conf.search, conf.searchPlace, conf.mode]).toEqual([
      [],
      `${join(root, 'd', '20.conf')}:1`,
      'disabled',
    ])
  })

  test('one that does not parse is named', async () => {
    await writeFile(join(root, 'main'), '[[registry]]\nlocation = "x.io"')
    await writeFile(join(root, 'd', '10.conf'), '\n[[registry]\n')
    await expect(read()).rejects.toThrow(`${join(root, 'd', '10.conf')}:2:`)
  })
})

describe('the table for a name', () => {
  test.each([
    ['a.io', 'a.io/b:1', 4],
    ['a.io/b', 'a.io/b:1', 6],
    ['a.io/b', 'a.io/b@sha256:0', 6],
    ['a.io/b:1', 'a.io/b:1', 8],
    ['a.io/b:1', 'a.io/b:12', undefined],
    ['a.io/b', 'a.io/bc:1', undefined],
    ['a.io', 'a.io:5000/b:1', undefined],
    ['a.io:5000', 'a.io:5000/b:1', 9],
    ['a.io/b/c', 'a.io/b:1', undefined],
    ['*.a.io', 'x.a.io/b:1', 6],
    ['*.a.io', 'x.y.a.io/b:1', 8],
    ['*.a.io', 'a.io/b:1', undefined],
    ['*.a.io', 'xa.io/b:1', undefined],
    ['*.a.io', 'x.a.io.evil.net/b:1', undefined],
    ['*.a.io', 'evil.net/x.a.io/b:1', undefined],
    ['*.a.io', 'x.a.io:5000/b:1', undefined],
    ['*.a.io/b', 'x.a.io/b/c:1', 8],
  ])('%s covers of %s: %s', (prefix, name, covered) => {
    expect(coveredBy(prefix, name)).toBe(covered)
  })

  test('is the one with the longest prefix; a wildcard gives way to a name as long', () => {
    const prefixes = ['*.a.io', 'a.io', 'x.a.io/b', 'x.a.io', '*.x.a.io']
    const text = prefixes.map((p) => `[[registry]]\nprefix = "${p}"\nlocation = "m.io"\n`).join('')
    const conf = { ...NO_CONF, registries: parse(text).registries }
    const found = (name: string) => tableFor(conf, name)?.prefix
    expect(
      ['y.a.io/b:1', 'x.a.io/b:1', 'x.a.io/c:1', 'y.x.a.io/c:1', 'a.io/c:1', 'z.io/a:1'].map(found),
    ).toEqual(['*.a.io', 'x.a.io/b', 'x.a.io', '*.x.a.io', 'a.io', undefined])
  })
})
