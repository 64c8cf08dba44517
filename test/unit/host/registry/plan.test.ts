// SPDX-License-Identifier: Apache-2.0
/** The plan of a pull: which file wins, and which hosts and repositories come of it. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { RegistryHost } from '../../../../src/host/registry/hosts-toml.ts'
import { registryPlan } from '../../../../src/host/registry/plan.ts'
import { formatReference, parseReference } from '../../../../src/model/reference.ts'

const DIGEST = `sha256:${'ab'.repeat(32)}`
const pem = (what: string) => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`
let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-plan-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), text)
}
const plan = (name: string) =>
  registryPlan(
    {
      certsDirs: [join(root, 'one'), join(root, 'two')],
      registriesConf: { file: join(root, 'r.conf'), folder: join(root, 'r.d') },
    },
    parseReference(name),
  )
const shown = (h: RegistryHost) =>
  `${h.onlyIfUnreachable ? 'or ' : ''}${h.base.href}${h.repository === undefined ? '' : ` ${h.repository}`}`
const asked = async (name: string) => (await plan(name)).candidates.flatMap((c) => c.hosts.map(shown))

describe('which file wins', () => {
  test('none: the registry itself', async () => {
    expect(await asked('reg.io/a')).toEqual(['https://reg.io/v2'])
    expect(await asked('busybox')).toEqual(['https://registry-1.docker.io/v2'])
  })

  test('hosts.toml before registries.conf, which is not even read then', async () => {
    await put('two/reg.io/hosts.toml', 'server = "http://m:1"')
    await put('r.conf', 'this is not TOML')
    expect(await asked('reg.io/a')).toEqual(['http://m:1/v2'])
    await expect(plan('other.io/a')).rejects.toThrow(`${join(root, 'r.conf')}:1:`)
  })

  test('the first folder that there is, also the default one of an earlier root', async () => {
    await put('one/_default/hosts.toml', 'server = "http://m:1"')
    await put('two/reg.io/hosts.toml', 'server = "http://m:2"')
    expect(await asked('reg.io/a')).toEqual(['http://m:1/v2'])
    await put('one/reg.io/hosts.toml', 'server = "http://m:3"')
    expect(await asked('reg.io/a')).toEqual(['http://m:3/v2'])
  })

  test('certificates alone decide nothing: they go with the host, whoever names it', async () => {
    await put('one/reg.io/ca.crt', pem('CERTIFICATE'))
    await put('one/reg.io/hosts.toml', '')
    await put('two/m.io_5000_/c.cert', pem('CERTIFICATE'))
    await put('two/m.io_5000_/c.key', pem('PRIVATE KEY'))
    const [own] = (await plan('reg.io/a')).candidates[0]?.hosts ?? []
    expect(own?.tls).toEqual({ ca: [pem('CERTIFICATE')], client: [], skipVerify: false })
    await put('r.conf', '[[registry]]\nlocation = "reg.io"\n[[registry.mirror]]\nlocation = "m.io:5000"')
    const [mirror, itself] = (await plan('reg.io/a')).candidates[0]?.hosts ?? []
    expect(mirror?.tls.client).toEqual([{ cert: pem('CERTIFICATE'), key: pem('PRIVATE KEY') }])
    expect(itself?.tls.ca).toEqual([pem('CERTIFICATE')])
  })

  test('certificates for a registry on loopback mean https first', async () => {
    await put('one/localhost:5000/ca.crt', pem('CERTIFICATE'))
    expect(await asked('localhost:5000/a')).toEqual([
      'https://localhost:5000/v2',
      'or http://localhost:5000/v2',
    ])
  })

  test('read anew each time', async () => {
    await put('r.conf', '[[registry]]\nlocation = "reg.io"\nblocked = true')
    await expect(plan('reg.io/a')).rejects.toMatchObject({ kind: 'denied' })
    await put('r.conf', '')
    expect(await asked('reg.io/a')).toEqual(['https://reg.io/v2'])
  })
})

describe('a folder that cannot be used', () => {
  test.each([
    ['one/reg.io', 'x', 'is not a folder'],
    ['one/reg.io/c.cert', pem('CERTIFICATE'), 'c.key is missing beside it'],
    ['one/reg.io/c.key', pem('PRIVATE KEY'), 'c.cert is missing beside it'],
    ['one/reg.io/ca.crt', 'no certificate', 'is not a PEM file'],
    ['one/reg.io/hosts.toml', 'server =', 'hosts.toml:1:'],
  ])('%s', async (path, text, why) => {
    await put(path, text)
    await put('r.conf', '[[registry]]\nlocation = "reg.io"')
    await expect(plan('reg.io/a')).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining(why),
    })
    expect(await asked('other.io/a')).toEqual(['https://other.io/v2'])
  })

  test('a certificate with its key in it needs no other file', async () => {
    await put('one/reg.io/c.cert', pem('CERTIFICATE') + pem('RSA PRIVATE KEY'))
    expect((await plan('reg.io/a')).candidates[0]?.hosts[0]?.tls.client).toHaveLength(1)
  })
})

const CONF = `
[[registry]]
prefix = "example.com/foo"
location = "internal.net/bar"
[[registry.mirror]]
location = "m0.io/for-foo"
[[registry.mirror]]
location = "m1.io:5000"
insecure = true
[[registry.mirror]]
location = "m2.io"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.io"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "*.corp"
[[registry.mirror]]
location = "corp.io/all"

[[registry]]
location = "digest.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.io"

[[registry]]
location = "open.io"
insecure = true

[[registry]]
location = "closed.io"
blocked = true
[[registry.mirror]]
location = "m.io/closed"

[[registry]]
location = "bad.io"
blocked = true

[[registry]]
location = "via.io"
[[registry.mirror]]
location = "bad.io"

[[registry]]
prefix = "moved.io"
location = "bad.io/x"

[[registry]]
prefix = "a.io"
location = "b.io"
[[registry]]
prefix = "b.io"
location = "a.io"

[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "hub.io/proxy"

[[registry]]
prefix = "pin.io/app:1"
location = "other.io/app:1"
[[registry]]
prefix = "pin.io/app:2"
location = "other.io/app:3"
[[registry]]
prefix = "nowhere.io"
location = "team/x"
`

describe('registries.conf sends a pull', () => {
  beforeEach(() => put('r.conf', CONF))

  test.each([
    [
      'example.com/foo/img:1',
      'to mirrors in order, then to the location, each with its repository',
      [
        'https://m0.io/v2 for-foo/img',
        'https://m1.io:5000/v2 img',
        'or http://m1.io:5000/v2 img',
        'https://m3.io/v2 img',
        'https://internal.net/v2 bar/img',
      ],
    ],
    [
      `example.com/foo/img@${DIGEST}`,
      'by digest to those for digests',
      [
        'https://m0.io/v2 for-foo/img',
        'https://m1.io:5000/v2 img',
        'or http://m1.io:5000/v2 img',
        'https://m2.io/v2 img',
        'https://internal.net/v2 bar/img',
      ],
    ],
    ['example.com/foobar:1', 'not for another name', ['https://example.com/v2']],
    [
      'x.y.corp/a:1',
      'by a wildcard, and to the name itself',
      ['https://corp.io/v2 all/a', 'https://x.y.corp/v2'],
    ],
    ['digest.io/a:1', 'with a tag not to mirrors for digests', ['https://digest.io/v2']],
    [`digest.io/a:1@${DIGEST}`, 'with both by its digest', ['https://m.io/v2', 'https://digest.io/v2']],
    ['open.io/a', 'insecurely by https first', ['https://open.io/v2', 'or http://open.io/v2']],
    ['closed.io/a', 'to its mirrors alone if it is blocked', ['https://m.io/v2 closed/a']],
    ['via.io/a', 'never to a mirror that is blocked', ['https://via.io/v2']],
    ['a.io/a', 'once: what is sent elsewhere is not sent on', ['https://b.io/v2']],
    [
      'busybox',
      'for Docker Hub with its library',
      ['https://hub.io/v2 proxy/library/busybox', 'https://registry-1.docker.io/v2'],
    ],
    ['pin.io/app:1', 'for one tag', ['https://other.io/v2']],
  ])('%s: %s', async (name, _why, expected) => {
    expect(await asked(name)).toEqual(expected)
  })

  test('with a word about a mirror that is blocked', async () => {
    expect((await plan('via.io/a')).warnings).toEqual([expect.stringContaining('"bad.io" is blocked')])
    expect((await plan('closed.io/a')).warnings).toEqual([])
  })

  test('without a namespace, and unverified only where it says so', async () => {
    const hosts = (await plan('example.com/foo/img')).candidates[0]?.hosts ?? []
    expect(hosts.map((h) => h.ns)).toEqual(hosts.map(() => undefined))
    expect(hosts.map((h) => h.tls.skipVerify)).toEqual([false, true, true, false, false])
  })

  test.each([
    ['bad.io/a', 'denied', '"bad.io" is blocked by registries.conf'],
    ['moved.io/a', 'denied', '"bad.io" is blocked'],
    ['pin.io/app:2', 'invalid', 'the tag or digest would be another'],
    ['nowhere.io/a', 'invalid', 'it must begin with a registry'],
  ])('%s is %s: %s', async (name, kind, why) => {
    const failed = plan(name)
    await expect(failed).rejects.toMatchObject({ kind })
    await expect(failed).rejects.toThrow(why)
    await expect(failed).rejects.toThrow(/r\.conf:\d+: /)
  })
})

describe('a short name', () => {
  const meant = async (name: string) => (await plan(name)).candidates.map((c) => formatReference(c.ref))

  test('means its alias, else what the search list says, each with its own hosts', async () => {
    await put(
      'r.conf',
      'unqualified-search-registries = ["q.io", "docker.io"]\n[aliases]\napp = "reg.io/team/app"',
    )
    await put('one/q.io/hosts.toml', 'server = "http://m:1"')
    expect(await meant('app:1')).toEqual(['reg.io/team/app:1'])
    expect(await meant('b')).toEqual(['q.io/b:latest', 'docker.io/library/b:latest'])
    expect(await asked('b')).toEqual(['http://m:1/v2', 'https://registry-1.docker.io/v2'])
  })

  test.each([
    ['enforcing', '["a.io", "b.io"]', 'invalid', 'r.conf:2: the short name "b" may be at a.io, b.io'],
    ['enforcing', '[]', 'not-found', 'r.conf:2: the short name "b" has no alias'],
    ['permissive', '[]', 'not-found', 'the search list is empty'],
  ])('in mode %s with %s is %s', async (mode, list, kind, why) => {
    await put('r.conf', `short-name-mode = "${mode}"\nunqualified-search-registries = ${list}`)
    await expect(plan('b')).rejects.toMatchObject({ kind, message: expect.stringContaining(why) })
    expect(await meant('c.io/b')).toEqual(['c.io/b:latest'])
  })

  test('is not ambiguous with one registry', async () => {
    await put('r.conf', 'short-name-mode = "enforcing"\nunqualified-search-registries = ["a.io"]')
    expect(await meant('b')).toEqual(['a.io/b:latest'])
  })

  test('passes over a blocked registry and says so, but not over a broken file', async () => {
    await put(
      'r.conf',
      'unqualified-search-registries = ["bad.io", "a.io"]\n[[registry]]\nlocation = "bad.io"\nblocked = true',
    )
    const found = await plan('b')
    expect(found.candidates.map((c) => c.ref.domain)).toEqual(['a.io'])
    expect(found.warnings).toEqual([expect.stringContaining('"bad.io" is blocked')])
    await put('one/a.io/hosts.toml', 'server = 1')
    await expect(plan('b')).rejects.toThrow('hosts.toml:1: server')
  })
})
