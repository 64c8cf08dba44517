// SPDX-License-Identifier: Apache-2.0
/** CDI: names of devices, and what a spec file may hold. */
import { describe, expect, test } from 'vitest'
import { isWhole, parseCdiName, parseCdiSpec } from '../../../src/model/cdi.ts'

const spec = (edits: object, more: object = {}) => ({
  cdiVersion: '1.1.0',
  kind: 'vendor.com/gpu',
  devices: [{ name: '0', containerEdits: edits }],
  ...more,
})
const editsOf = (edits: object) => parseCdiSpec(spec(edits)).devices.get('0')

test.each([
  ['vendor.com/gpu=0', { kind: 'vendor.com/gpu', device: '0' }],
  ['a/b=c', { kind: 'a/b', device: 'c' }],
  ['nvidia.com/mig-1g.5gb=0:1_x.y-z', { kind: 'nvidia.com/mig-1g.5gb', device: '0:1_x.y-z' }],
  ['vendor.com/gpu', undefined],
  ['vendor.com/gpu=', undefined],
  ['/gpu=0', undefined],
  ['vendor.com=0', undefined],
  ['vendor.com/a/b=0', undefined],
  ['1vendor/gpu=0', undefined],
  ['vendor.com/gpu-=0', undefined],
  ['vendor.com/gpu=-0', undefined],
  ['vendor.com/gpu=0\n', undefined],
  ['vendor.com/gpu=../0', undefined],
])('%j is the device %j', (text, name) => {
  expect(parseCdiName(text)).toEqual(name)
})

describe('a spec', () => {
  test('is read whole, with what it leaves out filled in', () => {
    expect(
      editsOf({
        env: ['A=b'],
        deviceNodes: [
          {
            path: '/dev/g0',
            hostPath: '/dev/vendor//g0',
            fileMode: 0o660,
            permissions: 'rw',
            uid: 1,
            gid: 2,
          },
          { path: '/dev/g1', type: 'c', major: 195, minor: 0 },
          { path: '/run/pipe', type: 'p' },
        ],
        mounts: [
          { hostPath: '/usr/lib/g.so', containerPath: '/usr/lib/g.so', options: ['ro', 'bind'] },
          { hostPath: '/opt/g', containerPath: '/opt/g' },
          { hostPath: 'tmpfs', containerPath: '/scratch', type: 'tmpfs', options: ['size=1m'] },
        ],
        hooks: [{ hookName: 'createContainer', path: '/bin/h', args: ['h', 'x'], env: ['B=c'], timeout: 3 }],
        additionalGids: [44],
      }),
    ).toEqual({
      env: ['A=b'],
      deviceNodes: [
        { path: '/dev/g0', hostPath: '/dev/vendor/g0', fileMode: 0o660, permissions: 'rw', uid: 1, gid: 2 },
        { path: '/dev/g1', hostPath: '/dev/g1', type: 'c', major: 195, minor: 0, permissions: '' },
        { path: '/run/pipe', hostPath: '/run/pipe', type: 'p', permissions: '' },
      ],
      mounts: [
        { hostPath: '/usr/lib/g.so', containerPath: '/usr/lib/g.so', type: 'bind', options: ['ro', 'bind'] },
        { hostPath: '/opt/g', containerPath: '/opt/g', type: 'bind', options: ['rbind'] },
        { hostPath: 'tmpfs', containerPath: '/scratch', type: 'tmpfs', options: ['size=1m'] },
      ],
      hooks: [{ hookName: 'createContainer', path: '/bin/h', args: ['h', 'x'], env: ['B=c'], timeout: 3 }],
      additionalGids: [44],
    })
  })

  test('may have edits for all its devices, annotations, and devices without edits', () => {
    const { kind, edits, devices } = parseCdiSpec({
      cdiVersion: '0.6.0',
      kind: 'v/c',
      annotations: { a: 'b' },
      containerEdits: { env: ['A=b'] },
      devices: [{ name: 'x', annotations: {} }],
    })
    expect([kind, edits.env, devices.get('x')?.env]).toEqual(['v/c', ['A=b'], []])
  })

  const node = (more: object) => ({ deviceNodes: [{ path: '/dev/x', ...more }] })
  const mount = (more: object) => ({ mounts: [{ hostPath: '/a', containerPath: '/b', ...more }] })
  const hook = (more: object) => ({ hooks: [{ hookName: 'poststop', path: '/h', ...more }] })
  test.each<[object | string | undefined, RegExp]>([
    [undefined, /^the spec is not a table/],
    ['text', /^the spec is not a table/],
    [[], /^the spec is not a table/],
    [spec({}, { cdiVersion: '2.0.0' }), /^cdiVersion is not a version up to 1\.1\.0: "2\.0\.0"/],
    [spec({}, { cdiVersion: 1 }), /^cdiVersion is not a string/],
    [spec({}, { kind: 'gpu' }), /^kind is not "vendor\/class"/],
    [spec({}, { more: 1 }), /^the spec has the unknown key "more"/],
    [spec({}, { devices: {} }), /^devices is not a list/],
    [spec({}, { devices: [{}] }), /^devices\[0\]\.name is missing/],
    [spec({}, { devices: [{ name: 'a' }, { name: 'a' }] }), /^devices\[1\]\.name "a" is there twice/],
    [spec({}, { containerEdits: { envs: [] } }), /^containerEdits has the unknown key "envs"/],
    [spec({ intelRdt: { closID: 'x' } }), /\.intelRdt is not carried out/],
    [spec({ netDevices: [{}] }), /\.netDevices is not carried out/],
    [spec({ env: ['A'] }), /\.env\[0\] is not NAME=VALUE: "A"/],
    [spec({ env: ['A=\0'] }), /\.env\[0\] has a NUL/],
    [spec(node({ path: 'dev/x' })), /\.deviceNodes\[0\]\.path is not an absolute path/],
    [spec(node({ hostPath: '/dev/../etc' })), /\.hostPath is not an absolute path without/],
    [spec(node({ type: 'd' })), /\.type is not one of b, c, u, p/],
    [spec(node({ major: -1 })), /\.major is not a whole number/],
    [spec(node({ minor: 1.5 })), /\.minor is not a whole number/],
    [spec(node({ fileMode: '0644' })), /\.fileMode is not a whole number/],
    [spec(node({ permissions: 'rx' })), /\.permissions is not made of r, w and m/],
    [spec(mount({ hostPath: 'relative' })), /\.mounts\[0\]\.hostPath is not an absolute path/],
    [spec(mount({ containerPath: '/a/../..' })), /\.containerPath is not an absolute path/],
    [spec(mount({ options: 'ro' })), /\.options is not a list/],
    [spec(hook({ hookName: 'preStart' })), /\.hookName is not one of prestart/],
    [spec(hook({ path: 'h' })), /\.hooks\[0\]\.path is not an absolute path/],
    [spec(hook({ timeout: 0 })), /\.timeout has to be above 0/],
    [spec({ additionalGids: ['video'] }), /\.additionalGids\[0\] is not a whole number/],
  ])('%j is refused by the field', (value, why) => {
    expect(() => parseCdiSpec(value)).toThrow(why)
    expect(() => parseCdiSpec(value)).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})

test.each([
  [{}, false],
  [{ type: 'c' as const }, false],
  [{ type: 'c' as const, major: 1, minor: 3 }, true],
  [{ type: 'p' as const }, true],
])('a node that says %j is whole: %j', (said, whole) => {
  expect(isWhole({ path: '/x', hostPath: '/x', permissions: '', ...said })).toBe(whole)
})
