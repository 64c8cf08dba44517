// SPDX-License-Identifier: Apache-2.0
/** What people do with the images of a node: tag, untag, prune, import, look at what is on its way. */
import { describe, expect, test } from 'vitest'
import { childScope } from '../../../../src/base/scope.ts'
import { pinnedBy } from '../../../../src/model/image.ts'
import { seal } from '../../../../src/model/pull-policy.ts'
import { parseReference } from '../../../../src/model/reference.ts'
import { fakeImages, pulledOf, scope } from '../../../support/fake-images.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

describe('tag', () => {
  test('gives one name more, and takes it from the image that has it; again it changes nothing', async () => {
    const { pull, images, disk } = fakeImages()
    const a = await pull('r.io/a:1', pulledOf('a'))
    await pull('r.io/b:1', pulledOf('b'))
    for (let i = 0; i < 2; i++) await images.tag(scope, 'r.io/a:1', parseReference('r.io/b:1'))
    expect(images.find('r.io/b:1')?.id).toBe(a.id)
    expect(images.find(a.id)?.repoTags).toEqual(['r.io/a:1', 'r.io/b:1'])
    expect(images.find(digestOf('b'))?.repoTags).toEqual([])
    const restarted = fakeImages({ records: [...disk.disk.values()] })
    await restarted.images.load()
    expect(restarted.images.find('r.io/b:1')?.id).toBe(a.id)
  })

  test('of what is not here, or to a digest, is refused', async () => {
    const { pull, images } = fakeImages()
    await pull('r.io/a:1', pulledOf('a'))
    await expect(images.tag(scope, 'r.io/x', parseReference('r.io/y'))).rejects.toMatchObject({
      kind: 'not-found',
    })
    const target = parseReference(`r.io/y@${digestOf('a')}`)
    await expect(images.tag(scope, 'r.io/a:1', target)).rejects.toMatchObject({ kind: 'invalid' })
  })
})

describe('untag', () => {
  test('takes one tag, with the last of a repository its digest names, with the last name the image', async () => {
    const { pull, images, store } = fakeImages()
    const digest = digestOf('target a')
    const { id } = await pull('r.io/a:1', pulledOf('a'))
    for (const name of ['r.io/a:2', 's.io/a:1']) await pull(name, pulledOf('a'))
    expect(await images.untag(scope, 'r.io/a:1')).toEqual({ untagged: ['r.io/a:1'], removed: undefined })
    expect(await images.untag(scope, 'r.io/a:2')).toEqual({
      untagged: ['r.io/a:2', `r.io/a@${digest}`],
      removed: undefined,
    })
    expect(images.find(id)).toMatchObject({ repoTags: ['s.io/a:1'], repoDigests: [`s.io/a@${digest}`] })
    expect(await images.untag(scope, 's.io/a:1')).toEqual({
      untagged: ['s.io/a:1', `s.io/a@${digest}`],
      removed: id,
    })
    await images.collect()
    expect([images.list(), [...store.there]]).toEqual([[], []])
  })

  test('by id takes all names; of what is not here it is refused', async () => {
    const { pull, images } = fakeImages()
    const { id } = await pull('r.io/a:1', pulledOf('a'))
    expect((await images.untag(scope, id.slice(7, 20))).removed).toBe(id)
    await expect(images.untag(scope, id)).rejects.toMatchObject({ kind: 'not-found' })
  })
})

describe('prune', () => {
  const used = digestOf('used')
  async function node() {
    const world = fakeImages({
      layers: [digestOf('chain left by a failed pull')],
      deps: { usedBy: (id) => id === used, isPinned: pinnedBy(['r.io/pinned:*']) },
    })
    for (const seed of ['tagged', 'used', 'pinned', 'moved'])
      await world.pull(`r.io/${seed}:1`, pulledOf(seed, ['shared', seed]))
    await world.pull('r.io/moved:1', pulledOf('tagged', ['shared', 'tagged']))
    return world
  }
  const tags = (images: readonly { readonly repoTags: readonly string[] }[]) => images.map((i) => i.repoTags)

  test('takes images without a tag, and what failed pulls have left', async () => {
    const { images, store } = await node()
    const dry = await images.prune(scope, { all: false, dryRun: true })
    expect(store.dropped).toEqual([])
    const done = await images.prune(scope, { all: false })
    expect(done.images.map((i) => i.id)).toEqual([digestOf('moved')])
    expect(store.dropped.sort()).toEqual(
      [digestOf('chain moved'), digestOf('chain left by a failed pull')].sort(),
    )
    // The dry run does not know what no collection has seen yet.
    expect([dry.images.length, dry.bytes, done.bytes]).toEqual([1, 100n, 200n])
  })

  test('with all takes every image but those in use and the pinned ones', async () => {
    const { images } = await node()
    await images.prune(scope, { all: true })
    expect(tags(images.list()).flat().sort()).toEqual(['r.io/pinned:1', 'r.io/used:1'])
  })
})

