// SPDX-License-Identifier: Apache-2.0
/** What a container has written over its image, and what the topmost layer of an image changes, as overlayfs has it. */
import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Images } from '../../src/engine/images/images.ts'
import { seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { imageStore, native, scope } from '../support/image-store.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { buildImage } from '../support/oci-image.ts'
import { buildLayer } from '../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../support/pull-registry.ts'

vi.setConfig({ testTimeout: 30_000 })

let before: Snapshot
let root: string
let registry: PullRegistry

beforeAll(async () => {
  before = await snapshot({ roots: [join(tmpdir(), 'gt-diff-')], linkPrefixes: [] })
})
afterAll(() => expectNoLeaks(before))
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-diff-'))
  registry = await pullRegistry()
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

/** Two layers: in the upper one `tmp/one` is new and `etc/passwd` is gone. */
async function sample() {
  const base = await buildLayer([
    { type: 'directory', path: 'tmp', mode: 0o1777 },
    { type: 'file', path: 'etc/passwd', content: 'root:x:0:0::/:/bin/sh\n' },
    { type: 'file', path: 'bin/su', content: 'su' },
    { type: 'symlink', path: 'sbin', target: '/bin' },
  ])
  const top = await buildLayer([
    { type: 'file', path: 'tmp/one', content: 'one' },
    { type: 'file', path: 'etc/.wh.passwd', content: '' },
  ])
  return buildImage({ layers: [base, top] })
}

const pull = (from: Images, name: string) =>
  from.pull(scope, { reference: parseReference(name), auth: seal({}) })

describe('diff', () => {
  test('tells what a writable layer adds, changes and deletes', async () => {
    registry.add('a/b', 'v1', await sample())
    const upper = join(root, 'upper')
    const target = join(root, 'merged')
    let imageId = ''
    const { images } = await imageStore(root, {
      deps: { writableOf: (id) => (id === 'c1' ? { upper, imageId } : undefined) },
    })
    const record = await pull(images, `${registry.host}/a/b:v1`)
    imageId = record.id
    for (const dir of [upper, join(root, 'work'), target]) await mkdir(dir)
    await native.mountOverlay({ lower: images.lowerDirs(record), upper, work: join(root, 'work'), target })
    try {
      await writeFile(join(target, 'new'), 'x')
      await writeFile(join(target, 'bin/su'), 'other')
      await rm(join(target, 'sbin'))
      await rm(join(target, 'tmp'), { recursive: true })
      await mkdir(join(target, 'tmp'))
      await symlink('x', join(target, 'tmp/link'))
    } finally {
      await native.umount(target, true)
    }
    expect((await stat(upper)).isDirectory()).toBe(true)
    const { entries, truncated } = await images.diff(scope, { container: 'c1' })
    expect(truncated).toBe(false)
    expect(entries.map((e) => `${e.kind} ${e.path}`)).toEqual([
      'changed /bin',
      'changed /bin/su',
      'added /new',
      'deleted /sbin',
      'changed /tmp',
      'added /tmp/link',
      'deleted /tmp/one',
    ])
  })

  test('tells what the topmost layer of an image changes', async () => {
    registry.add('a/b', 'v1', await sample())
    const { images } = await imageStore(root)
    const record = await pull(images, `${registry.host}/a/b:v1`)
    const { entries } = await images.diff(scope, { image: record.id })
    expect(entries.map((e) => `${e.kind} ${e.path}`)).toEqual([
      'changed /etc',
      'deleted /etc/passwd',
      'changed /tmp',
      'added /tmp/one',
    ])
  })
})
