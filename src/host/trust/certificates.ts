// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of signers: does a chain lead from one to an authority that the policy names, at a given time, for
 * signing code; and who is it for. As RFC 5280 has it, without names constraints and revocation: a certificate
 * that has a part which is not understood here is refused. Public keys of signers are checked here, too.
 */
import { createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { TRUST } from '../../model/limits.ts'
import { type CertificateFacts, factsOf, utf8Of } from './der.ts'

const CODE_SIGNING = new Set(['1.3.6.1.5.5.7.3.3', '2.5.29.37.0'])
const NAME_CONSTRAINTS = '2.5.29.30'
const OIDC_ISSUER = '1.3.6.1.4.1.57264.1.1'
const OIDC_ISSUER_V2 = '1.3.6.1.4.1.57264.1.8'
/** RSA and ECDSA with SHA-256, -384 and -512, and Ed25519. */
const SIGNATURES = new Set([
  ...['11', '12', '13'].map((n) => `1.2.840.113549.1.1.${n}`),
  ...['2', '3', '4'].map((n) => `1.2.840.10045.4.3.${n}`),
  '1.3.101.112',
])
const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----/g
const KEY_PEM = /-----BEGIN (?:RSA )?PUBLIC KEY-----[A-Za-z0-9+/=\s]*-----END (?:RSA )?PUBLIC KEY-----/g
/** Digests by curve, the usual one first. */
const CURVES: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha256', 'sha384'],
  secp521r1: ['sha256', 'sha512'],
}

export interface Certificate {
  readonly x509: X509Certificate
  readonly facts: CertificateFacts
}

/** All certificates in a PEM text; throws `denied` when there is none, too many, or one that cannot be read. */
export function readCertificates(pem: string): Certificate[] {
  const texts = pem.match(PEM) ?? []
  if (texts.length === 0 || texts.length > TRUST.certificates)
    throw new Fault('denied', `${texts.length} certificates, expected 1 to ${TRUST.certificates}`)
  return texts.map((text) => {
    let x509: X509Certificate
    try {
      x509 = new X509Certificate(text)
    } catch (e) {
      throw new Fault('denied', 'a certificate cannot be read', { cause: e })
    }
    return { x509, facts: factsOf(x509) }
  })
}

/** The one public key in a PEM text. Throws `denied` for a private key, a weak one, or one of another kind. */
export function readPublicKey(pem: string): KeyObject {
  const [text, second] = pem.match(KEY_PEM) ?? []
  if (text === undefined || second !== undefined || pem.includes('PRIVATE KEY'))
    throw new Fault('denied', 'expected one public key in PEM form')
  try {
    return checkedKey(createPublicKey(text))
  } catch (e) {
    throw e instanceof Fault ? e : new Fault('denied', 'a public key cannot be read', { cause: e })
  }
}

function checkedKey(key: KeyObject): KeyObject {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  const curve = type === 'ec' ? details?.namedCurve : undefined
  const good =
    type === 'ed25519' ||
    (type === 'rsa' && (details?.modulusLength ?? 0) >= TRUST.rsaBits) ||
    (curve !== undefined && CURVES[curve] !== undefined)
  if (good) return key
  throw new Fault(
    'denied',
    `a key of type ${type ?? 'unknown'} ${curve ?? ''} is not accepted (or too short)`,
  )
}

/** Did the owner of `key` sign `data`? */
export function isSignedBy(key: KeyObject, data: Buffer, signature: Buffer): boolean {
  if (key.asymmetricKeyType === 'ed25519') return verify(null, data, key, signature)
  const digests = CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? ['sha256']
  return digests.some((digest) => verify(digest, data, key, signature))
}

export interface ChainQuestion {
  readonly leaf: Certificate
  /** Of the signer: may help to find the way, and are worth nothing by themselves. */
  readonly intermediates: readonly Certificate[]
  readonly roots: readonly Certificate[]
  readonly atMs: number
}

/** The key of a certificate from which a chain leads to a root; throws `denied`. */
export function trustedKey(question: ChainQuestion): KeyObject {
  const { leaf } = question
  const shape = problemOf(leaf, question.atMs)
  if (shape !== undefined) throw new Fault('denied', `the certificate of the signer ${shape}`)
  let steps = 0
  const leads = (from: Certificate, below: readonly Certificate[]): boolean => {
    if (++steps > TRUST.chainSteps || below.length > TRUST.chainLength) return false
    const above = (ca: Certificate) => issued(ca, from, { below: below.length, atMs: question.atMs })
    if (question.roots.some(above)) return true
    return question.intermediates.some(
      (ca) => ca !== from && !below.includes(ca) && above(ca) && leads(ca, [...below, ca]),
    )
  }
  if (!leads(leaf, []))
    throw new Fault(
      'denied',
      'no chain leads from the certificate of the signer to an authority of the policy',
    )
  return checkedKey(leaf.x509.publicKey)
}

/** What is wrong with a certificate by itself at that time. */
function problemOf({ x509, facts }: Certificate, atMs: number): string | undefined {
  if (!(atMs >= Date.parse(x509.validFrom))) return `was not valid yet at ${new Date(atMs).toISOString()}`
  if (!(atMs <= Date.parse(x509.validTo))) return `was not valid any more at ${new Date(atMs).toISOString()}`
  if (facts.usages && !facts.usages.some((u) => CODE_SIGNING.has(u))) return 'is not for signing code'
  if (!SIGNATURES.has(facts.signedBy)) return `is signed by an algorithm that is not accepted`
  const unknown = facts.critical[0] ?? (facts.others.has(NAME_CONSTRAINTS) ? NAME_CONSTRAINTS : undefined)
  return unknown === undefined ? undefined : `has the extension ${unknown}, which is not understood here`
}

function issued(ca: Certificate, child: Certificate, at: { below: number; atMs: number }): boolean {
  const { facts, x509 } = ca
  if (problemOf(ca, at.atMs) !== undefined || !x509.ca || facts.signsCertificates === false) return false
  if (facts.pathLength !== undefined && facts.pathLength < at.below) return false
  return child.x509.checkIssued(x509) && child.x509.verify(x509.publicKey)
}

/** The identity provider that Fulcio wrote down; throws `denied` without one, or with two that differ. */
export function oidcIssuerOf({ facts }: Certificate): string {
  const first = facts.others.get(OIDC_ISSUER)?.toString('utf8')
  const newer = facts.others.get(OIDC_ISSUER_V2)
  const second = newer && utf8Of(newer)
  const issuer = second ?? first
  if (issuer === undefined) throw new Fault('denied', 'the certificate of the signer names no OIDC issuer')
  if (first !== undefined && first !== issuer)
    throw new Fault('denied', 'the certificate of the signer names two OIDC issuers')
  return issuer
}
