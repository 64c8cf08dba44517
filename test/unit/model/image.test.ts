// SPDX-License-Identifier: Apache-2.0
/** The rules of image names and users, and records that come back from disk. */
import { describe, expect, test } from 'vitest'
import { formatJson, parseJson } from '../../../src/base/json-file.ts'
import {
  addNames,
  type ImageRecord,
  imageRef,
  imageUser,
  NO_CONFIG,
  parseImageRecord,
  removeTag,
} from '../../../src/model/image.ts'
import { imageRecord } from '../../support/image-record.ts'

describe('the user of an image', () => {
  test.each([
    ['1002', { uid: 1002n, username: '' }],
    ['www-data', { uid: undefined, username: 'www-data' }],
    ['1003:1004', { uid: 1003n, username: '' }],
    ['www-data:1004', { uid: undefined, username: 'www-data' }],
    ['', { uid: undefined, username: '' }],
    [':5', { uid: undefined, username: '' }],
    ['0', { uid: 0n, username: '' }],
  ])('%j', (user, expected) => {
    expect(imageUser(user)).toEqual(expected)
  })
})

describe('names', () => {
  test('are sorted, and each is there once', () => {
    const one = addNames(imageRecord('a'), { tag: 'r/b:2', digestName: 'r/b@d' })
    const two = addNames(addNames(one, { tag: 'r/b:1', digestName: 'r/b@d' }), {
      tag: 'r/b:2',
      digestName: undefined,
    })
    expect([two.repoTags, two.repoDigests]).toEqual([['r/b:1', 'r/b:2'], ['r/b@d']])
  })

  test('an image that loses its last tag keeps its digest name', () => {
    const left = removeTag(addNames(imageRecord('a'), { tag: 'r/b:1', digestName: 'r/b@d' }), 'r/b:1')
    expect([left.repoTags, imageRef(left)]).toEqual([[], 'r/b@d'])
  })
})

describe('a record from disk', () => {
  const stored = (record: ImageRecord): Record<string, unknown> => {
    const value = parseJson(formatJson(record))
    if (typeof value !== 'object' || value === null) throw new Error('not an object')
    return Object.fromEntries(Object.entries(value))
  }

  test('is the record that was written, also with texts that look like stored numbers', () => {
    const record = imageRecord('a')
    const odd = { ...record, config: { ...record.config, labels: { n: '5n' }, env: ['12n'], user: '7n' } }
    expect(parseImageRecord(stored(odd))).toEqual(odd)
  })

  test('of an artifact is one of an artifact', () => {
    const artifact = { ...imageRecord('a'), config: NO_CONFIG, artifactType: 'application/vnd.x' }
    expect(parseImageRecord(stored(artifact))).toEqual(artifact)
    const bad = { ...stored(artifact), artifactType: 7 }
    expect(() => parseImageRecord(bad)).toThrow('artifactType')
  })

  test.each(['id', 'size', 'repoTags', 'config', 'layers', 'pulledAtNs', 'annotations', 'pinned'])(
    'without %s is corrupt and says so',
    (field) => {
      const { [field]: _, ...rest } = stored(imageRecord('a'))
      expect(() => parseImageRecord(rest)).toThrow(expect.objectContaining({ kind: 'corrupt' }))
      expect(() => parseImageRecord(rest)).toThrow(field)
    },
  )
})
