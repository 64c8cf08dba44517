// SPDX-License-Identifier: Apache-2.0
/**
 * Pulls where the node's registry files send them, over the wire and through the real worker: mirrors, other
 * repositories, plain http, what is blocked, and short names.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Images } from '../../src/engine/images/images.ts'
import { readRegistriesConf } from '../../src/host/registry/registries-conf.ts'
import { seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { imageStore, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage, type Image } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'
import { testCert, testKey, tlsFront } from '../support/tls-front.ts'

let before: Snapshot
let root: string
let mirror: PullRegistry
let upstream: PullRegistry
let image: Image
let images: Images

beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-rconf-')], linkPrefixes: [] })
  image = buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content: 'a' }])] })
})
afterAll(() => expectNoLeaks(before))

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-rconf-'))
  mirror = await pullRegistry()
  upstream = await pullRegistry()
  const registriesConf = { file: join(root, 'registries.conf'), folder: join(root, 'registries.conf.d') }
  const deps = { shortNames: () => readRegistriesConf(registriesConf) }
  images = (await imageStore(root, { puller: { registriesConf }, deps })).images
})
afterEach(async () => {
  await mirror[Symbol.asyncDispose]()
  await upstream[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

const conf = (text: string) => writeFile(join(root, 'registries.conf'), text)
const pull = (name: string) => images.pull(scope, { reference: parseReference(name), auth: seal({}) })
const paths = (registry: PullRegistry) => registry.seen.map((r) => r.path)
const digest = () => image.manifest.digest
/** `example.com` is at `upstream`, and `mirror` is for what `more` says. */
const exampleConf = (more = '', own = '') => `[[registry]]
prefix = "example.com"
location = "${upstream.host}/up"
insecure = true
${own}
[[registry.mirror]]
location = "${mirror.host}/m"
insecure = true
${more}
`

describe('registries.conf', () => {
  test('sends a pull to the repository of the mirror, by plain http if that is insecure; the name stays', async () => {
    await conf(exampleConf())
    mirror.add('m/team/a', 'v1', image)
    const got = await pull('example.com/team/a:v1')
    expect(got.repoTags).toEqual(['example.com/team/a:v1'])
    expect(got.repoDigests).toEqual([`example.com/team/a@${digest()}`])
    expect(paths(mirror)[0]).toBe('/v2/m/team/a/manifests/v1')
    expect(mirror.seen.every((r) => !r.query.has('ns'))).toBe(true)
    expect(upstream.seen).toEqual([])
  })

  test('goes on to the location when the mirror has not got it', async () => {
    await conf(exampleConf())
    upstream.add('up/team/a', 'v1', image)
    await pull('example.com/team/a:v1')
    expect(paths(mirror)).toEqual(['/v2/m/team/a/manifests/v1'])
    expect(paths(upstream)).toContain('/v2/up/team/a/manifests/v1')
  })

  test.each([
    ['pull-from-mirror = "digest-only"', ''],
    ['', 'mirror-by-digest-only = true'],
  ])('asks a mirror for digests only by digest (%j, %j)', async (more, own) => {
    await conf(exampleConf(more, own))
    for (const [registry, path] of [
      [mirror, 'm/a'],
      [upstream, 'up/a'],
    ] as const)
      registry.add(path, 'v1', image)
    await pull('example.com/a:v1')
    expect(mirror.seen).toEqual([])
    const asked = upstream.seen.length
    await pull(`example.com/a@${digest()}`)
    expect(paths(mirror)[0]).toBe(`/v2/m/a/manifests/${digest()}`)
    expect(upstream.seen.length).toBe(asked)
  })

  test('that does not trust plain http is not tricked into it', async () => {
    await conf(`[[registry]]\nlocation = "${upstream.host}"`)
    upstream.add('a', 'v1', image)
    await expect(pull(`${upstream.host}/a:v1`)).rejects.toMatchObject({ reason: 'RegistryUnavailable' })
    expect(upstream.seen).toEqual([])
  })

  test('blocks: nothing is asked, and the place in the file is named', async () => {
    await conf(`[[registry]]\nlocation = "${upstream.host}"\ninsecure = true\nblocked = true`)
    upstream.add('a', 'v1', image)
    const failed = pull(`${upstream.host}/a:v1`)
    await expect(failed).rejects.toMatchObject({ kind: 'denied' })
    await expect(failed).rejects.toThrow('registries.conf:1: ')
    expect(upstream.seen).toEqual([])
  })

  test('that does not parse fails the pull with file and line, and asks nobody', async () => {
    await conf('[[registry]]\nlocation = ')
    upstream.add('a', 'v1', image)
    const failed = pull(`${upstream.host}/a:v1`)
    await expect(failed).rejects.toMatchObject({ kind: 'invalid' })
    await expect(failed).rejects.toThrow(/registries\.conf:2:\d+: /)
    expect(upstream.seen).toEqual([])
    await conf('')
    expect((await pull(`${upstream.host}/a:v1`)).id).toBe(image.config.digest)
  })
})

