// SPDX-License-Identifier: Apache-2.0
/**
 * The images of an archive that lies aside: which there are, what they are called, and their parts, as a source
 * that images are resolved from. Reads an OCI layout (`index.json`) and what `docker save` writes
 * (`manifest.json`); an archive that is both is read as a layout, because there every part has its digest. For a
 * docker archive a manifest is made up that says the same. Unpacks nothing.
 */
import { createHash } from 'node:crypto'
import { Fault, isFault } from '../../base/fault.ts'
import {
  type Descriptor,
  descriptorIn,
  type Json,
  listIn,
  objectIn,
  parseDocument,
  textIn,
} from '../../model/document.ts'
import { clip } from '../../model/ids.ts'
import { ARCHIVE_LIMITS } from '../../model/limits.ts'
import {
  type Digest,
  digestOfHex,
  hexOf,
  parseReference,
  type Reference,
  tagName,
} from '../../model/reference.ts'
import { compressionOf } from './inflate.ts'
import type { Member, Spool } from './spool.ts'

export interface ArchiveImage {
  /** Index or manifest: where the resolving begins. */
  readonly digest: Digest
  /** `registry/name:tag`; none if the archive names the image nowhere. */
  readonly tags: readonly string[]
  /** Repositories that the digest may be called by: it is that of the registry, not made up here. */
  readonly repositories: readonly Reference[]
}

/** The parts of the images; the same shape as a registry has. */
export interface ArchiveSource {
  manifest(
    what: string,
    expected?: Descriptor,
  ): Promise<{ readonly bytes: Buffer; readonly mediaType: string; readonly digest: Digest }>
  smallBlob(blob: Descriptor, maxBytes: number): Promise<Buffer>
  blob(blob: Descriptor): AsyncGenerator<Buffer>
}

export interface OpenArchive {
  /** What Docker reads too is a docker archive, also if it is a layout. */
  readonly kind: 'docker-archive' | 'oci-archive'
  readonly images: readonly ArchiveImage[]
  readonly source: ArchiveSource
  readonly warnings: readonly string[]
}

/** Made-up documents and members by digest, beyond `blobs/sha256/`. */
interface Parts {
  readonly spool: Spool
  readonly made: Map<Digest, { readonly bytes: Buffer; readonly mediaType: string }>
  readonly members: Map<Digest, Member>
}

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const MANIFEST_TYPE = 'application/vnd.docker.distribution.manifest.v2+json'
const CONFIG_TYPE = 'application/vnd.docker.container.image.v1+json'
const LAYER_TYPE = 'application/vnd.docker.image.rootfs.diff.tar'
const NAME = 'io.containerd.image.name'
const REF_NAME = 'org.opencontainers.image.ref.name'

/** Throws `corrupt` or `unsupported` for what is no image archive. Keeps using the spool. @abort finishes */
export async function openArchive(spool: Spool): Promise<OpenArchive> {
  const parts: Parts = { spool, made: new Map(), members: new Map() }
  const index = spool.find('index.json')
  const manifest = spool.find('manifest.json')
  if (!index && !manifest)
    throw new Fault(
      'corrupt',
      'neither index.json nor manifest.json is in it: it is no image archive, or was cut short',
    )
  const docker = manifest ? await dockerEntries(parts, manifest) : []
  const read = index ? await layoutImages(parts, index, docker) : await dockerImages(parts, docker)
  if (read.images.length === 0) throw new Fault('corrupt', 'there is no image in it')
  return { ...read, kind: manifest ? 'docker-archive' : 'oci-archive', source: sourceOf(parts) }
}

interface Read {
  readonly images: readonly ArchiveImage[]
  readonly warnings: readonly string[]
}

// ---- docker archive ---------------------------------------------------------------------------------------

interface DockerEntry {
  readonly config: string
  readonly tags: readonly string[]
  readonly layers: readonly string[]
}

async function dockerEntries({ spool }: Parts, member: Member): Promise<DockerEntry[]> {
  const where = 'manifest.json'
  const list = listIn(
    parseDocument((await spool.read(member, ARCHIVE_LIMITS.documentBytes)).toString('utf8'), where),
    where,
  )
  checkCount(list.length)
  return list.map((value, i) => {
    const at = `${where}[${i}]`
    const one = objectIn(value, at)
    const texts = (key: string) =>
      listIn(one[key] ?? [], `${at}.${key}`).map((v) => textIn(v, `${at}.${key}`))
    const tags = texts('RepoTags').flatMap((text) => tagOf(text, `${at}.RepoTags`))
    return { config: textIn(one.Config, `${at}.Config`), tags, layers: texts('Layers') }
  })
}

