// SPDX-License-Identifier: Apache-2.0
/**
 * The promise of a Rekor log that it has a signature (Signed Entry Timestamp), as cosign attaches it: signed by
 * the log's key over canonical JSON, and about this signature, this payload and this key or certificate. The
 * log itself is not asked.
 */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { parseStrictJson } from '../../model/strict-json.ts'
import { exact } from '../../model/trust-identity.ts'
import { isSignedBy, readPublicKey } from './certificates.ts'

export interface LoggedSignature {
  /** The text of the bundle annotation. */
  readonly bundle: string
  /** Keys of the logs that are trusted. */
  readonly keys: readonly KeyObject[]
  /** DER of the public key or the certificate by which it was signed. */
  readonly signerDer: Buffer
  readonly signature: Buffer
  readonly payload: Buffer
}

/** Bytes of strict base64; throws `denied`. */
export function base64(text: unknown, what: string): Buffer {
  const plain = typeof text === 'string' ? text.replace(/[\r\n]/g, '') : ''
  if (plain === '' || plain.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(plain))
    throw new Fault('denied', `${what} is not base64`)
  return Buffer.from(plain, 'base64')
}

/** When the log took the signature up, in milliseconds; throws `denied` unless one of the logs promises it. */
export function loggedAtMs(logged: LoggedSignature): number {
  const set = exact(parse(logged.bundle, 'the log bundle'), 'the log bundle', [
    'SignedEntryTimestamp',
    'Payload',
  ])
  const entry = exact(set.Payload, 'Payload', ['body', 'integratedTime', 'logIndex', 'logID'])
  const { body, integratedTime, logIndex, logID } = entry
  if (typeof logID !== 'string' || !/^[0-9a-f]{1,128}$/.test(logID)) throw denied('its logID is not hex')
  if (!isCount(integratedTime) || !isCount(logIndex)) throw denied('its time or index is not a number')
  const content = base64(body, 'its body')
  // RFC 8785 of these four: keys in order, and nothing that would need an escape.
  const canonical = JSON.stringify({ body, integratedTime, logID, logIndex })
  const promise = base64(set.SignedEntryTimestamp, 'its timestamp')
  if (!logged.keys.some((key) => isSignedBy(key, Buffer.from(canonical), promise)))
    throw denied('no key of the policy has signed it')
  matches(content.toString('utf8'), logged)
  return integratedTime * 1000
}

const denied = (why: string): Fault => new Fault('denied', `the entry of the transparency log: ${why}`)

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0

function parse(text: string, what: string): unknown {
  try {
    return parseStrictJson(text).value
  } catch (e) {
    throw new Fault('denied', `${what}: ${e instanceof Error ? e.message : String(e)}`)
  }
}

/** Is the logged entry about this signature? */
function matches(body: string, logged: LoggedSignature): void {
  const entry = exact(parse(body, 'its body'), 'body', ['apiVersion', 'kind', 'spec'])
  if (entry.kind !== 'hashedrekord' || entry.apiVersion !== '0.0.1')
    throw denied('it is not a hashedrekord of version 0.0.1')
  const spec = exact(entry.spec, 'spec', ['data', 'signature'])
  const hash = exact(exact(spec.data, 'data', ['hash']).hash, 'hash', ['algorithm', 'value'])
  const signed = exact(spec.signature, 'signature', ['content', 'publicKey'])
  const key = base64(exact(signed.publicKey, 'publicKey', ['content']).content, 'its key').toString('utf8')
  if (hash.algorithm !== 'sha256' || hash.value !== createHash('sha256').update(logged.payload).digest('hex'))
    throw denied('it is about another payload')
  if (!base64(signed.content, 'its signature').equals(logged.signature))
    throw denied('it is about another signature')
  if (!derOf(key).equals(logged.signerDer)) throw denied('it is about another key or certificate')
}

function derOf(pem: string): Buffer {
  if (!pem.includes('BEGIN CERTIFICATE')) return keyDer(readPublicKey(pem))
  try {
    return new X509Certificate(pem).raw
  } catch (e) {
    throw new Fault('denied', 'the entry of the transparency log: its certificate cannot be read', {
      cause: e,
    })
  }
}

/** The DER form of a public key. */
export const keyDer = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })
