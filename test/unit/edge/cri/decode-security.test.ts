// SPDX-License-Identifier: Apache-2.0
/** Profiles and labels of CreateContainer on the wire: both fields of each, which one counts, and forms that are none. */
import { describe, expect, test } from 'vitest'
import { decodeCreateContainer } from '../../../../src/edge/cri/decode/container.ts'
import type { v1 } from '../../../../src/edge/cri/gen/api.js'

const security = (securityContext: v1.LinuxContainerSecurityContext.$Properties) =>
  decodeCreateContainer({
    podSandboxId: 'p',
    config: { metadata: { name: 'c' }, image: { image: 'i' }, linux: { securityContext } },
  })
const local = (ref: string) => ({ type: 'localhost', ref })

test.each([
  ['nothing', {}, { type: 'unset' }],
  ['the new field', { seccomp: { profileType: 0 } }, { type: 'runtime-default' }],
  ['a file', { seccomp: { profileType: 2, localhostRef: '/p//a.json' } }, local('/p/a.json')],
  ['a file below the folder', { seccomp: { profileType: 2, localhostRef: 'p/a.json' } }, local('p/a.json')],
  ['the old field', { seccompProfilePath: 'localhost//p/a.json' }, local('/p/a.json')],
  ['the old field, below the folder', { seccompProfilePath: 'localhost/a.json' }, local('a.json')],
  ['docker’s word', { seccompProfilePath: 'docker/default' }, { type: 'runtime-default' }],
  ['both', { seccompProfilePath: 'runtime/default', seccomp: { profileType: 1 } }, { type: 'unconfined' }],
])('the seccomp profile: %s', (_what, securityContext, wanted) => {
  expect(security(securityContext).config.security.seccomp).toEqual(wanted)
})

test.each([
  ['nothing', {}, { type: 'unset' }],
  ['the new field', { apparmor: { profileType: 2, localhostRef: 'a' } }, local('a')],
  [
    'the new field with localhost/',
    { apparmor: { profileType: 2, localhostRef: 'localhost/a' } },
    local('a'),
  ],
  ['the old field', { apparmorProfile: 'localhost/a' }, local('a')],
  ['that of a program', { apparmorProfile: 'localhost//usr/sbin/a' }, local('/usr/sbin/a')],
  ['both', { apparmorProfile: 'localhost/a', apparmor: { profileType: 0 } }, { type: 'runtime-default' }],
])('the AppArmor profile: %s', (_what, securityContext, wanted) => {
  expect(security(securityContext).config.security.apparmor).toEqual(wanted)
})

test.each([
  ['nothing', {}, undefined],
  ['nothing in it', { selinuxOptions: {} }, undefined],
  ['a level', { selinuxOptions: { level: 's0' } }, { user: '', role: '', type: '', level: 's0' }],
  [
    'all of it',
    { selinuxOptions: { user: 'u', role: 'r', type: 'a_t', level: 's0-s15:c0.c1023' } },
    { user: 'u', role: 'r', type: 'a_t', level: 's0-s15:c0.c1023' },
  ],
])('SELinux options: %s', (_what, securityContext, wanted) => {
  expect(security(securityContext).config.security.selinux).toEqual(wanted)
})

describe('every bad field is named', () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      'an AppArmor profile with a newline',
      () => security({ apparmor: { profileType: 2, localhostRef: 'a\nb' } }),
      /apparmor\.localhost_ref: has control/,
    ],
    [
      'an AppArmor profile without a name',
      () => security({ apparmorProfile: 'localhost/' }),
      /apparmor: is required/,
    ],
    [
      'a user by number and by name',
      () => security({ runAsUser: { value: 1n }, runAsUsername: 'a' }),
      /run_as_username: excludes run_as_user/,
    ],
    [
      'a SELinux level of a wrong form',
      () => security({ selinuxOptions: { level: 's0,c4,c5' } }),
      /selinux_options\.level: "s0,c4,c5"/,
    ],
    [
      'a SELinux type with a colon',
      () => security({ selinuxOptions: { type: 'a_t:s0' } }),
      /selinux_options\.type: "a_t:s0"/,
    ],
    [
      'a seccomp file that climbs',
      () => security({ seccompProfilePath: 'localhost/../a' }),
      /leaves its folder/,
    ],
  ])('%s', (_what, call, why) => {
    expect(call).toThrow(why)
    expect(call).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})
