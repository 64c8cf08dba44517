// SPDX-License-Identifier: Apache-2.0
/** A blob of an artifact becomes a file: exactly its bytes, readable by all, or a fault that says what was wrong. */
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { storeFile } from '../../../src/image-worker/file-layer.ts'
import { parseDigest } from '../../../src/model/reference.ts'
import { sha256 } from '../../support/oci-layer.ts'

let fs: string
const umask = process.umask()
beforeEach(async () => {
  fs = await mkdtemp(join(tmpdir(), 'gt-file-layer-'))
  process.umask(0o077)
})
afterEach(async () => {
  process.umask(umask)
  await rm(fs, { recursive: true })
})

async function* pieces(...texts: string[]): AsyncGenerator<Buffer> {
  for (const text of texts) yield Buffer.from(text)
}
const layerOf = (content: string, change: { size?: number } = {}) => {
  const digest = parseDigest(sha256(Buffer.from(content)))
  return {
    mediaType: '',
    digest,
    diffId: digest,
    chainId: digest,
    file: 'a/b/c',
    size: content.length,
    ...change,
  }
}
const native = { treeUsage: async () => ({ bytes: 8192n, inodes: 4n }) }
const limited = (layerBytes: number) => ({
  unpackLimits: { layerBytes, entries: 1, ratio: 1, devices: 'keep' as const },
})

test('the bytes as they are, for users of any id, whatever the umask', async () => {
  const from = { pending: { fs }, bytes: pieces('one', '', ' two') }
  const made = await storeFile({ job: {}, native }, layerOf('one two'), from)
  expect(await readFile(join(fs, 'a/b/c'), 'utf8')).toBe('one two')
  const modes = await Promise.all(
    ['a', 'a/b', 'a/b/c'].map(async (p) => (await stat(join(fs, p))).mode & 0o777),
  )
  expect(modes).toEqual([0o755, 0o755, 0o644])
  // The root of the layer is not counted: the store does that.
  expect(made.inodes).toBe(3n)
})

describe('what is not the blob of the manifest', () => {
  test.each([
    ['other bytes', ['x'], layerOf('y'), 'corrupt', /what came has the digest sha256:/],
    ['too few', ['one'], layerOf('one two'), 'corrupt', /3 bytes came, not the 7/],
    ['too many', ['one', 'two'], layerOf('one'), 'corrupt', /6 bytes came, not the 3/],
  ])('%s', async (_what, texts, layer, kind, why) => {
    const call = storeFile({ job: {}, native }, layer, { pending: { fs }, bytes: pieces(...texts) })
    await expect(call).rejects.toMatchObject({ kind, message: expect.stringMatching(why) })
  })

  test('one that is larger than a layer may be is not even begun', async () => {
    const from = { pending: { fs }, bytes: pieces('12345') }
    const call = storeFile({ job: limited(4), native }, layerOf('12345'), from)
    await expect(call).rejects.toMatchObject({
      kind: 'exhausted',
      message: expect.stringContaining('at most 4'),
    })
    expect(await readdir(fs)).toEqual([])
  })
})
