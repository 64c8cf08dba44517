// SPDX-License-Identifier: Apache-2.0
/** trust-policy: what the man page's forms become, and that nothing unknown passes. */
import { describe, expect, test } from 'vitest'
import { parseTrustPolicy } from '../../../src/model/trust-policy.ts'

const accept = { type: 'insecureAcceptAnything' }
const parse = (policy: unknown) => parseTrustPolicy(JSON.stringify(policy), '/p.json')
const one = (requirement: unknown) => parse({ default: [requirement] }).fallback.requirements[0]
const gpg = { type: 'signedBy', keyType: 'GPGKeys', keyPath: '/k' }
const sig = { type: 'sigstoreSigned', keyPath: '/k' }
const fulcio = { caPath: '/ca', oidcIssuer: 'https://i', subjectEmail: 'a@b' }
const any = { type: 'matchRepoDigestOrExact' }

test('the default, transports and scopes are kept apart, with their places', () => {
  const policy = parseTrustPolicy(
    '{"default": [{"type": "reject"}],\n"transports": {"docker": {"": [{"type": "reject"}],\n"docker.io/a": [{"type": "insecureAcceptAnything"}]}, "dir": {"/x": [{"type": "reject"}]}}}',
    '/p.json',
  )
  expect(policy.fallback).toEqual({ place: '/p.json:1: default', requirements: [{ type: 'reject' }] })
  expect([...policy.transports.keys()]).toEqual(['docker', 'dir'])
  expect(policy.transports.get('docker')?.get('docker.io/a')).toEqual({
    place: '/p.json:3: transports.docker["docker.io/a"]',
    requirements: [accept],
  })
})

test.each<[string, unknown, unknown]>([
  ['one GPG key file', gpg, { type: 'signedBy', keys: [{ path: '/k' }], identity: any }],
  [
    'several',
    { type: 'signedBy', keyType: 'GPGKeys', keyPaths: ['/a', '/b'], signedIdentity: { type: 'matchExact' } },
    { type: 'signedBy', keys: [{ path: '/a' }, { path: '/b' }], identity: { type: 'matchExact' } },
  ],
  [
    'GPG key data',
    { type: 'signedBy', keyType: 'GPGKeys', keyData: 'aGk=' },
    { type: 'signedBy', keys: [{ data: 'aGk=' }], identity: any },
  ],
  [
    'sigstore keys with a log',
    { type: 'sigstoreSigned', keyDatas: ['aGk=', 'aGl='], rekorPublicKeyPaths: ['/r'] },
    {
      type: 'sigstoreSigned',
      signer: { by: 'keys', keys: [{ data: 'aGk=' }, { data: 'aGl=' }] },
      rekor: [{ path: '/r' }],
      identity: any,
    },
  ],
  [
    'keyless',
    {
      type: 'sigstoreSigned',
      fulcio,
      rekorPublicKeyData: 'aGk=',
      signedIdentity: { type: 'matchRepository' },
    },
    {
      type: 'sigstoreSigned',
      signer: { by: 'fulcio', ca: [{ path: '/ca' }], oidcIssuer: 'https://i', subjectEmail: 'a@b' },
      rekor: [{ data: 'aGk=' }],
      identity: { type: 'matchRepository' },
    },
  ],
  [
    'a PKI',
    { type: 'sigstoreSigned', pki: { caRootsPath: '/ca', subjectHostname: 'a.b' } },
    {
      type: 'sigstoreSigned',
      signer: {
        by: 'pki',
        ca: [{ path: '/ca' }],
        intermediates: [],
        subjectEmail: undefined,
        subjectHostname: 'a.b',
      },
      rekor: [],
      identity: any,
    },
  ],
  [
    'a remapped identity',
    { ...gpg, signedIdentity: { type: 'remapIdentity', prefix: 'm:5000/x', signedPrefix: 'v.example' } },
    {
      type: 'signedBy',
      keys: [{ path: '/k' }],
      identity: { type: 'remapIdentity', prefix: 'm:5000/x', signedPrefix: 'v.example' },
    },
  ],
])('%s', (_, requirement, want) => {
  expect(one(requirement)).toEqual(want)
})

