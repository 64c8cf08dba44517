// SPDX-License-Identifier: Apache-2.0
/** How layers are shown as they come: bars on a terminal of any size, and lines where there is none. */
import { describe, expect, test } from 'vitest'
import { bars, changes, type LayerProgress, progressView } from '../../../src/cli/progress.ts'

const MIB = 1024n * 1024n
const plain = (_: string, text: string): string => text
const screen = { columns: 80, rows: 24, paint: plain }

const layer = (name: string, state: string, done = 0n, total = 4n * MIB): LayerProgress => ({
  digest: `sha256:${name.repeat(64).slice(0, 64)}`,
  state,
  doneBytes: done,
  totalBytes: total,
})

describe('bars', () => {
  test.each([
    [
      'one that waits',
      layer('a', 'waiting'),
      'aaaaaaaaaaaa  waiting     [                          ]  0 B of 4.0 MiB',
    ],
    [
      'a quarter',
      layer('a', 'fetching', MIB),
      'aaaaaaaaaaaa  fetching    [======>                   ]  1.0 MiB of 4.0 MiB',
    ],
    [
      'all fetched',
      layer('a', 'unpacking', 4n * MIB),
      'aaaaaaaaaaaa  unpacking   [==========================]  4.0 MiB',
    ],
    ['done', layer('a', 'done', 4n * MIB), 'aaaaaaaaaaaa  done        [==========================]  4.0 MiB'],
    [
      'one that was there',
      layer('a', 'had'),
      'aaaaaaaaaaaa  had         [==========================]  4.0 MiB',
    ],
    [
      'one of unknown size',
      layer('a', 'fetching', MIB, 0n),
      'aaaaaaaaaaaa  fetching    [                          ]  1.0 MiB',
    ],
  ])('%s', (_, one, expected) => {
    expect(bars([one], screen)).toEqual([expected])
  })

  test.each([20, 40, 59, 60, 80, 200])('keep within %d columns', (columns) => {
    const all = [layer('a', 'fetching', MIB), layer('b', 'done', 4000n * MIB, 4000n * MIB)]
    for (const line of bars(all, { ...screen, columns })) expect(line.length).toBeLessThan(columns)
  })

  test('of more layers than rows show those that move, and count the rest', () => {
    const many = Array.from({ length: 40 }, (_, i) =>
      layer(String(i % 10), i < 20 ? 'done' : i < 23 ? 'fetching' : 'waiting'),
    )
    const lines = bars(many, { ...screen, rows: 10 })
    expect(lines).toHaveLength(8)
    expect(lines.filter((l) => l.includes('fetching'))).toHaveLength(3)
    expect(lines.at(-1)).toBe('33 more layers; 20 of 40 are done')
  })

  test('of a daemon that tells no state are guessed from the bytes', () => {
    const { state: _, ...bare } = layer('a', '', MIB)
    expect(bars([bare], screen)[0]).toContain('fetching')
  })
})

describe('lines', () => {
  test('come once for each state, and not for waiting', () => {
    const before = new Map<string, string>()
    expect(changes(before, [layer('a', 'waiting')])).toEqual([])
    expect(changes(before, [layer('a', 'fetching')])).toEqual(['aaaaaaaaaaaa: fetching, 4.0 MiB'])
    expect(changes(before, [layer('a', 'fetching', MIB)])).toEqual([])
    expect(changes(before, [layer('a', 'done', 4n * MIB)])).toEqual(['aaaaaaaaaaaa: done, 4.0 MiB'])
  })
})

describe('the view', () => {
  const shown = (stream: object, env: Record<string, string>, quiet = false): string[] => {
    const written: string[] = []
    using view = progressView({ ...stream, write: (text: string) => written.push(text) }, env, quiet)
    view.show([layer('a', 'fetching'), layer('b', 'waiting')])
    view.show([layer('a', 'done', 4n * MIB), layer('b', 'fetching')])
    return written
  }

  test('draws over what it has drawn', () => {
    const [first = '', second = ''] = shown({ isTTY: true, columns: 80, rows: 24 }, {})
    expect(first.startsWith('\x1b[J')).toBe(true)
    expect(first.split('\n')).toHaveLength(3)
    expect(second.startsWith('\x1b[2A\r\x1b[J')).toBe(true)
  })

  test('has no colour where NO_COLOR is set, and bars all the same', () => {
    const text = shown({ isTTY: true, columns: 80, rows: 24 }, { NO_COLOR: '1' }).join('')
    expect(text).toContain('[===')
    expect(text).not.toContain('\x1b[2m')
  })

  test.each([
    ['no terminal', {}, {}],
    ['a terminal that can do nothing', { isTTY: true }, { TERM: 'dumb' }],
  ])('is lines on %s', (_, stream, env) => {
    const text = shown(stream, env).join('')
    expect(text).toBe(
      'aaaaaaaaaaaa: fetching, 4.0 MiB\naaaaaaaaaaaa: done, 4.0 MiB\nbbbbbbbbbbbb: fetching, 4.0 MiB\n',
    )
  })

  test('is nothing when quiet', () => {
    expect(shown({ isTTY: true }, {}, true)).toEqual([])
  })
})
