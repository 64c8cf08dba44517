// SPDX-License-Identifier: Apache-2.0
/** certificates: signers who have one of a Fulcio or of a PKI, each right once and wrong in every way that has a name. */
import { createPublicKey } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { sigstoreCheck } from '../../../../src/host/trust/sigstore.ts'
import type { SigstoreSigner } from '../../../../src/model/trust-policy.ts'
import { type CosignSignature, certified, cosign, logged } from '../../../support/signing.ts'
import { type CertificateWish, makeCertificate, makeRoot, p256 } from '../../../support/x509.ts'
import { check, claim, data, good, requirement } from './fixture.ts'

const signer = p256()
const log = p256()
const other = p256()

const HOUR_MS = 3_600_000
const ago = (hours: number) => new Date(Date.now() - hours * HOUR_MS)
const root = makeRoot('fulcio-root')
const ca = p256()
const issuer = { name: 'fulcio-ca', key: ca.privateKey }
const intermediate = (more: Partial<CertificateWish> = {}) =>
  makeCertificate({
    name: issuer.name,
    publicKey: ca.publicKey,
    issuer: root,
    ca: { pathLength: 0 },
    from: ago(100),
    ...more,
  })
/** Has the name and key of the authority, and is none. */
const plainAuthority = () =>
  makeCertificate({ name: issuer.name, publicKey: ca.publicKey, issuer: root, from: ago(100) })
const leaf = (more: Partial<CertificateWish> = {}) =>
  makeCertificate({
    name: 'leaf',
    publicKey: signer.publicKey,
    issuer,
    email: 'dev@example.com',
    oidcIssuer: 'https://id.example',
    oidcIssuerV2: 'https://id.example',
    ...more,
  })
const PAST = { from: ago(90), to: ago(89) }

