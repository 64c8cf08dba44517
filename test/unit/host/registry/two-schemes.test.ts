// SPDX-License-Identifier: Apache-2.0
/** A host with two entries, one for https and one for http: whichever answers is the host, the other is not asked. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Authorizer } from '../../../../src/host/registry/auth.ts'
import { RegistryClient } from '../../../../src/host/registry/client.ts'
import { hostAt, type RegistryHost } from '../../../../src/host/registry/hosts-toml.ts'
import { closeConnections } from '../../../../src/host/registry/http.ts'
import { parseDigest, parseReference } from '../../../../src/model/reference.ts'
import { buildImage, type Image } from '../../../support/oci-image.ts'
import { buildLayer } from '../../../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../../../support/pull-registry.ts'

let plain: PullRegistry
let other: PullRegistry
let image: Image
beforeEach(async () => {
  plain = await pullRegistry()
  other = await pullRegistry()
  image = buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content: 'a' }])] })
})
afterEach(async () => {
  closeConnections()
  await plain[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
})

const at = (scheme: string, host: string, more: Partial<RegistryHost> = {}) =>
  hostAt(new URL(`${scheme}://${host}/v2`), more)
const client = (hosts: readonly RegistryHost[]) =>
  new RegistryClient(parseReference(`${plain.host}/a:v1`), {
    hosts,
    auth: new Authorizer({ lookup: async () => undefined, repository: 'a' }),
    signal: new AbortController().signal,
  })
const layer = () => {
  const [blob] = image.layers
  if (!blob) throw new Error('no layer')
  return { ...blob, digest: parseDigest(blob.digest) }
}

test('plain http is asked before the next host when https is not spoken, and stays the host', async () => {
  plain.add('a', 'v1', image)
  const one = client([
    at('https', plain.host),
    at('http', plain.host, { onlyIfUnreachable: true }),
    at('http', other.host),
  ])
  await one.manifest('v1')
  await one.smallBlob(layer(), 10_000)
  expect(plain.seen.map((r) => r.path.split('/')[3])).toEqual(['manifests', 'blobs'])
  expect(other.seen).toEqual([])
})

test('what the one that answered says is what is reported', async () => {
  const failed = client([
    at('https', plain.host),
    at('http', plain.host, { onlyIfUnreachable: true }),
  ]).manifest('v1')
  await expect(failed).rejects.toMatchObject({ kind: 'not-found' })
  await expect(failed).rejects.not.toThrow('https:')
})

test('a host that has sent a wrong blob by http is not asked for it by https', async () => {
  plain.add('a', 'v1', image)
  plain.put('a', layer().digest, { ...layer(), bytes: Buffer.alloc(layer().size) })
  const one = client([at('https', plain.host), at('http', plain.host, { onlyIfUnreachable: true })])
  await one.manifest('v1')
  await expect(one.smallBlob(layer(), 10_000)).rejects.toMatchObject({ kind: 'corrupt' })
  expect(plain.blobGets()).toHaveLength(1)
})

test('400 to plain http is what a server says that speaks TLS only', async () => {
  plain.intercept = (_req, res) => {
    res.writeHead(400).end('Client sent an HTTP request to an HTTPS server.')
    return true
  }
  other.add('a', 'v1', image)
  const one = client([at('http', plain.host), at('http', other.host, { onlyIfUnreachable: true })])
  expect((await one.manifest('v1')).digest).toBe(image.manifest.digest)
  await one.smallBlob(layer(), 10_000)
  expect(plain.seen).toHaveLength(1)
})

test('a repository of its own and an API without a path are asked for as they are', async () => {
  plain.add('x/y', 'v1', image)
  plain.intercept = (req, res) => {
    if (req.path !== '/x/y/manifests/v1') return false
    res.writeHead(200, { 'content-type': image.manifest.mediaType }).end(image.manifest.bytes)
    return true
  }
  const bare = hostAt(new URL(`http://${plain.host}`), { repository: 'x/y' })
  expect((await client([bare]).manifest('v1')).digest).toBe(image.manifest.digest)
})
