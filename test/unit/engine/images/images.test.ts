// SPDX-License-Identifier: Apache-2.0
/** The image half of the engine over a host in memory: names, look-ups, shared pulls, removal, layers. */
import { afterEach, describe, expect, test } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import { setFaultHook } from '../../../../src/base/fault-point.ts'
import { childScope } from '../../../../src/base/scope.ts'
import { imageSource } from '../../../../src/engine/images/resolve.ts'
import { addNames } from '../../../../src/model/image.ts'
import { type RegistryAuth, seal } from '../../../../src/model/pull-policy.ts'
import { parseDigest, parseReference } from '../../../../src/model/reference.ts'
import { fakeImages, pulledOf, scope } from '../../../support/fake-images.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

const settled = () => new Promise((resolve) => setTimeout(resolve, 5))
const command = (name: string, auth: RegistryAuth = {}) => ({
  reference: parseReference(name),
  auth: seal(auth),
})
afterEach(() => setFaultHook(undefined))

describe('names', () => {
  test('a pull by tag gives the tag and the digest that was pulled', async () => {
    const { pull } = fakeImages()
    const image = await pull('r.io/a:1', pulledOf('a'))
    expect([image.repoTags, image.repoDigests]).toEqual([['r.io/a:1'], [`r.io/a@${digestOf('target a')}`]])
  })

  test('a pull by digest gives no tag, also when it names one', async () => {
    const { pull } = fakeImages()
    for (const name of [`r.io/a@${digestOf('target a')}`, `r.io/a:1@${digestOf('target a')}`]) {
      const image = await pull(name, pulledOf('a'))
      expect([image.repoTags, image.repoDigests]).toEqual([[], [`r.io/a@${digestOf('target a')}`]])
    }
  })

  test('three tags of one image are one image, and so are two registries', async () => {
    const { pull, images } = fakeImages()
    for (const name of ['r.io/a:3', 'r.io/a:1', 's.io/a:1']) await pull(name, pulledOf('a'))
    expect(images.list().map((i) => i.repoTags)).toEqual([['r.io/a:1', 'r.io/a:3', 's.io/a:1']])
  })

  test('what was pulled is made durable at the end of the daemon at the latest', async () => {
    const { pull, images, store } = fakeImages()
    const { layers } = await pull('r.io/a', pulledOf('a', ['low', 'top']))
    expect(store.settled).toEqual([])
    await images.close()
    expect(store.settled).toEqual([layers.map((layer) => layer.chainId)])
  })

  test('a tag moves to the newer image; the older keeps its digest name and its other tags', async () => {
    const { pull, images, disk } = fakeImages()
    await pull('r.io/a:1', pulledOf('old'))
    await pull('r.io/a:2', pulledOf('old'))
    const fresh = await pull('r.io/a:1', pulledOf('new'))
    const old = images.find(digestOf('old'))
    expect([old?.repoTags, old?.repoDigests]).toEqual([['r.io/a:2'], [`r.io/a@${digestOf('target old')}`]])
    expect(images.find('r.io/a:1')).toEqual(fresh)
    expect(disk.writes.slice(-2)).toEqual([fresh.id, old?.id])
  })

  test('a tag that a crash left at two images belongs to the one pulled last', async () => {
    const named = (seed: string, at: bigint) => ({
      ...addNames(imageRecord(seed), { tag: 'r.io/a:1', digestName: `r.io/a@${digestOf(seed)}` }),
      pulledAtNs: at,
    })
    for (const records of [
      [named('x', 1n), named('y', 2n)],
      [named('y', 2n), named('x', 1n)],
    ]) {
      const { images, disk } = fakeImages({ records })
      expect(await images.load()).toEqual([])
      expect(images.find('r.io/a:1')?.id).toBe(digestOf('y'))
      expect(images.find(digestOf('x'))?.repoTags).toEqual([])
      expect(disk.writes).toEqual([digestOf('x')])
    }
  })

  test('the clock going back does not change who pulled last', async () => {
    let now = 1000n
    const { pull } = fakeImages({ deps: { nowNs: () => (now -= 100n) } })
    const first = await pull('r.io/a:1', pulledOf('old'))
    expect((await pull('r.io/a:1', pulledOf('new'))).pulledAtNs).toBeGreaterThan(first.pulledAtNs)
  })
})

