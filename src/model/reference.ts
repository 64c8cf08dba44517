// SPDX-License-Identifier: Apache-2.0
/**
 * Image references: parsing, the one normal form (`docker.io/library/busybox:latest`), digests and image ids.
 * The grammar is the one that Docker, containerd and the kubelet share, so that a name means the same image
 * everywhere. Pure; knows no registry and no store.
 */
import { Fault } from '../base/fault.ts'
import { clip } from './ids.ts'
import { LIMITS } from './limits.ts'

/** `sha256:` and 64 lower-case hex digits. */
export type Digest = string & { readonly __brand: 'Digest' }
/** The digest of an image's configuration: what the CRI calls the image id. */
export type ImageId = Digest & { readonly __image: 'ImageId' }

export interface Reference {
  /** Registry as the user knows it: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly domain: string
  /** Repository path without the registry: `library/busybox`. */
  readonly path: string
  readonly tag: string | undefined
  readonly digest: Digest | undefined
  /** The repository as it was written, if the text named no registry: then `domain` is a guess. */
  readonly short?: string
}

const DEFAULT_DOMAIN = 'docker.io'
const LEGACY_DOMAIN = 'index.docker.io'
const DEFAULT_TAG = 'latest'
/** Longest repository path, as the distribution specification has it. */
const PATH_MAX = 255
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const DOMAIN = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::([0-9]{1,5}))?$`)
const PATH_PART = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
const DIGEST = /^([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*):([0-9a-fA-F]+)$/
const HEX64 = /^[0-9a-f]{64}$/
/** Fewest hex digits that may stand for an image: fewer are taken for a name only. */
export const ID_PREFIX_MIN = 4
const ID_PREFIX = new RegExp(`^[0-9a-f]{${ID_PREFIX_MIN},64}$`)

/** Throws `invalid` for what is no digest, `unsupported` for an algorithm other than sha256. */
export function parseDigest(text: string): Digest {
  const match = DIGEST.exec(text)
  if (!match)
    throw new Fault('invalid', `"${clip(text)}" is not a digest: expected sha256: and 64 hex digits`)
  if (match[1] !== 'sha256') {
    throw new Fault(
      'unsupported',
      `digest algorithm "${clip(match[1] ?? '')}" is not supported, only sha256 is`,
    )
  }
  if (!HEX64.test(match[2] ?? '')) {
    throw new Fault('invalid', `"${clip(text)}" is not a sha256 digest: expected 64 lower-case hex digits`)
  }
  return text as Digest
}

/** The digest as an image id; the caller knows that it is the digest of an image configuration. */
export function imageId(digest: Digest): ImageId {
  return digest as ImageId
}

/** The 64 hex digits of a digest: the file name form. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

/** The digest that 64 hex digits stand for; throws `invalid`. */
export function digestOfHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`)
}

/** Hex digits if the text may be an image id or the beginning of one (`sha256:` in front or not). */
export function imageIdPrefix(text: string): string | undefined {
  const hex = text.startsWith('sha256:') ? text.slice('sha256:'.length) : text
  return ID_PREFIX.test(hex) ? hex : undefined
}

function bad(text: string, why: string): Fault {
  return new Fault('invalid', `image reference "${clip(text)}" is not valid: ${why}`)
}

/** The normal name of a repository of a registry: Docker Hub has two names and an implied `library/`. */
export function inRegistry(registry: string, repository: string): { domain: string; path: string } {
  const domain = registry === LEGACY_DOMAIN ? DEFAULT_DOMAIN : registry
  const implied = domain === DEFAULT_DOMAIN && repository !== '' && !repository.includes('/')
  return { domain, path: implied ? `library/${repository}` : repository }
}

/** Registry and the rest. Without a dot, a colon, an upper-case letter or `localhost` the first part is a path. */
function splitDomain(name: string): { domain: string | undefined; rest: string } {
  const slash = name.indexOf('/')
  const first = slash < 0 ? '' : name.slice(0, slash)
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase()
  return isHost ? { domain: first, rest: name.slice(slash + 1) } : { domain: undefined, rest: name }
}

/** `host` or `host:port`, as it may stand in front of a repository. */
export function isRegistryName(text: string): boolean {
  return DOMAIN.test(text)
}

function checkName(text: string, domain: string, path: string): void {
  const host = DOMAIN.exec(domain)
  if (!host) throw bad(text, `"${clip(domain)}" is not a registry host`)
  const port = host[1] === undefined ? 1 : Number(host[1])
  if (port < 1 || port > 65535) throw bad(text, `port ${host[1]} does not exist`)
  if (path === '') throw bad(text, 'the repository name is missing')
  if (path !== path.toLowerCase()) throw bad(text, 'the repository name must be lower case')
  if (path.length > PATH_MAX) throw bad(text, `the repository name is longer than ${PATH_MAX} characters`)
  for (const part of path.split('/')) {
    if (!PATH_PART.test(part)) throw bad(text, `"${clip(part)}" is not a part of a repository name`)
  }
}

/**
 * Parses a reference as people write it. Without tag and digest the tag is `latest`; with both, both are kept
 * (the digest decides what is pulled). Throws `invalid` (or `unsupported` for the digest's algorithm) with the
 * text and what is wrong with it.
 */
export function parseReference(text: string): Reference {
  if (text === '') throw bad(text, 'it is empty')
  if (text.length > LIMITS.referenceBytes) throw bad(text, `it is longer than ${LIMITS.referenceBytes} bytes`)
  if (HEX64.test(text)) throw bad(text, '64 hex digits are an image id, not a name')
  const at = text.indexOf('@')
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1))
  const split = splitDomain(at < 0 ? text : text.slice(0, at))
  const colon = split.rest.indexOf(':')
  const written = colon < 0 ? split.rest : split.rest.slice(0, colon)
  const tag = colon < 0 ? undefined : split.rest.slice(colon + 1)
  const { domain, path } = inRegistry(split.domain ?? DEFAULT_DOMAIN, written)
  checkName(text, domain, path)
  if (tag !== undefined && !TAG.test(tag)) throw bad(text, `"${clip(tag)}" is not a tag`)
  const short = split.domain === undefined ? { short: written } : {}
  return { domain, path, digest, tag: tag ?? (digest === undefined ? DEFAULT_TAG : undefined), ...short }
}

/** Registry and path, without tag and digest. */
export function repositoryOf(ref: Reference): string {
  return `${ref.domain}/${ref.path}`
}

/** The normal form: a short name gets the registry that it means without any configuration. */
export function formatReference(ref: Reference): string {
  return withTail(repositoryOf(ref), ref)
}

/** As it was written, with its tag: `parseReference` of it gives an equal reference, short names stay short. */
export function writtenReference(ref: Reference): string {
  return withTail(ref.short ?? repositoryOf(ref), ref)
}

function withTail(name: string, { tag, digest }: Reference): string {
  return `${name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/** The name an image gets by a pull of `ref`: its tag, or nothing when it was asked for by digest. */
export function tagName(ref: Reference): string | undefined {
  return ref.digest !== undefined || ref.tag === undefined ? undefined : `${repositoryOf(ref)}:${ref.tag}`
}

/** `name@digest`. */
export function digestName(ref: Reference, digest: Digest): string {
  return `${repositoryOf(ref)}@${digest}`
}

/** The host that answers for a registry name: Docker Hub's API lives elsewhere than its name says. */
export function apiHostOf(domain: string): string {
  return domain === DEFAULT_DOMAIN ? 'registry-1.docker.io' : domain
}
