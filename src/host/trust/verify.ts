// SPDX-License-Identifier: Apache-2.0
/**
 * May this image be used? Finds the rule of the signature policy, and has each of its requirements met by a
 * signature of the manifest, or of an index through which the manifest was found. No layer is fetched before.
 * Throws and says why; keeps nothing.
 */
import { readFile } from 'node:fs/promises'
import { asFault, errnoCode, Fault } from '../../base/fault.ts'
import { checkpoint, type Scope } from '../../base/scope.ts'
import { TRUST } from '../../model/limits.ts'
import { type Digest, formatReference, type Reference } from '../../model/reference.ts'
import {
  acceptsIdentity,
  parseClaim,
  ruleFor,
  SIMPLE_SIGNING,
  type SignedClaim,
} from '../../model/trust-identity.ts'
import { parseTrustPolicy, type SignedBy, type SigstoreSigned } from '../../model/trust-policy.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'
import { type GpgOptions, keyring } from './gpg.ts'
import { type SignaturePlaces, signaturePlaces } from './registries-d.ts'
import { type SignatureSource, sigstoreSignatures, simpleSignatures } from './signatures.ts'
import { sigstoreCheck } from './sigstore.ts'

export interface TrustQuestion {
  /** As the image was asked for. */
  readonly reference: Reference
  /** What was fetched to find the image: indexes first, the manifest that is used last. */
  readonly manifests: readonly Digest[]
}

export interface TrustDeps {
  readonly settings: TrustSettings
  readonly source: SignatureSource
  readonly gpg: GpgOptions
}

/** What every signature of a requirement is held against. */
interface Case {
  readonly deps: TrustDeps
  readonly question: TrustQuestion
  readonly places: SignaturePlaces
}

const REASONS = 4

/**
 * Resolves when the policy accepts the image. Throws `denied` with the reason SignatureValidationFailed when it
 * does not, `invalid` for a policy or key file that cannot be used, and what the source throws. @abort kills
 */
export async function verifyTrust(scope: Scope, deps: TrustDeps, question: TrustQuestion): Promise<void> {
  const { settings } = deps
  const text = await readPolicy(settings)
  if (text === undefined) return
  const rule = ruleFor(parseTrustPolicy(text, settings.policyFile), question.reference)
  const refused = (why: string): Fault =>
    new Fault('denied', `refused by the signature policy (${rule.place}): ${why}`, {
      reason: 'SignatureValidationFailed',
    })
  for (const requirement of rule.requirements) {
    if (requirement.type === 'reject') throw refused('it rejects every image of this scope')
    if (requirement.type === 'insecureAcceptAnything') continue
    const places = await signaturePlaces(settings.registriesDir, question.reference)
    const of = { deps, question, places }
    const why =
      requirement.type === 'signedBy'
        ? await simple(scope, of, requirement)
        : await sigstore(scope, of, requirement)
    if (why !== undefined) throw refused(`"${requirement.type}" is not met: ${why}`)
  }
}

/**
 * The same for an image archive. It has no signatures, so only a rule that accepts anything lets it in: that of
 * the transport, else the default. Throws as `verifyTrust`. @abort finishes
 */
export async function trustArchive(
  settings: TrustSettings,
  transport: 'docker-archive' | 'oci-archive',
): Promise<void> {
  const text = await readPolicy(settings)
  if (text === undefined) return
  const { transports, fallback } = parseTrustPolicy(text, settings.policyFile)
  const rule = transports.get(transport)?.get('') ?? fallback
  if (rule.requirements.every(({ type }) => type === 'insecureAcceptAnything')) return
  throw new Fault(
    'denied',
    `refused by the signature policy (${rule.place}): archives have no signatures: add "${transport}": {"": [{"type": "insecureAcceptAnything"}]} to its "transports", or pull the image`,
    { reason: 'SignatureValidationFailed' },
  )
}

