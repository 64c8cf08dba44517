// SPDX-License-Identifier: Apache-2.0
/** Parsing of CNI configurations: what is taken, what is refused and in which words. */
import { describe, expect, test } from 'vitest'
import { defaultConf, formatList, isConfName, parseConf } from '../../../../src/host/cni/conf.ts'

const list = (extra: object = {}) =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }], ...extra })

describe('a list', () => {
  test('keeps the plugin objects as written and finds capabilities and delegates', () => {
    const raw = {
      type: 'bridge',
      x: { deep: [1] },
      ipam: { type: 'host-local' },
      capabilities: { portMappings: true, dns: false },
    }
    const parsed = parseConf('a.conflist', list({ plugins: [raw, { type: 'portmap' }] }))
    expect(parsed).toEqual({
      name: 'net',
      cniVersion: '1.0.0',
      disableCheck: false,
      disableGc: false,
      plugins: [
        { type: 'bridge', capabilities: ['portMappings'], delegates: ['host-local'], raw },
        { type: 'portmap', capabilities: [], delegates: [], raw: { type: 'portmap' } },
      ],
    })
  })

  test.each([
    ['the only one', { cniVersion: '0.3.1' }, '0.3.1'],
    ['the newest of the two keys', { cniVersion: '0.4.0', cniVersions: ['1.0.0', '1.1.0'] }, '1.1.0'],
    ['not one that we do not know', { cniVersion: '1.0.0', cniVersions: ['1.0.0', '9.9.9'] }, '1.0.0'],
    ['the list alone', { cniVersion: undefined, cniVersions: ['0.4.0'] }, '0.4.0'],
    ['the single key if it is the newer', { cniVersion: '1.1.0', cniVersions: ['0.4.0'] }, '1.1.0'],
  ])('chooses the version: %s', (_, extra, expected) => {
    expect(parseConf('a.conflist', list(extra)).cniVersion).toBe(expected)
  })

  test.each([
    [true, true],
    ['true', true],
    [false, false],
    ['false', false],
  ])('reads the switches: %j', (value, expected) => {
    const parsed = parseConf('a.conflist', list({ disableCheck: value, disableGC: value }))
    expect([parsed.disableCheck, parsed.disableGc]).toEqual([expected, expected])
  })

  test('survives being written into a record and read again', () => {
    const parsed = parseConf(
      'a.conflist',
      list({
        cniVersions: ['1.1.0'],
        disableCheck: true,
        plugins: [{ type: 'a', n: '12n', capabilities: { dns: true } }],
      }),
    )
    expect(parseConf('r.conflist', formatList(parsed))).toEqual(parsed)
  })
})

test('a single plugin becomes a list of one', () => {
  const raw = { cniVersion: '0.4.0', name: 'one', type: 'ptp' }
  for (const file of ['a.conf', 'a.json']) {
    const parsed = parseConf(file, JSON.stringify(raw))
    expect(parsed.plugins).toEqual([{ type: 'ptp', capabilities: [], delegates: [], raw }])
    expect(parsed.name).toBe('one')
  }
})

test.each([
  ['a.conflist', '{', /JSON/],
  ['a.conflist', '[]', /not a JSON object/],
  ['a.conflist', list({ name: undefined }), /"name" is missing/],
  ['a.conflist', list({ name: '../up' }), /"name" "..\/up" must begin/],
  ['a.conflist', list({ name: '-x' }), /"name" "-x" must begin/],
  ['a.conflist', list({ cniVersion: undefined }), /"cniVersion" is missing/],
  ['a.conflist', list({ cniVersion: '0.2.0' }), /0\.2\.0 is none of/],
  ['a.conflist', list({ cniVersion: 1 }), /"cniVersion" is not a string/],
  ['a.conflist', list({ cniVersions: '1.0.0' }), /"cniVersions" is not a list/],
  ['a.conflist', list({ disableCheck: 'yes' }), /"disableCheck" is neither/],
  ['a.conflist', list({ plugins: [] }), /"plugins" is missing or empty/],
  ['a.conflist', list({ plugins: Array.from({ length: 65 }, () => ({ type: 'a' })) }), /more than 64/],
  ['a.conflist', list({ plugins: ['bridge'] }), /plugins\[0\] is not an object/],
  ['a.conflist', list({ plugins: [{ type: 'a' }, {}] }), /"type" of plugins\[1\] is missing/],
  ['a.conflist', list({ plugins: [{ type: '../sh' }] }), /not a plain file name/],
  ['a.conflist', list({ plugins: [{ type: '..' }] }), /not a plain file name/],
  ['a.conflist', list({ plugins: [{ type: 'a', ipam: { type: 'x/y' } }] }), /"ipam.type" of plugins\[0\]/],
  ['a.conflist', list({ plugins: [{ type: 'a', capabilities: [] }] }), /"capabilities" of plugins\[0\]/],
  ['a.conf', list(), /must be in a file that ends in \.conflist/],
  ['a.conf', JSON.stringify({ cniVersion: '1.0.0', name: 'x' }), /"type" of the configuration is missing/],
])('refuses %s %s', (file, text, why) => {
  expect(() => parseConf(file, text)).toThrow(why)
})

test.each([
  ['10-a.conflist', true],
  ['a.conf', true],
  ['a.json', true],
  ['a.conflist.bak', false],
  ['a.yaml', false],
  ['conf', false],
])('the folder reader looks at %s: %s', (name, expected) => {
  expect(isConfName(name)).toBe(expected)
})

test('the default network is a valid list with a route for each family', () => {
  const parsed = parseConf(
    'd.conflist',
    defaultConf({ subnets: ['10.9.0.0/16', 'fd00:9::/64'], bridge: 'gtb' }),
  )
  expect(parsed.name).toBe('gantry')
  expect(parsed.plugins.map((p) => p.type)).toEqual(['bridge', 'portmap'])
  expect(parsed.plugins[0]?.raw).toMatchObject({
    bridge: 'gtb',
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    promiscMode: false,
    ipam: {
      ranges: [[{ subnet: '10.9.0.0/16' }], [{ subnet: 'fd00:9::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    },
  })
  expect(parsed.plugins[1]?.capabilities).toEqual(['portMappings'])
})
