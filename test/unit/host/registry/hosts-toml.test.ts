// SPDX-License-Identifier: Apache-2.0
/** hosts.toml: the order of hosts, their settings, and that a broken file is never passed over. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { defaultHosts, folderNames, parseHosts } from '../../../../src/host/registry/hosts-toml.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-hosts-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const hostsOf = async (domain: string, text: string) =>
  (await parseHosts(text, { folder: join(root, 'reg.io'), domain })).hosts
const bases = (hosts: readonly { base: URL }[]) => hosts.map((h) => h.base.href)
const pem = (what: string) => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`

describe('without a file', () => {
  test.each([
    ['reg.io', ['https://reg.io/v2']],
    ['docker.io', ['https://registry-1.docker.io/v2']],
    ['localhost:5000', ['http://localhost:5000/v2', 'https://localhost:5000/v2']],
    ['127.1.2.3', ['http://127.1.2.3/v2', 'https://127.1.2.3/v2']],
    ['[::1]:5000', ['http://[::1]:5000/v2', 'https://[::1]:5000/v2']],
    ['localhost:443', ['https://localhost/v2']],
    ['10.0.0.1:5000', ['https://10.0.0.1:5000/v2']],
    ['127.evil.io', ['https://127.evil.io/v2']],
  ])('%s is asked at %j', (domain, expected) => {
    expect(bases(defaultHosts(domain))).toEqual(expected)
  })

  test('https on loopback is asked only when plain http does not answer', () => {
    expect(defaultHosts('localhost:5000').map((h) => h.onlyIfUnreachable)).toEqual([false, true])
  })
})

describe('a file', () => {
  test('gives hosts in its order, the server last, and a namespace to those of another name', async () => {
    const hosts = await hostsOf(
      'docker.io',
      `server = "https://registry-1.docker.io"
[host."http://z.mirror:5000"]
  capabilities = ["pull"]
[host."https://a.mirror/custom/v2"]
  capabilities = ["PULL", "resolve"]
[host."b.mirror/x"]
  override_path = true
  skip_verify = true
  dial_timeout = "1.5s"
  [host."b.mirror/x".header]
    x-one = "1"
    x-two = ["2", "3"]
[host."https://0.mirror:444//y/"]`,
    )
    expect(bases(hosts)).toEqual([
      'http://z.mirror:5000/v2',
      'https://a.mirror/custom/v2',
      'https://b.mirror/x',
      'https://0.mirror:444/y/v2',
      'https://registry-1.docker.io/v2',
    ])
    expect(hosts.map((h) => h.ns)).toEqual(['docker.io', 'docker.io', 'docker.io', 'docker.io', undefined])
    expect(hosts.map((h) => h.resolves)).toEqual([false, true, true, true, true])
    expect(hosts[2]).toMatchObject({
      connectMs: 1500,
      headers: { 'x-one': '1', 'x-two': '2, 3' },
      tls: { skipVerify: true },
    })
  })

  test.each([
    [
      'without a server ends with the registry itself',
      '[host."http://m:1"]',
      ['http://m:1/v2', 'https://reg.io/v2'],
    ],
    ['with a mirror as server never asks the registry itself', 'server = "http://m:1"', ['http://m:1/v2']],
    [
      'with fallback = false asks its hosts alone',
      'fallback = false\n[host."http://m:1"]',
      ['http://m:1/v2'],
    ],
    [
      'with fallback = false asks no server either',
      'server = "https://reg.io"\nfallback = false\n[host."http://m:1"]',
      ['http://m:1/v2'],
    ],
    ['with fallback = true is as without it', 'fallback = true', ['https://reg.io/v2']],
    [
      'without an API path but with override_path',
      'server = "https://m"\noverride_path = true',
      ['https://m/'],
    ],
    ['with nothing in it', '', ['https://reg.io/v2']],
    [
      'with certificates for plain http tries https first',
      '[host."http://m:1"]\nskip_verify = true',
      ['https://m:1/v2', 'http://m:1/v2', 'https://reg.io/v2'],
    ],
    [
      'with certificates for port 80 means plain http',
      '[host."http://m:80"]\nskip_verify = true',
      ['http://m/v2', 'https://reg.io/v2'],
    ],
  ])('%s', async (_name, text, expected) => {
    expect(bases(await hostsOf('reg.io', text))).toEqual(expected)
  })

  test('without a server says its top level of the registry itself, but not what it can do', async () => {
    const [own] = await hostsOf('reg.io', 'capabilities = ["push"]\nskip_verify = true\nheader = { a = "b" }')
    expect(own).toMatchObject({ resolves: true, pulls: true, tls: { skipVerify: true }, headers: { a: 'b' } })
    const loopback = await hostsOf('localhost:5000', 'skip_verify = false')
    expect(loopback.map((h) => [h.base.protocol, h.onlyIfUnreachable])).toEqual([
      ['https:', false],
      ['http:', true],
    ])
    expect(loopback[0]?.tls.skipVerify).toBe(true)
  })

  test('knows a registry by its port also where that is the usual one', async () => {
    expect((await hostsOf('reg.io:443', 'server = "https://reg.io"'))[0]?.ns).toBeUndefined()
    expect((await hostsOf('reg.io', 'server = "http://reg.io:5000"'))[0]?.ns).toBe('reg.io')
  })

  test('names its certificates relative to itself', async () => {
    await mkdir(join(root, 'reg.io'))
    await writeFile(join(root, 'reg.io', 'ca.pem'), pem('CERTIFICATE'))
    await writeFile(join(root, 'reg.io', 'c.pem'), pem('CERTIFICATE'))
    await writeFile(join(root, 'k.pem'), pem('PRIVATE KEY'))
    const text = `[host."https://m"]\nca = "ca.pem"\nclient = [["c.pem", "${join(root, 'k.pem')}"], ["c.pem", ""]]`
    const [host] = await hostsOf('reg.io', text)
    expect(host?.tls).toEqual({
      ca: [pem('CERTIFICATE')],
      client: [
        { cert: pem('CERTIFICATE'), key: pem('PRIVATE KEY') },
        { cert: pem('CERTIFICATE'), key: pem('CERTIFICATE') },
      ],
      skipVerify: false,
    })
  })

  test.each([
    ['10s', 10_000],
    ['1m30s', 90_000],
    ['250ms', 250],
    ['0.5m', 30_000],
    ['', 30_000],
  ])('dial_timeout %j is %i ms', async (text, ms) => {
    expect((await hostsOf('reg.io', `dial_timeout = "${text}"`))[0]?.connectMs).toBe(ms)
  })

  test('warns of keys that have no effect', async () => {
    const { warnings } = await parseHosts('[host."https://m"]\n  ca_file = "x"\n[host.n]\ncapabilites = []', {
      folder: '/c/reg.io',
      domain: 'reg.io',
    })
    expect(warnings).toEqual([
      '/c/reg.io/hosts.toml:2: host."https://m".ca_file: unknown, it has no effect',
      '/c/reg.io/hosts.toml:4: host.n.capabilites: unknown, it has no effect',
    ])
  })
})

describe('a file that cannot be used fails the pull', () => {
  test('with its name, line and column', async () => {
    const bad = hostsOf('reg.io', 'server = "https://reg.io"\n[host."x"\n')
    await expect(bad).rejects.toMatchObject({ kind: 'invalid' })
    await expect(bad).rejects.toThrow(/reg\.io\/hosts\.toml:2:\d+: /)
  })

  test.each([
    [
      '[host."https://m"]\n\ncapabilities = ["fly"]',
      'hosts.toml:3: host."https://m".capabilities: "fly" is none of',
    ],
    ['[host."https://m"]\ncapabilities = 3', 'hosts.toml:2: host."https://m".capabilities: must be'],
    ['# c\nserver = 3', 'hosts.toml:2: server: must be a string'],
    ['host = "x"', 'hosts.toml:1: host: must be a table'],
    ['[host]\nm = 1', 'hosts.toml:2: host.m: must be a table'],
    ['server = "ftp://m"', 'http:// or https://'],
    ['[host."https://a b"]', 'hosts.toml:1: host."https://a b": "https://a b" is not a URL'],
    ['server = "https://u:p@m"', 'user'],
    ['server = "https://m/?a=b"', 'query'],
    ['[host."https://m"]\nca = "nope.pem"', 'nope.pem does not exist'],
    ['[host."https://m"]\nclient = ["nope.pem"]', 'hosts.toml:2: host."https://m".client: the file'],
    ['[host."https://m"]\nclient = [["a", "b", "c"]]', 'pairs'],
    ['[host."https://m"]\nca = "/etc/hostname"', 'not a PEM file'],
    ['[host."https://m"]\nskip_verify = "yes"', 'true or false'],
    ['fallback = "no"', 'hosts.toml:1: fallback: must be true or false'],
    ['[host."https://m"]\ndial_timeout = "soon"', 'not a time'],
    ['[host."https://m"]\ndial_timeout = "-5s"', 'not a time'],
    [
      '[host."https://m".header]\n"a b" = "c"',
      'hosts.toml:2: host."https://m".header."a b": is not a header',
    ],
    ['[host."https://m".header]\na = "b\\nc"', 'not a header'],
    ['[host."https://m"]\n[host."https://m"]', 'hosts.toml:2'],
  ])('%j: %s', async (text, why) => {
    await expect(hostsOf('reg.io', text)).rejects.toThrow(why)
  })

  test('that leaves nobody to ask', async () => {
    await expect(hostsOf('reg.io', 'server = "https://reg.io"\nfallback = false')).rejects.toMatchObject({
      kind: 'denied',
      message: expect.stringContaining('hosts.toml:2: fallback = false'),
    })
  })
})

test('folders are looked for from the exact one to the default', () => {
  expect(folderNames('reg.io:5000')).toEqual(['reg.io_5000_', 'reg.io:5000', '_default'])
  expect(folderNames('reg.io')).toEqual(['reg.io', '_default'])
})
