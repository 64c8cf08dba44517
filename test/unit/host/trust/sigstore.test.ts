// SPDX-License-Identifier: Apache-2.0
/** sigstore: keys, certificates and logs, each right once and wrong in every way that has a name. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { sigstoreCheck } from '../../../../src/host/trust/sigstore.ts'
import type { SigstoreSigner } from '../../../../src/model/trust-policy.ts'
import { type CosignSignature, cosign, type Entry, logged, pemOf } from '../../../support/signing.ts'
import { p256 } from '../../../support/x509.ts'
import { check, claim, data, good, requirement } from './fixture.ts'

const byKeys = (...keys: readonly KeyObject[]): SigstoreSigner => ({
  by: 'keys',
  keys: keys.map((key) => data(pemOf(key))),
})
const signer = p256()
const log = p256()
const other = p256()

describe('by key', () => {
  test.each<[string, () => { publicKey: KeyObject; privateKey: KeyObject }, string]>([
    ['ECDSA P-256', p256, 'sha256'],
    ['ECDSA P-384 and SHA-256', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha256'],
    ['ECDSA P-384 and SHA-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha384'],
    ['ECDSA P-521 and SHA-512', () => generateKeyPairSync('ec', { namedCurve: 'P-521' }), 'sha512'],
    ['Ed25519', () => generateKeyPairSync('ed25519'), 'sha256'],
    ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 }), 'sha256'],
  ])('%s is taken', async (_, make, digest) => {
    const { publicKey, privateKey } = make()
    expect(await check(requirement(byKeys(publicKey)), cosign(claim, privateKey, digest))).toEqual(good)
  })

  test('one of several keys will do', async () => {
    const of = requirement(byKeys(other.publicKey, signer.publicKey))
    expect(await check(of, cosign(claim, signer.privateKey))).toEqual(good)
  })

  const signed = () => cosign(claim, signer.privateKey)
  test.each<[string, () => CosignSignature, RegExp]>([
    ['of another key', () => cosign(claim, other.privateKey), /not signed by a key/],
    ['of SHA-1', () => cosign(claim, signer.privateKey, 'sha1'), /not signed by a key/],
    ['of another payload', () => ({ ...signed(), payload: Buffer.from('{}') }), /not signed by a key/],
    ['without the annotation', () => ({ ...signed(), annotations: {} }), /no annotation/],
    [
      'that is no base64',
      () => ({ ...signed(), annotations: { 'dev.cosignproject.cosign/signature': 'a b!' } }),
      /not base64/,
    ],
    [
      'that is empty',
      () => ({ ...signed(), annotations: { 'dev.cosignproject.cosign/signature': '' } }),
      /not base64/,
    ],
    [
      'of the type of simple signing',
      () => cosign({ ...claim, type: 'atomic container signature' }, signer.privateKey),
      /not a signature of an image/,
    ],
  ])('a signature %s is refused', async (_, make, message) => {
    await expect(check(requirement(byKeys(signer.publicKey)), make())).rejects.toThrow(message)
  })

  test('what is signed but not of the form is refused', async () => {
    const payload = Buffer.from('{"critical": null}')
    const signature = sign('sha256', payload, signer.privateKey).toString('base64')
    const of = { payload, annotations: { 'dev.cosignproject.cosign/signature': signature } }
    await expect(check(requirement(byKeys(signer.publicKey)), of)).rejects.toThrow(
      /not a signature of an image/,
    )
  })

  test.each<[string, string, RegExp]>([
    ['no PEM', 'hello', /expected one public key/],
    [
      'a private key',
      signer.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      /one public key/,
    ],
    ['two keys', pemOf(signer.publicKey) + pemOf(other.publicKey), /expected one public key/],
    [
      'RSA of 1024 bits',
      pemOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey),
      /not accepted/,
    ],
    ['X25519', pemOf(generateKeyPairSync('x25519').publicKey), /not accepted/],
    ['secp256k1', pemOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey), /not accepted/],
  ])('a policy with %s fails', async (_, pem, message) => {
    const of = requirement({ by: 'keys', keys: [data(pem)] })
    await expect(sigstoreCheck(of)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(message),
    })
  })

  test('a key file that is missing is named', async () => {
    const of = requirement({ by: 'keys', keys: [{ path: '/nonexistent/k.pub' }] })
    await expect(sigstoreCheck(of)).rejects.toThrow('the signature policy names /nonexistent/k.pub: ENOENT')
  })
})

describe('by key with a log', () => {
  const of = requirement(byKeys(signer.publicKey), [other.publicKey, log.publicKey])
  const entry = (change?: (entry: Entry) => void, key = log.privateKey) =>
    logged(cosign(claim, signer.privateKey), key, {
      pem: pemOf(signer.publicKey),
      ...(change === undefined ? {} : { change }),
    })
  const bundled = (
    change: (set: { SignedEntryTimestamp: string; Payload: Record<string, unknown> }) => void,
  ) => {
    const signature = entry()
    const set = JSON.parse(signature.annotations['dev.sigstore.cosign/bundle'] ?? '')
    change(set)
    signature.annotations['dev.sigstore.cosign/bundle'] = JSON.stringify(set)
    return signature
  }
  test('an entry of one of the logs is taken', async () => {
    expect(await check(of, entry())).toEqual(good)
  })

  test.each<[string, () => CosignSignature, RegExp]>([
    ['none', () => cosign(claim, signer.privateKey), /no annotation dev\.sigstore\.cosign\/bundle/],
    ['one of another log', () => entry(undefined, signer.privateKey), /no key of the policy has signed it/],
    [
      'one with another time',
      () => bundled((s) => Object.assign(s.Payload, { integratedTime: 1 })),
      /no key of/,
    ],
    ['one with a further key', () => bundled((s) => Object.assign(s.Payload, { x: 1 })), /exactly the keys/],
    [
      'one with a time that is text',
      () => bundled((s) => Object.assign(s.Payload, { integratedTime: '1' })),
      /not a number/,
    ],
    [
      'one without a promise',
      () => bundled((s) => Object.assign(s, { SignedEntryTimestamp: '' })),
      /not base64/,
    ],
    [
      'one about another payload',
      () => entry((e) => Object.assign(e.spec.data.hash, { value: '0'.repeat(64) })),
      /another payload/,
    ],
    [
      'one with another digest',
      () => entry((e) => Object.assign(e.spec.data.hash, { algorithm: 'md5' })),
      /another payload/,
    ],
    [
      'one about another signature',
      () => entry((e) => Object.assign(e.spec.signature, { content: 'aGk=' })),
      /another signature/,
    ],
    [
      'one about another key',
      () =>
        entry((e) =>
          Object.assign(e.spec.signature.publicKey, { content: data(pemOf(other.publicKey)).data }),
        ),
      /another key/,
    ],
    ['one of another kind', () => entry((e) => Object.assign(e, { kind: 'intoto' })), /not a hashedrekord/],
    [
      'one of another version',
      () => entry((e) => Object.assign(e, { apiVersion: '0.0.2' })),
      /not a hashedrekord/,
    ],
    [
      'one that is no JSON',
      () => {
        const signature = entry()
        signature.annotations['dev.sigstore.cosign/bundle'] = '{"SignedEntryTimestamp": 1, '
        return signature
      },
      /the log bundle: not JSON/,
    ],
  ])('%s is refused', async (_, make, message) => {
    await expect(check(of, make())).rejects.toThrow(message)
  })

  test('a log whose key is not ECDSA fails the policy', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    await expect(sigstoreCheck(requirement(byKeys(signer.publicKey), [rsa.publicKey]))).rejects.toThrow(
      /ECDSA/,
    )
  })
})
