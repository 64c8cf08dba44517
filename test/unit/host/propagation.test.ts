// SPDX-License-Identifier: Apache-2.0
/** Which mount a path lies on, and whether mounts spread from it: from the text of a mountinfo file. */
import { expect, test } from 'vitest'
import { mountPointOf } from '../../../src/host/propagation.ts'

const mountinfo = [
  '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
  '30 22 0:25 / /var/lib rw - tmpfs tmpfs rw',
  '31 30 0:26 / /var/lib/a\\040b rw shared:7 master:3 - tmpfs tmpfs rw',
  '32 30 0:27 / /var/lib/slave rw master:9 - tmpfs tmpfs rw',
  '33 30 0:28 / /var/lib/twice rw shared:4 - tmpfs one rw',
  '34 33 0:29 / /var/lib/twice rw - tmpfs two rw',
  '',
].join('\n')

test.each([
  ['/etc', '/', true, false],
  ['/', '/', true, false],
  ['/var/lib', '/var/lib', false, false],
  ['/var/library', '/', true, false],
  ['/var/lib/x/y', '/var/lib', false, false],
  ['/var/lib/a b/c', '/var/lib/a b', true, true],
  ['/var/lib/slave/x', '/var/lib/slave', false, true],
  ['/var/lib/twice', '/var/lib/twice', false, false],
])('%s lies on %s, shared %s, slave %s', (path, at, shared, slave) => {
  expect(mountPointOf(mountinfo, path)).toEqual({ path: at, shared, slave })
})

test('of nothing it says nothing', () => {
  expect(mountPointOf('broken\n', '/x')).toBeUndefined()
})
