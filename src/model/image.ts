// SPDX-License-Identifier: Apache-2.0
/**
 * ImageRecord: what is known of one image, and the pure rules of its names. One image has one id (the digest
 * of its configuration) and any number of names; a tag names one image only, so a pull can take it away from
 * another. An image that loses its tags keeps its `name@digest`.
 */
import { Fault } from '../base/fault.ts'
import {
  type Digest,
  formatReference,
  type ImageId,
  imageId,
  parseDigest,
  parseReference,
  tagName,
} from './reference.ts'

/** What containers need of an image configuration; order as in the image. An artifact's is empty. */
export interface ImageConfig {
  readonly env: readonly string[]
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly workingDir: string
  readonly user: string
  readonly volumes: readonly string[]
  readonly stopSignal: string
  readonly labels: Readonly<Record<string, string>>
}

export interface LayerRecord {
  readonly diffId: Digest
  /** Digest over this and all layers below: the name of the layer's folder. */
  readonly chainId: Digest
  /** The blob it came from, as the registry has it. */
  readonly digest: Digest
  readonly blobBytes: bigint
  readonly mediaType: string
  /** Allocated bytes and inodes once unpacked. */
  readonly bytes: bigint
  readonly inodes: bigint
}

export interface ImageRecord {
  readonly id: ImageId
  /** The manifest of this platform, and where the pull began (an index, or the manifest itself). */
  readonly manifestDigest: Digest
  readonly targetDigest: Digest
  /** `name:tag`, sorted. */
  readonly repoTags: readonly string[]
  /** `name@digest`, sorted; the digest is the one that was pulled. */
  readonly repoDigests: readonly string[]
  /** Unpacked layers and configuration, bytes. */
  readonly size: bigint
  readonly architecture: string
  readonly os: string
  readonly createdAt: string
  readonly config: ImageConfig
  /** Bottom first. */
  readonly layers: readonly LayerRecord[]
  /** When a pull last gave it a name; decides who owns a tag if a crash left it at two images. */
  readonly pulledAtNs: bigint
  readonly pinned: boolean
  readonly annotations: Readonly<Record<string, string>>
  /** Made here and kept in memory only: it is found by name, but not listed. */
  readonly local: boolean
  /** Set: neither listed nor found. */
  readonly hidden?: Hidden
  /** Set: an OCI artifact of that type, with a file for each blob. Its id is the digest of its manifest. */
  readonly artifactType?: string
}

/** `removed`: its layers stay as long as a container is made from it. `broken`: a layer has to be fetched again. */
export interface Hidden {
  readonly why: 'removed' | 'broken'
  readonly atNs: bigint
}

/** The exact bytes that make an image what it is, as base64: kept beside its record for save, push and history. */
export interface ImageBlobs {
  /** Its digest is the image's id; of an artifact it is the manifest. */
  readonly config: string
  /** Its digest is the record's `manifestDigest`. */
  readonly manifest: string
}

/** Whom the image runs as: a number, or a name to look up; the group part is left out (CRI). */
export interface ImageUser {
  readonly uid: bigint | undefined
  readonly username: string
}

export function imageUser(user: string): ImageUser {
  const name = user.split(':', 1)[0] ?? ''
  if (/^\d{1,10}$/.test(name)) return { uid: BigInt(name), username: '' }
  return { uid: undefined, username: name }
}

const withName = (names: readonly string[], name: string | undefined): readonly string[] =>
  name === undefined || names.includes(name) ? names : [...names, name].sort()

/** The record with a tag and a digest name more; either may be undefined. */
export function addNames(
  record: ImageRecord,
  names: { readonly tag: string | undefined; readonly digestName: string | undefined },
): ImageRecord {
  return {
    ...record,
    repoTags: withName(record.repoTags, names.tag),
    repoDigests: withName(record.repoDigests, names.digestName),
  }
}

/** The record without the tag. What is left may be no name at all; the id still finds it. */
export function removeTag(record: ImageRecord, tag: string): ImageRecord {
  return { ...record, repoTags: record.repoTags.filter((t) => t !== tag) }
}

/** What is wrong with a pattern of pinned names, if anything is. */
export function pinPatternProblem(pattern: string): string | undefined {
  if (pattern.includes('*')) return undefined
  try {
    parseReference(pattern)
    return undefined
  } catch (e) {
    return e instanceof Error ? e.message : String(e)
  }
}

/** Whether a name (`name:tag` or `name@digest`) is one of the patterns: a name, or one with `*` for any characters. */
export function pinnedBy(patterns: readonly string[]): (name: string) => boolean {
  const exact = new Set(
    patterns
      .filter((p) => !p.includes('*'))
      .map((p) => {
        const ref = parseReference(p)
        return tagName(ref) ?? formatReference({ ...ref, tag: undefined })
      }),
  )
  const globs = patterns.filter((p) => p.includes('*')).map((p) => p.split('*'))
  return (name) => exact.has(name) || globs.some((parts) => matchesGlob(name, parts))
}

