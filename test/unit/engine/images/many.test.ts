// SPDX-License-Identifier: Apache-2.0
/** Two hundred images: the questions that kubelets ask all the time are answered at once, and from memory. */
import { expect, test } from 'vitest'
import { imageBytes } from '../../../../src/edge/cri/encode/image.ts'
import { repeatedField1 } from '../../../../src/edge/cri/encode/repeated.ts'
import { addNames } from '../../../../src/model/image.ts'
import { fakeImages, pulledOf } from '../../../support/fake-images.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

const IMAGES = 200
const records = Array.from({ length: IMAGES }, (_, i) => {
  const own = Array.from({ length: 9 }, (_, layer) => `${i} ${layer}`)
  return addNames(imageRecord(`${i}`, [`base ${i % 5}`, ...own]), {
    tag: `r.io/team/app-${i}:1`,
    digestName: `r.io/team/app-${i}@${digestOf(`${i}`)}`,
  })
})

/** The slowest of a hundred calls, milliseconds. */
function slowestMs(call: () => unknown): number {
  let slowest = 0
  for (let i = 0; i < 100; i++) {
    const begin = performance.now()
    call()
    slowest = Math.max(slowest, performance.now() - begin)
  }
  return slowest
}

test('ImageFsInfo counts every layer once, within 5 ms also when the images have just changed', async () => {
  const { images, pull } = fakeImages({ records })
  await images.load()
  const layers = IMAGES * 9 + 5
  expect(images.fsInfo()).toMatchObject({ bytes: 100n * BigInt(layers), inodes: 3n * BigInt(layers) })
  const fresh: number[] = []
  for (let i = 0; i < 20; i++) {
    await pull('r.io/moving:1', pulledOf(`new ${i}`))
    const begin = performance.now()
    images.fsInfo()
    fresh.push(performance.now() - begin)
  }
  // The median: a test machine may take the processor away at any moment.
  expect(fresh.sort((a, b) => a - b)[10]).toBeLessThan(5)
})

test('ListImages, ImageStatus and ImageFsInfo stay far below 10 ms', async () => {
  const { images } = fakeImages({ records })
  await images.load()
  const ask = [
    () => repeatedField1(images.list().map(imageBytes)),
    () => images.find('r.io/team/app-77:1'),
    () => images.find(digestOf('77').slice(7, 20)),
    () => images.fsInfo(),
  ]
  for (const call of ask) call()
  // The best of some rounds, for the same reason.
  const rounds = Array.from({ length: 5 }, () => Math.max(...ask.map(slowestMs)))
  expect(Math.min(...rounds)).toBeLessThan(10)
})

test('what containers have written is measured in the background, and the last result is told', async () => {
  let measured = 0
  const gate = Promise.withResolvers<void>()
  const { images, time } = fakeImages({
    deps: {
      measureWritable: async () => {
        await gate.promise
        return { bytes: BigInt(++measured), inodes: 1n, mountpoint: '/layers' }
      },
    },
  })
  expect(images.fsInfo().writable).toEqual({ bytes: 0n, inodes: 0n, mountpoint: '/layers' })
  gate.resolve()
  await expect.poll(() => images.fsInfo().writable.bytes).toBe(1n)
  for (let i = 0; i < 5; i++) images.fsInfo()
  expect(measured).toBe(1)
  time.nowNs += 61_000_000_000n
  images.fsInfo()
  await expect.poll(() => measured).toBe(2)
})
