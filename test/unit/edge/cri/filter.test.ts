// SPDX-License-Identifier: Apache-2.0
/** List filters and stream batches: every condition holds at once; every item comes in exactly one message. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { batches, containers, imageName, pods } from '../../../../src/edge/cri/filter.ts'
import { createContainer, podConfig, runPod } from '../../../support/fake-host-requests.ts'
import { type Daemon, type TestWorld, testWorld } from '../../../support/fake-host-world.ts'

let w: TestWorld
let d: Daemon
const id = { web: '', db: '', old: '', a: '', b: '', c: '' }
beforeAll(async () => {
  w = await testWorld()
  d = await w.boot()
  const pod = (name: string, labels: Record<string, string>) =>
    d.engine.pods.run(d.scope(), runPod({ labels, metadata: { ...podConfig.metadata, name } }))
  id.web = await pod('web', { app: 'web', tier: 'front' })
  id.db = await pod('db', { app: 'db' })
  id.old = await pod('old', { app: 'web' })
  await d.engine.pods.stop(d.scope(), id.old)
  const container = (on: string, name: string) =>
    d.engine.containers.create(
      d.scope(),
      createContainer(on, { metadata: { name, attempt: 0 }, labels: { name } }),
    )
  id.a = await container(id.web, 'a')
  id.b = await container(id.web, 'b')
  id.c = await container(id.db, 'c')
  await d.engine.containers.start(d.scope(), id.a)
})
afterAll(() => w.remove())

const podNames = (filter: Parameters<typeof pods>[1]) =>
  pods(d.engine, filter)
    .map((p) => p.record.config.metadata.name)
    .sort()
const names = (filter: Parameters<typeof containers>[1]) =>
  containers(d.engine, filter)
    .map((c) => c.record.config.metadata.name)
    .sort()

describe('pods', () => {
  test('all without a filter, and with an empty one', () => {
    expect([podNames(null), podNames({})]).toEqual([
      ['db', 'old', 'web'],
      ['db', 'old', 'web'],
    ])
  })

  test('by id and by prefix; none and several are no errors', () => {
    expect(podNames({ id: id.web })).toEqual(['web'])
    expect(podNames({ id: id.web.slice(0, 20) })).toEqual(['web'])
    expect(podNames({ id: 'zz' })).toEqual([])
    expect(podNames({ id: '' })).toHaveLength(3)
  })

  test('by state, also when it is the one that the wire leaves out', () => {
    expect(podNames({ state: {} })).toEqual(['db', 'web'])
    expect(podNames({ state: { state: 1 } })).toEqual(['old'])
  })

  test('by labels: equal, all of them; a prefix of a value is another value', () => {
    expect(podNames({ labelSelector: { app: 'web' } })).toEqual(['old', 'web'])
    expect(podNames({ labelSelector: { app: 'web', tier: 'front' } })).toEqual(['web'])
    expect(podNames({ labelSelector: { app: 'we' } })).toEqual([])
    expect(podNames({ labelSelector: { constructor: 'x' } })).toEqual([])
  })

  test('all conditions at once', () => {
    expect(podNames({ id: id.old, state: { state: 0 } })).toEqual([])
    expect(podNames({ labelSelector: { app: 'web' }, state: { state: 1 } })).toEqual(['old'])
  })
})

describe('containers', () => {
  test('by pod, state, label, id, and all at once', () => {
    expect(names({})).toEqual(['a', 'b', 'c'])
    expect(names({ podSandboxId: id.web })).toEqual(['a', 'b'])
    expect(names({ state: { state: 1 } })).toEqual(['a'])
    expect(names({ state: {} })).toEqual(['b', 'c'])
    expect(names({ labelSelector: { name: 'c' } })).toEqual(['c'])
    expect(names({ id: id.b })).toEqual(['b'])
    expect(names({ podSandboxId: id.web, state: {} })).toEqual(['b'])
    expect(names({ id: id.b, podSandboxId: id.db })).toEqual([])
  })
})

test.each([
  [0, []],
  [1, [1]],
  [100, [100]],
  [101, [100, 1]],
  [250, [100, 100, 50]],
])('%i items go in messages of %o', (count, sizes) => {
  const items = Array.from({ length: count }, (_, i) => i)
  const got = [...batches(items)]
  expect(got.map((b) => b.length)).toEqual(sizes)
  expect(got.flat()).toEqual(items)
})

test('an image is asked for by a name', () => {
  expect(imageName({ image: 'a' }, 'image.image')).toBe('a')
  for (const spec of [null, {}, { image: '' }])
    expect(() => imageName(spec, 'image.image')).toThrow('image.image: is')
})