describe('look-up', () => {
  test('finds by every kind of reference, and always the same', async () => {
    const { pull, images } = fakeImages()
    const image = await pull('busybox', pulledOf('a'))
    const hex = image.id.slice(7)
    const repo = 'docker.io/library/busybox'
    for (const ref of [
      'busybox',
      'busybox:latest',
      repo,
      `${repo}:latest`,
      `busybox@${image.targetDigest}`,
      `${repo}:other@${image.targetDigest}`,
      image.id,
      hex,
      hex.slice(0, 13),
      `sha256:${hex.slice(0, 4)}`,
    ]) {
      expect(images.find(ref)).toEqual(image)
      expect(images.list(ref)).toEqual([image])
    }
    for (const ref of [
      'busybox:2',
      'r.io/busybox',
      hex.slice(0, 3),
      '0'.repeat(64),
      'No Such',
      '',
      `a@${image.id}`,
    ]) {
      expect(images.find(ref)).toBeUndefined()
    }
  })

  test('an ambiguous beginning is refused, a name that looks like an id is a name', async () => {
    const { pull, images } = fakeImages()
    const twin = parseDigest(digestOf('a').replace(/.$/, (c) => (c === '0' ? '1' : '0')))
    await pull('r.io/a', pulledOf('a'))
    await pull('r.io/b', { ...pulledOf('b'), configDigest: twin })
    expect(() => images.find(digestOf('a').slice(7, 20))).toThrow('ambiguous')
    const named = await pull(digestOf('a').slice(7, 20), pulledOf('c'))
    expect(images.find(digestOf('a').slice(7, 20))).toEqual(named)
  })

  test('gives containers what they need, topmost layer first', async () => {
    const { pull, images } = fakeImages()
    const image = await pull('r.io/a', pulledOf('a', ['low', 'top']))
    const got = imageSource(images).resolve('r.io/a')
    expect(got).toMatchObject({ id: image.id, ref: image.repoDigests[0], process: { cmd: ['sh'] } })
    expect(got.lowerDirs).toEqual(['top', 'low'].map((s) => `/layers/${digestOf(`chain ${s}`).slice(7)}/fs`))
    expect(() => imageSource(images).resolve('r.io/b')).toThrow(
      expect.objectContaining({ kind: 'not-found' }),
    )
  })
})

