// SPDX-License-Identifier: Apache-2.0
/**
 * Reading image archives: the kinds that other tools write, crafted member by member, give their images; what is
 * hostile or cut short gives a sentence that says so, and no file is left.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addAbortSignal, PassThrough } from 'node:stream'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { inflated } from '../../../../src/host/archive/inflate.ts'
import { type ArchiveImage, type OpenArchive, openArchive } from '../../../../src/host/archive/read.ts'
import { type Spool, spoolArchive } from '../../../../src/host/archive/spool.ts'
import { resolveImage } from '../../../../src/host/registry/resolve.ts'
import { digestName, parseReference } from '../../../../src/model/reference.ts'
import { blobsOf, buildImage, buildIndex, hostPlatform, type Image } from '../../../support/oci-image.ts'
import { buildLayer, sha256 } from '../../../support/oci-layer.ts'
import { tarArchive, tarEntry, tarHeader } from '../../../support/tar-writer.ts'

let folder: string
let spools: Spool[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-archive-'))
  spools = []
})
afterEach(async () => {
  for (const spool of spools) await spool.close()
  expect(await readdir(folder)).toEqual([])
  await rm(folder, { recursive: true, force: true })
})

async function* inPieces(bytes: Buffer, size = 1000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function open(bytes: Buffer, maxBytes = 2 ** 30): Promise<OpenArchive> {
  const options = { file: join(folder, 'spool'), maxBytes, signal: new AbortController().signal }
  const spool = await spoolArchive(inflated(inPieces(bytes)), options)
  spools.push(spool)
  return openArchive(spool)
}

const digestNamesOf = (of: ArchiveImage) => of.repositories.map((ref) => digestName(ref, of.digest))
const hex = (digest: string) => digest.slice(7)
const json = (name: string, value: unknown) => tarEntry({ name }, JSON.stringify(value))
const resolve = async (archive: OpenArchive, n = 0) => {
  const digest = archive.images[n]?.digest
  if (!digest) throw new Error('no such image')
  return resolveImage(archive.source, { ...parseReference('archive/image'), digest }, hostPlatform())
}

async function image(marker: string, compression: 'gzip' | 'none' | 'zstd' = 'gzip'): Promise<Image> {
  const base = await buildLayer([{ type: 'file', path: 'base', content: 'base' }], compression)
  const top = await buildLayer([{ type: 'file', path: 'marker', content: marker }], compression)
  return buildImage({ layers: [base, top], config: { Env: [`M=${marker}`] } })
}

const blobMembers = (...images: Parameters<typeof blobsOf>[0][]) => {
  const blobs = new Map(images.flatMap((i) => blobsOf(i)).map((b) => [b.digest, b.bytes]))
  return [...blobs].map(([digest, bytes]) =>
    tarEntry({ name: `blobs/sha256/${hex(digest)}` }, Buffer.from(bytes)),
  )
}

const descriptor = (i: Parameters<typeof blobsOf>[0], more: object = {}) => ({
  mediaType: i.manifest.mediaType,
  digest: i.manifest.digest,
  size: i.manifest.size,
  ...more,
})
const layout = (...manifests: object[]) => json('index.json', { schemaVersion: 2, manifests })
const fullName = (name: string) => ({ annotations: { 'io.containerd.image.name': name } })

/** As Docker before 25 writes it: `ID.json`, `V1ID/layer.tar`, manifest.json. */
function dockerArchive(i: Image, tags: string[] | null): Buffer[] {
  return [
    ...i.layers.flatMap((layer, n) => [
      tarHeader({ name: `layer${n}/`, type: '5' }),
      tarEntry({ name: `layer${n}/layer.tar` }, Buffer.from(layer.bytes)),
    ]),
    tarEntry({ name: `${hex(i.config.digest)}.json` }, Buffer.from(i.config.bytes)),
    json('manifest.json', [
      {
        Config: `${hex(i.config.digest)}.json`,
        RepoTags: tags,
        Layers: i.layers.map((_, n) => `layer${n}/layer.tar`),
      },
    ]),
  ]
}

