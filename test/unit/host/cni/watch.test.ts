// SPDX-License-Identifier: Apache-2.0
/** Hints of change: the folder that comes, goes, is swapped, is a link; with polling too slow to help. */
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { watchConfDir } from '../../../../src/host/cni/watch.ts'
import { tempDir } from './fixture.ts'

async function watched(pollMs: number) {
  const root = await tempDir()
  const dir = join(root, 'net.d')
  let hints = 0
  const watching = watchConfDir({ dir, pollMs, settleMs: 20, onHint: () => void hints++ })
  onTestFinished(() => watching[Symbol.dispose]())
  /** Waits until all is quiet, does the work, and waits for a hint of it. */
  const expectHint = async (what: string, work: () => Promise<unknown>) => {
    await new Promise((r) => setTimeout(r, 120))
    const before = hints
    await work()
    await vi.waitFor(() => expect(hints, what).toBeGreaterThan(before), 3_000)
  }
  return { root, dir, watching, expectHint, count: () => hints }
}

test('inotify alone sees every kind of change', async () => {
  const { root, dir, expectHint } = await watched(3_600_000)
  await expectHint('made', () => mkdir(dir))
  await expectHint('file in it', () => writeFile(join(dir, 'a.conflist'), '{}'))
  await expectHint('rewritten', () => writeFile(join(dir, 'a.conflist'), '{ }'))
  await expectHint('renamed away', () => rename(dir, join(root, 'old')))
  await expectHint('made anew', () => mkdir(dir))
  await expectHint('file in the new one', () => writeFile(join(dir, 'b.conflist'), '{}'))
  await expectHint('removed', () => rm(dir, { recursive: true }))
  await expectHint('a link now', () => symlink('old', dir))
  await expectHint('file behind the link', () => writeFile(join(root, 'old', 'c.conflist'), '{}'))
})

test('polling alone hints regularly, and disposal ends it', async () => {
  const { watching, count } = await watched(30)
  await vi.waitFor(() => expect(count()).toBeGreaterThan(3), 3_000)
  watching[Symbol.dispose]()
  const then = count()
  await new Promise((r) => setTimeout(r, 150))
  expect(count()).toBeLessThanOrEqual(then + 1)
})