async function readPolicy({ policyFile, required }: TrustSettings): Promise<string | undefined> {
  try {
    const bytes = await readFile(policyFile)
    if (bytes.length <= TRUST.policyBytes) return bytes.toString('utf8')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' && !required) return undefined
    const why = e instanceof Error ? e.message : String(e)
    throw new Fault('invalid', `the signature policy ${policyFile} cannot be read: ${why}`, { cause: e })
  }
  throw new Fault('invalid', `the signature policy ${policyFile} is larger than ${TRUST.policyBytes} bytes`)
}

/** Undefined when a simple signature meets the requirement, else why none does. @abort kills */
async function simple(scope: Scope, of: Case, requirement: SignedBy): Promise<string | undefined> {
  await using ring = await keyring(scope, of.deps.gpg, requirement.keys)
  return await anyOf(scope, of, {
    identity: requirement.identity,
    where: `below ${of.places.lookaside.origin === 'null' ? '' : of.places.lookaside.origin}${of.places.lookaside.pathname}`,
    signatures: (digest) => simpleSignatures(of.deps.source, of.places.lookaside, digest),
    check: async (signature: Buffer) =>
      parseClaim((await ring.verify(signature)).toString('utf8'), SIMPLE_SIGNING),
  })
}

/** The same with a signature of cosign. @abort stops */
async function sigstore(scope: Scope, of: Case, requirement: SigstoreSigned): Promise<string | undefined> {
  const check = await sigstoreCheck(requirement)
  if (!of.places.attachments)
    return `no signatures are looked for: set "use-sigstore-attachments: true" in ${of.deps.settings.registriesDir}`
  return anyOf(scope, of, {
    identity: requirement.identity,
    where: 'attached in its repository (tag sha256-….sig)',
    signatures: (digest) => sigstoreSignatures(of.deps.source, digest),
    check: async (signature) => check(signature),
  })
}

interface Search<S> {
  readonly identity: SignedBy['identity']
  readonly where: string
  readonly signatures: (digest: Digest) => AsyncGenerator<() => Promise<S>>
  /** What a signature claims, once proved; throws otherwise. */
  readonly check: (signature: S) => Promise<SignedClaim>
}

/** Undefined when one signature is good and for this image under an accepted name, else why none is. */
async function anyOf<S>(scope: Scope, of: Case, search: Search<S>): Promise<string | undefined> {
  const reasons: string[] = []
  const reason = (e: unknown): void => {
    const fault = asFault(e)
    // What may be better the next time is not an answer.
    if (!['denied', 'corrupt', 'unsupported', 'invalid', 'not-found'].includes(fault.kind) || fault.reason)
      throw fault
    reasons.push(fault.message)
  }
  for (const digest of of.question.manifests.toReversed()) {
    try {
      for await (const fetch of search.signatures(digest)) {
        checkpoint(scope)
        try {
          const claim = await search.check(await fetch())
          const why = unfit(claim, digest, { of, search })
          if (why === undefined) return undefined
          reasons.push(why)
        } catch (e) {
          reason(e)
        }
      }
    } catch (e) {
      reason(e)
    }
  }
  if (reasons.length === 0) return `there is no signature ${search.where}`
  const more = reasons.length > REASONS ? `; and ${reasons.length - REASONS} more` : ''
  const shown = reasons.slice(0, REASONS).join('; ')
  return reasons.length === 1 ? `the signature: ${shown}` : `none of its signatures: ${shown}${more}`
}

function unfit<S>(
  claim: SignedClaim,
  digest: Digest,
  at: { readonly of: Case; readonly search: Search<S> },
): string | undefined {
  const { reference } = at.of.question
  if (claim.digest !== digest) return `it is for ${JSON.stringify(claim.digest.slice(0, 80))}, another image`
  if (acceptsIdentity(at.search.identity, reference, claim.reference)) return undefined
  const name = JSON.stringify(claim.reference.slice(0, 200))
  return `it is for the name ${name}, which "${at.search.identity.type}" does not accept for ${formatReference(reference)}`
}
