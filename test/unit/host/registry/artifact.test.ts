// SPDX-License-Identifier: Apache-2.0
/** Artifacts: what is made of a manifest that is not of an image, and which titles of blobs are believed. */
import { describe, expect, test } from 'vitest'
import { artifactLayers } from '../../../../src/host/registry/artifact.ts'
import { resolveImage } from '../../../../src/host/registry/resolve.ts'
import type { ImageSource } from '../../../../src/host/registry/source.ts'
import { hexOf, parseDigest } from '../../../../src/model/reference.ts'
import { digestOf } from '../../../support/image-record.ts'
import { type Artifact, buildArtifact } from '../../../support/oci-artifact.ts'

const blob = (seed: string, title = seed) => ({
  blob: { mediaType: 'text/plain', digest: digestOf(seed), size: 1 },
  title,
})
const filesOf = (...blobs: ReturnType<typeof blob>[]) => artifactLayers(blobs, 'manifest m')

describe('the files of an artifact', () => {
  test('are named by title, else by digest, in the order of the manifest', () => {
    expect(filesOf(blob('b', 'sub/dir/b'), blob('a', '')).map((f) => f.file)).toEqual([
      'sub/dir/b',
      hexOf(digestOf('a')),
    ])
  })

  test('are layers that bytes and path name together', () => {
    const ids = filesOf(blob('a', 'x'), blob('a', 'y'), blob('b', 'z')).map((f) => f.chainId)
    expect(new Set(ids).size).toBe(3)
    expect(filesOf(blob('a', 'x')).map((f) => f.chainId)).toEqual(ids.slice(0, 1))
  })

  test('are there once when they are said twice', () => {
    expect(filesOf(blob('a', 'x'), blob('a', 'x'))).toHaveLength(1)
  })

  test.each(['../x', 'a/../x', '/x', 'a//x', 'a/', '.', './x', 'a\0b', 'x'.repeat(256), 'a/'.repeat(2100)])(
    'with the title %j are refused',
    (title) => {
      const call = () => filesOf(blob('a', title))
      expect(call).toThrow(expect.objectContaining({ kind: 'corrupt' }))
      expect(call).toThrow(/manifest m: the title .* is not a path of a file/)
    },
  )

  test.each([
    ['two on one path', [blob('a', 'x'), blob('b', 'x')], /two blobs have the title "x"/],
    ['one that is a folder of another', [blob('a', 'x'), blob('b', 'x/y/z')], /"x" is a file and a folder/],
    ['the same in another order', [blob('b', 'x/y'), blob('a', 'x')], /"x" is a file and a folder/],
  ])('%s are refused', (_what, blobs, why) => {
    expect(() => filesOf(...blobs)).toThrow(why)
  })
})

describe('an artifact', () => {
  const sourceOf = ({ manifest, config }: Artifact, asked: string[] = []): ImageSource => ({
    manifest: async () => ({
      bytes: Buffer.from(manifest.bytes),
      mediaType: manifest.mediaType,
      digest: parseDigest(manifest.digest),
    }),
    smallBlob: async ({ digest }) => {
      asked.push(digest)
      return Buffer.from(config.bytes)
    },
    blob: () => {
      throw new Error('no blob is fetched here')
    },
  })
  const ref = { domain: 'r.test', path: 'a', tag: '1', digest: undefined }
  const host = { os: 'linux', architecture: 'amd64' }

  test('is what its manifest says, and that is its id', async () => {
    const made = buildArtifact([{ title: 'f', content: 'f' }], 'application/vnd.x')
    const resolved = await resolveImage(sourceOf(made), ref, host)
    expect(resolved).toMatchObject({
      artifactType: 'application/vnd.x',
      configDigest: made.manifest.digest,
      manifestDigest: made.manifest.digest,
      createdAt: '2026-01-02T03:04:05Z',
      config: { env: [], user: '', cmd: [] },
      layers: [{ file: 'f', digest: made.files[0]?.digest, size: 1 }],
    })
    expect(Buffer.from(resolved.blobs.config, 'base64')).toEqual(Buffer.from(made.manifest.bytes))
  })

  test('without files is asked for its configuration all the same: a policy is asked then', async () => {
    const made = buildArtifact([])
    const asked: string[] = []
    expect((await resolveImage(sourceOf(made, asked), ref, host)).layers).toEqual([])
    expect(asked).toEqual([made.config.digest])
  })
})
