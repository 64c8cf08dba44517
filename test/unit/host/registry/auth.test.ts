// SPDX-License-Identifier: Apache-2.0
/** Challenges, and whom credentials are for. That they do not leak on the wire is in `client-auth.test.ts`. */
import { describe, expect, test } from 'vitest'
import { Authorizer, credentialsFit, parseChallenges } from '../../../../src/host/registry/auth.ts'

describe('challenges', () => {
  test.each([
    [
      ['Bearer realm="https://auth.io/token",service="reg.io",scope="repository:a/b:pull,push"'],
      [
        {
          scheme: 'bearer',
          params: { realm: 'https://auth.io/token', service: 'reg.io', scope: 'repository:a/b:pull,push' },
        },
      ],
    ],
    [['Basic realm="x"'], [{ scheme: 'basic', params: { realm: 'x' } }]],
    [['BASIC'], [{ scheme: 'basic', params: {} }]],
    [
      ['Negotiate, Basic realm="a \\"b\\"", Bearer realm=c , service = "d"'],
      [
        { scheme: 'negotiate', params: {} },
        { scheme: 'basic', params: { realm: 'a "b"' } },
        { scheme: 'bearer', params: { realm: 'c', service: 'd' } },
      ],
    ],
    [
      ['Basic realm="x"', 'Bearer realm="y"'],
      [
        { scheme: 'basic', params: { realm: 'x' } },
        { scheme: 'bearer', params: { realm: 'y' } },
      ],
    ],
    [['="broken', '', '   ,'], []],
  ])('%j', (values, expected) => {
    expect(parseChallenges(values)).toEqual(expected)
  })
})

describe('credentials', () => {
  test.each([
    ['', 'reg.io', 'https://reg.io/v2', true],
    ['', 'reg.io', 'https://mirror.io/v2', false],
    ['', 'docker.io', 'https://registry-1.docker.io/v2', true],
    ['https://index.docker.io/v1/', 'docker.io', 'https://registry-1.docker.io/v2', true],
    ['docker.io', 'docker.io', 'https://registry-1.docker.io/v2', true],
    ['reg.io', 'reg.io', 'https://reg.io/v2', true],
    ['https://reg.io:443', 'reg.io', 'https://reg.io/v2', true],
    ['reg.io:5000', 'reg.io', 'https://reg.io/v2', false],
    ['other.io', 'reg.io', 'https://reg.io/v2', false],
    ['mirror.io', 'reg.io', 'https://mirror.io/v2', true],
    ['reg.io.evil.io', 'reg.io', 'https://reg.io/v2', false],
    [':::', 'reg.io', 'https://reg.io/v2', false],
  ])('for server %j, image of %s, at %s: %s', (serverAddress, domain, host, fits) => {
    expect(credentialsFit({ serverAddress }, domain, new URL(host))).toBe(fits)
  })

  test('an "auth" that is not user:password is refused without showing it', () => {
    const auth = Buffer.from('no-colon-here').toString('base64')
    const make = () => new Authorizer({ auth }, { domain: 'reg.io', path: 'a' })
    expect(make).toThrow('user:password')
    expect(make).not.toThrow(auth)
  })
})
