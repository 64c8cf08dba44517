// SPDX-License-Identifier: Apache-2.0
/** A path inside an image volume: links are followed as in a container, and never out of it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silent } from '../../../src/base/log.ts'
import type { Scope } from '../../../src/base/scope.ts'
import { imageVolumes } from '../../../src/host/mounts/volumes.ts'
import type { OverlayOptions } from '../../../src/host/native.ts'
import { absPath } from '../../../src/model/ids.ts'

const scope: Scope = { signal: new AbortController().signal, log: silent }
const mounted: OverlayOptions[] = []
const volumes = imageVolumes({ mountOverlay: async (options) => void mounted.push(options) })
let root: string

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'gt-volumes-'))
  mkdirSync(join(root, 'a/b'), { recursive: true })
  writeFileSync(join(root, 'a/b/file'), '')
  for (const [path, target] of [
    ['abs', '/a/b'],
    ['a/up', '../../../../a'],
    ['a/b/file-link', 'file'],
    ['chain', 'abs/file-link'],
    ['out', '../../../../etc/passwd'],
    ['loop', 'a/../loop'],
    ['dangling', 'nothing'],
  ] as const)
    symlinkSync(target, join(root, path))
  execFileSync('mkfifo', [join(root, 'pipe')])
})
afterAll(() => rmSync(root, { recursive: true }))

test.each([
  [[], ['/e1', '/e2']],
  [['/1'], ['/1', '/e2']],
  [
    ['/1', '/2', '/3'],
    ['/1', '/2', '/3'],
  ],
])('the layers %j are mounted as %j: two at least, and none to write to', async (lower, all) => {
  const at = absPath(root)
  mounted.length = 0
  await volumes.mount(scope, { folder: at, files: at, empty: [absPath('/e1'), absPath('/e2')] }, lower)
  expect(mounted).toEqual([{ target: at, lower: all }])
})

describe('a sub path', () => {
  test.each([
    ['a file', 'a/b/file', '/a/b/file'],
    ['a folder, written oddly', './a//b/', '/a/b'],
    ['a link that is absolute', 'abs/file', '/a/b/file'],
    ['a link that climbs above the root', 'a/up/b', '/a/b'],
    ['links in a row', 'chain', '/a/b/file'],
    ['the root', '.', ''],
  ])('%s', async (_what, subPath, found) => {
    expect(await volumes.resolve(scope, root, subPath)).toBe(`${root}${found}`)
  })

  test.each([
    ['what is not there', 'a/none', 'not-found', /"a\/none" is not in the image/],
    ['below a file', 'a/b/file/x', 'not-found', /is not in the image/],
    ['what a link means outside', 'out', 'not-found', /"out" is not in the image/],
    ['a link to nothing', 'dangling', 'not-found', /"dangling" is not in the image/],
    ['a name that is too long', 'x'.repeat(300), 'not-found', /is not in the image/],
    ['a link in a circle', 'loop', 'invalid', /loop of links/],
    ['a fifo', 'pipe', 'invalid', /neither a file nor a folder/],
  ])('%s is refused', async (_what, subPath, kind, why) => {
    const call = volumes.resolve(scope, root, subPath)
    await expect(call).rejects.toMatchObject({ kind, message: expect.stringMatching(why) })
  })
})
