// SPDX-License-Identifier: Apache-2.0
/** hosts.toml: the order of hosts, their settings, and that a broken file is never passed over. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { defaultHosts, folderNames, registryHosts } from '../../../../src/host/registry/hosts-toml.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-hosts-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

async function hostsOf(domain: string, folder: string, text: string) {
  await mkdir(join(root, folder), { recursive: true })
  await writeFile(join(root, folder, 'hosts.toml'), text)
  return registryHosts([join(root, 'missing'), root], domain)
}
const bases = (hosts: readonly { base: URL }[]) => hosts.map((h) => h.base.href)

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
      'docker.io',
      `server = "https://registry-1.docker.io"
[host."http://z.mirror:5000"]
  capabilities = ["pull"]
[host."https://a.mirror/custom/v2"]
  capabilities = ["pull", "resolve"]
[host."b.mirror/x"]
  override_path = true
  skip_verify = true
  dial_timeout = "1.5s"
  [host."b.mirror/x".header]
    x-one = "1"
    x-two = ["2", "3"]`,
    )
    expect(bases(hosts)).toEqual([
      'http://z.mirror:5000/v2',
      'https://a.mirror/custom/v2',
      'https://b.mirror/x',
      'https://registry-1.docker.io/v2',
    ])
    expect(hosts.map((h) => h.ns)).toEqual(['docker.io', 'docker.io', 'docker.io', undefined])
    expect(hosts.map((h) => h.resolves)).toEqual([false, true, true, true])
    expect(hosts[2]).toMatchObject({
      connectMs: 1500,
      headers: { 'x-one': '1', 'x-two': '2, 3' },
      tls: { skipVerify: true },
    })
  })

  test('without a server ends with the registry itself', async () => {
    const hosts = await hostsOf('reg.io', 'reg.io', '[host."http://m:1"]')
    expect(bases(hosts)).toEqual(['http://m:1/v2', 'https://reg.io/v2'])
  })

  test('with a mirror as server never asks the registry itself', async () => {
    expect(bases(await hostsOf('reg.io', 'reg.io', 'server = "http://m:1"'))).toEqual(['http://m:1/v2'])
  })

  test.each(['reg.io:5000', 'reg.io_5000_', '_default'])('is found in the folder %s', async (folder) => {
    const hosts = await hostsOf('reg.io:5000', folder, 'server = "http://m:1"')
    expect(bases(hosts)).toEqual(['http://m:1/v2'])
  })

  test('names its certificates relative to itself', async () => {
    await mkdir(join(root, 'reg.io'))
    await writeFile(join(root, 'reg.io', 'ca.pem'), 'CA')
    await writeFile(join(root, 'reg.io', 'c.pem'), 'CERT')
    await writeFile(join(root, 'k.pem'), 'KEY')
    const text = `[host."https://m"]\nca = "ca.pem"\nclient = [["c.pem", "${join(root, 'k.pem')}"], ["c.pem", ""]]`
    const [host] = await hostsOf('reg.io', 'reg.io', text)
    expect(host?.tls).toEqual({
      ca: ['CA'],
      client: [
        { cert: 'CERT', key: 'KEY' },
        { cert: 'CERT', key: 'CERT' },
      ],
      skipVerify: false,
    })
  })
})

describe('a file that cannot be used fails the pull', () => {
  test('with its name, line and column', async () => {
    const bad = hostsOf('reg.io', 'reg.io', 'server = "https://reg.io"\n[host."x"\n')
    await expect(bad).rejects.toMatchObject({ kind: 'invalid' })
    await expect(bad).rejects.toThrow(/reg\.io\/hosts\.toml:2:\d+: /)
  })

  test.each([
    ['[host."https://m"]\ncapabilities = ["fly"]', '"fly" is none of'],
    ['[host."https://m"]\ncapabilities = 3', 'capabilities'],
    ['server = 3', 'server'],
    ['host = "x"', 'must be a table'],
    ['server = "ftp://m"', 'http:// or https://'],
    ['server = "https://u:p@m"', 'user'],
    ['[host."https://m"]\nca = "nope.pem"', 'does not exist'],
    ['[host."https://m"]\nskip_verify = "yes"', 'true or false'],
    ['[host."https://m"]\ndial_timeout = "soon"', 'not a time'],
    ['[host."https://m".header]\n"a b" = "c"', 'not a header'],
    ['[host."https://m".header]\na = "b\\nc"', 'not a header'],
  ])('%j: %s', async (text, why) => {
    await expect(hostsOf('reg.io', 'reg.io', text)).rejects.toThrow(why)
  })
})

test('folders are looked for from the exact one to the default', () => {
  expect(folderNames('reg.io:5000')).toEqual(['reg.io_5000_', 'reg.io:5000', '_default'])
  expect(folderNames('reg.io')).toEqual(['reg.io', '_default'])
})
