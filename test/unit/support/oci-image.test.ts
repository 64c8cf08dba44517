// SPDX-License-Identifier: Apache-2.0
/**
 * The image builder: digests that do not change, both manifest families, every compression, entries of every
 * kind, and a layout that gives back what was put in.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { blobsOf, buildImage, buildIndex, hostPlatform, sourceOf } from '../../support/oci-image.ts'
import type { LayerEntry } from '../../support/oci-layer.ts'
import { buildLayer, layerFromTar, sha256, tarOf } from '../../support/oci-layer.ts'
import { readLayout, writeLayout } from '../../support/oci-layout.ts'

const entries: readonly LayerEntry[] = [
  { type: 'directory', path: 'd' },
  { type: 'file', path: 'd/f', content: 'text\n', mode: 0o4755, uid: 5, gid: 6 },
  { type: 'hardlink', path: 'd/h', target: 'd/f' },
  { type: 'symlink', path: 'd/s', target: '/elsewhere' },
  { type: 'char', path: 'd/c', major: 1, minor: 3 },
]

const json = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString('utf8'))

describe('layers', () => {
  it('are the same bytes each time', async () => {
    const [a, b] = await Promise.all([buildLayer(entries), buildLayer(entries)])
    expect(a.digest).toBe(b.digest)
    expect(a.diffId).toBe(sha256(await tarOf(entries)))
  })

  it('hold the same tar in every compression', async () => {
    const [gzip, zstd, none] = await Promise.all(
      (['gzip', 'zstd', 'none'] as const).map((c) => buildLayer(entries, c)),
    )
    expect(new Set([gzip?.diffId, zstd?.diffId, none?.diffId]).size).toBe(1)
    expect(new Set([gzip?.digest, zstd?.digest, none?.digest]).size).toBe(3)
    expect(gunzipSync(gzip?.bytes ?? '').equals(none?.bytes ?? Buffer.alloc(0))).toBe(true)
    expect(zstdDecompressSync(zstd?.bytes ?? '').equals(none?.bytes ?? Buffer.alloc(0))).toBe(true)
    expect(none?.digest).toBe(none?.diffId)
  })

  it('take tar bytes as they are', async () => {
    const layer = await layerFromTar(Buffer.from('not a tar'), 'none')
    expect(Buffer.from(layer.bytes).toString()).toBe('not a tar')
  })

  it('refuse attributes on a path that no plain header holds', async () => {
    const path = 'x'.repeat(120)
    const xattrs = { 'user.a': Buffer.from('b') }
    await expect(tarOf([{ type: 'file', path, content: '', xattrs }])).rejects.toThrow(/short ASCII path/)
  })
})

describe('images', () => {
  it('of the OCI form name their blobs by digest and size', async () => {
    const layer = await buildLayer(entries, 'zstd')
    const image = buildImage({ layers: [layer], config: { Cmd: ['sh'] } })
    expect(json(image.manifest.bytes)).toEqual({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: sha256(image.config.bytes),
        size: image.config.bytes.length,
      },
      layers: [
        {
          mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
          digest: sha256(layer.bytes),
          size: layer.bytes.length,
        },
      ],
    })
    expect(json(image.config.bytes)).toMatchObject({
      ...hostPlatform(),
      config: { Cmd: ['sh'] },
      rootfs: { type: 'layers', diff_ids: [layer.diffId] },
    })
  })

  it('of the Docker form differ in their media types', async () => {
    const image = buildImage({ layers: [await buildLayer(entries)], format: 'docker' })
    expect(json(image.manifest.bytes)).toMatchObject({
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: { mediaType: 'application/vnd.docker.container.image.v1+json' },
      layers: [{ mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' }],
    })
  })

  it('lie under an index with their platforms', async () => {
    const layers = [await buildLayer(entries)]
    const here = buildImage({ layers })
    const there = buildImage({ layers, platform: { os: 'linux', architecture: 's390x' } })
    const index = buildIndex([there, here])
    expect(json(index.manifest.bytes)).toMatchObject({
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        { digest: there.manifest.digest, platform: { architecture: 's390x' } },
        { digest: here.manifest.digest, platform: hostPlatform() },
      ],
    })
    expect(blobsOf(index).at(-1)).toBe(index.manifest)
  })
})

describe('layouts', () => {
  let dir = ''
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gt-layout-'))
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  it('give back every blob of every image by name', async () => {
    const image = buildImage({ layers: [await buildLayer(entries)] })
    const index = buildIndex([image], 'docker')
    await writeLayout(dir, [
      { name: 'a.test/one:1', image },
      { name: 'a.test/two:2', image: index },
    ])
    const layout = await readLayout(dir)
    expect(layout.names).toEqual(['a.test/one:1', 'a.test/two:2'])
    const source = layout.image('a.test/two:2')
    expect(source).toMatchObject({ digest: index.manifest.digest, mediaType: index.manifest.mediaType })
    for (const blob of blobsOf(index)) {
      expect(Buffer.from(blob.bytes).equals(await source.read(blob.digest))).toBe(true)
      expect(await sourceOf(index).read(blob.digest)).toBe(blob.bytes)
    }
    expect(() => layout.image('a.test/three')).toThrow(/a\.test\/one:1/)
  })
})
