// SPDX-License-Identifier: Apache-2.0
/** What a registry says of an image, believed only as far as it fits together. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Authorizer } from '../../../../src/host/registry/auth.ts'
import { RegistryClient } from '../../../../src/host/registry/client.ts'
import { defaultHosts } from '../../../../src/host/registry/hosts-toml.ts'
import { closeConnections } from '../../../../src/host/registry/http.ts'
import { resolveImage } from '../../../../src/host/registry/resolve.ts'
import { parseReference } from '../../../../src/model/reference.ts'
import { buildImage, buildIndex, type Image } from '../../../support/oci-image.ts'
import { buildLayer, sha256 } from '../../../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../../../support/pull-registry.ts'

let reg: PullRegistry
let image: Image
const amd64 = { os: 'linux', architecture: 'amd64' }
const OCI = 'application/vnd.oci.image.'

beforeEach(async () => {
  reg = await pullRegistry()
  const layers = [
    await buildLayer([{ type: 'file', path: 'a', content: 'a' }]),
    await buildLayer([{ type: 'file', path: 'b', content: 'b' }], 'none'),
  ]
  image = buildImage({ layers, platform: amd64, config: { User: '1', Cmd: ['sh'], Volumes: { '/v': {} } } })
})
afterEach(async () => {
  closeConnections()
  await reg[Symbol.asyncDispose]()
})

function resolve(name = 'v1') {
  const ref = parseReference(`${reg.host}/a/b${name.startsWith('sha256:') ? '@' : ':'}${name}`)
  const client = new RegistryClient(ref, {
    hosts: defaultHosts(reg.host),
    auth: new Authorizer({ lookup: async () => undefined, repository: ref.path }),
    signal: new AbortController().signal,
  })
  return resolveImage(client, ref, amd64)
}

/** Puts JSON under its digest and, with a tag, under that. */
function json(value: object, mediaType: string, tag?: string) {
  const bytes = Buffer.from(JSON.stringify(value))
  const digest = sha256(bytes)
  for (const name of [digest, ...(tag === undefined ? [] : [tag])]) reg.put('a/b', name, { mediaType, bytes })
  return { mediaType, digest, size: bytes.length }
}

const manifestOf = (from: Image) => JSON.parse(Buffer.from(from.manifest.bytes).toString('utf8'))

/** The image with some of its manifest's fields replaced, served as v1. */
function withManifest(change: object, mediaType = image.manifest.mediaType): void {
  reg.add('a/b', 'v1', image)
  json({ ...manifestOf(image), ...change }, mediaType, 'v1')
}

describe('an image', () => {
  test('has its configuration, and layers named by all that is below them', async () => {
    reg.add('a/b', 'v1', image)
    const got = await resolve()
    expect(got).toMatchObject({
      targetDigest: image.manifest.digest,
      manifestDigest: image.manifest.digest,
      configDigest: image.config.digest,
      config: { user: '1', cmd: ['sh'], volumes: ['/v'] },
    })
    const [one, two] = image.diffIds
    expect(got.layers.map((l) => l.chainId)).toEqual([one, sha256(`${one} ${two}`)])
    expect(got.layers.map((l) => l.digest)).toEqual(image.layers.map((l) => l.digest))
  })

  test.each(['oci', 'docker'] as const)('is chosen from a %s index, whose digest is kept', async (format) => {
    const foreign = buildImage({ layers: [], platform: { os: 'linux', architecture: 's390x' }, format })
    const index = buildIndex([foreign, { ...image, format }], format)
    reg.add('a/b', 'v1', index)
    const got = await resolve()
    expect([got.targetDigest, got.manifestDigest]).toEqual([index.manifest.digest, image.manifest.digest])
  })

  test('is found through an index in an index, but not for ever', async () => {
    reg.add('a/b', 'unused', image)
    let entry = {
      mediaType: image.manifest.mediaType,
      digest: image.manifest.digest,
      size: image.manifest.size,
    }
    const nest = (tag?: string) => {
      const type = `${OCI}index.v1+json`
      entry = json({ schemaVersion: 2, mediaType: type, manifests: [{ ...entry }] }, type, tag)
    }
    nest()
    nest('v1')
    expect((await resolve()).manifestDigest).toBe(image.manifest.digest)
    for (let i = 0; i < 4; i++) nest('v1')
    await expect(resolve()).rejects.toThrow('nested more than')
  })

  test('under a general media type is known by what it holds', async () => {
    reg.add('a/b', 'v1', image)
    const { mediaType: _, ...bare } = manifestOf(image)
    json(bare, 'application/json; charset=utf-8', 'v1')
    expect((await resolve()).configDigest).toBe(image.config.digest)
  })
})