function checkCount(images: number): void {
  if (images > ARCHIVE_LIMITS.images)
    throw new Fault('exhausted', `it names ${images} images, more than ${ARCHIVE_LIMITS.images}`)
}

function tagOf(text: string, where: string): string[] {
  if (text === '' || text.startsWith('<none>')) return []
  return [referenceIn(text, where)].flatMap((ref) => tagName(ref) ?? [])
}

function referenceIn(text: string, where: string): Reference {
  try {
    return parseReference(text)
  } catch (e) {
    if (isFault(e)) throw new Fault('corrupt', `${where}: ${e.message}`)
    throw e
  }
}

async function dockerImages(parts: Parts, entries: readonly DockerEntry[]): Promise<Read> {
  const images: ArchiveImage[] = []
  for (const [i, entry] of entries.entries()) {
    const at = `manifest.json[${i}]`
    const config = partAt(parts, entry.config, `${at}.Config`)
    const layers: Descriptor[] = []
    for (const [n, path] of entry.layers.entries())
      layers.push(await layerAt(parts, path, `${at}.Layers[${n}]`))
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST_TYPE,
        config: { mediaType: CONFIG_TYPE, size: config.size, digest: config.digest },
        layers,
      }),
    )
    images.push({ digest: makeUp(parts, bytes, MANIFEST_TYPE), tags: entry.tags, repositories: [] })
  }
  return { images, warnings: [] }
}

function partAt({ spool, members }: Parts, path: string, where: string): Member {
  const member = spool.find(path.replace(/^(?:\.?\/)+/, ''))
  if (!member) throw new Fault('corrupt', `${where}: ${clip(path)} is not in the archive`)
  members.set(member.digest, member)
  return member
}

async function layerAt(parts: Parts, path: string, where: string): Promise<Descriptor> {
  const member = partAt(parts, path, where)
  let head = Buffer.alloc(0)
  for await (const piece of parts.spool.stream({ ...member, size: Math.min(member.size, 6) }))
    head = Buffer.concat([head, piece])
  const kind = compressionOf(head)
  const mediaType = kind === 'none' ? LAYER_TYPE : `${LAYER_TYPE}.${kind}`
  return { mediaType, size: member.size, digest: member.digest }
}

function makeUp({ made }: Parts, bytes: Buffer, mediaType: string): Digest {
  const digest = digestOfHex(createHash('sha256').update(bytes).digest('hex'))
  made.set(digest, { bytes, mediaType })
  return digest
}

// ---- OCI layout -------------------------------------------------------------------------------------------

interface Entry {
  readonly descriptor: Descriptor
  readonly raw: Json
  readonly name: Reference | undefined
}

async function layoutImages(parts: Parts, member: Member, docker: readonly DockerEntry[]): Promise<Read> {
  const where = 'index.json'
  const bytes = await parts.spool.read(member, ARCHIVE_LIMITS.documentBytes)
  const root = objectIn(parseDocument(bytes.toString('utf8'), where), where)
  const list = listIn(root.manifests, `${where}: manifests`)
  checkCount(list.length)
  const warnings: string[] = []
  const entries = list.map((value, i) => entryOf(value, `${where}: manifests[${i}]`, warnings))
  const images: ArchiveImage[] = []
  const named = Map.groupBy(entries, (e) =>
    e.name === undefined ? '' : (tagName(e.name) ?? e.descriptor.digest),
  )
  for (const [key, group] of named) {
    const [first] = group
    if (!first) continue
    const whole =
      key !== '' || group.every((e) => e.raw.platform !== undefined) ? [group] : group.map((e) => [e])
    for (const of of whole) images.push(imageOf(parts, of))
  }
  return { images: await withDockerNames(parts, joined(images), docker), warnings }
}

function entryOf(value: unknown, where: string, warnings: string[]): Entry {
  const raw = objectIn(value, where)
  const notes = objectIn(raw.annotations ?? {}, `${where}: annotations`)
  const descriptor = descriptorIn(raw, where)
  const text = textIn(notes[NAME] ?? notes[REF_NAME] ?? '', `${where}: annotations`)
  if (text === '') return { descriptor, raw, name: undefined }
  // `latest` alone is a tag of nothing: only who made the archive knows of what.
  if (notes[NAME] === undefined && !/[/:@]/.test(text)) {
    warnings.push(
      `${clip(descriptor.digest)}: the archive knows only "${clip(text)}" of its name: give it one with tag`,
    )
    return { descriptor, raw, name: undefined }
  }
  const name = referenceIn(text, `${where}: annotations`)
  if (name.digest !== undefined && name.digest !== descriptor.digest)
    throw new Fault('corrupt', `${where}: it is called ${clip(text)}, but is ${descriptor.digest}`)
  return { descriptor, raw, name }
}