describe('refused with its place', () => {
  test.each<[string, unknown, RegExp]>([
    ['no default', { transports: {} }, /^\/p\.json:1: "default" is missing/],
    ['an empty list', { default: [] }, /default: a list with at least one entry/],
    ['an unknown key of the file', { default: [accept], defaults: [] }, /defaults: unknown key/],
    ['a scope without requirements', { default: [accept], transports: { docker: { a: [] } } }, /docker\.a/],
    [
      'a fault in a transport that is not used',
      { default: [accept], transports: { dir: { '/': [{}] } } },
      /dir/,
    ],
    ['a list as the file', [], /an object is expected/],
  ])('%s', (_, policy, message) => {
    expect(() => parse(policy)).toThrow(message)
  })

  test.each<[string, unknown, RegExp]>([
    ['no type', {}, /default\[0\]: "type" is missing/],
    [
      'an unknown type',
      { type: 'signedBaseLayer' },
      /default\[0\]\.type: "signedBaseLayer" is not a requirement/,
    ],
    ['a key beside accept', { ...accept, keyPath: '/k' }, /default\[0\]\.keyPath: unknown key/],
    ['a key beside reject', { type: 'reject', x: 1 }, /default\[0\]\.x: unknown key/],
    ['another type of key', { ...gpg, keyType: 'signedByX509CAs' }, /keyType: "GPGKeys" is the only/],
    ['no key', { type: 'signedBy', keyType: 'GPGKeys' }, /keyPath, keyPaths and keyData is needed/],
    ['two keys', { ...gpg, keyData: 'aGk=' }, /only one of the forms of "key…"/],
    ['an empty list of keys', { type: 'signedBy', keyType: 'GPGKeys', keyPaths: [] }, /at least one entry/],
    ['keyDatas, which only sigstore has', { ...gpg, keyDatas: ['aGk='] }, /keyDatas: unknown key/],
    ['a relative path', { ...gpg, keyPath: 'k' }, /keyPath: "k" is not an absolute path/],
    ['no base64', { ...sig, keyPath: undefined, keyData: 'a b' }, /keyData: this is not base64/],
    ['a key and fulcio', { ...sig, fulcio }, /exactly one of keyPath/],
    ['neither', { type: 'sigstoreSigned' }, /exactly one of keyPath/],
    ['fulcio without a log', { type: 'sigstoreSigned', fulcio }, /a rekorPublicKey is needed/],
    [
      'fulcio without an e-mail',
      { type: 'sigstoreSigned', fulcio: { ...fulcio, subjectEmail: undefined }, rekorPublicKeyPath: '/r' },
      /fulcio: "subjectEmail" is missing/,
    ],
    [
      'fulcio with an empty issuer',
      { type: 'sigstoreSigned', fulcio: { ...fulcio, oidcIssuer: '' }, rekorPublicKeyPath: '/r' },
      /oidcIssuer: a string is expected/,
    ],
    [
      'an unknown key of fulcio',
      { type: 'sigstoreSigned', fulcio: { ...fulcio, URI: 'x' } },
      /fulcio\.URI: unknown/,
    ],
    ['two logs', { ...sig, rekorPublicKeyPath: '/r', rekorPublicKeyData: 'aGk=' }, /"rekorPublicKey…"/],
    [
      'a PKI with a log',
      { type: 'sigstoreSigned', pki: { caRootsPath: '/c', subjectEmail: 'a@b' }, rekorPublicKeyPath: '/r' },
      /no rekorPublicKey/,
    ],
    [
      'a PKI for anybody',
      { type: 'sigstoreSigned', pki: { caRootsPath: '/c' } },
      /subjectEmail and subjectHostname/,
    ],
    [
      'an unknown identity',
      { ...gpg, signedIdentity: { type: 'matchAll' } },
      /signedIdentity\.type: "matchAll"/,
    ],
    [
      'a key of another identity',
      { ...gpg, signedIdentity: { type: 'matchExact', prefix: 'x' } },
      /prefix: unknown/,
    ],
    [
      'an exact reference without a tag',
      { ...gpg, signedIdentity: { type: 'exactReference', dockerReference: 'h.io/a' } },
      /dockerReference: a tag or a digest is missing/,
    ],
    [
      'a repository that is none',
      { ...gpg, signedIdentity: { type: 'exactRepository', dockerRepository: 'a.io/Up' } },
      /dockerRepository: image reference/,
    ],
    [
      'a prefix with a tag',
      { ...gpg, signedIdentity: { type: 'remapIdentity', prefix: 'h.io/a:b', signedPrefix: 'c.io' } },
      /signedIdentity\.prefix/,
    ],
  ])('%s', (_, requirement, message) => {
    expect(() => one(requirement)).toThrow(message)
  })

  test('a key twice', () => {
    expect(() => parseTrustPolicy('{"default": [],\n"default": [{"type": "reject"}]}', '/p.json')).toThrow(
      '/p.json: line 2: default is there twice',
    )
  })
})
