// SPDX-License-Identifier: Apache-2.0
/**
 * Signatures as cosign makes them: a payload, and beside it the signature, the certificate and the promise of the
 * log. Verified by given keys, by certificates of a Fulcio at the time of the log, or by those of a PKI now.
 */
import type { KeyObject } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import { COSIGN_SIGNING, parseClaim, type SignedClaim } from '../../model/trust-identity.ts'
import type { SigstoreSigned, SigstoreSigner } from '../../model/trust-policy.ts'
import {
  type Certificate,
  isSignedBy,
  oidcIssuerOf,
  readCertificates,
  readPublicKey,
  trustedKey,
} from './certificates.ts'
import { readSource } from './key-source.ts'
import { base64, keyDer, loggedAtMs } from './rekor.ts'

export interface SigstoreSignature {
  readonly payload: Buffer
  readonly annotations: Readonly<Record<string, string>>
}

const SIGNATURE = 'dev.cosignproject.cosign/signature'
const CERTIFICATE = 'dev.sigstore.cosign/certificate'
const CHAIN = 'dev.sigstore.cosign/chain'
const BUNDLE = 'dev.sigstore.cosign/bundle'

/** Says what a signature claims once it is proved, and throws `denied` otherwise. */
export type SigstoreCheck = (signature: SigstoreSignature) => SignedClaim

interface Signed extends SigstoreSignature {
  readonly signature: Buffer
}
/** The key by which a signature must have been made. */
type KeysFor = (signed: Signed) => readonly KeyObject[]

/** Reads the keys of a requirement. Throws `invalid` naming the file that cannot be used. */
export async function sigstoreCheck(requirement: SigstoreSigned): Promise<SigstoreCheck> {
  const rekor = await readSource(requirement.rekor, readPublicKey)
  const other = rekor.find((key) => key.asymmetricKeyType !== 'ec')
  if (other) throw new Fault('invalid', `a key of a Rekor log is ${other.asymmetricKeyType}, expected ECDSA`)
  const keysFor = await keysOf(requirement.signer, rekor)
  return ({ payload, annotations }) => {
    const signature = base64(annotation(annotations, SIGNATURE), 'the signature')
    const keys = keysFor({ payload, annotations, signature })
    if (!keys.some((key) => isSignedBy(key, payload, signature)))
      throw new Fault('denied', 'it is not signed by a key of the policy')
    return parseClaim(payload.toString('utf8'), COSIGN_SIGNING)
  }
}

function annotation(annotations: Readonly<Record<string, string>>, key: string): string {
  const value = Object.hasOwn(annotations, key) ? annotations[key] : undefined
  if (value === undefined) throw new Fault('denied', `it has no annotation ${key}`)
  return value
}

async function keysOf(signer: SigstoreSigner, rekor: readonly KeyObject[]): Promise<KeysFor> {
  const logged = (signed: Signed, signerDer: Buffer): number =>
    loggedAtMs({ ...signed, keys: rekor, signerDer, bundle: annotation(signed.annotations, BUNDLE) })
  switch (signer.by) {
    case 'keys': {
      const keys = await readSource(signer.keys, readPublicKey)
      if (rekor.length === 0) return () => keys
      return (signed) => {
        const made = keys.filter((key) => isSignedBy(key, signed.payload, signed.signature))
        for (const key of made) logged(signed, keyDer(key))
        return made
      }
    }
    case 'fulcio': {
      const roots = (await readSource(signer.ca, readCertificates)).flat()
      return (signed) => {
        const leaf = leafOf(signed)
        const atMs = logged(signed, leaf.x509.raw)
        const key = trustedKey({ leaf, intermediates: chainOf(signed), roots, atMs })
        const issuer = oidcIssuerOf(leaf)
        if (issuer !== signer.oidcIssuer)
          throw new Fault('denied', `its OIDC issuer is ${JSON.stringify(clip(issuer))}`)
        needEmail(leaf, signer.subjectEmail)
        return [key]
      }
    }
    case 'pki': {
      const roots = (await readSource(signer.ca, readCertificates)).flat()
      const known = (await readSource(signer.intermediates, readCertificates)).flat()
      const { subjectEmail, subjectHostname } = signer
      return (signed) => {
        const leaf = leafOf(signed)
        const key = trustedKey({
          leaf,
          intermediates: [...known, ...chainOf(signed)],
          roots,
          atMs: Date.now(),
        })
        if (subjectEmail !== undefined) needEmail(leaf, subjectEmail)
        const strict = { subject: 'never', partialWildcards: false } as const
        if (subjectHostname !== undefined && leaf.x509.checkHost(subjectHostname, strict) === undefined)
          throw new Fault('denied', `its certificate is not for the host ${subjectHostname}`)
        return [key]
      }
    }
    default:
      return signer satisfies never
  }
}

function leafOf({ annotations }: Signed): Certificate {
  const [leaf, second] = readCertificates(annotation(annotations, CERTIFICATE))
  if (!leaf || second) throw new Fault('denied', 'its certificate is not one certificate')
  return leaf
}

const chainOf = ({ annotations }: Signed): Certificate[] =>
  Object.hasOwn(annotations, CHAIN) && annotations[CHAIN] ? readCertificates(annotations[CHAIN]) : []

function needEmail({ facts }: Certificate, email: string): void {
  if (facts.emails.includes(email)) return
  const found = facts.emails.slice(0, 3).map((e) => JSON.stringify(clip(e)))
  throw new Fault('denied', `its certificate is for ${found.join(', ') || 'no e-mail address'}, not ${email}`)
}
