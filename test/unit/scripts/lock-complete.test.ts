// SPDX-License-Identifier: Apache-2.0
/** Entries for packages of other platforms: which are added, and which must never be made up. */
import { describe, expect, test } from 'vitest'
import { absent, complete, platformOf } from '../../../scripts/lock-complete.ts'

const lock = (optional: Record<string, string>, more: Record<string, object> = {}): string =>
  JSON.stringify({
    packages: { '': {}, 'node_modules/tool': { dev: true, optionalDependencies: optional }, ...more },
  })

describe('lock-complete', () => {
  test('an optional package of another platform is added with its platform', () => {
    const text = lock({ '@tool/cli-darwin-arm64': '1.2.3', '@tool/cli-linux-x64-musl': '1.2.3' })
    expect(absent(text)).toEqual({
      'node_modules/@tool/cli-darwin-arm64': {
        version: '1.2.3',
        os: ['darwin'],
        cpu: ['arm64'],
        dev: true,
        optional: true,
      },
      'node_modules/@tool/cli-linux-x64-musl': {
        version: '1.2.3',
        os: ['linux'],
        cpu: ['x64'],
        libc: ['musl'],
        dev: true,
        optional: true,
      },
    })
    expect(absent(complete(text))).toEqual({})
  })

  test('what is there, at the top or nested, stays as it is', () => {
    const there = { 'node_modules/@t/win32-x64': {}, 'node_modules/tool/node_modules/@t/win32-ia32': {} }
    expect(absent(lock({ '@t/win32-x64': '1.0.0', '@t/win32-ia32': '1.0.0' }, there))).toEqual({})
  })

  test.each([
    ['a package of this platform', { '@t/linux-x64-gnu': '1.0.0' }],
    ['one without a libc in its name', { '@t/linux-arm64': '1.0.0' }],
    ['one that names no platform', { fsevents: '2.3.3' }],
    ['a range', { '@t/win32-x64': '^1.0.0' }],
  ])('%s is never made up', (_, optional) => {
    expect(() => absent(lock(optional))).toThrow(/lock it with npm/)
  })

  test.each([
    ['@x/binding-android-arm-eabi', { os: ['android'], cpu: ['arm'] }],
    ['@x/binding-linux-arm-gnueabihf', { os: ['linux'], cpu: ['arm'], libc: ['glibc'] }],
    ['@x/binding-win32-ia32-msvc', { os: ['win32'], cpu: ['ia32'] }],
    ['left-pad', undefined],
  ])('%s', (name, expected) => {
    expect(platformOf(name)).toEqual(expected)
  })
})