describe('pulls', () => {
  test('equal ones in flight are one, those with other credentials are not', async () => {
    const { images, pulls, atWorker } = fakeImages()
    const all = [{}, {}, { username: 'u', password: 'p' }].map((auth) =>
      images.pull(scope, command('r.io/a', auth)),
    )
    await atWorker(2)
    await settled()
    expect(pulls).toHaveLength(2)
    for (const p of pulls) p.finish(pulledOf('a'))
    expect(new Set((await Promise.all(all)).map((i) => i.id)).size).toBe(1)
    expect(images.pulling).toBe(0)
  })

  test('equal ones under another signature policy are not one', async () => {
    const policyFor = async (namespace: string) => ({
      policyFile: namespace === 'prod' ? '/prod.json' : '/p.json',
      required: false,
      registriesDir: '/r.d',
    })
    const { images, pulls, atWorker } = fakeImages({ deps: { policyFor } })
    const all = ['', 'dev', 'prod'].map((namespace) =>
      images.pull(scope, { ...command('r.io/a'), namespace }),
    )
    await atWorker(2)
    await settled()
    expect(pulls).toHaveLength(2)
    for (const p of pulls) p.finish(pulledOf('a'))
    await Promise.all(all)
  })

  test('one goes on while anyone waits for it, and ends with the last', async () => {
    const { images, atWorker } = fakeImages()
    using first = childScope(scope)
    using second = childScope(scope)
    const a = images.pull(first, command('r.io/a'))
    const b = images.pull(second, command('r.io/a'))
    const worker = await atWorker()
    first.abort(new Fault('cancelled', 'first left'))
    await expect(a).rejects.toThrow('first left')
    expect(worker.scope.signal.aborted).toBe(false)
    second.abort(new Fault('cancelled', 'second left'))
    await expect(b).rejects.toThrow('second left')
    expect(worker.scope.signal.aborted).toBe(true)
  })

  test('what is cancelled while its record is being written does not appear, now or after a restart', async () => {
    const { images, atWorker, disk } = fakeImages()
    const gate = Promise.withResolvers<void>()
    disk.gate = gate.promise
    using own = childScope(scope)
    const running = images.pull(own, command('r.io/a'))
    ;(await atWorker()).finish(pulledOf('a'))
    await settled()
    own.abort(new Fault('cancelled', 'left'))
    await expect(running).rejects.toThrow('left')
    gate.resolve()
    await settled()
    expect(disk.writes).toHaveLength(1)
    expect([images.list(), [...disk.disk.keys()]]).toEqual([[], []])
  })

  test('a failed one leaves no name, and the next succeeds', async () => {
    const { images, atWorker, pull } = fakeImages()
    const running = images.pull(scope, command('r.io/a'))
    ;(await atWorker()).fail(new Fault('unavailable', 'gone', { reason: 'RegistryUnavailable' }))
    await expect(running).rejects.toMatchObject({ kind: 'unavailable', reason: 'RegistryUnavailable' })
    expect(images.list()).toEqual([])
    await pull('r.io/a', pulledOf('a'))
  })

  test.each(['worker:before', 'worker:after', 'plan:before', 'plan:after', 'record:before'])(
    'a fault at pull:%s leaves no image and no layer, and the next succeeds',
    async (point) => {
      const { images, pull, store } = fakeImages()
      const seen: string[] = []
      setFaultHook((name) => {
        seen.push(name)
        if (name === `pull:${point}`) throw new Fault('internal', 'here')
      })
      await expect(pull('r.io/a', pulledOf('a'))).rejects.toThrow('here')
      expect(seen).toContain(`pull:${point}`)
      setFaultHook(undefined)
      expect(images.list()).toEqual([])
      await images.prune(scope, { all: false })
      expect([...store.there]).toEqual([])
      await pull('r.io/a', pulledOf('a'))
      expect(images.list()).toHaveLength(1)
    },
  )
})

