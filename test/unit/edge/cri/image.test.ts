// SPDX-License-Identifier: Apache-2.0
/** Images as the CRI shows them: fields, users, the details for `crictl inspecti`, what the disk holds. */
import { describe, expect, test } from 'vitest'
import { image, imageBytes, imageInfo } from '../../../../src/edge/cri/encode/image.ts'
import { v1 } from '../../../../src/edge/cri/gen/api.js'
import { addNames, type ImageRecord } from '../../../../src/model/image.ts'
import { digestOf, imageRecord } from '../../../support/image-record.ts'

const record: ImageRecord = {
  ...addNames(imageRecord('a', ['one', 'two']), {
    tag: 'r.io/a:1',
    digestName: `r.io/a@${digestOf('target a')}`,
  }),
  annotations: { from: 'pod' },
  pinned: true,
}
const withUser = (user: string): ImageRecord => ({ ...record, config: { ...record.config, user } })

test('an image has its names, sizes, annotations and whether it is pinned', () => {
  expect(image(record)).toEqual({
    id: digestOf('a'),
    repoTags: ['r.io/a:1'],
    repoDigests: [`r.io/a@${digestOf('target a')}`],
    size: 205n,
    username: '',
    spec: { image: 'r.io/a:1', annotations: { from: 'pod' } },
    pinned: true,
  })
})

describe('its user is a number or a name, never a group', () => {
  test.each([
    ['1002', { uid: { value: 1002n }, username: '' }],
    ['www-data', { username: 'www-data' }],
    ['1003:1004', { uid: { value: 1003n }, username: '' }],
    ['www-data:1004', { username: 'www-data' }],
    ['0', { uid: { value: 0n }, username: '' }],
    ['', { username: '' }],
  ])('%j', (user, expected) => {
    const { uid, username } = image(withUser(user))
    expect({ ...(uid ? { uid } : {}), username }).toEqual(expected)
  })
})

test('its bytes are those of the plain encoding, and are made once', () => {
  for (const one of [record, withUser('5'), imageRecord('bare')]) {
    expect(Buffer.from(imageBytes(one))).toEqual(Buffer.from(v1.Image.encode(image(one)).finish()))
    expect(imageBytes(one)).toBe(imageBytes(one))
  }
})

describe('the details', () => {
  test('show the configuration to the letter, if it was kept', () => {
    const raw = {
      architecture: 'amd64',
      config: { Env: ['A=1'], ExposedPorts: { '80/tcp': {} } },
      history: [],
    }
    expect(JSON.parse(imageInfo(record, Buffer.from(JSON.stringify(raw))))).toEqual({
      chainID: digestOf('chain two'),
      labels: {},
      imageSpec: raw,
    })
  })

  test('show what is known, if not, and are an object also for an image without layers', () => {
    const info = JSON.parse(imageInfo(record, undefined))
    expect(info.imageSpec).toMatchObject({
      architecture: 'amd64',
      config: { Env: ['A=1'], Cmd: ['sh'] },
      rootfs: { type: 'layers', diff_ids: [digestOf('diff one'), digestOf('diff two')] },
    })
    expect(JSON.parse(imageInfo({ ...record, layers: [] }, undefined)).chainID).toBe('')
  })
})