describe('a short name', () => {
  test('is pulled by its alias, named so, and found and removed by the short name', async () => {
    await conf(`[aliases]\nbox = "${upstream.host}/team/box"`)
    upstream.add('team/box', 'v1', image)
    const got = await pull('box:v1')
    expect(got.repoTags).toEqual([`${upstream.host}/team/box:v1`])
    expect(images.find('box:v1')).toEqual(got)
    expect(images.find(`box@${digest()}`)).toEqual(got)
    expect(images.find('docker.io/library/box:v1')).toBeUndefined()
    await images.remove(scope, 'box:v1')
    expect(images.find(got.id)).toBeUndefined()
    await images.collect()
  })

  test('is looked for in the search list in order; the first that has it names it', async () => {
    await conf(`unqualified-search-registries = ["${mirror.host}", "${upstream.host}"]`)
    upstream.add('box', 'latest', image)
    const got = await pull('box')
    expect(got.repoTags).toEqual([`${upstream.host}/box:latest`])
    expect(paths(mirror)).toEqual(['/v2/box/manifests/latest'])
    expect(images.find('box')).toEqual(got)
  })

  test('that nobody has is not found, and every place is named', async () => {
    await conf(`unqualified-search-registries = ["${mirror.host}", "${upstream.host}"]`)
    const failed = pull('box')
    await expect(failed).rejects.toMatchObject({ kind: 'not-found' })
    await expect(failed).rejects.toThrow(`${mirror.host}/box:latest`)
    await expect(failed).rejects.toThrow(`${upstream.host}/box:latest`)
  })

  test('that is ambiguous is refused where the mode is enforcing', async () => {
    await conf(
      `short-name-mode = "enforcing"\nunqualified-search-registries = ["${mirror.host}", "${upstream.host}"]`,
    )
    await expect(pull('box')).rejects.toThrow('name its registry or add an alias')
    expect([...mirror.seen, ...upstream.seen]).toEqual([])
  })
})

describe('hosts.toml', () => {
  const hosts = async (text: string) => {
    await mkdir(join(root, 'certs.d', 'reg.example'), { recursive: true })
    await writeFile(join(root, 'certs.d', 'reg.example', 'hosts.toml'), text)
  }

  test('goes before registries.conf, and without fallback the way to the registry is closed', async () => {
    await conf(`[[registry]]\nprefix = "reg.example"\nlocation = "${upstream.host}"\ninsecure = true`)
    await hosts(`server = "${`http://${upstream.host}`}"\nfallback = false\n[host."http://${mirror.host}"]`)
    upstream.add('a', 'v1', image)
    await expect(pull('reg.example/a:v1')).rejects.toMatchObject({ kind: 'not-found' })
    expect(upstream.seen).toEqual([])
    mirror.add('a', 'v1', image)
    await pull('reg.example/a:v1')
    expect(mirror.seen.every((r) => r.query.get('ns') === 'reg.example')).toBe(true)
  })

  test('asks a host that may not pull for no blob', async () => {
    await hosts(
      `server = "http://${upstream.host}"\n[host."http://${mirror.host}"]\ncapabilities = ["resolve"]\n`,
    )
    mirror.add('a', 'v1', image)
    upstream.add('a', 'v1', image)
    await pull('reg.example/a:v1')
    expect(mirror.seen).toEqual([])
  })
})

describe('certificates in the layout of Docker', () => {
  const put = async (host: string, name: string, text: string) => {
    await mkdir(join(root, 'certs.d', host), { recursive: true })
    await writeFile(join(root, 'certs.d', host, name), text)
  }

  test('are what a host is verified by, and let us in', async () => {
    await using front = await tlsFront(Number(upstream.host.split(':')[1]), {
      ca: testCert,
      requestCert: true,
      rejectUnauthorized: true,
    })
    await conf(`[[registry]]\nprefix = "example.com"\nlocation = "${front.host}"`)
    upstream.add('a', 'v1', image)
    await expect(pull('example.com/a:v1')).rejects.toMatchObject({ reason: 'RegistryUnavailable' })
    await put(front.host, 'ca.crt', testCert)
    await expect(pull('example.com/a:v1')).rejects.toMatchObject({ reason: 'RegistryUnavailable' })
    expect(upstream.seen).toEqual([])
    await put(front.host, 'client.cert', testCert)
    await expect(pull('example.com/a:v1')).rejects.toThrow('client.key is missing beside it')
    await put(front.host, 'client.key', testKey)
    expect((await pull('example.com/a:v1')).id).toBe(image.config.digest)
  })

  test('on loopback: a registry that speaks TLS only is found without any file', async () => {
    await using front = await tlsFront(Number(upstream.host.split(':')[1]))
    upstream.add('a', 'v1', image)
    expect((await pull(`${front.host}/a:v1`)).id).toBe(image.config.digest)
  })
})
