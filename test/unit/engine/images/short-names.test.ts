// SPDX-License-Identifier: Apache-2.0
/** Short names in the engine: an image is named after where it was found, and the short name finds it there. */
import { expect, test } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import { seal } from '../../../../src/model/pull-policy.ts'
import { parseReference } from '../../../../src/model/reference.ts'
import type { ShortNames } from '../../../../src/model/short-names.ts'
import { fakeImages, pulledOf, scope } from '../../../support/fake-images.ts'

const rules = (aliases: Record<string, string>, search?: readonly string[]): ShortNames => ({
  aliases: new Map(Object.entries(aliases)),
  search,
})

test('a pull by a short name gives the names of what was found; both names find it', async () => {
  const { images, pull } = fakeImages({ deps: { shortNames: async () => rules({ box: 'r.io/team/box' }) } })
  await images.load()
  const got = await pull('box', { ...pulledOf('a'), reference: 'r.io/team/box:latest' })
  expect(got.repoTags).toEqual(['r.io/team/box:latest'])
  for (const name of ['box', 'box:latest', `box@${got.targetDigest}`, 'r.io/team/box'])
    expect(images.find(name)).toEqual(got)
  expect(images.find('docker.io/library/box')).toBeUndefined()
})

test('the first registry of the search list that has it here is meant, and none beyond the list', async () => {
  const { images, pull } = fakeImages({ deps: { shortNames: async () => rules({}, ['a.io', 'b.io']) } })
  await images.load()
  const hub = await pull('docker.io/box', pulledOf('hub'))
  expect(images.find('box')).toBeUndefined()
  const second = await pull('b.io/box', pulledOf('b'))
  expect(images.find('box')).toEqual(second)
  const first = await pull('a.io/box', pulledOf('a'))
  expect(images.find('box')).toEqual(first)
  expect(images.find('docker.io/box')).toEqual(hub)
})

test('the rules are read anew when a short name was pulled; what cannot be read leaves the old ones', async () => {
  let now: ShortNames | undefined = rules({}, ['a.io'])
  const shortNames = async () => {
    if (!now) throw new Fault('invalid', 'r.conf:1: broken')
    return now
  }
  const { images, pull } = fakeImages({ deps: { shortNames } })
  await images.load()
  now = rules({}, ['b.io'])
  const got = await pull('box', { ...pulledOf('b'), reference: 'b.io/box:latest' })
  expect(images.find('box')).toEqual(got)
  now = undefined
  await pull('cup', { ...pulledOf('c'), reference: 'b.io/cup:latest' })
  expect(images.find('box')).toEqual(got)
})

test('equal names that mean different things are different pulls', async () => {
  const { images, pulls, atWorker } = fakeImages({})
  const all = ['box', 'docker.io/library/box', 'box:latest'].map((name) =>
    images.pull(scope, { reference: parseReference(name), auth: seal({}) }),
  )
  await atWorker(2)
  expect(pulls).toHaveLength(2)
  for (const one of pulls) one.finish(pulledOf('a'))
  await Promise.all(all)
})