describe('keyless', () => {
  const of = (more: Partial<Extract<SigstoreSigner, { by: 'fulcio' }>> = {}, rootPem = wideRoot.pem) =>
    requirement(
      {
        by: 'fulcio',
        ca: [data(rootPem)],
        oidcIssuer: 'https://id.example',
        subjectEmail: 'dev@example.com',
        ...more,
      },
      [log.publicKey],
    )
  // Valid for the whole time that the certificates below are.
  const wideRoot = {
    ...root,
    pem: makeCertificate({
      name: root.name,
      publicKey: createPublicKey(root.key),
      issuer: root,
      ca: {},
      usages: [],
      from: ago(1000),
    }),
  }
  const made = (pem: string, chain: string | undefined, at?: Date) =>
    certified(
      logged(cosign(claim, signer.privateKey), log.privateKey, { pem, ...(at === undefined ? {} : { at }) }),
      pem,
      chain,
    )

  test.each<[string, () => CosignSignature]>([
    ['a certificate that is valid now', () => made(leaf(), intermediate())],
    ['a chain that ends with the root', () => made(leaf(), intermediate() + wideRoot.pem)],
    ['one that was valid when the log took it up', () => made(leaf(PAST), intermediate(), ago(89.5))],
    ['one with only the older issuer extension', () => made(leaf({ oidcIssuerV2: '' }), intermediate())],
    ['one with only the newer issuer extension', () => made(leaf({ oidcIssuer: '' }), intermediate())],
    ['one directly below the root', () => made(leaf({ issuer: root }), undefined)],
  ])('%s is taken', async (_, make) => {
    expect(await check(of(), make())).toEqual(good)
  })

  test.each<[string, () => CosignSignature, RegExp]>([
    ['one that has expired by then', () => made(leaf(PAST), intermediate()), /not valid any more/],
    ['one that was not valid yet', () => made(leaf(), intermediate(), ago(2)), /not valid yet/],
    [
      'one below an authority that had expired',
      () => made(leaf(), intermediate({ to: ago(50) })),
      /no chain leads/,
    ],
    [
      'one for another e-mail',
      () => made(leaf({ email: 'eve@example.com' }), intermediate()),
      /is for "eve@example\.com"/,
    ],
    ['one for nobody', () => made(leaf({ email: '' }), intermediate()), /no e-mail address/],
    [
      'one with a NUL in the e-mail',
      () => made(leaf({ email: 'dev@example.com\0.evil' }), intermediate()),
      /not dev@example\.com$/,
    ],
    [
      'one of another issuer',
      () => made(leaf({ oidcIssuer: 'https://x', oidcIssuerV2: 'https://x' }), intermediate()),
      /OIDC issuer is "https:\/\/x"/,
    ],
    [
      'one with two issuers',
      () => made(leaf({ oidcIssuerV2: 'https://x' }), intermediate()),
      /two OIDC issuers/,
    ],
    [
      'one without an issuer',
      () => made(leaf({ oidcIssuer: '', oidcIssuerV2: '' }), intermediate()),
      /no OIDC issuer/,
    ],
    ['one without the chain', () => made(leaf(), undefined), /no chain leads/],
    [
      'one of another root',
      () => made(leaf(), intermediate({ issuer: makeRoot('fulcio-root') })),
      /no chain leads/,
    ],
    [
      'one that is signed by itself',
      () => made(leaf({ name: 'leaf', issuer: { name: 'leaf', key: signer.privateKey } }), leaf()),
      /no chain leads/,
    ],
    ['one whose authority is none', () => made(leaf(), plainAuthority()), /no chain leads/],
    [
      'one that is for servers',
      () => made(leaf({ usages: ['1.3.6.1.5.5.7.3.1'] }), intermediate()),
      /not for signing code/,
    ],
    [
      'one whose authority is for servers',
      () => made(leaf(), intermediate({ usages: ['1.3.6.1.5.5.7.3.1'] })),
      /no chain leads/,
    ],
    [
      'one with an unknown critical extension',
      () => made(leaf({ critical: ['1.2.3.4'] }), intermediate()),
      /1\.2\.3\.4/,
    ],
    [
      'one with name constraints above',
      () => made(leaf(), intermediate({ critical: ['2.5.29.30'] })),
      /no chain leads/,
    ],
    [
      'one too far below',
      () => {
        const sub = p256()
        const subCa = makeCertificate({ name: 'sub', publicKey: sub.publicKey, issuer, ca: {}, usages: [] })
        return made(leaf({ issuer: { name: 'sub', key: sub.privateKey } }), subCa + intermediate())
      },
      /no chain leads/,
    ],
    [
      'one without a log',
      () => certified(cosign(claim, signer.privateKey), leaf(), intermediate()),
      /bundle/,
    ],
    [
      'one where the log has another certificate',
      () => {
        const signature = made(leaf(), intermediate())
        return certified(signature, leaf(), intermediate())
      },
      /another key or certificate/,
    ],
    [
      'a signature by another key than the certificate has',
      () => {
        const pem = leaf({ publicKey: other.publicKey })
        return certified(
          logged(cosign(claim, signer.privateKey), log.privateKey, { pem }),
          pem,
          intermediate(),
        )
      },
      /not signed by a key/,
    ],
    [
      'two certificates',
      () => certified(made(leaf(), intermediate()), leaf() + leaf(), intermediate()),
      /not one certificate/,
    ],
    [
      'no certificate',
      () => certified(made(leaf(), intermediate()), 'hello', intermediate()),
      /0 certificates/,
    ],
  ])('%s is refused', async (_, make, message) => {
    await expect(check(of(), make())).rejects.toThrow(message)
  })

  test('a policy whose root is no certificate fails', async () => {
    await expect(sigstoreCheck(of({}, 'hello'))).rejects.toMatchObject({ kind: 'invalid' })
  })
})

describe('by a PKI', () => {
  const of = (more: Partial<Extract<SigstoreSigner, { by: 'pki' }>> = {}) =>
    requirement({
      by: 'pki',
      ca: [data(root.pem)],
      intermediates: [],
      subjectEmail: undefined,
      subjectHostname: 'sign.example.com',
      ...more,
    })
  const below = (more: Partial<CertificateWish> = {}) => leaf({ dns: 'sign.example.com', ...more })
  const made = (pem: string, chain?: string) => certified(cosign(claim, signer.privateKey), pem, chain)

  test('a certificate for the host is taken, with the authority of the signature or of the policy', async () => {
    expect(await check(of(), made(below(), intermediate()))).toEqual(good)
    const known = of({ intermediates: [data(intermediate())], subjectEmail: 'dev@example.com' })
    expect(await check(known, made(below()))).toEqual(good)
  })

  test.each<[string, CosignSignature, RegExp]>([
    ['for another host', made(below({ dns: 'x.example.com' }), intermediate()), /not for the host/],
    ['that has expired', made(below(PAST), intermediate()), /not valid any more/],
    ['without the authority', made(below()), /no chain leads/],
  ])('a certificate %s is refused', async (_, signature, message) => {
    await expect(check(of(), signature)).rejects.toThrow(message)
  })
})
