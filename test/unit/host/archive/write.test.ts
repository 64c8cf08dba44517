// SPDX-License-Identifier: Apache-2.0
/** Writing image archives: what is in them, byte for byte the same each time, and what a wrong blob or reader does. */
import { createHash } from 'node:crypto'
import { Writable } from 'node:stream'
import tar from 'tar-stream'
import { expect, test } from 'vitest'
import { archiveWriter, type OutBlob, type OutImage } from '../../../../src/host/archive/write.ts'
import { digestOfHex } from '../../../../src/model/reference.ts'

const { signal } = new AbortController()
const digestOf = (bytes: Buffer) => digestOfHex(createHash('sha256').update(bytes).digest('hex'))

function blob(text: string): OutBlob {
  const bytes = Buffer.from(text)
  return {
    digest: digestOf(bytes),
    size: bytes.length,
    async *open() {
      yield bytes
    },
  }
}

function collector() {
  const parts: Buffer[] = []
  const sink = new Writable({
    write(piece, _encoding, done) {
      parts.push(piece)
      done()
    },
  })
  return { sink, bytes: () => Buffer.concat(parts) }
}

const image = (layer: OutBlob, names: string[]): OutImage => ({
  names,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  manifest: Buffer.from('{"manifest":1}'),
  config: Buffer.from('{"config":1}'),
  layers: [layer.digest],
})

async function written(format: 'docker' | 'oci', names: string[]): Promise<Buffer> {
  const { sink, bytes } = collector()
  const writer = archiveWriter(sink, signal)
  const layer = blob('layer')
  await writer.blob(layer)
  await writer.blob(layer)
  await writer.finish([image(layer, names)], format)
  return bytes()
}

async function membersOf(archive: Buffer): Promise<Map<string, string>> {
  const members = new Map<string, string>()
  const extract = tar.extract()
  extract.end(archive)
  for await (const entry of extract) {
    const parts: Buffer[] = []
    for await (const piece of entry) if (Buffer.isBuffer(piece)) parts.push(piece)
    members.set(entry.header.name, Buffer.concat(parts).toString())
  }
  return members
}

test('a docker archive is a layout too, each blob is in it once, and it is always the same', async () => {
  const archive = await written('docker', ['a.b/c:1', 'a.b/c:2', `a.b/c@sha256:${'0'.repeat(64)}`])
  expect(
    archive.equals(await written('docker', ['a.b/c:1', 'a.b/c:2', `a.b/c@sha256:${'0'.repeat(64)}`])),
  ).toBe(true)
  const members = await membersOf(archive)
  const path = (text: string) => `blobs/sha256/${digestOf(Buffer.from(text)).slice(7)}`
  expect([...members.keys()]).toEqual([
    path('layer'),
    path('{"config":1}'),
    path('{"manifest":1}'),
    'index.json',
    'manifest.json',
    'oci-layout',
  ])
  expect(JSON.parse(members.get('manifest.json') ?? '')).toEqual([
    { Config: path('{"config":1}'), RepoTags: ['a.b/c:1', 'a.b/c:2'], Layers: [path('layer')] },
  ])
  const { manifests } = JSON.parse(members.get('index.json') ?? '')
  expect(manifests.map((m: { annotations: object }) => m.annotations)).toEqual([
    { 'io.containerd.image.name': 'a.b/c:1', 'org.opencontainers.image.ref.name': '1' },
    { 'io.containerd.image.name': 'a.b/c:2', 'org.opencontainers.image.ref.name': '2' },
    { 'io.containerd.image.name': `a.b/c@sha256:${'0'.repeat(64)}` },
  ])
})

test('a layout alone has no manifest.json, and an image without a name no annotations', async () => {
  const members = await membersOf(await written('oci', []))
  expect(members.has('manifest.json')).toBe(false)
  expect(JSON.parse(members.get('index.json') ?? '').manifests[0].annotations).toBeUndefined()
})

test('a blob that is not what its digest says is an error', async () => {
  const writer = archiveWriter(collector().sink, signal)
  await expect(writer.blob({ ...blob('one'), digest: digestOf(Buffer.from('two')) })).rejects.toThrow(
    /what is kept of it has the digest/,
  )
  writer.abandon(new Error('over'))
})

test('a reader that fails ends the writing with its reason', async () => {
  const sink = new Writable({ write: (_piece, _e, done) => done(new Error('the reader is gone')) })
  const writer = archiveWriter(sink, signal)
  const large = { ...blob('x'), size: 2 ** 22, digest: digestOf(Buffer.alloc(2 ** 22)) }
  const open = async function* () {
    for (let i = 0; i < 64; i++) yield Buffer.alloc(2 ** 16)
  }
  await expect(writer.blob({ ...large, open })).rejects.toThrow()
})
