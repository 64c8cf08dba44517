// SPDX-License-Identifier: Apache-2.0
/** trust-identity: which scope is the narrowest, which names are accepted, what a payload may look like. */
import { describe, expect, test } from 'vitest'
import { parseReference } from '../../../src/model/reference.ts'
import {
  acceptsIdentity,
  COSIGN_SIGNING,
  parseClaim,
  ruleFor,
  SIMPLE_SIGNING,
  scopesOf,
} from '../../../src/model/trust-identity.ts'
import { type IdentityRule, parseTrustPolicy } from '../../../src/model/trust-policy.ts'

const hex = 'a'.repeat(64)

test.each([
  [
    'busybox',
    [
      'docker.io/library/busybox:latest',
      'docker.io/library/busybox',
      'docker.io/library',
      'docker.io',
      '*.io',
    ],
  ],
  [
    'a.b.example.com:5000/x/y:1',
    [
      'a.b.example.com:5000/x/y:1',
      'a.b.example.com:5000/x/y',
      'a.b.example.com:5000/x',
      'a.b.example.com:5000',
      '*.b.example.com',
      '*.example.com',
      '*.com',
    ],
  ],
  [`localhost/x:tag@sha256:${hex}`, [`localhost/x@sha256:${hex}`, 'localhost/x', 'localhost']],
])('%s falls under its scopes, narrowest first', (name, scopes) => {
  expect(scopesOf(parseReference(name))).toEqual(scopes)
})

describe('the rule of', () => {
  const rule = (n: string) => [{ type: 'signedBy', keyType: 'GPGKeys', keyPath: `/${n}` }]
  const policy = parseTrustPolicy(
    JSON.stringify({
      default: rule('default'),
      transports: {
        docker: {
          'r.example.com/ns/app:v1': rule('tag'),
          'r.example.com/ns/app': rule('repository'),
          'r.example.com/ns': rule('namespace'),
          'r.example.com': rule('host'),
          '*.example.com': rule('domain'),
        },
        oci: { 'other.io': rule('oci'), '': rule('oci-default') },
      },
    }),
    '/p',
  )
  test.each([
    ['r.example.com/ns/app:v1', 'tag'],
    ['r.example.com/ns/app:v2', 'repository'],
    [`r.example.com/ns/app:v1@sha256:${hex}`, 'repository'],
    ['r.example.com/ns/application:v1', 'namespace'],
    ['r.example.com/nsx/app:v1', 'host'],
    ['r.example.com:5000/ns/app:v1', 'domain'],
    ['a.b.example.com/x', 'domain'],
    ['example.com/x', 'default'],
    ['other.io/x', 'default'],
  ])('%s is that of the %s', (name, want) => {
    expect(ruleFor(policy, parseReference(name)).requirements[0]).toMatchObject({
      keys: [{ path: `/${want}` }],
    })
  })

  test('an image outside all scopes is the default of its transport', () => {
    const of = parseTrustPolicy(
      JSON.stringify({ default: [{ type: 'reject' }], transports: { docker: { '': rule('docker') } } }),
      '/p',
    )
    expect(ruleFor(of, parseReference('x')).requirements).toMatchObject([{ keys: [{ path: '/docker' }] }])
  })
})

