// SPDX-License-Identifier: Apache-2.0
/** The README's table of RPCs says what the server does, and a section is replaced where it stands and nowhere else. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { rpcRows } from '../../../scripts/gen-docs.ts'
import { statusTable, withSection } from '../../../scripts/status-table.ts'
import { methods } from '../../../src/edge/cri/methods.ts'

const repo = fileURLToPath(new URL('../../..', import.meta.url))

describe('the table of RPCs', () => {
  test('has a row for each of the 43, of which those without an implementation name what they wait for', () => {
    const rows = rpcRows()
    expect(rows).toHaveLength(43)
    expect(new Set(rows.map((r) => r.name)).size).toBe(43)
    for (const row of rows) {
      const method = methods[row.name as keyof typeof methods]
      expect([row.name, row.capability]).toEqual([
        row.name,
        method.is === 'later' ? method.capability : undefined,
      ])
    }
    expect(rows.find((r) => r.name === 'RunPodSandbox')?.capability).toBeUndefined()
  })

  test('counts both kinds and words them apart', () => {
    const text = statusTable([
      { service: 'S', name: 'Done' },
      { service: 'S', name: 'Open', capability: 'streaming' },
      { service: 'S', name: 'Other', capability: 'events' },
    ])
    expect(text.split('\n')).toEqual([
      '1 of the 3 RPCs are carried out. The other 2 answer UNIMPLEMENTED and name what they wait for.',
      '',
      '| service | RPC | state |',
      '|---|---|---|',
      '| S | Done | works |',
      '| S | Open | not yet: streaming |',
      '| S | Other | not yet: events |',
    ])
  })

  test('of the README is up to date', () => {
    const readme = readFileSync(join(repo, 'README.md'), 'utf8')
    expect(readme).toBe(withSection(readme, 'rpcs', statusTable(rpcRows())))
  })
})

describe('a section of a page', () => {
  test('is replaced, and the rest stays to the byte', () => {
    const page = 'before\n<!-- rpcs: written by x -->\nold\nlines\n<!-- /rpcs -->\nafter\n'
    const next = 'before\n<!-- rpcs: written by x -->\nnew\n<!-- /rpcs -->\nafter\n'
    expect(withSection(page, 'rpcs', 'new')).toBe(next)
    expect(withSection(next, 'rpcs', 'new')).toBe(next)
  })

  test.each([
    ['no marker', 'text'],
    ['no end', '<!-- rpcs -->\nold\n'],
    ['no begin', 'old\n<!-- /rpcs -->\n'],
    ['the end first', '<!-- /rpcs -->\n<!-- rpcs -->\n'],
    ['two of them', '<!-- rpcs -->\n<!-- /rpcs -->\n<!-- rpcs -->\n<!-- /rpcs -->\n'],
    ['another section only', '<!-- figures -->\n<!-- /figures -->\n'],
  ])('is an error with %s', (_, page) => {
    expect(() => withSection(page, 'rpcs', 'new')).toThrow('<!-- rpcs -->')
  })
})
