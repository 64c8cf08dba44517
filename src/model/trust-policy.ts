// SPDX-License-Identifier: Apache-2.0
/**
 * The signature policy of containers-policy.json(5): its types, and the parser that takes nothing it does not
 * know. A key, a requirement or a form of identity that is unknown fails the whole file with path and line, as
 * it may be the one that was meant to refuse. Pure: key files are read by whoever verifies.
 */
import { Fault } from '../base/fault.ts'
import { clip } from './ids.ts'
import { parseReference } from './reference.ts'
import { keyPath, parseStrictJson, type StrictJson } from './strict-json.ts'

/** A file with keys or certificates, or their base64. */
export type KeySource = { readonly path: string } | { readonly data: string }

export type IdentityRule =
  | { readonly type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' }
  | { readonly type: 'exactReference'; readonly dockerReference: string }
  | { readonly type: 'exactRepository'; readonly dockerRepository: string }
  | { readonly type: 'remapIdentity'; readonly prefix: string; readonly signedPrefix: string }

/** Who may sign: given keys, or whoever has a certificate of a given authority. */
export type SigstoreSigner =
  | { readonly by: 'keys'; readonly keys: readonly KeySource[] }
  | {
      readonly by: 'fulcio'
      readonly ca: readonly KeySource[]
      readonly oidcIssuer: string
      readonly subjectEmail: string
    }
  | {
      readonly by: 'pki'
      readonly ca: readonly KeySource[]
      readonly intermediates: readonly KeySource[]
      readonly subjectEmail: string | undefined
      readonly subjectHostname: string | undefined
    }

export interface SignedBy {
  readonly type: 'signedBy'
  readonly keys: readonly KeySource[]
  readonly identity: IdentityRule
}

export interface SigstoreSigned {
  readonly type: 'sigstoreSigned'
  readonly signer: SigstoreSigner
  /** Keys of transparency logs, one of which must have the signature; none: no log is asked for. */
  readonly rekor: readonly KeySource[]
  readonly identity: IdentityRule
}

export type Requirement =
  | { readonly type: 'insecureAcceptAnything' }
  | { readonly type: 'reject' }
  | SignedBy
  | SigstoreSigned

/** The requirements of one scope, all of which must be met, and where they stand (`FILE:LINE: PATH`). */
export interface TrustRule {
  readonly place: string
  readonly requirements: readonly Requirement[]
}

export interface TrustPolicy {
  readonly fallback: TrustRule
  /** By transport, then by scope; the scope '' is the transport's own default. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, TrustRule>>
}

interface Node {
  readonly value: unknown
  readonly path: string
  readonly in: { readonly file: string; readonly json: StrictJson }
}
type Fields = Readonly<Record<string, Node | undefined>>

const placeOf = (node: Node): string =>
  `${node.in.file}:${node.in.json.lineOf(node.path)}${node.path === '' ? '' : `: ${node.path}`}`
const wrong = (node: Node, why: string): Fault => new Fault('invalid', `${placeOf(node)}: ${why}`)

/** The keys of an object; those not in `known` are an error. Without `known` any will do. */
function fields(node: Node, known?: readonly string[]): Fields {
  const { value } = node
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(node, 'an object is expected')
  const out: Record<string, Node> = Object.create(null)
  for (const [key, below] of Object.entries(value)) {
    const child = { value: below, path: keyPath(node.path, key), in: node.in }
    if (known && !known.includes(key)) throw wrong(child, `unknown key; known are ${known.join(', ')}`)
    out[key] = child
  }
  return out
}

function list(node: Node): Node[] {
  if (!Array.isArray(node.value) || node.value.length === 0)
    throw wrong(node, 'a list with at least one entry is expected')
  return node.value.map((value: unknown, i) => ({ value, path: `${node.path}[${i}]`, in: node.in }))
}

function text(node: Node): string {
  if (typeof node.value !== 'string' || node.value === '') throw wrong(node, 'a string is expected')
  return node.value
}

function need(of: Fields, key: string, around: Node): Node {
  const found = of[key]
  if (!found) throw wrong(around, `"${key}" is missing`)
  return found
}

function pathSource(node: Node): KeySource {
  const path = text(node)
  if (!path.startsWith('/')) throw wrong(node, `${JSON.stringify(clip(path))} is not an absolute path`)
  return { path }
}

function dataSource(node: Node): KeySource {
  const data = text(node)
  if (data.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(data)) throw wrong(node, 'this is not base64')
  return { data }
}

/** What `STEMPath`, `STEMPaths`, `STEMData` or `STEMDatas` names; undefined when none is there, an error with two. */
function sources(of: Fields, stem: string, around: Node): readonly KeySource[] | undefined {
  const found: readonly KeySource[][] = [
    [of[`${stem}Path`]].flatMap((n) => (n ? [pathSource(n)] : [])),
    [of[`${stem}Paths`]].flatMap((n) => (n ? list(n).map(pathSource) : [])),
    [of[`${stem}Data`]].flatMap((n) => (n ? [dataSource(n)] : [])),
    [of[`${stem}Datas`]].flatMap((n) => (n ? list(n).map(dataSource) : [])),
  ]
  const [only, second] = found.filter((s) => s.length > 0)
  if (second) throw wrong(around, `only one of the forms of "${stem}…" may be there`)
  return only
}

function identityRule(node: Node | undefined): IdentityRule {
  if (!node) return { type: 'matchRepoDigestOrExact' }
  const typeAt = need(fields(node), 'type', node)
  const type = text(typeAt)
  switch (type) {
    case 'matchExact':
    case 'matchRepoDigestOrExact':
    case 'matchRepository':
      fields(node, ['type'])
      return { type }
    case 'exactReference':
    case 'exactRepository': {
      const key = type === 'exactReference' ? 'dockerReference' : 'dockerRepository'
      const at = need(fields(node, ['type', key]), key, node)
      const named = text(at)
      valid(at, named)
      if (type === 'exactRepository') return { type, dockerRepository: named }
      if (isNameOnly(named)) throw wrong(at, 'a tag or a digest is missing')
      return { type, dockerReference: named }
    }
    case 'remapIdentity': {
      const of = fields(node, ['type', 'prefix', 'signedPrefix'])
      const [prefix, signedPrefix] = [need(of, 'prefix', node), need(of, 'signedPrefix', node)].map((at) => {
        // A prefix is a host, a namespace or a repository in full, so something may follow it.
        valid(at, `${text(at)}/a/b:c`)
        return text(at)
      })
      return { type, prefix: prefix ?? '', signedPrefix: signedPrefix ?? '' }
    }
    default:
      throw wrong(typeAt, `${JSON.stringify(clip(type))} is not a form of identity`)
  }
}

function valid(at: Node, reference: string): void {
  try {
    parseReference(reference)
  } catch (e) {
    throw wrong(at, e instanceof Error ? e.message : String(e))
  }
}

/** Has the reference neither tag nor digest? */
export function isNameOnly(reference: string): boolean {
  return !/[:@]/.test(reference.slice(reference.lastIndexOf('/') + 1))
}

const SOURCES = (stem: string) => [`${stem}Path`, `${stem}Paths`, `${stem}Data`, `${stem}Datas`]

function signedBy(node: Node): SignedBy {
  const of = fields(node, ['type', 'keyType', 'keyPath', 'keyPaths', 'keyData', 'signedIdentity'])
  const keyType = need(of, 'keyType', node)
  if (keyType.value !== 'GPGKeys') throw wrong(keyType, '"GPGKeys" is the only type of key')
  const keys = sources(of, 'key', node)
  if (!keys) throw wrong(node, 'one of keyPath, keyPaths and keyData is needed')
  return { type: 'signedBy', keys, identity: identityRule(of.signedIdentity) }
}

function signerOf(of: Fields, node: Node): SigstoreSigner {
  const keys = sources(of, 'key', node)
  const given = [keys, of.fulcio, of.pki].filter((one) => one !== undefined)
  if (given.length !== 1) throw wrong(node, 'exactly one of keyPath(s), keyData(s), fulcio and pki is needed')
  if (keys) return { by: 'keys', keys }
  if (of.fulcio) {
    const below = fields(of.fulcio, ['caPath', 'caData', 'oidcIssuer', 'subjectEmail'])
    const ca = sources(below, 'ca', of.fulcio)
    if (!ca) throw wrong(of.fulcio, 'one of caPath and caData is needed')
    const oidcIssuer = text(need(below, 'oidcIssuer', of.fulcio))
    return { by: 'fulcio', ca, oidcIssuer, subjectEmail: text(need(below, 'subjectEmail', of.fulcio)) }
  }
  const at = need(of, 'pki', node)
  const known = ['caRootsPath', 'caRootsData', 'caIntermediatesPath', 'caIntermediatesData']
  const below = fields(at, [...known, 'subjectEmail', 'subjectHostname'])
  const ca = sources(below, 'caRoots', at)
  if (!ca) throw wrong(at, 'one of caRootsPath and caRootsData is needed')
  const { subjectEmail: email, subjectHostname: host } = below
  if (!email && !host) throw wrong(at, 'one of subjectEmail and subjectHostname is needed')
  return {
    by: 'pki',
    ca,
    intermediates: sources(below, 'caIntermediates', at) ?? [],
    subjectEmail: email && text(email),
    subjectHostname: host && text(host),
  }
}

function sigstoreSigned(node: Node): SigstoreSigned {
  const known = ['type', ...SOURCES('key'), 'fulcio', 'pki', ...SOURCES('rekorPublicKey'), 'signedIdentity']
  const of = fields(node, known)
  const signer = signerOf(of, node)
  const rekor = sources(of, 'rekorPublicKey', node) ?? []
  if (signer.by === 'fulcio' && rekor.length === 0)
    throw wrong(node, 'with fulcio a rekorPublicKey is needed: only the log says when a signature was made')
  if (signer.by === 'pki' && rekor.length > 0) throw wrong(node, 'with pki there is no rekorPublicKey')
  return { type: 'sigstoreSigned', signer, rekor, identity: identityRule(of.signedIdentity) }
}

function requirement(node: Node): Requirement {
  const typeAt = need(fields(node), 'type', node)
  switch (typeAt.value) {
    case 'insecureAcceptAnything':
    case 'reject':
      fields(node, ['type'])
      return { type: typeAt.value }
    case 'signedBy':
      return signedBy(node)
    case 'sigstoreSigned':
      return sigstoreSigned(node)
    default:
      throw wrong(typeAt, `${clip(JSON.stringify(typeAt.value))} is not a requirement that is known here`)
  }
}

const rule = (node: Node): TrustRule => ({ place: placeOf(node), requirements: list(node).map(requirement) })

const mapped = <T>(of: Fields, make: (node: Node) => T): Map<string, T> =>
  new Map(Object.entries(of).flatMap(([key, node]) => (node ? [[key, make(node)] as const] : [])))

/** The policy in `json`, which was read from `file`. Throws `invalid` with file, line and path. */
export function parseTrustPolicy(json: string, file: string): TrustPolicy {
  let parsed: StrictJson
  try {
    parsed = parseStrictJson(json)
  } catch (e) {
    throw Fault.during(file, e)
  }
  const root: Node = { value: parsed.value, path: '', in: { file, json: parsed } }
  const of = fields(root, ['default', 'transports'])
  return {
    fallback: rule(need(of, 'default', root)),
    transports: of.transports
      ? mapped(fields(of.transports), (transport) => mapped(fields(transport), rule))
      : new Map(),
  }
}
