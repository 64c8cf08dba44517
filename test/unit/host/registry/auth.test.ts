// SPDX-License-Identifier: Apache-2.0
/** What registries challenge with. How challenges are answered is in `client-auth.test.ts`. */
import { describe, expect, test } from 'vitest'
import { parseChallenges } from '../../../../src/host/registry/auth.ts'

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
