// SPDX-License-Identifier: Apache-2.0
/** Images, steps and pruned images as people read them: tables, names, filters, ages, and no tricks of a terminal. */
import { describe, expect, test } from 'vitest'
import { parseCredentials } from '../../../src/cli/credentials.ts'
import { historyTable } from '../../../src/cli/history.ts'
import { filterOf, type Image, imageOf, imagesTable, matches, rowsOf } from '../../../src/cli/images.ts'
import { prunedText } from '../../../src/cli/prune.ts'
import { pullText } from '../../../src/cli/pulls.ts'
import { ageText, safe, table } from '../../../src/cli/text.ts'

const nowMs = Date.parse('2026-01-31T00:00:00Z')
const hex = (digit: string) => `sha256:${digit.repeat(64)}`

const nginx: Image = {
  id: hex('a'),
  tags: ['docker.io/library/nginx:1.27', 'registry.example:5000/web:v1'],
  digests: [`docker.io/library/nginx@${hex('b')}`],
  sizeBytes: 3 * 1024 * 1024,
  createdAt: '2026-01-30T00:00:00Z',
  pulledAt: '2026-01-30T12:00:00.000Z',
  pinned: false,
  containers: 2,
}
const nameless: Image = { ...nginx, id: hex('c'), tags: [], digests: [], containers: 0, createdAt: '' }
const pause: Image = {
  ...nginx,
  id: hex('d'),
  tags: [],
  digests: [`registry.example/pause@${hex('e')}`],
  pinned: true,
  containers: 1,
}
const all = [nginx, nameless, pause]
const any = () => true
const look = { digests: false, noTrunc: false, nowMs }

describe('the table of images', () => {
  test('has a row for each tag, else for the digest, else for none', () => {
    expect(imagesTable(rowsOf(all, any), look).split('\n')).toEqual([
      'REPOSITORY                  TAG      IMAGE ID       CREATED     SIZE      IN USE',
      'docker.io/library/nginx     1.27     aaaaaaaaaaaa   1 day ago   3.0 MiB   2',
      'registry.example:5000/web   v1       aaaaaaaaaaaa   1 day ago   3.0 MiB   2',
      '<none>                      <none>   cccccccccccc   -           3.0 MiB   -',
      'registry.example/pause      <none>   dddddddddddd   1 day ago   3.0 MiB   1, pinned',
      '',
    ])
  })

  test('shows digests and whole ids when asked', () => {
    const [heading = '', first = '', second = ''] = imagesTable(rowsOf(all, any), {
      ...look,
      digests: true,
      noTrunc: true,
    }).split('\n')
    expect(heading).toContain('DIGEST')
    expect(first).toContain(hex('b'))
    expect(first).toContain(hex('a'))
    expect(second).toContain('<none>')
  })

  test('of nothing is its heading', () => {
    expect(imagesTable([], look)).toBe('REPOSITORY   TAG   IMAGE ID   CREATED   SIZE   IN USE\n')
  })

  test('an image of which the daemon tells nothing has all its fields', () => {
    expect(imageOf({})).toEqual({
      id: '',
      tags: [],
      digests: [],
      sizeBytes: 0,
      createdAt: '',
      pulledAt: '1970-01-01T00:00:00.000Z',
      pinned: false,
      containers: 0,
    })
  })
})

describe('filters', () => {
  test.each([
    ['nginx', 'docker.io/library/nginx:1.27', true],
    ['nginx:1.27', 'docker.io/library/nginx:1.27', true],
    ['nginx:1.26', 'docker.io/library/nginx:1.27', false],
    ['team/app', 'docker.io/team/app:1', true],
    ['ngin', 'docker.io/library/nginx:1.27', false],
    ['ngin*', 'docker.io/library/nginx:1.27', true],
    ['registry.example:5000/*', 'registry.example:5000/web:v1', true],
    ['*web', 'registry.example:5000/web:v1', true],
    ['registry.example/pause', `registry.example/pause@${hex('e')}`, true],
    ['(.*', 'docker.io/library/nginx:1.27', false],
    ['n.inx', 'docker.io/library/nginx:1.27', false],
  ])('%s means %s: %s', (pattern, name, expected) => expect(matches(pattern, name)).toBe(expected))

  test.each([
    [undefined, undefined, ['a', 'a', 'c', 'd']],
    ['nginx', undefined, ['a']],
    [undefined, 'dangling=true', ['c', 'd']],
    [undefined, 'in-use=false', ['c']],
    [undefined, 'pinned=true', ['d']],
    [undefined, 'reference=*web,in-use=true', ['a']],
    ['nginx', 'pinned=true', []],
  ])('%s with %s', (pattern, filter, expected) => {
    const rows = rowsOf(all, filterOf(pattern, filter))
    expect(rows.map((r) => r.image.id.slice(7, 8))).toEqual(expected)
  })

  test.each([
    [
      'dangeling=true',
      '--filter: "dangeling" is not one of dangling, in-use, pinned, reference; did you mean dangling?',
    ],
    ['dangling', '--filter: dangling: "" is neither true nor false'],
    ['constructor=true', '--filter: "constructor" is not one of dangling, in-use, pinned, reference'],
  ])('%s is refused', (filter, message) => {
    expect(() => filterOf(undefined, filter)).toThrow(expect.objectContaining({ message, reason: 'usage' }))
  })
})

