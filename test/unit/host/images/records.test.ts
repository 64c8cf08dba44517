// SPDX-License-Identifier: Apache-2.0
/** Image records and their blobs on disk: what comes back, what a crash leaves, and what damage does. */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { imageRecords } from '../../../../src/host/images/records.ts'
import type { ImageRecord } from '../../../../src/model/image.ts'
import { digestOfHex, hexOf, imageId } from '../../../../src/model/reference.ts'
import { imageRecord } from '../../../support/image-record.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-records-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const digest = (text: string) => digestOfHex(createHash('sha256').update(text).digest('hex'))
const base64 = (text: string) => Buffer.from(text).toString('base64')

/** An image of these bytes. */
function imageOf(config: string, manifest: string) {
  const record: ImageRecord = {
    ...imageRecord('a'),
    id: imageId(digest(config)),
    manifestDigest: digest(manifest),
  }
  return { record, blobs: { config: base64(config), manifest: base64(manifest) } }
}

test('what was written comes back to the byte, also in another process', async () => {
  const { record, blobs } = imageOf('{"a":"\u00e4"} ', '{"m":1}')
  await imageRecords(root).write(record, { blobs })
  const later = imageRecords(root)
  expect(await later.readAll()).toEqual({ records: [record], problems: [] })
  const kept = await later.blobs(record)
  expect([`${kept?.config}`, `${kept?.manifest}`]).toEqual(['{"a":"\u00e4"} ', '{"m":1}'])
})

test('another manifest of the same image takes the place of the first', async () => {
  const records = imageRecords(root)
  const first = imageOf('{}', '{"m":1}')
  const second = imageOf('{}', '{"m":2}')
  await records.write(first.record, first)
  await records.write(second.record, second)
  expect(`${(await records.blobs(second.record))?.manifest}`).toBe('{"m":2}')
  expect(await records.blobs(first.record)).toBeUndefined()
})

test('a record without blobs is readable, and damaged blobs are none', async () => {
  const records = imageRecords(root)
  const { record, blobs } = imageOf('{}', '{"m":1}')
  await records.write(record)
  expect(await records.blobs(record)).toBeUndefined()
  await records.write(record, { blobs })
  await writeFile(join(root, `${hexOf(record.id)}.config`), '{ }')
  expect(await records.blobs(record)).toBeUndefined()
})

test('removal takes everything', async () => {
  const records = imageRecords(root)
  const { record, blobs } = imageOf('{}', '{"m":1}')
  await records.write(record, { blobs })
  await records.remove(record.id)
  await records.remove(record.id)
  expect(await readdir(root)).toEqual([])
})

test('what a crash left is removed, and a damaged record is set aside with its reason', async () => {
  const records = imageRecords(root)
  const { record, blobs } = imageOf('{}', '{"m":1}')
  await records.write(record, { blobs })
  const hex = 'f'.repeat(64)
  for (const name of [`${hex}.config`, `${hex}.manifest`, `${hex}.config.tmp`, `${hex}.json.1-1.tmp`])
    await writeFile(join(root, name), '{}')
  await writeFile(join(root, `${'e'.repeat(64)}.json`), '{"v":1')
  const read = await imageRecords(root).readAll()
  expect(read.records).toEqual([record])
  expect(read.problems).toEqual([
    { file: join(root, `${'e'.repeat(64)}.json.corrupt`), why: expect.any(String) },
  ])
  const own = ['config', 'json', 'manifest'].map((end) => `${hexOf(record.id)}.${end}`)
  expect((await readdir(root)).sort()).toEqual([...own, `${'e'.repeat(64)}.json.corrupt`].sort())
})

test('an unsynced record that a power cut has left empty never was; a whole one is read', async () => {
  const { record, blobs } = imageOf('{}', '{"m":1}')
  await imageRecords(root).write(record, { blobs, sync: false })
  await writeFile(join(root, `${'e'.repeat(64)}.json`), '')
  expect(await imageRecords(root).readAll()).toEqual({ records: [record], problems: [] })
  expect(await readdir(root)).toHaveLength(3)
})

test('a hidden image comes back hidden', async () => {
  const record: ImageRecord = { ...imageRecord('a'), hidden: { why: 'broken', atNs: 5n } }
  await imageRecords(root).write(record)
  expect((await imageRecords(root).readAll()).records).toEqual([record])
})
