// SPDX-License-Identifier: Apache-2.0
/**
 * What node's X509Certificate does not tell of a certificate: its extensions, and how it was signed. A reader of
 * DER that knows as much as that takes, and refuses what is not well formed. Judges nothing.
 */
import type { X509Certificate } from 'node:crypto'
import { Fault } from '../../base/fault.ts'

interface Value {
  readonly tag: number
  readonly body: Buffer
}

/** What a certificate says beside names, dates and keys. */
export interface CertificateFacts {
  /** OID of the algorithm by which it was signed. */
  readonly signedBy: string
  readonly emails: readonly string[]
  /** Extended key usages; undefined: any. */
  readonly usages: readonly string[] | undefined
  /** May sign certificates, as far as its key usage says; undefined: it does not say. */
  readonly signsCertificates: boolean | undefined
  /** Most authorities below it; undefined: any number. */
  readonly pathLength: number | undefined
  /** Other extensions by OID. */
  readonly others: ReadonlyMap<string, Buffer>
  /** OIDs of other extensions that must be understood. */
  readonly critical: readonly string[]
}

const SEQUENCE = 0x30
const OID = 0x06
const malformed = (what: string): Fault => new Fault('denied', `a certificate is not well formed: ${what}`)

/** The values that stand one after another in `bytes`. */
function values(bytes: Buffer): Value[] {
  const found: Value[] = []
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0
    let size = bytes[at + 1] ?? 0x80
    let start = at + 2
    if (size >= 0x80) {
      const count = size & 0x7f
      if (count < 1 || count > 3 || start + count > bytes.length) throw malformed('a length')
      size = bytes.readUIntBE(start, count)
      start += count
    }
    if ((tag & 0x1f) === 0x1f || start + size > bytes.length) throw malformed('a tag or a length')
    found.push({ tag, body: bytes.subarray(start, start + size) })
    at = start + size
  }
  return found
}

function only(bytes: Buffer, tag: number): Buffer {
  const [value, second] = values(bytes)
  if (!value || second || value.tag !== tag) throw malformed('an extension')
  return value.body
}

function oidOf({ tag, body }: Value): string {
  if (tag !== OID || body.length === 0) throw malformed('an OID')
  const parts: number[] = []
  let part = 0
  for (const byte of body) {
    part = part * 128 + (byte & 0x7f)
    if (byte & 0x80) continue
    parts.push(
      ...(parts.length > 0
        ? [part]
        : [Math.min(2, Math.floor(part / 40)), part - 40 * Math.min(2, Math.floor(part / 40))]),
    )
    part = 0
  }
  return parts.join('.')
}

/** The text of an extension that is one DER UTF8String; throws `denied`. */
export const utf8Of = (extension: Buffer): string => only(extension, 0x0c).toString('utf8')

/** Reads a certificate; throws `denied` for one that is malformed or has an extension twice. */
export function factsOf(certificate: X509Certificate): CertificateFacts {
  const [tbs, algorithm] = values(only(certificate.raw, SEQUENCE))
  const [signedBy] = algorithm ? values(algorithm.body) : []
  if (!tbs || !signedBy) throw malformed('its frame')
  const wrapped = values(tbs.body).find((v) => v.tag === 0xa3)
  const others = new Map<string, Buffer>()
  const critical: string[] = []
  for (const { body } of wrapped ? values(only(wrapped.body, SEQUENCE)) : []) {
    const [id, ...rest] = values(body)
    const value = rest.at(-1)
    if (!id || value?.tag !== 0x04) throw malformed('an extension')
    const oid = oidOf(id)
    if (others.has(oid)) throw malformed(`the extension ${oid} is there twice`)
    others.set(oid, value.body)
    if (rest[0]?.tag === 0x01 && rest[0].body[0] !== 0) critical.push(oid)
  }
  const take = (oid: string): Buffer | undefined => {
    const value = others.get(oid)
    if (value) others.delete(oid)
    return value
  }
  const [alternatives, constraints, usage, extended] = ['17', '19', '15', '37'].map((n) =>
    take(`2.5.29.${n}`),
  )
  const names = alternatives ? values(only(alternatives, SEQUENCE)) : []
  const limit = constraints && values(only(constraints, SEQUENCE)).find((v) => v.tag === 0x02)
  return {
    signedBy: oidOf(signedBy),
    emails: names.flatMap((n) => (n.tag === 0x81 ? [n.body.toString('latin1')] : [])),
    usages: extended && values(only(extended, SEQUENCE)).map(oidOf),
    // The first byte of a BIT STRING counts unused bits; keyCertSign is bit 5 from the left.
    signsCertificates: usage && ((only(usage, 0x03)[1] ?? 0) & 0x04) !== 0,
    pathLength: limit && (limit.body.length === 1 ? limit.body[0] : 0),
    others,
    critical: critical.filter((oid) => others.has(oid)),
  }
}
