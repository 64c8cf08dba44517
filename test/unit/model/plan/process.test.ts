// SPDX-License-Identifier: Apache-2.0
/** The process of a container: arguments and environment from request and image, capabilities from four lists. */
import { describe, expect, test } from 'vitest'
import { capabilities, processArgs, processEnv } from '../../../../src/model/plan/spec/process.ts'
import { CAPABILITIES } from '../../../support/fake-host-requests.ts'

const image = (entrypoint: readonly string[], cmd: readonly string[], env: readonly string[] = []) => ({
  entrypoint,
  cmd,
  env,
  workingDir: '',
})

describe('arguments', () => {
  test.each([
    ['the image’s entrypoint and command', [], [], ['e'], ['c'], ['e', 'c']],
    ['args replace the image’s command', [], ['a'], ['e'], ['c'], ['e', 'a']],
    ['command replaces entrypoint and command', ['k'], [], ['e'], ['c'], ['k']],
    ['both replace both', ['k'], ['a'], ['e'], ['c'], ['k', 'a']],
    ['an image without an entrypoint runs its command', [], [], [], ['c'], ['c']],
    ['empty arguments stay where they are', ['k'], ['', 'a'], [], [], ['k', '', 'a']],
  ])('%s', (_what, command, args, entrypoint, cmd, wanted) => {
    expect(processArgs({ command, args }, image(entrypoint, cmd))).toEqual(wanted)
  })

  test.each([
    ['nobody names a command', [], []],
    ['the command is empty', [''], []],
  ])('are refused when %s', (_what, command, args) => {
    expect(() => processArgs({ command, args }, image([], []))).toThrow(/no command/)
  })
})

describe('environment', () => {
  const env = (
    of: readonly string[],
    requested: readonly { name: string; value: string }[],
    extra: Partial<Parameters<typeof processEnv>[2]> = {},
  ) => processEnv(image([], [], of), requested, { hostname: 'h', home: '/root', tty: false, ...extra })

  test('has a PATH, the host name and a HOME when nobody says them', () => {
    expect(env([], [])).toEqual([expect.stringMatching(/^PATH=.*\/usr\/bin/), 'HOSTNAME=h', 'HOME=/root'])
  })

  test('the request wins over the image, and both over what is there anyway', () => {
    const got = env(
      ['PATH=/image', 'A=1', 'HOME=/img'],
      [
        { name: 'A', value: '2' },
        { name: 'HOSTNAME', value: 'x' },
      ],
    )
    expect(got).toEqual(['PATH=/image', 'HOSTNAME=x', 'A=2', 'HOME=/img'])
  })

  test('a terminal gets a TERM, unless there is one', () => {
    expect(env([], [], { tty: true })).toContain('TERM=xterm')
    expect(env(['TERM=vt100'], [], { tty: true })).toContain('TERM=vt100')
    expect(env([], []).join()).not.toContain('TERM')
  })

  test('values keep what they hold, and broken entries of an image are passed over', () => {
    const got = env(
      ['=x', 'novalue', 'E='],
      [
        { name: 'L', value: 'a=b\nc' },
        { name: '__proto__', value: 'p' },
      ],
    )
    expect(got.slice(2, -1)).toEqual(['E=', 'L=a=b\nc', '__proto__=p'])
    expect(got).toHaveLength(6)
  })
})

describe('capabilities', () => {
  const known = [...CAPABILITIES]
  const standard = known.filter((c) => !['CAP_NET_ADMIN', 'CAP_SYS_ADMIN', 'CAP_SYS_TIME'].includes(c))
  const sets = (
    change: { add?: string[]; drop?: string[]; addAmbient?: string[] },
    privileged = false,
    of: readonly string[] = known,
  ) => capabilities({ add: [], drop: [], addAmbient: [], ...change }, { privileged, known: of }).sets

  test.each([
    ['nothing: the default set', {}, standard],
    ['one more', { add: ['NET_ADMIN'] }, known.filter((c) => standard.includes(c) || c === 'CAP_NET_ADMIN')],
    [
      'any spelling of it',
      { add: ['cap_net_admin'] },
      known.filter((c) => standard.includes(c) || c === 'CAP_NET_ADMIN'),
    ],
    ['one less', { drop: ['KILL'] }, standard.filter((c) => c !== 'CAP_KILL')],
    ['all', { add: ['ALL'] }, known],
    ['all but one', { add: ['all'], drop: ['SYS_TIME'] }, known.filter((c) => c !== 'CAP_SYS_TIME')],
    ['none', { drop: ['ALL'] }, []],
    ['one and no other', { add: ['KILL'], drop: ['ALL'] }, ['CAP_KILL']],
    ['to drop one that only this machine lacks is to drop nothing', { drop: ['CAP_BPF'] }, standard],
    [
      'the same one added and dropped is dropped',
      { add: ['KILL'], drop: ['KILL'] },
      standard.filter((c) => c !== 'CAP_KILL'),
    ],
  ])('asked for %s', (_what, change, wanted) => {
    const got = sets(change)
    expect([got.bounding, got.effective, got.permitted]).toEqual([wanted, wanted, wanted])
    expect([got.inheritable, got.ambient]).toEqual([[], []])
  })

  test('ambient ones are in every set', () => {
    const got = sets({ drop: ['ALL'], addAmbient: ['NET_RAW'] })
    expect(new Set(Object.values(got).map((s) => s.join()))).toEqual(new Set(['CAP_NET_RAW']))
    expect(sets({ addAmbient: ['ALL'] }).ambient).toEqual(known)
  })

  test('privileged has all, whatever is dropped', () => {
    expect(sets({ drop: ['ALL'] }, true).bounding).toEqual(known)
  })

  test('the default set is what the daemon itself may give', () => {
    expect(sets({}, false, ['CAP_KILL']).bounding).toEqual(['CAP_KILL'])
  })

  test('to drop what no kernel knows is refused: a misspelt one would stay', () => {
    expect(() => sets({ drop: ['ALL', 'NET_RWA'] })).toThrow(/drop_capabilities: CAP_NET_RWA is not the name/)
  })

  test.each([{ add: ['NOPE'] }, { addAmbient: ['NOPE'] }, { add: [''] }])('%o is refused', (change) => {
    expect(() => sets(change)).toThrow(/capability CAP_(NOPE)? is unknown/)
  })
})
