// SPDX-License-Identifier: Apache-2.0
/**
 * Which rule of a policy is for an image, and whether the name that a signature is for is one that the rule
 * accepts for that image. Pure. The name is the one that was asked for, whatever mirror serves it.
 */
import { Fault } from '../base/fault.ts'
import { clip } from './ids.ts'
import { formatReference, parseReference, type Reference, repositoryOf } from './reference.ts'
import { parseStrictJson } from './strict-json.ts'
import { type IdentityRule, isNameOnly, type TrustPolicy, type TrustRule } from './trust-policy.ts'

/** What a signature says: this digest may go by that name. */
export interface SignedClaim {
  readonly digest: string
  readonly reference: string
}

export const SIMPLE_SIGNING = 'atomic container signature'
export const COSIGN_SIGNING = 'cosign container image signature'

/** With tag and digest the digest decides what is pulled, and so it is the identity. */
const identityOf = (ref: Reference): Reference =>
  ref.digest === undefined ? ref : { ...ref, tag: undefined }

/**
 * The scopes that an image falls under, narrowest first: itself, its repository, each namespace, its host, and
 * `*.DOMAIN` for each domain around the host, whose port is left out for that.
 */
export function scopesOf(ref: Reference): string[] {
  const scopes = [formatReference(identityOf(ref))]
  for (let name = repositoryOf(ref); ; name = name.slice(0, name.lastIndexOf('/'))) {
    scopes.push(name)
    if (!name.includes('/')) break
  }
  const labels = ref.domain.replace(/:.*$/, '').split('.')
  for (let i = 1; i < labels.length; i++) scopes.push(`*.${labels.slice(i).join('.')}`)
  return scopes
}

/** The rule for an image of a registry: the narrowest scope that is there, then the transport's, then the default. */
export function ruleFor(policy: TrustPolicy, ref: Reference): TrustRule {
  const scopes = policy.transports.get('docker')
  for (const scope of [...scopesOf(ref), '']) {
    const found = scopes?.get(scope)
    if (found) return found
  }
  return policy.fallback
}

/** May an image that was asked for as `ref` carry a signature that is for the name `signed`? */
export function acceptsIdentity(rule: IdentityRule, ref: Reference, signed: string): boolean {
  const asked = identityOf(ref)
  const claimed = parsed(signed)
  if (!claimed) return false
  switch (rule.type) {
    case 'matchExact':
      return exactly(asked, signed)
    case 'matchRepoDigestOrExact':
      return repoDigestOrExact(asked, signed)
    case 'matchRepository':
      return repositoryOf(claimed) === repositoryOf(asked)
    case 'exactReference':
      return exactly(parsed(rule.dockerReference), signed)
    case 'exactRepository': {
      const wanted = parsed(rule.dockerRepository)
      return wanted !== undefined && repositoryOf(wanted) === repositoryOf(claimed)
    }
    case 'remapIdentity':
      return repoDigestOrExact(remapped(rule, asked), signed)
    default:
      return rule satisfies never
  }
}

function parsed(text: string): Reference | undefined {
  try {
    return parseReference(text)
  } catch {
    return undefined
  }
}

function exactly(wanted: Reference | undefined, signed: string): boolean {
  const claimed = parsed(signed)
  if (!wanted || !claimed || isNameOnly(signed)) return false
  return formatReference(claimed) === formatReference(wanted)
}

function repoDigestOrExact(wanted: Reference | undefined, signed: string): boolean {
  const claimed = parsed(signed)
  if (!wanted || !claimed || isNameOnly(signed)) return false
  return wanted.digest === undefined
    ? exactly(wanted, signed)
    : repositoryOf(claimed) === repositoryOf(wanted)
}

function remapped(
  rule: { readonly prefix: string; readonly signedPrefix: string },
  ref: Reference,
): Reference | undefined {
  const name = repositoryOf(ref)
  if (name !== rule.prefix && !name.startsWith(`${rule.prefix}/`)) return ref
  const moved = `${rule.signedPrefix}${formatReference(ref).slice(rule.prefix.length)}`
  const found = parsed(moved)
  // A prefix that is no full name would be completed to another name than the one that was written.
  return found && formatReference(found) === moved ? found : undefined
}

/** What a payload whose signature was verified says; throws `denied` unless it is exactly of that form and type. */
export function parseClaim(payload: string, type: string): SignedClaim {
  try {
    const { critical } = exact(parseStrictJson(payload).value, 'payload', ['critical', 'optional'])
    const of = exact(critical, 'critical', ['type', 'image', 'identity'])
    if (of.type !== type) throw new Fault('denied', `it is of type ${clip(JSON.stringify(of.type))}`)
    const digest = exact(of.image, 'image', ['docker-manifest-digest'])['docker-manifest-digest']
    const reference = exact(of.identity, 'identity', ['docker-reference'])['docker-reference']
    if (typeof digest !== 'string' || typeof reference !== 'string')
      throw new Fault('denied', 'digest or reference is not a string')
    return { digest, reference }
  } catch (e) {
    throw new Fault('denied', `what was signed is not a signature of an image: ${asText(e)}`, { cause: e })
  }
}

const asText = (e: unknown): string => (e instanceof Error ? e.message : String(e))

/** The fields of an object that has exactly these keys; throws `denied`. */
export function exact<K extends string>(
  value: unknown,
  where: string,
  keys: readonly K[],
): Readonly<Record<K, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Fault('denied', `"${where}" is not an object`)
  const found = Object.keys(value)
  if (found.length !== keys.length || !keys.every((key) => found.includes(key)))
    throw new Fault('denied', `"${where}" must have exactly the keys ${keys.join(', ')}`)
  return value as Readonly<Record<K, unknown>>
}
