// SPDX-License-Identifier: Apache-2.0
/** The manifest of an image that leaves: the bytes that came where nothing changed, else only the layers are others. */
import { describe, expect, test } from 'vitest'
import { compressionIn, withLayers } from '../../../src/image-worker/manifest-out.ts'
import { type Digest, digestOfHex } from '../../../src/model/reference.ts'

const digest = (letter: string): Digest => digestOfHex(letter.repeat(64))
const OCI = 'application/vnd.oci.image.manifest.v1+json'
const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json'

function manifest(mediaType: string): Buffer {
  const layer = (letter: string) => ({
    mediaType: `layer-${letter}`,
    size: 1,
    digest: digest(letter),
    annotations: { l: letter },
  })
  const config = { mediaType: 'c', size: 2, digest: digest('f') }
  return Buffer.from(
    JSON.stringify(
      { schemaVersion: 2, mediaType, config, layers: [layer('a'), layer('b')], annotations: { k: 'v' } },
      null,
      3,
    ),
  )
}

describe('withLayers', () => {
  test('gives the very bytes back if the layers are those of the manifest', () => {
    const raw = manifest(OCI)
    const same = ['a', 'b'].map((l) => ({ digest: digest(l), size: 1, compression: 'gzip' as const }))
    expect(withLayers(raw, same)).toEqual({ bytes: raw, mediaType: OCI })
    expect(withLayers(raw, same).bytes).toBe(raw)
  })

  test.each([
    [OCI, 'none', 'application/vnd.oci.image.layer.v1.tar'],
    [OCI, 'gzip', 'application/vnd.oci.image.layer.v1.tar+gzip'],
    [DOCKER, 'none', 'application/vnd.docker.image.rootfs.diff.tar'],
    [DOCKER, 'zstd', 'application/vnd.docker.image.rootfs.diff.tar.zstd'],
  ] as const)('in a %s a layer that is %s now is a %s', (mediaType, compression, layerType) => {
    const blobs = [
      { digest: digest('a'), size: 1, compression: 'gzip' as const },
      { digest: digest('d'), size: 9, compression },
    ]
    const { bytes } = withLayers(manifest(mediaType), blobs)
    const before = JSON.parse(manifest(mediaType).toString())
    const expected = {
      ...before,
      layers: [before.layers[0], { mediaType: layerType, size: 9, digest: digest('d') }],
    }
    expect(JSON.parse(bytes.toString())).toEqual(expected)
  })

  test('what is no manifest is an error that names the place', () => {
    expect(() => withLayers(Buffer.from('{"layers":1}'), [])).toThrow('layers is not a list')
  })
})

test.each([
  ['application/vnd.oci.image.layer.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.v1.tar+zstd', 'zstd'],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'gzip'],
  ['local', 'none'],
])('a %s is compressed: %s', (mediaType, compression) => {
  expect(compressionIn(mediaType)).toBe(compression)
})