/** One image of the entries that are one: of several, of which each is for a platform, an index is made up. */
function imageOf(parts: Parts, group: readonly Entry[]): ArchiveImage {
  const [first] = group
  const name = first?.name
  const tag = name === undefined ? undefined : tagName(name)
  const tags = tag === undefined ? [] : [tag]
  if (first && group.length === 1)
    return { digest: first.descriptor.digest, tags, repositories: name === undefined ? [] : [name] }
  const manifests = group.map((e) => e.raw)
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }))
  return { digest: makeUp(parts, bytes, INDEX_TYPE), tags, repositories: [] }
}

/** The same image under several names is one image. */
function joined(images: readonly ArchiveImage[]): ArchiveImage[] {
  return [...Map.groupBy(images, (i) => i.digest)].map(([digest, same]) => ({
    digest,
    tags: [...new Set(same.flatMap((i) => i.tags))],
    repositories: same.flatMap((i) => i.repositories),
  }))
}

/** Where only manifest.json has names, they are found by the configuration. */
async function withDockerNames(
  parts: Parts,
  images: readonly ArchiveImage[],
  docker: readonly DockerEntry[],
): Promise<ArchiveImage[]> {
  const tagsOf = new Map<Digest, readonly string[]>()
  for (const [i, { config, tags }] of docker.entries())
    if (tags.length > 0) tagsOf.set(partAt(parts, config, `manifest.json[${i}].Config`).digest, tags)
  const found: ArchiveImage[] = []
  for (const image of images) {
    const more = image.tags.length > 0 || tagsOf.size === 0 ? undefined : await configOf(parts, image.digest)
    found.push({ ...image, tags: (more && tagsOf.get(more)) ?? image.tags })
  }
  return found
}

/** The configuration that a manifest names; undefined for an index. */
async function configOf(parts: Parts, digest: Digest): Promise<Digest | undefined> {
  const where = `manifest ${digest}`
  const { bytes } = await manifestOf(parts, digest)
  const { config } = objectIn(parseDocument(bytes.toString('utf8'), where), where)
  return config === undefined ? undefined : descriptorIn(config, `${where}: config`).digest
}

// ---- the source -------------------------------------------------------------------------------------------

async function manifestOf(parts: Parts, digest: Digest, expected?: Descriptor) {
  const made = parts.made.get(digest)
  if (made) return { ...made, digest }
  const member = memberOf(parts, digest, 'manifest')
  if (expected && expected.size !== member.size)
    throw new Fault('corrupt', `manifest ${digest}: has ${member.size} bytes, expected ${expected.size}`)
  const bytes = await parts.spool.read(member, ARCHIVE_LIMITS.documentBytes)
  return { bytes, mediaType: expected?.mediaType ?? '', digest }
}

function memberOf({ spool, members }: Parts, digest: Digest, what: string): Member {
  const member = members.get(digest) ?? spool.find(`blobs/sha256/${hexOf(digest)}`)
  if (!member)
    throw new Fault(
      'corrupt',
      `${what} ${digest} is not in the archive: it was saved without it, or cut short`,
    )
  // A link can give one member the name of another.
  if (member.digest !== digest)
    throw new Fault('corrupt', `${what} ${digest}: its content has the digest ${member.digest}`)
  return member
}

function sourceOf(parts: Parts): ArchiveSource {
  const blobOf = (blob: Descriptor): Member => {
    const member = memberOf(parts, blob.digest, 'blob')
    if (member.size !== blob.size)
      throw new Fault(
        'corrupt',
        `blob ${blob.digest}: has ${member.size} bytes, the manifest says ${blob.size}`,
      )
    return member
  }
  return {
    manifest: (what, expected) => manifestOf(parts, digestOfHex(what.replace(/^sha256:/, '')), expected),
    smallBlob: (blob, maxBytes) => parts.spool.read(blobOf(blob), maxBytes),
    async *blob(blob) {
      yield* parts.spool.stream(blobOf(blob))
    },
  }
}
