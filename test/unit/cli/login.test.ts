// SPDX-License-Identifier: Apache-2.0
/** What login takes for a registry, and what it does not take from the command line. The rest: integration/login. */
import { describe, expect, test } from 'vitest'
import { parseArgs } from '../../../src/cli/args.ts'
import { registryName } from '../../../src/cli/login.ts'

describe('a registry', () => {
  test.each([
    [undefined, 'docker.io', 'docker.io'],
    ['docker.io', 'docker.io', 'docker.io'],
    ['https://index.docker.io/v1/', 'docker.io', 'index.docker.io'],
    ['reg.io:5000', 'reg.io:5000', 'reg.io:5000'],
    ['http://reg.io:5000/', 'reg.io:5000', 'reg.io:5000'],
    ['https://reg.io/v2/', 'reg.io', 'reg.io'],
    ['localhost', 'localhost', 'localhost'],
    ['[::1]:5000', '[::1]:5000', '[::1]:5000'],
    ['quay.io/team/', 'quay.io', 'quay.io/team'],
  ])('%s is at %s, kept as %s', (word, domain, text) => {
    const name = registryName(word)
    expect([name.ref.domain, name.text]).toEqual([domain, text])
  })

  test.each([
    ['team', 'write its host, as docker.io/team'],
    ['', 'is not a registry'],
    ['reg.io/Team', 'lower case'],
    ['ftp://reg.io', 'is not a registry'],
    ['reg.io:99999', 'port 99999'],
    ['a@b.io', 'is not a registry'],
    ['-x.io', 'is not a registry'],
  ])('%j is none: %s', (word, why) => {
    expect(() => registryName(word)).toThrow(why)
  })
})

test.each([
  ['-p', 'hunter2'],
  ['-phunter2'],
  ['-u', 'ann', '--password', 'hunter2', 'reg.io'],
  ['--password=hunter2'],
])('a password in the arguments is refused and not shown: %s', (...argv) => {
  const parsed = parseArgs(['login', ...argv])
  expect(parsed.is).toBe('wrong')
  const problems = parsed.is === 'wrong' ? parsed.problems : []
  expect(problems).toEqual([expect.stringContaining('use --password-stdin')])
  expect(problems.join()).not.toContain('hunter2')
})

test('its flags', () => {
  const parsed = parseArgs(['login', '-u', 'ann', '--password-stdin', '--auth-file=/f', 'reg.io'])
  if (parsed.is !== 'run') throw new Error(JSON.stringify(parsed))
  const { args } = parsed
  expect([[...args.values], [...args.own], args.words]).toEqual([
    [
      ['username', 'ann'],
      ['auth-file', '/f'],
    ],
    ['password-stdin'],
    ['reg.io'],
  ])
})