/** `parts` are what stands between the stars. Takes no time that grows faster than the texts. */
function matchesGlob(name: string, parts: readonly string[]): boolean {
  const [first = '', ...rest] = parts
  const last = rest.pop() ?? ''
  if (!name.startsWith(first)) return false
  let at = first.length
  for (const part of rest) {
    const found = name.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return name.length - last.length >= at && name.endsWith(last)
}

/** What the CRI calls image_ref: `name@digest` if there is one, else the id. */
export function imageRef(record: ImageRecord): string {
  return record.repoDigests[0] ?? record.id
}

/**
 * A record as it was read from disk. Throws `corrupt`, naming the first field that does not fit.
 */
export function parseImageRecord(value: Readonly<Record<string, unknown>>): ImageRecord {
  const f = fields(value, '')
  const config = fields(f.map('config'), 'config.')
  return {
    id: imageId(f.digest('id')),
    manifestDigest: f.digest('manifestDigest'),
    targetDigest: f.digest('targetDigest'),
    repoTags: f.texts('repoTags'),
    repoDigests: f.texts('repoDigests'),
    size: f.number('size'),
    architecture: f.text('architecture'),
    os: f.text('os'),
    createdAt: f.text('createdAt'),
    config: {
      env: config.texts('env'),
      entrypoint: config.texts('entrypoint'),
      cmd: config.texts('cmd'),
      workingDir: config.text('workingDir'),
      user: config.text('user'),
      volumes: config.texts('volumes'),
      stopSignal: config.text('stopSignal'),
      labels: config.textMap('labels'),
    },
    layers: f.list('layers').map(parseLayerRecord),
    pulledAtNs: f.number('pulledAtNs'),
    pinned: f.flag('pinned'),
    annotations: f.textMap('annotations'),
    local: false,
    ...(value.hidden === undefined ? {} : { hidden: parseHidden(f.map('hidden')) }),
    ...(value.artifactType === undefined ? {} : { artifactType: f.text('artifactType') }),
  }
}

export const NO_CONFIG: ImageConfig = Object.freeze({
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: '',
  user: '',
  volumes: [],
  stopSignal: '',
  labels: {},
})

function parseHidden(value: Readonly<Record<string, unknown>>): Hidden {
  const f = fields(value, 'hidden.')
  return { why: f.text('why') === 'broken' ? 'broken' : 'removed', atNs: f.number('atNs') }
}

/** What is known of a layer, as it was read from disk; throws `corrupt`. */
export function parseLayerRecord(value: unknown): LayerRecord {
  if (!isPlain(value)) throw new Fault('corrupt', 'a layer record is not an object')
  const f = fields(value, 'layer.')
  return {
    diffId: f.digest('diffId'),
    chainId: f.digest('chainId'),
    digest: f.digest('digest'),
    blobBytes: f.number('blobBytes'),
    mediaType: f.text('mediaType'),
    bytes: f.number('bytes'),
    inodes: f.number('inodes'),
  }
}

function isPlain(v: unknown): v is Readonly<Record<string, unknown>> {
  return typeof v === 'object' && v !== null && !Array.isArray(v)
}

const text = (v: unknown): string | undefined => (typeof v === 'string' ? v : undefined)

function fields(of: Readonly<Record<string, unknown>>, prefix: string) {
  const bad = (key: string) => new Fault('corrupt', `field "${prefix}${key}" is missing or of the wrong type`)
  const list = (key: string): readonly unknown[] => {
    const v = of[key]
    if (!Array.isArray(v)) throw bad(key)
    return v
  }
  const must = <T>(key: string, v: T | undefined): T => {
    if (v === undefined) throw bad(key)
    return v
  }
  const map = (key: string) => {
    const v = of[key]
    if (!isPlain(v)) throw bad(key)
    return v
  }
  return {
    list,
    map,
    text: (key: string) => must(key, text(of[key])),
    texts: (key: string) => list(key).map((v) => must(key, text(v))),
    textMap: (key: string) =>
      Object.fromEntries(Object.entries(map(key)).map(([k, v]) => [k, must(key, text(v))])),
    number: (key: string) => must(key, typeof of[key] === 'bigint' ? of[key] : undefined),
    flag: (key: string) => must(key, typeof of[key] === 'boolean' ? of[key] : undefined),
    digest: (key: string): Digest => {
      try {
        return parseDigest(text(of[key]) ?? '')
      } catch {
        throw bad(key)
      }
    },
  }
}
