// SPDX-License-Identifier: Apache-2.0
/** Which layers stay, for how long, and what happens to an image that has lost one. */
import { describe, expect, test, vi } from 'vitest'
import { addNames } from '../../../../src/model/image.ts'
import { seal } from '../../../../src/model/pull-policy.ts'
import { parseReference } from '../../../../src/model/reference.ts'
import { fakeImages, pulledOf, scope } from '../../../support/fake-images.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

const settled = () => new Promise((resolve) => setTimeout(resolve, 5))
const command = (name: string) => ({ reference: parseReference(name), auth: seal({}) })

describe('layers', () => {
  test('go when no image has them, and not before', async () => {
    const { pull, images, store } = fakeImages()
    await pull('r.io/a', pulledOf('a', ['shared', 'a']))
    await pull('r.io/b', pulledOf('b', ['shared', 'b']))
    expect(images.fsInfo()).toMatchObject({ bytes: 300n, inodes: 9n, mountpoint: '/layers' })
    await images.remove(scope, 'r.io/a')
    await images.collect()
    expect(store.dropped).toEqual([digestOf('chain a')])
    expect(images.fsInfo().bytes).toBe(200n)
  })

  test('stay while there is a container whose image has lost its record: they may be its own', async () => {
    let containers: readonly string[] = [digestOf('lost')]
    const { images, store, pull } = fakeImages({
      layers: [digestOf('chain lost')],
      deps: { usedImages: () => containers, keepMs: 0 },
    })
    await pull('r.io/a', pulledOf('a'))
    await images.remove(scope, 'r.io/a')
    await images.collect()
    expect(store.dropped).toEqual([digestOf('chain a')])
    containers = []
    await images.collect()
    expect(store.dropped).toEqual([digestOf('chain a'), digestOf('chain lost')])
  })

  test('that cannot be removed do not keep the others, and are tried again', async () => {
    vi.useFakeTimers()
    try {
      const { images, store, pull } = fakeImages({ deps: { keepMs: 0 } })
      await pull('r.io/a', pulledOf('a', ['one', 'two']))
      store.stuck.add(digestOf('chain one'))
      await images.remove(scope, 'r.io/a')
      await images.collect()
      expect(store.dropped).toEqual([digestOf('chain two')])
      store.stuck.clear()
      await vi.advanceTimersByTimeAsync(61_000)
      expect(store.dropped).toEqual([digestOf('chain two'), digestOf('chain one')])
    } finally {
      vi.useRealTimers()
    }
  })

  test('that a pull plans to use wait for no removal in between: they stay or are gone before it looks', async () => {
    const { images, atWorker, store } = fakeImages({ layers: [digestOf('chain a')], deps: { keepMs: 0 } })
    const gate = Promise.withResolvers<void>()
    store.dropGate = gate.promise
    const collecting = images.collect()
    await settled()
    const running = images.pull(scope, command('r.io/a'))
    ;(await atWorker()).finish(pulledOf('a'))
    await settled()
    // The plan waits for the removal that had begun; so the worker will find the layer missing and fetch it.
    expect(images.pulling).toBe(1)
    expect(images.list()).toEqual([])
    gate.resolve()
    await Promise.all([collecting, running])
    expect(store.dropped).toEqual([digestOf('chain a')])
    expect([...store.there]).toEqual([digestOf('chain a')])
    await images.collect()
    expect(images.list()).toHaveLength(1)
    expect([...store.there]).toEqual([digestOf('chain a')])
  })

  test('of a removed image stay if it is pulled again while they are being removed', async () => {
    const { images, pull, store } = fakeImages()
    await pull('r.io/a', pulledOf('a', ['one', 'two']))
    const gate = Promise.withResolvers<void>()
    store.dropGate = gate.promise
    await images.remove(scope, 'r.io/a')
    await settled()
    const again = pull('r.io/a', pulledOf('a', ['one', 'two']))
    await settled()
    gate.resolve()
    await again
    await images.collect()
    expect([...store.there].sort()).toEqual([digestOf('chain one'), digestOf('chain two')].sort())
    expect(images.list()).toHaveLength(1)
  })

  test('that could not be removed just then do not fail the pull that wants them', async () => {
    const { images, atWorker, store } = fakeImages({ layers: [digestOf('chain a')], deps: { keepMs: 0 } })
    const gate = Promise.withResolvers<void>()
    store.dropGate = gate.promise
    store.stuck.add(digestOf('chain a'))
    const collecting = images.collect()
    await settled()
    const running = images.pull(scope, command('r.io/a'))
    ;(await atWorker()).finish(pulledOf('a'))
    await settled()
    gate.resolve()
    await Promise.all([collecting, running])
    expect(images.list()).toHaveLength(1)
  })

  test('that are missing hide an image until a pull brings them; the others are kept for that', async () => {
    const { images, pull, store } = fakeImages({
      records: [addNames(imageRecord('a', ['one', 'two']), { tag: 'r.io/a:1', digestName: undefined })],
      layers: [digestOf('chain one')],
    })
    expect(await images.load()).toEqual([])
    expect(images.problems()).toEqual([expect.stringContaining('r.io/a:1')])
    await images.collect()
    expect([images.list(), images.find(digestOf('a'))]).toEqual([[], undefined])
    expect(store.dropped).toEqual([])
    const whole = await pull('r.io/a:1', pulledOf('a', ['one', 'two']))
    expect([images.list(), images.problems()]).toEqual([[whole], []])
  })

  test('of a damaged image go when nobody has pulled it for a while, and then it is forgotten', async () => {
    const { images, store, time, disk } = fakeImages({
      records: [imageRecord('a', ['one', 'two'])],
      layers: [digestOf('chain one')],
      deps: { keepMs: 1000 },
    })
    await images.load()
    time.nowNs += 2_000_000_000n
    await images.collect()
    expect([store.dropped, disk.disk.size, images.problems()]).toEqual([[digestOf('chain one')], 0, []])
  })

  test('of a failed pull are kept for a while, then collected; they count as used meanwhile', async () => {
    vi.useFakeTimers()
    try {
      const { images, store, time } = fakeImages({
        layers: [digestOf('chain a')],
        deps: { keepMs: 1000 },
      })
      await images.collect()
      expect([store.dropped, images.fsInfo().bytes]).toEqual([[], 100n])
      time.nowNs += 1_100_000_000n
      await vi.advanceTimersByTimeAsync(1100)
      expect([store.dropped, images.fsInfo().bytes]).toEqual([[digestOf('chain a')], 0n])
    } finally {
      vi.useRealTimers()
    }
  })

  test('of a failed pull are not kept on a disk that is nearly full', async () => {
    const { images, store } = fakeImages({ layers: [digestOf('chain a')], deps: { nearlyFull: () => true } })
    await images.collect()
    expect(store.dropped).toEqual([digestOf('chain a')])
  })
})