describe('pinned', () => {
  test.each<[string, string, boolean]>([
    ['busybox', 'docker.io/library/busybox:latest', true],
    ['busybox', 'docker.io/library/busybox:1', false],
    ['registry.k8s.io/pause:3.10', 'registry.k8s.io/pause:3.10', true],
    ['registry.k8s.io/pause:*', 'registry.k8s.io/pause:3.10', true],
    ['registry.k8s.io/pause:*', 'registry.k8s.io/pause-x:3', false],
    ['*/pause:*', 'r.io/a/pause:1', true],
    ['*', `r.io/a@${digestOf('x')}`, true],
    ['r.io/*a*a', 'r.io/a', false],
    ['r.io/*a*a', 'r.io/baa', true],
    [`r.io/a@${digestOf('x')}`, `r.io/a@${digestOf('x')}`, true],
  ])('%s against %s: %s', (pattern, name, expected) => {
    expect(pinnedBy([pattern])(name)).toBe(expected)
  })

  test('follows from the configuration of today, and an explicit removal still works', async () => {
    const record = { ...imageRecord('a'), repoTags: ['r.io/a:1'] }
    const { images } = fakeImages({ records: [record], deps: { isPinned: pinnedBy(['r.io/a:1']) } })
    await images.load()
    expect(images.list().map((i) => i.pinned)).toEqual([true])
    await images.remove(scope, 'r.io/a:1')
    expect(images.list()).toEqual([])
    const other = fakeImages({ records: [{ ...record, pinned: true }] })
    await other.images.load()
    expect(other.images.list().map((i) => i.pinned)).toEqual([false])
  })
})

describe('the exact bytes of an image', () => {
  test('are kept, and tell its history; an image from before that has only its layers to tell', async () => {
    const { pull, images } = fakeImages()
    const config = {
      history: [
        { created: '2024-01-01T00:00:00Z', created_by: 'ADD base' },
        { created_by: 'ENV A=1', empty_layer: true },
        { created_by: 'RUN make', comment: 'buildkit' },
      ],
    }
    const pulled = pulledOf('a', ['base', 'top'])
    const blobs = { ...pulled.blobs, config: Buffer.from(JSON.stringify(config)).toString('base64') }
    const { id } = await pull('r.io/a', { ...pulled, blobs })
    expect(JSON.parse(`${(await images.blobsOf(id))?.config}`)).toEqual(config)
    expect((await images.blobsOf(id))?.mediaType).toBe('application/vnd.oci.image.manifest.v1+json')
    expect(
      (await images.history('r.io/a')).map((s) => [s.createdBy, s.comment, s.layer?.chainId ?? '']),
    ).toEqual([
      ['RUN make', 'buildkit', digestOf('chain top')],
      ['ENV A=1', '', ''],
      ['ADD base', '', digestOf('chain base')],
    ])
    const old = fakeImages({ records: [imageRecord('b', ['one'])] })
    await old.images.load()
    expect(await old.images.blobsOf(digestOf('b'))).toBeUndefined()
    expect((await old.images.history(digestOf('b'))).map((s) => s.layer?.chainId)).toEqual([
      digestOf('chain one'),
    ])
  })
})

describe('import', () => {
  test('records an image that something else has brought, with several names', async () => {
    const { images, store } = fakeImages({ deps: { keepMs: 0 } })
    const image = pulledOf('a')
    const record = await images.bring(async (onPlan) => {
      await onPlan(image.layers.map((l) => l.chainId))
      for (const layer of image.layers) store.there.add(layer.chainId)
      await images.collect()
      const names = ['r.io/a:1', 'r.io/a:2'].map((n) => parseReference(n))
      return await images.importImage(scope, { image, names, annotations: {} })
    })
    expect(record.repoTags).toEqual(['r.io/a:1', 'r.io/a:2'])
    expect([images.list(), store.dropped]).toEqual([[record], []])
  })
})

test('pulls in flight say what they are, how far, and who waits', async () => {
  const { images, atWorker } = fakeImages()
  using own = childScope(scope)
  const command = { reference: parseReference('r.io/a'), auth: seal({}) }
  const both = [images.pull(own, command), images.pull(scope, command)]
  const worker = await atWorker()
  expect(images.inFlight()).toEqual([
    { reference: 'r.io/a:latest', startedAtNs: expect.any(BigInt), progress: { layers: [] }, callers: 2 },
  ])
  worker.finish(pulledOf('a'))
  await Promise.all(both)
  expect(images.inFlight()).toEqual([])
})