describe('an OCI layout', () => {
  test('gives its image with the name and the digest that the registry had', async () => {
    const one = await image('one')
    const archive = await open(
      tarArchive(...blobMembers(one), layout(descriptor(one, fullName('docker.io/library/x:v1')))),
    )
    expect(archive.images).toMatchObject([{ digest: one.manifest.digest, tags: ['docker.io/library/x:v1'] }])
    expect(archive.images.map(digestNamesOf)).toEqual([[`docker.io/library/x@${one.manifest.digest}`]])
    const resolved = await resolve(archive)
    expect(resolved.configDigest).toBe(one.config.digest)
    expect(resolved.layers.map((l) => l.digest)).toEqual(one.layers.map((l) => l.digest))
  })

  test('may have its members in any order, and index.json first', async () => {
    const one = await image('one')
    const archive = await open(tarArchive(layout(descriptor(one)), ...blobMembers(one).reverse()))
    expect((await resolve(archive)).configDigest).toBe(one.config.digest)
  })

  test('may nest indexes; the platform of this machine is taken', async () => {
    const [one, other] = [await image('one'), await image('other')]
    const foreign = { ...other, platform: { os: 'linux', architecture: 's390x' } }
    const index = buildIndex([foreign, one])
    const archive = await open(
      tarArchive(layout(descriptor(index, fullName('a.b/c:1'))), ...blobMembers(index)),
    )
    expect(await resolve(archive)).toMatchObject({
      targetDigest: index.manifest.digest,
      configDigest: one.config.digest,
    })
  })

  test('may list a name once for each platform', async () => {
    const [one, other] = [await image('one'), await image('other')]
    const platform = (architecture: string) => ({ platform: { os: 'linux', architecture } })
    const entries = [
      descriptor(other, { ...fullName('a.b/c:1'), ...platform('s390x') }),
      descriptor(one, { ...fullName('a.b/c:1'), ...platform(hostPlatform().architecture) }),
    ]
    const archive = await open(tarArchive(layout(...entries), ...blobMembers(one, other)))
    expect(archive.images.map((i) => i.tags)).toEqual([['a.b/c:1']])
    expect(archive.images.map(digestNamesOf)).toEqual([[]])
    expect((await resolve(archive)).configDigest).toBe(one.config.digest)
  })

  test('gives an image of several names once, with all of them', async () => {
    const one = await image('one')
    const entries = [descriptor(one, fullName('a.b/c:1')), descriptor(one, fullName('a.b/c:2'))]
    const archive = await open(tarArchive(layout(...entries), ...blobMembers(one)))
    expect(archive.images.map((i) => i.tags)).toEqual([['a.b/c:1', 'a.b/c:2']])
  })

  test.each([
    ['a whole reference', 'quay.io/a/b:1', ['quay.io/a/b:1'], 0],
    ['a bare tag, which names nothing', 'latest', [], 1],
  ])('its ref.name may be %s', async (_what, text, tags, warnings) => {
    const one = await image('one')
    const note = { annotations: { 'org.opencontainers.image.ref.name': text } }
    const archive = await open(tarArchive(layout(descriptor(one, note)), ...blobMembers(one)))
    expect(archive.images.map((i) => i.tags)).toEqual([tags])
    expect(archive.warnings).toHaveLength(warnings)
  })

  test('takes names from manifest.json where index.json has none', async () => {
    const one = await image('one')
    const path = (digest: string) => `blobs/sha256/${hex(digest)}`
    const docker = json('manifest.json', [
      { Config: path(one.config.digest), RepoTags: ['x:1'], Layers: one.layers.map((l) => path(l.digest)) },
    ])
    const archive = await open(tarArchive(...blobMembers(one), layout(descriptor(one)), docker))
    expect(archive.images).toMatchObject([{ digest: one.manifest.digest, tags: ['docker.io/library/x:1'] }])
  })
})

