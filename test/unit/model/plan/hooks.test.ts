// SPDX-License-Identifier: Apache-2.0
/** Hook files: which containers they match, at which stages, and what is wrong with those that are refused. */
import { describe, expect, it } from 'vitest'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { type HookSubject, parseHookFile, withHooks } from '../../../../src/model/plan/spec/hooks.ts'
import { planInputs } from '../../../support/plan-inputs.ts'

const file = (when: object, more: object = {}) =>
  parseHookFile(
    JSON.stringify({ version: '1.0.0', hook: { path: '/h' }, when, stages: ['prestart'], ...more }),
    '/d/h.json',
  )
const subject: HookSubject = {
  annotations: { 'io.x': 'yes', other: 'no' },
  command: '/usr/bin/app',
  hasBindMounts: true,
}

describe('a hook matches', () => {
  it.each([
    [{}, false],
    [{ always: true }, true],
    [{ always: false }, false],
    [{ always: false, hasBindMounts: true }, false],
    [{ hasBindMounts: true }, true],
    [{ hasBindMounts: false }, false],
    [{ annotations: { '^io\\.x$': '^yes$' } }, true],
    [{ annotations: { '^io\\.x$': '^no$' } }, false],
    [{ annotations: { '^io\\.x$': 'yes', missing: '.*' } }, false],
    [{ annotations: { '^io\\.x$': 'yes', missing: '.*' }, or: true }, true],
    [{ commands: ['^/no$', '/app$'] }, true],
    [{ commands: ['^app$'] }, false],
    [{ commands: ['^app$'], always: true }, false],
    [{ commands: ['^app$'], always: true, or: true }, true],
  ])('%j: %s', (when, is) => expect(file(when).matches(subject)).toBe(is))
})

it('hooks stand behind those that are there, in the order of the files, at their stages', () => {
  const spec = { ...planSpec(planInputs()), hooks: { poststop: [{ path: '/first' }] } }
  const files = [
    file(
      { always: true },
      { hook: { path: '/a', args: ['a'], timeout: 3 }, stages: ['poststop', 'prestart'] },
    ),
    file({ always: false }, { hook: { path: '/never' } }),
    file({ commands: [`^${spec.process.args[0]}$`] }, { hook: { path: '/b' }, stages: ['poststop'] }),
  ]
  expect(withHooks(spec, files, { annotations: {}, hasBindMounts: false }).hooks).toEqual({
    poststop: [{ path: '/first' }, { path: '/a', args: ['a'], timeout: 3 }, { path: '/b' }],
    prestart: [{ path: '/a', args: ['a'], timeout: 3 }],
  })
})

it.each([
  ['another version', { version: '0.1.0' }, /version/],
  ['a relative program', { hook: { path: 'h' } }, /hook\.path/],
  ['no stage', { stages: [] }, /stages/],
  ['an unknown stage', { stages: ['later'] }, /"later"/],
  ['a condition that nobody knows', { when: { sometimes: true } }, /when\.sometimes/],
  ['a pattern that is none', { when: { commands: ['('] } }, /"\("/],
  ['a time that is none', { hook: { path: '/h', timeout: -1 } }, /hook\.timeout/],
])('a file with %s is refused by name', (_, wrong, why) => {
  expect(() => file({ always: true }, wrong)).toThrow(why)
  expect(() => file({ always: true }, wrong)).toThrow('/d/h.json')
})
