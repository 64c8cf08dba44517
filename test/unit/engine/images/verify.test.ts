// SPDX-License-Identifier: Apache-2.0
/** After a power failure: what is looked at when, and what happens to damaged layers and their images. */
import { expect, test } from 'vitest'
import { imageSource } from '../../../../src/engine/images/resolve.ts'
import type { PowerMarker } from '../../../../src/host/images/power-marker.ts'
import { addNames } from '../../../../src/model/image.ts'
import type { Digest } from '../../../../src/model/reference.ts'
import { fakeImages, pulledOf } from '../../../support/fake-images.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

const named = (seed: string, layers: readonly string[]) =>
  addNames(imageRecord(seed, layers), { tag: `r.io/${seed}:1`, digestName: `r.io/${seed}@${digestOf(seed)}` })

/** Two images that share a layer, after a power failure; `damaged` are layers that are not what they were. */
async function afterFailure(damaged: readonly string[]) {
  const looked: Digest[] = []
  const marker = { trusted: 0, ended: 0 }
  const power: PowerMarker = {
    begin: async () => true,
    trust: async () => void marker.trusted++,
    end: async () => void marker.ended++,
  }
  const world = fakeImages({
    records: [named('a', ['base', 'a']), named('b', ['base', 'b'])],
    deps: {
      marker: power,
      verifyLayer: async (_scope, chainId) => {
        looked.push(chainId)
        return damaged.some((d) => digestOf(`chain ${d}`) === chainId)
          ? 'etc/passwd: its size differs'
          : undefined
      },
    },
  })
  await world.images.load()
  return { ...world, looked, marker }
}

test('the start looks at no layer, and both images are there at once', async () => {
  const { images, looked } = await afterFailure(['a'])
  expect([images.list().length, looked]).toEqual([2, []])
})

test('a container has the layers of its own image looked at, and no others; each once', async () => {
  const { images, looked, marker } = await afterFailure([])
  const source = imageSource(images)
  await source.resolve('r.io/a:1').whole()
  expect(looked).toEqual([digestOf('chain base'), digestOf('chain a')])
  await source.resolve('r.io/a:1').whole()
  await images.verify()
  expect([looked.length, new Set(looked).size, marker.trusted]).toEqual([3, 3, 1])
})

test('a damaged layer hides its image only; a pull finds it missing and the others whole', async () => {
  const { images, store, pull, marker } = await afterFailure(['a'])
  await images.verify()
  await images.collect()
  expect(images.list().map((i) => i.repoTags)).toEqual([['r.io/b:1']])
  expect(images.problems()).toEqual([expect.stringContaining('r.io/a:1')])
  expect([store.dropped, marker.trusted]).toEqual([[digestOf('chain a')], 1])
  await pull('r.io/a:1', pulledOf('a', ['base', 'a']))
  expect([images.list().length, images.problems()]).toEqual([2, []])
})

test('a damaged layer that two images share hides both', async () => {
  const { images, store } = await afterFailure(['base'])
  await images.verify()
  expect([images.list(), store.dropped]).toEqual([[], [digestOf('chain base')]])
})

test('a pull that brings the shared layer shows the other image again, unless its tag has moved', async () => {
  const { images, pull } = await afterFailure(['base'])
  await images.verify()
  await pull('r.io/a:1', pulledOf('a', ['base', 'a']))
  expect(
    images
      .list()
      .flatMap((i) => i.repoTags)
      .sort(),
  ).toEqual(['r.io/a:1', 'r.io/b:1'])
  const moved = await afterFailure(['base'])
  await moved.images.verify()
  await moved.pull('r.io/b:1', pulledOf('a', ['base', 'a']))
  expect(moved.images.find('r.io/b:1')?.id).toBe(digestOf('a'))
  expect(moved.images.find(digestOf('b'))).toMatchObject({
    repoTags: [],
    repoDigests: [`r.io/b@${digestOf('b')}`],
  })
})

test('a container of a damaged image is refused as one that is not here, before anything else has looked', async () => {
  const { images } = await afterFailure(['a'])
  const image = imageSource(images).resolve('r.io/a:1')
  await expect(image.whole()).rejects.toMatchObject({
    kind: 'not-found',
    message: expect.stringMatching(/r.io\/a:1.*pull it again/),
  })
  expect(images.find('r.io/a:1')).toBeUndefined()
})

test('also when its second layer was found damaged by somebody else while it waited for the first', async () => {
  const gate = Promise.withResolvers<void>()
  const { images } = fakeImages({
    records: [named('a', ['low', 'top'])],
    deps: {
      marker: { begin: async () => true, trust: async () => {}, end: async () => {} },
      verifyLayer: async (_scope, chainId) => {
        if (chainId === digestOf('chain top')) return 'damaged'
        await gate.promise
        return undefined
      },
    },
  })
  await images.load()
  const image = imageSource(images).resolve('r.io/a:1')
  const waiting = image.whole()
  await images.bring((onPlan) => onPlan([digestOf('chain top')]))
  gate.resolve()
  await expect(waiting).rejects.toMatchObject({ kind: 'not-found' })
})

test('a pull waits until the layers that it plans to use have been looked at', async () => {
  const { pull, store, looked } = await afterFailure(['base'])
  await pull('r.io/b:1', pulledOf('b', ['base', 'b']))
  expect(looked).toEqual([digestOf('chain base'), digestOf('chain b')])
  expect(store.dropped).toEqual([digestOf('chain base')])
  expect(store.there.has(digestOf('chain base'))).toBe(true)
})

test('when it cannot look, the suspicion stays, and the next one looks again', async () => {
  let broken = true
  let trusted = 0
  const { images } = fakeImages({
    records: [named('a', ['a'])],
    deps: {
      marker: { begin: async () => true, trust: async () => void trusted++, end: async () => {} },
      verifyLayer: async () => {
        if (broken) throw new Error('cannot start the program')
        return undefined
      },
    },
  })
  await images.load()
  await images.verify()
  expect([images.list().length, trusted]).toEqual([1, 0])
  broken = false
  await images.verify()
  expect(trusted).toBe(1)
})

test('without a power failure nothing is looked at', async () => {
  const looked: Digest[] = []
  const { images } = fakeImages({
    records: [named('a', ['a'])],
    deps: {
      marker: { begin: async () => false, trust: async () => {}, end: async () => {} },
      verifyLayer: async (_scope, id) => void looked.push(id),
    },
  })
  await images.load()
  await images.verify()
  await imageSource(images).resolve('r.io/a:1').whole()
  expect(looked).toEqual([])
})