describe('a docker archive', () => {
  test.each(['none', 'gzip', 'zstd'] as const)('gives its image, layers %s', async (compression) => {
    const one = await image('one', compression)
    const archive = await open(tarArchive(...dockerArchive(one, ['busybox:1', 'quay.io/a/b:2'])))
    expect(archive.images.map((i) => i.tags)).toEqual([['docker.io/library/busybox:1', 'quay.io/a/b:2']])
    expect(archive.images.map(digestNamesOf)).toEqual([[]])
    const resolved = await resolve(archive)
    expect(resolved.configDigest).toBe(one.config.digest)
    expect(resolved.layers.map((l) => l.diffId)).toEqual(one.diffIds)
  })

  test('may have no names at all', async () => {
    const archive = await open(tarArchive(...dockerArchive(await image('one'), null)))
    expect(archive.images.map((i) => i.tags)).toEqual([[]])
  })

  test('may hold a layer once and link to it', async () => {
    const layer = await buildLayer([{ type: 'file', path: 'a', content: 'a' }], 'none')
    const twice = buildImage({ layers: [layer, layer] })
    const members = dockerArchive(twice, null)
    const archive = await open(
      tarArchive(
        tarHeader({ name: 'layer1/layer.tar', type: '2', link: '../layer0/layer.tar' }),
        ...members.filter((m) => !m.subarray(0, 20).toString().startsWith('layer1/layer.tar')),
      ),
    )
    expect((await resolve(archive)).layers.map((l) => l.diffId)).toEqual(twice.diffIds)
  })
})

test.each([
  ['gzip', gzipSync],
  ['zstd', zstdCompressSync],
])('the whole may be compressed with %s', async (_name, compress) => {
  const archive = await open(compress(tarArchive(...dockerArchive(await image('one'), ['x:1']))))
  expect(archive.images).toHaveLength(1)
})

