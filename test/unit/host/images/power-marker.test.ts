// SPDX-License-Identifier: Apache-2.0
/** The marker of a running daemon: what counts as a power failure, and for how long. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { powerMarker } from '../../../../src/host/images/power-marker.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gt-marker-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))
const marker = (boot: string) => powerMarker(join(root, 'running.json'), boot)

test('a first start, a clean stop and a killed daemon are none', async () => {
  const first = marker('boot-1')
  expect(await first.begin()).toBe(false)
  await first.end()
  expect(await readdir(root)).toEqual([])
  expect(await marker('boot-2').begin()).toBe(false)
  // Killed: no end. The same boot.
  expect(await marker('boot-2').begin()).toBe(false)
})

test('a start in another boot without a clean stop is one, until all has been looked at', async () => {
  await marker('boot-1').begin()
  expect(await marker('boot-2').begin()).toBe(true)
  // Killed, or stopped, before it had looked at everything.
  const again = marker('boot-2')
  expect(await again.begin()).toBe(true)
  await again.end()
  const last = marker('boot-2')
  expect(await last.begin()).toBe(true)
  await last.trust()
  expect(await marker('boot-2').begin()).toBe(false)
})

test('a marker that is cut short is one', async () => {
  await writeFile(join(root, 'running.json'), '')
  expect(await marker('boot-1').begin()).toBe(true)
})