describe('other texts', () => {
  test('history: long commands are cut, unless asked, and steps without a layer have no size', () => {
    const step = {
      createdAt: '',
      createdBy: 'RUN  apt-get\t'.repeat(9),
      comment: 'c',
      diffId: hex('1'),
      sizeBytes: 5,
    }
    const short = historyTable([step, { ...step, diffId: '', createdBy: 'CMD' }], { noTrunc: false, nowMs })
    expect(short.split('\n')[1]).toMatch(/^- +5 B +RUN apt-get RUN .*…/)
    expect(short.split('\n')[2]).toMatch(/^- +- +CMD +c$/)
    expect(historyTable([step], { noTrunc: true, nowMs })).toContain('RUN  apt-get?'.repeat(9))
  })

  test('prune says what goes, or would', () => {
    expect(prunedText({ images: [nginx], freedBytes: 1536 }, 'removed')).toBe(
      `removed: aaaaaaaaaaaa  docker.io/library/nginx:1.27, registry.example:5000/web:v1, docker.io/library/nginx@${hex('b')}  3.0 MiB\nfreed: 1.5 KiB\n`,
    )
    expect(prunedText({ images: [], freedBytes: 0 }, 'would remove')).toBe('would free: 0 B\n')
  })

  test('a pull in flight', () => {
    const pull = {
      image: 'x:1',
      startedAt: '',
      layers: 0,
      layersDone: 0,
      doneBytes: 0,
      totalBytes: 0,
      callers: 1,
    }
    expect(pullText(pull)).toBe('x:1, asking the registry')
    expect(pullText({ ...pull, layers: 3, layersDone: 1, doneBytes: 1024, totalBytes: 2048 })).toBe(
      'x:1, 1 of 3 layers, 1.0 KiB of 2.0 KiB',
    )
  })

  test.each([
    ['2026-01-30T23:59:59Z', '1 second ago'],
    ['2026-01-30T21:00:00Z', '3 hours ago'],
    ['2026-01-10T00:00:00Z', '3 weeks ago'],
    ['2020-01-01T00:00:00Z', '6 years ago'],
    ['2030-01-01T00:00:00Z', '0 seconds ago'],
    ['1970-01-01T00:00:00Z', '-'],
    ['', '-'],
    ['yesterday', '-'],
  ])('%s is %s', (time, expected) => expect(ageText(time, nowMs)).toBe(expected))

  test('what an image says cannot steer a terminal', () => {
    expect(safe('a\x1b[2Jb\u009bc\n')).toBe('a?[2Jb?c?')
  })

  test('a table pads all columns but the last', () => {
    expect(
      table(
        ['A', 'B'],
        [
          ['long', 'x'],
          ['', 'long'],
        ],
      ),
    ).toBe('A      B\nlong   x\n       long\n')
  })
})

describe('credentials from stdin', () => {
  test.each([
    ['alice:pass:word\n', { username: 'alice', password: 'pass:word' }],
    ['alice:\r\n', { username: 'alice', password: '' }],
    ['robot$x: spaces ', { username: 'robot$x', password: ' spaces ' }],
  ])('%j', (text, expected) => expect(parseCredentials(text)).toEqual(expected))

  test.each(['', 'hunter2', ':hunter2', 'a:hunter2\nb'])('%j is refused, and not shown', (text) => {
    expect(() => parseCredentials(text)).toThrow(
      expect.objectContaining({
        message: '--creds-stdin: stdin is not one line USER:PASSWORD',
        reason: 'usage',
      }),
    )
  })
})