describe('is refused with a sentence, and leaves nothing:', () => {
  const some = async () => {
    const one = await image('one')
    return { one, whole: [...blobMembers(one), layout(descriptor(one))] }
  }
  const xz = Buffer.from('fd377a585a000000', 'hex')

  test.each<[string, RegExp, () => Promise<Buffer> | Buffer]>([
    ['nothing', /it is empty/, () => Buffer.alloc(0)],
    ['something else', /no whole tar/, () => Buffer.from('hello'.repeat(500))],
    ['a tar of something else', /no image archive/, () => tarArchive(tarEntry({ name: 'a' }, 'a'))],
    ['xz', /compressed with xz: decompress it first/, () => xz],
    [
      'damaged gzip',
      /gzip data is damaged/,
      async () => gzipSync(tarArchive(...(await some()).whole)).subarray(0, -20),
    ],
    [
      'a tar that ends in a member',
      /no whole tar/,
      async () => Buffer.concat((await some()).whole).subarray(0, 700),
    ],
    [
      'a layout without a blob',
      /is not in the archive/,
      async () => tarArchive(...(await some()).whole.slice(1)),
    ],
    [
      'a blob that is not what its name says',
      /blobs\/sha256\/0{64}: its content has the digest/,
      () => tarArchive(tarEntry({ name: `blobs/sha256/${'0'.repeat(64)}` }, 'x')),
    ],
    [
      'a link that gives a blob the name of another',
      /its content has the digest/,
      async () => {
        const { one, whole } = await some()
        const [, ...rest] = whole
        const name = `blobs/sha256/${hex(one.layers[0]?.digest ?? '')}`
        return tarArchive(
          tarHeader({ name, type: '1', link: `blobs/sha256/${hex(one.config.digest)}` }),
          ...rest,
        )
      },
    ],
    [
      'a path that leaves it',
      /points out of the archive/,
      () => tarArchive(tarEntry({ name: '../../etc/x' }, 'x')),
    ],
    [
      'a link that leaves it',
      /points out/,
      () => tarArchive(tarHeader({ name: 'a', type: '2', link: '../../x' })),
    ],
    [
      'links in a circle',
      /chain or circle of links/,
      () =>
        tarArchive(
          tarHeader({ name: 'index.json', type: '2', link: 'b' }),
          tarHeader({ name: 'b', type: '2', link: 'index.json' }),
        ),
    ],
    ['a device', /is no file, folder or link/, () => tarArchive(tarHeader({ name: 'sda', type: '4' }))],
    [
      'two of the same document',
      /manifest.json is in it twice/,
      () => tarArchive(json('manifest.json', []), json('manifest.json', [])),
    ],
    [
      'a huge member',
      /is larger than 1073741824 bytes/,
      () => tarArchive(tarHeader({ name: 'a', size: 2 ** 31 })),
    ],
    [
      'a document that is no JSON',
      /index.json: not JSON/,
      () => tarArchive(tarEntry({ name: 'index.json' }, '{')),
    ],
    ['no image at all', /there is no image in it/, () => tarArchive(json('manifest.json', []))],
    [
      'a name that is none',
      /RepoTags: image reference/,
      async () => tarArchive(...dockerArchive(await image('one'), ['A B'])),
    ],
    [
      'a name with another digest',
      /it is called/,
      async () => {
        const { one } = await some()
        return tarArchive(
          layout(descriptor(one, fullName(`a.b/c@sha256:${'0'.repeat(64)}`))),
          ...blobMembers(one),
        )
      },
    ],
    [
      'more images than anybody has',
      /names 501 images/,
      () =>
        tarArchive(
          json(
            'manifest.json',
            Array.from({ length: 501 }, () => ({ Config: 'c' })),
          ),
        ),
    ],
  ])('%s', async (_what, message, bytes) => {
    const read = async () => {
      const archive = await open(await bytes())
      const { layers } = await resolve(archive)
      for (const layer of layers) for await (const _ of archive.source.blob(layer));
    }
    await expect(read()).rejects.toThrow(message)
  })
})

test('100 000 members are refused before they are all read', async () => {
  const header = tarHeader({ name: 'a/', type: '5' })
  let sent = 0
  async function* many() {
    const block = Buffer.concat(Array.from({ length: 100 }, () => header))
    for (; sent < 1000; sent++) yield block
  }
  const options = { file: join(folder, 'spool'), maxBytes: 2 ** 20, signal: new AbortController().signal }
  await expect(spoolArchive(many(), options)).rejects.toThrow(/more than 50000 members/)
  expect(sent).toBeLessThan(700)
})

test('a bomb is refused long before the limit of the archive', async () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * 2 ** 20))
  let out = 0
  const read = async () => {
    for await (const piece of inflated(inPieces(Buffer.concat(Array.from({ length: 40 }, () => bomb)), 4096)))
      out += piece.length
  }
  await expect(read()).rejects.toThrow(/refused as a bomb/)
  expect(out).toBeLessThan(2 ** 31)
}, 30_000)

test('an abort ends the reading, and nothing is left', async () => {
  const controller = new AbortController()
  const { signal } = controller
  const silent = addAbortSignal(signal, new PassThrough())
  silent.write(tarEntry({ name: 'a' }, 'a'))
  const reading = spoolArchive(inflated(silent), { file: join(folder, 'spool'), maxBytes: 2 ** 20, signal })
  setTimeout(() => controller.abort(new Error('enough')), 20)
  await expect(reading).rejects.toThrow()
})

test('digests are of the content', async () => {
  const spool = await spoolArchive(inPieces(tarArchive(tarEntry({ name: './a//b' }, 'hello'))), {
    file: join(folder, 'spool'),
    maxBytes: 2 ** 20,
    signal: new AbortController().signal,
  })
  spools.push(spool)
  expect(spool.find('a/b')).toEqual({ offset: 0, size: 5, digest: sha256('hello') })
})
