// SPDX-License-Identifier: Apache-2.0
/** Credentials in all their forms, and whom they are for. */
import { describe, expect, test } from 'vitest'
import { credentialsFit, credentialsOf } from '../../../../src/host/registry/credentials.ts'

const code = (text: string | Buffer) => Buffer.from(text).toString('base64')
const NONE = { basic: undefined, identityToken: undefined, registryToken: undefined, from: 'the request' }
const basic = (username: string, password: string) => ({ ...NONE, basic: { username, password } })

describe('whom they are for', () => {
  test.each([
    ['', 'reg.io', 'https://reg.io/v2', true],
    ['', 'reg.io', 'https://mirror.io/v2', false],
    ['', 'docker.io', 'https://registry-1.docker.io/v2', true],
    ['', 'REG.io', 'https://reg.io/v2', true],
    ['https://index.docker.io/v1/', 'docker.io', 'https://registry-1.docker.io/v2', true],
    ['docker.io', 'docker.io', 'https://registry-1.docker.io/v2', true],
    ['https://index.docker.io/v1/', 'reg.io', 'https://reg.io/v2', false],
    ['reg.io', 'reg.io', 'https://reg.io/v2', true],
    ['reg.io/some/path', 'reg.io', 'https://reg.io/v2', true],
    ['http://reg.io/v2/?a=b', 'reg.io', 'https://reg.io/v2', true],
    ['https://reg.io:443', 'reg.io', 'https://reg.io/v2', true],
    ['reg.io:443', 'reg.io', 'http://reg.io/v2', false],
    ['reg.io:80', 'reg.io', 'http://reg.io/v2', true],
    ['reg.io:80', 'reg.io', 'https://reg.io/v2', false],
    ['reg.io:5000', 'reg.io', 'https://reg.io/v2', false],
    ['reg.io:5000', 'reg.io:5000', 'https://reg.io:5000/v2', true],
    ['[::1]:5000', '[::1]:5000', 'http://[::1]:5000/v2', true],
    ['other.io', 'reg.io', 'https://reg.io/v2', false],
    ['mirror.io', 'reg.io', 'https://mirror.io/v2', true],
    ['reg.io.evil.io', 'reg.io', 'https://reg.io/v2', false],
    ['reg.io@evil.io', 'reg.io', 'https://reg.io/v2', false],
    ['evil.io#reg.io', 'reg.io', 'https://reg.io/v2', false],
    [':::', 'reg.io', 'https://reg.io/v2', false],
    ['https://', 'reg.io', 'https://reg.io/v2', false],
    ['   ', 'reg.io', 'https://reg.io/v2', false],
  ])('for server %j, image of %s, at %s: %s', (serverAddress, domain, host, fits) => {
    expect(credentialsFit({ serverAddress }, domain, new URL(host))).toBe(fits)
  })
})

describe('one form', () => {
  test.each([
    ['nothing', {}, undefined],
    [
      'empty values are absent ones',
      { username: '', password: '', auth: '', identityToken: '', registryToken: '', serverAddress: '' },
      undefined,
    ],
    ['a password without a username is nothing', { password: 'pw' }, undefined],
    ['a username without a password', { username: 'ann' }, basic('ann', '')],
    ['username and password', { username: 'ann', password: 'p:w' }, basic('ann', 'p:w')],
    ['auth', { auth: code('ann:p:w') }, basic('ann', 'p:w')],
    ['auth with the NULs of some clients', { auth: code('ann:pw\0\0') }, basic('ann', 'pw')],
    [
      'auth in lines',
      { auth: `${code('ann:pw').slice(0, 4)}\r\n${code('ann:pw').slice(4)}` },
      basic('ann', 'pw'),
    ],
    ['auth without padding', { auth: code('ann:pass').replace(/=+$/, '') }, basic('ann', 'pass')],
    ['auth beyond ASCII', { auth: code('änn:pässwörd') }, basic('änn', 'pässwörd')],
    ['auth with nothing in it', { auth: code(':') }, undefined],
    [
      'a username goes before auth',
      { username: 'bob', password: 'b', auth: code('ann:pw') },
      basic('bob', 'b'),
    ],
    ['an identity token', { identityToken: 'it' }, { ...NONE, identityToken: 'it' }],
    ['a registry token', { registryToken: 'rt' }, { ...NONE, registryToken: 'rt' }],
  ])('%s', (_what, raw, expected) => {
    expect(credentialsOf(raw, 'the request')).toEqual(expected)
  })

  test.each([
    ['no colon', { auth: code('no-colon-here') }, '"auth" is not the base64 of "user:password"'],
    ['no base64', { auth: 'ann:secret' }, '"auth" is not the base64 of "user:password"'],
    ['other characters within', { auth: `${code('ann:secret')}!` }, '"auth" is not the base64'],
    ['no UTF-8', { auth: code(Buffer.from([0xff, 0x3a, 0xfe])) }, '"auth" is not the base64'],
    ['a header in the token', { registryToken: 'secret\r\nx: y' }, 'the registry token is not one'],
  ])('%s is refused, named but not shown', (_what, raw, why) => {
    const make = () => credentialsOf(raw, '/a/config.json for reg.io')
    expect(make).toThrow(why)
    expect(make).toThrow('/a/config.json for reg.io')
    for (const value of Object.values(raw)) expect(make).not.toThrow(value)
    expect(make).not.toThrow(/secret/)
  })
})
