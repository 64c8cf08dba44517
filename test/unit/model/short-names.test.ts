// SPDX-License-Identifier: Apache-2.0
/** What a name without a registry may mean. */
import { expect, test } from 'vitest'
import { formatReference, parseReference } from '../../../src/model/reference.ts'
import { DOCKER_HUB_ONLY, meaningsOf } from '../../../src/model/short-names.ts'

const DIGEST = `sha256:${'ab'.repeat(32)}`
const aliases = new Map([
  ['app', 'reg.io/team/app'],
  ['hub', 'docker.io/hub'],
])
const said = { aliases, search: ['quay.io', 'plain', 'docker.io', 'index.docker.io'] }

test.each([
  ['nobody has said', DOCKER_HUB_ONLY, 'busybox', ['docker.io/library/busybox:latest']],
  ['a full name means itself', said, 'reg.io/a:1', ['reg.io/a:1']],
  ['an alias is the only meaning', said, 'app:1', ['reg.io/team/app:1']],
  ['an alias keeps a digest', said, `app@${DIGEST}`, [`reg.io/team/app@${DIGEST}`]],
  ['an alias at Docker Hub gets its library', said, 'hub', ['docker.io/library/hub:latest']],
  ['an alias is of the whole name', { aliases, search: [] }, 'library/app', []],
  [
    'the search list is in order, with hosts that have no dot',
    said,
    'b:2',
    ['quay.io/b:2', 'plain/b:2', 'docker.io/library/b:2', 'docker.io/library/b:2'],
  ],
  ['an empty list means nothing', { aliases, search: [] }, 'b', []],
])('%s', (_why, names, text, expected) => {
  const found = meaningsOf(parseReference(text), names)
  expect(found.map(formatReference)).toEqual(expected)
  expect(found.every((r) => r.short === undefined)).toBe(true)
})