describe('refused is', () => {
  test('an index with nothing for this machine, telling what it has', async () => {
    const of = (architecture: string) => buildImage({ layers: [], platform: { os: 'linux', architecture } })
    reg.add('a/b', 'v1', buildIndex([of('arm64'), of('s390x')]))
    await expect(resolve()).rejects.toMatchObject({ kind: 'not-found' })
    await expect(resolve()).rejects.toThrow('nothing for linux/amd64; it offers linux/arm64, linux/s390x')
  })

  test('an image of another machine', async () => {
    reg.add('a/b', 'v1', buildImage({ layers: [], platform: { os: 'linux', architecture: 'arm64' } }))
    await expect(resolve()).rejects.toThrow('the image is for linux/arm64, this machine is linux/amd64')
  })

  test('Docker schema 1', async () => {
    json(
      { schemaVersion: 1, fsLayers: [] },
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      'v1',
    )
    await expect(resolve()).rejects.toThrow('schema 1')
  })

  test('a configuration without a type', async () => {
    withManifest({ config: { ...json({}, ''), mediaType: undefined } })
    await expect(resolve()).rejects.toThrow('config: it has no media type')
  })

  const layerLike = (mediaType: string) => ({ mediaType, digest: `sha256:${'1'.repeat(64)}`, size: 1 })
  test.each([
    [
      'a foreign layer',
      { layers: [layerLike('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')] },
      'unsupported',
      'outside the registry',
    ],
    [
      'a nondistributable layer',
      { layers: [layerLike(`${OCI}layer.nondistributable.v1.tar`)] },
      'unsupported',
      'outside the registry',
    ],
    [
      'an encrypted layer',
      { layers: [layerLike(`${OCI}layer.v1.tar+gzip+encrypted`)] },
      'unsupported',
      'is encrypted, and images are not decrypted here',
    ],
    [
      'more layers than can be mounted',
      { layers: Array.from({ length: 501 }, () => layerLike(`${OCI}layer.v1.tar`)) },
      'unsupported',
      '501 layers',
    ],
    [
      'another number of layers than the configuration has',
      { layers: [layerLike(`${OCI}layer.v1.tar`)] },
      'corrupt',
      'names 2',
    ],
    [
      'a layer of negative size',
      { layers: [{ ...layerLike(`${OCI}layer.v1.tar`), size: -1 }] },
      'corrupt',
      'layers[0]: size',
    ],
    [
      'a layer with sha512',
      { layers: [{ ...layerLike(`${OCI}layer.v1.tar`), digest: `sha512:${'1'.repeat(128)}` }] },
      'unsupported',
      'sha512',
    ],
    ['no list of layers', { layers: {} }, 'corrupt', 'layers is not a list'],
    [
      'a configuration of 5 MiB',
      {
        config: { mediaType: `${OCI}config.v1+json`, digest: `sha256:${'1'.repeat(64)}`, size: 5 * 2 ** 20 },
      },
      'unsupported',
      'bytes',
    ],
    ['an unknown manifest type', { mediaType: 'application/vnd.evil+json' }, 'unsupported', 'not a manifest'],
  ])('a manifest with %s', async (_what, change, kind, why) => {
    withManifest(change)
    await expect(resolve()).rejects.toMatchObject({ kind })
    await expect(resolve()).rejects.toThrow(why)
  })

  test('a configuration whose bytes are other ones', async () => {
    reg.add('a/b', 'v1', image)
    const bytes = Buffer.from(image.config.bytes)
    bytes[bytes.length - 2] = 0x20
    reg.put('a/b', image.config.digest, { mediaType: '', bytes })
    await expect(resolve()).rejects.toMatchObject({ kind: 'corrupt' })
  })

  test.each([
    ['{"architecture":"amd64","os":"linux"}', 'rootfs'],
    ['{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["x"]}}', 'diff_ids'],
    ['{"architecture":"amd64","os":"linux","rootfs":{},"config":{"Env":"A=1"}}', 'config.Env'],
    ['{"architecture":"amd64","os":"linux","rootfs":{},"config":{"Cmd":[1]}}', 'config.Cmd'],
    ['{"architecture":5,"os":"linux","rootfs":{}}', 'architecture'],
    ['[]', 'not an object'],
    ['{', 'not JSON'],
  ])('the configuration %s: %s', async (text, why) => {
    const bytes = Buffer.from(text)
    const digest = sha256(bytes)
    withManifest({ layers: [], config: { mediaType: `${OCI}config.v1+json`, digest, size: bytes.length } })
    reg.put('a/b', digest, { mediaType: '', bytes })
    await expect(resolve()).rejects.toMatchObject({ kind: 'corrupt' })
    await expect(resolve()).rejects.toThrow(why)
  })
})
