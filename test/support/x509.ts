// SPDX-License-Identifier: Apache-2.0
/**
 * x509: certificates for tests, made at test time with every fault that a test wants: dates, usages, extensions,
 * a wrong issuer. Writes as much DER as that takes. Ed25519 and ECDSA P-256 authorities; nothing is checked.
 */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

const tlv = (tag: number, ...parts: readonly (Buffer | Uint8Array)[]): Buffer => {
  const body = Buffer.concat(parts)
  const n = body.length
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}
const seq = (...parts: readonly Buffer[]): Buffer => tlv(0x30, ...parts)
const oid = (dotted: string): Buffer => {
  const [a = 0, b = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [40 * a + b, ...rest].flatMap((part) => {
    const digits = [part & 0x7f]
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left & 0x7f) | 0x80)
    return digits
  })
  return tlv(0x06, Buffer.from(bytes))
}
const utf8 = (text: string): Buffer => tlv(0x0c, Buffer.from(text))
const named = (name: string): Buffer => seq(tlv(0x31, seq(oid('2.5.4.3'), utf8(name))))
const time = (at: Date): Buffer =>
  tlv(0x18, Buffer.from(at.toISOString().replace(/[-:T]/g, '').replace(/\..*/, 'Z')))
const extension = (id: string, value: Buffer, critical = false): Buffer =>
  seq(oid(id), ...(critical ? [tlv(0x01, Buffer.from([0xff]))] : []), tlv(0x04, value))

export interface Authority {
  readonly name: string
  readonly key: KeyObject
}

export interface CertificateWish {
  readonly name: string
  readonly publicKey: KeyObject
  readonly issuer: Authority
  readonly from?: Date
  readonly to?: Date
  /** Absent: not an authority. */
  readonly ca?: { readonly pathLength?: number }
  readonly email?: string
  readonly dns?: string
  readonly oidcIssuer?: string
  readonly oidcIssuerV2?: string
  /** Extended key usages; code signing when absent, none of it when empty. */
  readonly usages?: readonly string[]
  /** Extensions that nobody knows, critical. */
  readonly critical?: readonly string[]
}

export const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
const HOUR_MS = 3_600_000
let serial = 1

function extensionsOf(wish: CertificateWish): Buffer[] {
  const names = [
    ...(!wish.email ? [] : [tlv(0x81, Buffer.from(wish.email))]),
    ...(wish.dns === undefined ? [] : [tlv(0x82, Buffer.from(wish.dns))]),
  ]
  const usages = wish.usages ?? [CODE_SIGNING]
  const length = wish.ca?.pathLength
  const limit = length === undefined ? [] : [tlv(0x02, Buffer.from([length]))]
  const basic = seq(tlv(0x01, Buffer.from([0xff])), ...limit)
  return [
    ...(wish.ca ? [extension('2.5.29.19', basic, true)] : []),
    extension('2.5.29.15', tlv(0x03, Buffer.from(wish.ca ? [2, 0x04] : [7, 0x80])), true),
    ...(usages.length > 0 ? [extension('2.5.29.37', seq(...usages.map(oid)))] : []),
    ...(names.length > 0 ? [extension('2.5.29.17', seq(...names), true)] : []),
    ...(wish.oidcIssuer ? [extension('1.3.6.1.4.1.57264.1.1', Buffer.from(wish.oidcIssuer))] : []),
    ...(wish.oidcIssuerV2 ? [extension('1.3.6.1.4.1.57264.1.8', utf8(wish.oidcIssuerV2))] : []),
    ...(wish.critical ?? []).map((id) => extension(id, seq(), true)),
  ]
}

/** A certificate as PEM, signed by the issuer's key. Valid from an hour ago for two hours when not said. */
export function makeCertificate(wish: CertificateWish): string {
  const { from = new Date(Date.now() - HOUR_MS), to = new Date(Date.now() + HOUR_MS) } = wish
  const ed = wish.issuer.key.asymmetricKeyType === 'ed25519'
  const algorithm = seq(oid(ed ? '1.3.101.112' : '1.2.840.10045.4.3.2'))
  const tbs = seq(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, Buffer.from([serial++])),
    algorithm,
    named(wish.issuer.name),
    seq(time(from), time(to)),
    named(wish.name),
    wish.publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, seq(...extensionsOf(wish))),
  )
  const signature = sign(ed ? null : 'sha256', tbs, wish.issuer.key)
  const der = seq(tbs, algorithm, tlv(0x03, Buffer.from([0]), signature))
  const lines = der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

/** A key pair for signers and authorities. */
export const p256 = (): { publicKey: KeyObject; privateKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** A root of its own with its certificate. */
export function makeRoot(name: string, more: Partial<CertificateWish> = {}): Authority & { pem: string } {
  const { publicKey, privateKey } = p256()
  const issuer = { name, key: privateKey }
  return { ...issuer, pem: makeCertificate({ name, publicKey, issuer, ca: {}, usages: [], ...more }) }
}