describe('a signature', () => {
  const tagged = 'r.io/ns/app:v1'
  const digested = `r.io/ns/app@sha256:${hex}`
  const exactRef: IdentityRule = { type: 'exactReference', dockerReference: 'pub.io/app:v9' }
  const exactRepo: IdentityRule = { type: 'exactRepository', dockerRepository: 'pub.io/app' }
  const remap: IdentityRule = { type: 'remapIdentity', prefix: 'r.io/ns', signedPrefix: 'pub.io' }
  test.each<[IdentityRule, string, string, boolean]>([
    [{ type: 'matchExact' }, tagged, 'r.io/ns/app:v1', true],
    [{ type: 'matchExact' }, tagged, 'r.io/ns/app:v2', false],
    [{ type: 'matchExact' }, tagged, 'r.io/ns/app', false],
    [{ type: 'matchExact' }, 'r.io/ns/app', 'r.io/ns/app:latest', true],
    [{ type: 'matchExact' }, 'r.io/ns/app', 'r.io/ns/app', false],
    [{ type: 'matchExact' }, digested, 'r.io/ns/app:v1', false],
    [{ type: 'matchExact' }, digested, digested, true],
    [{ type: 'matchRepoDigestOrExact' }, tagged, 'r.io/ns/app:v1', true],
    [{ type: 'matchRepoDigestOrExact' }, tagged, 'r.io/ns/app:v2', false],
    [{ type: 'matchRepoDigestOrExact' }, digested, 'r.io/ns/app:v2', true],
    [{ type: 'matchRepoDigestOrExact' }, `r.io/ns/app:v1@sha256:${hex}`, 'r.io/ns/app:v2', true],
    [{ type: 'matchRepoDigestOrExact' }, digested, 'r.io/ns/app', false],
    [{ type: 'matchRepoDigestOrExact' }, digested, 'r.io/ns/other:v2', false],
    [{ type: 'matchRepository' }, tagged, 'r.io/ns/app', true],
    [{ type: 'matchRepository' }, tagged, 'r.io/ns/app:v7', true],
    [{ type: 'matchRepository' }, tagged, 'r.io/ns/app2:v1', false],
    [{ type: 'matchRepository' }, 'busybox', 'index.docker.io/library/busybox', true],
    [{ type: 'matchRepository' }, tagged, '', false],
    [{ type: 'matchRepository' }, tagged, 'Not A Name', false],
    [exactRef, tagged, 'pub.io/app:v9', true],
    [exactRef, tagged, 'pub.io/app:v1', false],
    [exactRef, tagged, tagged, false],
    [exactRepo, tagged, 'pub.io/app:v1', true],
    [exactRepo, tagged, 'pub.io/app', true],
    [exactRepo, tagged, 'pub.io/app2:v1', false],
    [remap, tagged, 'pub.io/app:v1', true],
    [remap, tagged, 'pub.io/app:v2', false],
    [remap, tagged, tagged, false],
    [remap, digested, 'pub.io/app:anything', true],
    [remap, 'r.io/ns2/app:v1', 'r.io/ns2/app:v1', true],
    [{ ...remap, signedPrefix: 'nohost' }, tagged, 'docker.io/nohost/app:v1', false],
  ])('by %j, %s may be signed as %j: %s', (rule, asked, signed, want) => {
    expect(acceptsIdentity(rule, parseReference(asked), signed)).toBe(want)
  })
})

describe('a payload', () => {
  const critical = {
    type: SIMPLE_SIGNING,
    image: { 'docker-manifest-digest': 'sha256:x' },
    identity: { 'docker-reference': 'a' },
  }
  test('gives digest and name', () => {
    const text = JSON.stringify({ critical, optional: null })
    expect(parseClaim(text, SIMPLE_SIGNING)).toEqual({ digest: 'sha256:x', reference: 'a' })
  })

  test.each<[string, string, RegExp]>([
    [
      'of the other type',
      JSON.stringify({ critical: { ...critical, type: COSIGN_SIGNING }, optional: {} }),
      /of type/,
    ],
    ['with a further key', JSON.stringify({ critical, optional: {}, x: 1 }), /exactly the keys/],
    [
      'with a further critical key',
      JSON.stringify({ critical: { ...critical, x: 1 }, optional: {} }),
      /exactly/,
    ],
    ['without optional', JSON.stringify({ critical }), /exactly the keys/],
    [
      'with a key twice',
      `{"critical":${JSON.stringify(critical)},"critical":{},"optional":{}}`,
      /there twice/,
    ],
    [
      'with a number as digest',
      JSON.stringify({ critical: { ...critical, image: { 'docker-manifest-digest': 1 } }, optional: {} }),
      /not a string/,
    ],
    ['that is no JSON', 'hello', /not JSON/],
    ['that is a list', '[]', /not an object/],
  ])('%s is refused', (_, text, message) => {
    expect(() => parseClaim(text, SIMPLE_SIGNING)).toThrow(message)
  })
})
