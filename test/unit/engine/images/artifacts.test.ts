// SPDX-License-Identifier: Apache-2.0
/** Artifacts in the store: images in everything but that they cannot be run, nor leave this machine. */
import { expect, test } from 'vitest'
import { imageSource } from '../../../../src/engine/images/resolve.ts'
import { imageOut } from '../../../../src/engine/images/save.ts'
import { fakeImages, pulledOf } from '../../../support/fake-images.ts'

const artifactType = 'application/vnd.gantry.test.model.v1'

test('what a pull brings as an artifact is one, and an image is none', async () => {
  const { images, pull, disk } = fakeImages()
  const record = await pull('r.test/model:1', { ...pulledOf('model'), artifactType })
  await pull('r.test/app:1', pulledOf('app'))
  expect(images.list().map((r) => r.artifactType)).toEqual(expect.arrayContaining([artifactType, undefined]))
  expect(disk.disk.get(record.id)?.artifactType).toBe(artifactType)
  const source = imageSource(images)
  expect(source.resolve('r.test/model:1').isArtifact).toBe(true)
  expect(source.resolve('r.test/app:1').isArtifact).toBe(false)
})

test('it is not saved or pushed: its blobs are files here, not archives', async () => {
  const { pull } = fakeImages()
  const record = await pull('r.test/model:1', { ...pulledOf('model'), artifactType })
  const out = imageOut(
    { blobsOf: async () => ({ config: Buffer.alloc(0), manifest: Buffer.alloc(0) }) },
    record,
    [],
  )
  await expect(out).rejects.toMatchObject({
    kind: 'unsupported',
    message: expect.stringContaining('r.test/model:1'),
  })
})
