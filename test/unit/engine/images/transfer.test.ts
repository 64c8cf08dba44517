// SPDX-License-Identifier: Apache-2.0
/** Save, load, push and diff as the engine has them: which images and names are meant, what is held, what is recorded. */
import { Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import type {
  ImageTransfers,
  LoadedImage,
  PushRequest,
  SaveRequest,
} from '../../../../src/host/images/transfers.ts'
import { seal } from '../../../../src/model/pull-policy.ts'
import { parseReference } from '../../../../src/model/reference.ts'
import { fakeImages, pulledOf, scope } from '../../../support/fake-images.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

const sink = () => new Writable({ write: (_piece, _encoding, done) => done() })
async function* nothing(): AsyncGenerator<Buffer> {}

/** Transfers that keep books; `during` runs in the middle of each. */
function fakeTransfers(during: () => Promise<void> = async () => {}) {
  const books = {
    saves: [] as SaveRequest[],
    pushes: [] as PushRequest[],
    diffs: [] as object[],
    load: [] as LoadedImage[],
  }
  const transfers: ImageTransfers = {
    async save(_scope, request) {
      books.saves.push(request)
      await during()
      return { bytes: 7, warnings: ['w'] }
    },
    async load(_scope, _source, events) {
      await events.onPlan(books.load.flatMap(({ image }) => image.layers.map((l) => l.chainId)))
      events.onProgress?.({ layers: [], archiveBytes: 9 })
      await during()
      return { images: books.load, warnings: [] }
    },
    async push(_scope, request) {
      books.pushes.push(request)
      return { digest: digestOf('pushed'), warnings: [] }
    },
    async diff(_scope, folders) {
      books.diffs.push(folders)
      return { entries: [], truncated: false }
    },
  }
  return { transfers, books }
}

describe('save', () => {
  async function two() {
    const fake = fakeTransfers()
    const store = fakeImages({ deps: { transfers: fake.transfers } })
    const one = await store.pull('a.b/c:1', pulledOf('one'))
    await store.pull('a.b/c:2', pulledOf('one'))
    await store.pull('a.b/d:1', pulledOf('two'))
    return { ...fake, images: store.images, one }
  }

  test.each<[string, (id: string) => string, string[]]>([
    ['a name is in it with that name', () => 'a.b/c:1', ['a.b/c:1']],
    ['an id is in it with all tags', (id) => id, ['a.b/c:1', 'a.b/c:2']],
    ['the beginning of an id too', (id) => id.slice(7, 20), ['a.b/c:1', 'a.b/c:2']],
  ])('%s', async (_what, reference, names) => {
    const { images, one, books } = await two()
    const saved = await images.save(scope, { references: [reference(one.id)], format: 'docker' }, sink())
    expect(saved).toEqual({ images: [{ id: one.id, names }], bytes: 7, warnings: ['w'] })
    expect(books.saves).toMatchObject([{ format: 'docker', images: [{ names, configDigest: one.id }] }])
  })

  test('an image that is asked for twice is in it once', async () => {
    const { images, books } = await two()
    await images.save(scope, { references: ['a.b/c:1', 'a.b/d:1', 'a.b/c:2'], format: 'oci' }, sink())
    expect(books.saves[0]?.images.map((i) => i.names)).toEqual([['a.b/c:1', 'a.b/c:2'], ['a.b/d:1']])
  })

  test('what is not here is said before anything is written', async () => {
    const { images, books } = await two()
    const save = images.save(scope, { references: ['a.b/c:1', 'a.b/no:1'], format: 'oci' }, sink())
    await expect(save).rejects.toThrow(/"a.b\/no:1" is not here/)
    expect(books.saves).toEqual([])
  })

  test('an image that was pulled before its exact bytes were kept has to be pulled again', async () => {
    const fake = fakeTransfers()
    const records = [{ ...imageRecord('old'), repoTags: ['a.b/c:1'] }]
    const { images } = fakeImages({ records, deps: { transfers: fake.transfers } })
    await images.load()
    const save = images.save(scope, { references: ['a.b/c:1'], format: 'oci' }, sink())
    await expect(save).rejects.toThrow(/image a.b\/c:1: its exact configuration was not kept: pull it again/)
  })

  test('an image that is removed meanwhile keeps its layers until it is written', async () => {
    const removed = async () => {
      await store.images.remove(scope, 'a.b/c:1')
      await store.images.collect()
      expect(store.store.there.size).toBe(1)
    }
    const fake = fakeTransfers(removed)
    const store = fakeImages({ deps: { transfers: fake.transfers, keepMs: 0 } })
    await store.pull('a.b/c:1', pulledOf('one'))
    await store.images.save(scope, { references: ['a.b/c:1'], format: 'oci' }, sink())
    await store.images.collect()
    expect(store.store.there.size).toBe(0)
  })
})

describe('load', () => {
  const loaded = (seed: string, tags: string[], repositories: string[] = []): LoadedImage => ({
    image: pulledOf(seed),
    tags,
    repositories,
  })

  test('records each image with its tags, and with the digest where that is a registry’s', async () => {
    const { transfers, books } = fakeTransfers()
    const { images } = fakeImages({ deps: { transfers } })
    books.load = [loaded('one', ['a.b/c:1', 'a.b/c:2']), loaded('two', [], ['a.b/d'])]
    let readBytes = 0
    const result = await images.loadArchive(scope, nothing(), {
      onProgress: (p) => {
        readBytes = p.readBytes
      },
    })
    expect(result.images.map((i) => i.names)).toEqual([['a.b/c:1', 'a.b/c:2'], []])
    expect(images.find('a.b/c:2')?.id).toBe(result.images[0]?.id)
    expect(images.find(`a.b/d@${pulledOf('two').targetDigest}`)?.id).toBe(result.images[1]?.id)
    expect(readBytes).toBe(9)
  })

  test('a name that another image had moves', async () => {
    const { transfers, books } = fakeTransfers()
    const store = fakeImages({ deps: { transfers } })
    const old = await store.pull('a.b/c:1', pulledOf('old'))
    books.load = [loaded('new', ['a.b/c:1'])]
    await store.images.loadArchive(scope, nothing())
    expect(store.images.find(old.id)?.repoTags).toEqual([])
  })

  test('a failure leaves no image', async () => {
    const { transfers, books } = fakeTransfers(() => Promise.reject(new Fault('corrupt', 'bad archive')))
    const { images } = fakeImages({ deps: { transfers } })
    books.load = [loaded('one', ['a.b/c:1'])]
    await expect(images.loadArchive(scope, nothing())).rejects.toThrow('bad archive')
    expect(images.list()).toEqual([])
  })
})

describe('push', () => {
  async function one() {
    const fake = fakeTransfers()
    const store = fakeImages({ deps: { transfers: fake.transfers } })
    const record = await store.pull('a.b/c:1', pulledOf('one'))
    return { ...fake, images: store.images, record }
  }
  const auth = seal({ username: 'ann', password: 'secret' })

  test('goes to the name that was asked for, and the person is told that an index does not', async () => {
    const { images, books, record } = await one()
    const pushed = await images.push(scope, { reference: 'a.b/c:1', auth })
    expect(pushed).toMatchObject({ name: 'a.b/c:1', digest: digestOf('pushed') })
    expect(pushed.warnings).toEqual([expect.stringContaining('an index of several platforms')])
    expect(books.pushes[0]?.image.configDigest).toBe(record.id)
    expect(books.pushes[0]?.auth).toBe(auth)
  })

  test('or to another', async () => {
    const { images, books, record } = await one()
    const target = parseReference('x.y/z:2')
    expect((await images.push(scope, { reference: record.id, target, auth })).name).toBe('x.y/z:2')
    expect(books.pushes[0]?.target).toBe(target)
  })

  test('an id alone does not say where', async () => {
    const { images, record } = await one()
    for (const reference of [record.id, record.id.slice(7, 19)])
      await expect(images.push(scope, { reference, auth })).rejects.toMatchObject({ kind: 'invalid' })
  })
})

describe('diff', () => {
  test('compares what a container wrote with its image, and the topmost layer of an image with the rest', async () => {
    const { transfers, books } = fakeTransfers()
    let imageId = ''
    const writableOf = (id: string) => (id === 'c1' ? { upper: '/upper', imageId } : undefined)
    const store = fakeImages({ deps: { transfers, writableOf } })
    const record = await store.pull('a.b/c:1', pulledOf('one', ['bottom', 'top']))
    imageId = record.id
    const [top, bottom] = store.images.lowerDirs(record)
    await store.images.diff(scope, { container: 'c1' })
    await store.images.diff(scope, { image: 'a.b/c:1' })
    expect(books.diffs).toEqual([
      { upper: '/upper', lower: [top, bottom] },
      { upper: top, lower: [bottom] },
    ])
    for (const target of [{ container: 'c2' }, { image: 'a.b/no:1' }])
      await expect(store.images.diff(scope, target)).rejects.toMatchObject({ kind: 'not-found' })
  })
})