describe('removal', () => {
  test('by any name removes all; of what is not there it succeeds', async () => {
    const { pull, images } = fakeImages()
    await pull('r.io/a:1', pulledOf('a'))
    await pull('s.io/a:1', pulledOf('a'))
    await images.remove(scope, 'r.io/a:1')
    expect([images.find('s.io/a:1'), images.find(digestOf('a'))]).toEqual([undefined, undefined])
    await images.remove(scope, '0'.repeat(64))
  })

  test('five at once all succeed, and after each the image is gone', async () => {
    const { pull, images } = fakeImages()
    const { id } = await pull('r.io/a:1', pulledOf('a'))
    const after = await Promise.all(
      Array.from({ length: 5 }, () => images.remove(scope, id).then(() => images.find(id))),
    )
    expect(after).toEqual(Array(5).fill(undefined))
  })

  test('of an image in use takes its names at once, and its layers when the last container has gone', async () => {
    let isUsed = true
    const { pull, images, store, disk } = fakeImages({ deps: { usedBy: () => isUsed } })
    const { id } = await pull('r.io/a:1', pulledOf('a'))
    await images.remove(scope, 'r.io/a:1')
    await images.collect()
    expect([images.list(), images.find(id), images.find('r.io/a:1')]).toEqual([[], undefined, undefined])
    expect(images.byId(id)).toMatchObject({ repoTags: [], hidden: { why: 'removed' } })
    expect([...store.there]).toEqual([digestOf('chain a')])
    expect(images.fsInfo().bytes).toBe(100n)

    // As after a restart of the daemon.
    const { images: later, store: laterStore } = fakeImages({
      records: [...disk.disk.values()],
      deps: { usedBy: () => isUsed },
    })
    await later.load()
    await later.collect()
    expect([later.list(), [...laterStore.there]]).toEqual([[], [digestOf('chain a')]])

    isUsed = false
    images.released(id)
    await images.collect()
    expect([[...store.there], disk.disk.size, images.byId(id)]).toEqual([[], 0, undefined])
  })

  test('while a container is being made from it keeps the layers until it is made, or not', async () => {
    const { pull, images, store } = fakeImages()
    const { id } = await pull('r.io/a:1', pulledOf('a'))
    const held = images.hold(id)
    const again = images.hold(id)
    await images.remove(scope, id)
    held[Symbol.dispose]()
    held[Symbol.dispose]()
    await images.collect()
    expect([...store.there]).toEqual([digestOf('chain a')])
    again[Symbol.dispose]()
    await settled()
    expect([...store.there]).toEqual([])
  })

  test('is undone by a pull: the image has the new name only, and its layers stay', async () => {
    const { pull, images, store } = fakeImages({ deps: { usedBy: () => true } })
    const { id } = await pull('r.io/a:1', pulledOf('a'))
    await images.remove(scope, id)
    const again = await pull('r.io/a:2', pulledOf('a'))
    await images.collect()
    expect([again.id, again.repoTags, again.hidden]).toEqual([id, ['r.io/a:2'], undefined])
    expect(images.list()).toEqual([again])
    expect(store.dropped).toEqual([])
  })

  test('that a crash cut short is carried on at the next start', async () => {
    const { id } = imageRecord('a')
    const hidden = { ...imageRecord('a'), hidden: { why: 'removed', atNs: 1n } } as const
    const { images, store, disk } = fakeImages({ records: [hidden] })
    expect(await images.load()).toEqual([])
    expect([images.list(), images.problems()]).toEqual([[], []])
    await images.collect()
    expect([[...store.there], [...disk.disk], images.byId(id)]).toEqual([[], [], undefined])
  })
})

describe('a local image', () => {
  test('is found and used, but not listed and not on disk', async () => {
    const { images, disk, store } = fakeImages()
    const image = await images.addLocal(scope, {
      name: 'gantry.local/hello:latest',
      files: [],
      config: { cmd: ['/hello'] },
    })
    expect(images.find('gantry.local/hello')).toEqual(image)
    expect([images.list(), images.list('gantry.local/hello'), disk.writes]).toEqual([[], [], []])
    expect(imageSource(images).resolve('gantry.local/hello')).toMatchObject({ id: image.id, ref: image.id })
    await images.remove(scope, 'gantry.local/hello')
    await images.collect()
    expect([images.find('gantry.local/hello'), store.dropped]).toEqual([undefined, [digestOf('chain local')]])
  })
})

test('reading never waits for a writer', async () => {
  const { images, atWorker, disk, pull } = fakeImages()
  await pull('r.io/a', pulledOf('a'))
  const gate = Promise.withResolvers<void>()
  disk.gate = gate.promise
  const running = images.pull(scope, command('r.io/b'))
  ;(await atWorker(2)).finish(pulledOf('b'))
  await settled()
  expect(images.list()).toHaveLength(1)
  expect(images.find('r.io/a')).toBeDefined()
  gate.resolve()
  await running
  expect(images.list()).toHaveLength(2)
})
