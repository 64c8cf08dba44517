// SPDX-License-Identifier: Apache-2.0
/** The node's registry files: whatever stands in them is taken, or refused with its file and line; never a crash. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { parseHosts } from '../../src/host/registry/hosts-toml.ts'
import { coveredBy, parseRegistriesConf } from '../../src/host/registry/registries-conf.ts'

const key = fc.constantFrom(
  ...[
    'server',
    'fallback',
    'capabilities',
    'ca',
    'client',
    'skip_verify',
    'header',
    'override_path',
    'dial_timeout',
  ],
  ...['prefix', 'location', 'insecure', 'blocked', 'mirror', 'mirror-by-digest-only', 'pull-from-mirror'],
  ...['unqualified-search-registries', 'short-name-mode', 'a', '"__proto__"', 'constructor', '"x y"'],
)
const value = fc.oneof(
  fc.constantFrom(
    'true',
    '3',
    '1979-05-27',
    '[]',
    '["a.io"]',
    '[["a", "b"]]',
    '{ a = "b" }',
    '[{ location = "a.io" }]',
  ),
  fc.constantFrom(
    '""',
    '"a.io"',
    '"*.a.io"',
    '"https://a.io"',
    '"a.io/b/"',
    '"10s"',
    '"digest-only"',
    '"pull"',
    '"["',
  ),
)
const header = fc.constantFrom(
  ...[
    '[host."https://m"]',
    '[host."m".header]',
    '[host]',
    '[[registry]]',
    '[[registry.mirror]]',
    '[registry]',
  ],
  ...['[aliases]', '[registries.search]', '[[host]]', '[host.__proto__]'],
)
const line = fc.oneof(
  { arbitrary: fc.tuple(key, value).map(([k, v]) => `${k} = ${v}`), weight: 6 },
  { arbitrary: header, weight: 3 },
  { arbitrary: fc.string({ maxLength: 12 }), weight: 1 },
)
const file = fc.array(line, { maxLength: 14 }).map((lines) => lines.join('\n'))

function expectNamed(e: unknown): void {
  expect(e).toBeInstanceOf(Fault)
  if (e instanceof Fault) expect(e.message).toMatch(/^\/none\/(?:r\.conf|hosts\.toml):\d+/)
}

test('registries.conf', () => {
  fc.assert(
    fc.property(file, (text) => {
      try {
        for (const table of parseRegistriesConf(text, '/none/r.conf').registries) {
          expect(coveredBy(table.prefix, 'a.io/b:1') ?? 0).toBeLessThanOrEqual('a.io/b:1'.length)
        }
      } catch (e) {
        expectNamed(e)
      }
    }),
    { numRuns: 2000 },
  )
})

test('hosts.toml', async () => {
  await fc.assert(
    fc.asyncProperty(file, async (text) => {
      try {
        const { hosts } = await parseHosts(text, { folder: '/none', domain: 'reg.io' })
        expect(hosts.length).toBeGreaterThan(0)
      } catch (e) {
        expectNamed(e)
      }
    }),
    { numRuns: 1000 },
  )
})
