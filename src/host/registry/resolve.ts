// SPDX-License-Identifier: Apache-2.0
/**
 * From a reference to what has to be fetched: index → the manifest of this platform → configuration, each
 * parsed with suspicion. Everything a registry says is checked here once; below it is trusted.
 */
import { Fault } from '../../base/fault.ts'
import {
  type Descriptor,
  descriptorIn,
  digestIn,
  type Json,
  listIn,
  objectIn,
  parseDocument,
  textIn,
} from '../../model/document.ts'
import { clip } from '../../model/ids.ts'
import type { ImageBlobs, ImageConfig } from '../../model/image.ts'
import {
  choosePlatform,
  formatPlatform,
  normalPlatform,
  type Platform,
  platformRank,
} from '../../model/platform.ts'
import { PULL } from '../../model/pull-policy.ts'
import type { Digest, Reference } from '../../model/reference.ts'
import { readArtifact } from './artifact.ts'
import { sha256Of } from './client.ts'
import type { FetchedManifest, ImageSource } from './source.ts'

export interface ResolvedLayer extends Descriptor {
  readonly diffId: Digest
  /** sha256 over this layer's and all lower layers' diff ids. */
  readonly chainId: Digest
  /** Of an artifact: the blob is this file, and no archive. */
  readonly file?: string
}

export interface ResolvedImage {
  readonly targetDigest: Digest
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  readonly configBytes: number
  readonly os: string
  readonly architecture: string
  readonly createdAt: string
  readonly config: ImageConfig
  readonly blobs: ImageBlobs
  /** Bottom first. */
  readonly layers: readonly ResolvedLayer[]
  /** Set: an artifact of that type. */
  readonly artifactType?: string
}

const INDEX_TYPES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
])
const MANIFEST_TYPES = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
])
const CONFIG_TYPES = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
])
const LAYER =
  /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(?:\.gzip|\.zstd)?)$/
const FOREIGN_LAYER = /nondistributable|rootfs\.foreign/

/** Resolves `ref` for `host`'s platform. Throws Faults that name what does not fit; the caller names the image. @abort stops */
export async function resolveImage(
  source: ImageSource,
  ref: Reference,
  host: Platform,
): Promise<ResolvedImage> {
  const target = await source.manifest(ref.digest ?? ref.tag ?? 'latest')
  let current = target
  for (let depth = 0; ; depth++) {
    const parsed = parseObject(current.bytes, `manifest ${current.digest}`)
    if (kindOfManifest(parsed, current) === 'manifest') {
      return readManifest(source, parsed, { host, target, manifest: current })
    }
    if (depth >= PULL.indexDepth)
      throw new Fault('unsupported', `indexes are nested more than ${PULL.indexDepth} deep`)
    const chosen = chooseManifest(parsed, host, `index ${current.digest}`)
    current = await source.manifest(chosen.digest, chosen)
  }
}

function kindOfManifest(parsed: Json, from: FetchedManifest): 'index' | 'manifest' {
  const declared = parsed.mediaType
  const type = typeof declared === 'string' && declared !== '' ? declared : from.mediaType
  if (
    parsed.schemaVersion === 1 ||
    (/manifest\.v1\+(json|prettyjws)$/.test(type) && type.includes('docker'))
  ) {
    throw new Fault(
      'unsupported',
      `the registry offers Docker schema 1 only, which no builder makes since 2017: push the image again`,
    )
  }
  if (INDEX_TYPES.has(type)) return 'index'
  if (MANIFEST_TYPES.has(type)) return 'manifest'
  // Some registries serve a general type: what is inside decides.
  const general =
    type === '' || type === 'application/json' || type === 'application/octet-stream' || type === 'text/plain'
  if (general && Array.isArray(parsed.manifests) && parsed.layers === undefined) return 'index'
  if (general && Array.isArray(parsed.layers) && parsed.manifests === undefined) return 'manifest'
  throw new Fault('unsupported', `"${clip(type)}" is not a manifest or index of an image`)
}

function chooseManifest(index: Json, host: Platform, where: string): Descriptor {
  const entries = listIn(index.manifests, `${where}: manifests`)
  const offers = entries.flatMap((entry, i) => {
    const field = `${where}: manifests[${i}]`
    const one = objectIn(entry, field)
    const type = textIn(one.mediaType ?? '', `${field}.mediaType`)
    if (type !== '' && !INDEX_TYPES.has(type) && !MANIFEST_TYPES.has(type)) return []
    const descriptor = descriptorIn(one, field)
    const platform =
      one.platform === undefined ? undefined : parsePlatform(objectIn(one.platform, field), field)
    return [{ descriptor, platform }]
  })
  const named = offers.flatMap((o) =>
    o.platform ? [{ descriptor: o.descriptor, platform: o.platform }] : [],
  )
  const best = choosePlatform(host, named)
  if (best) return best.descriptor
  // An entry without a platform says nothing against ours; its configuration is checked later.
  const silent = offers.find((o) => o.platform === undefined)
  if (silent) return silent.descriptor
  const offered = [...new Set(named.map((o) => formatPlatform(normalPlatform(o.platform))))]
  const shown = offered
    .filter((p) => !p.startsWith('unknown'))
    .slice(0, 20)
    .map(clip)
    .join(', ')
  throw new Fault(
    'not-found',
    `${where}: nothing for ${formatPlatform(normalPlatform(host))}; it offers ${shown === '' ? 'nothing' : shown}`,
  )
}

async function readManifest(
  source: ImageSource,
  parsed: Json,
  at: { host: Platform; target: FetchedManifest; manifest: FetchedManifest },
): Promise<ResolvedImage> {
  const where = `manifest ${at.manifest.digest}`
  const configAt = descriptorIn(objectIn(parsed.config, `${where}: config`), `${where}: config`)
  if (configAt.mediaType === '') throw new Fault('corrupt', `${where}: config: it has no media type`)
  const layers = listIn(parsed.layers, `${where}: layers`)
  if (layers.length > PULL.layers)
    throw new Fault(
      'unsupported',
      `${where}: ${layers.length} layers, more than ${PULL.layers} cannot be mounted`,
    )
  if (!CONFIG_TYPES.has(configAt.mediaType)) return readArtifact(source, parsed, { ...at, configAt, layers })
  const blobs = layers.map((layer, i) =>
    parseLayer(objectIn(layer, `${where}: layers[${i}]`), `${where}: layers[${i}]`),
  )
  const bytes = await source.smallBlob(configAt, PULL.configBytes)
  const config = parseConfig(bytes, `configuration ${configAt.digest}`)
  if (config.os !== '' && platformRank(at.host, config) === undefined) {
    throw new Fault(
      'not-found',
      `the image is for ${clip(formatPlatform(config))}, this machine is ${formatPlatform(normalPlatform(at.host))}`,
    )
  }
  if (config.diffIds.length !== blobs.length) {
    throw new Fault(
      'corrupt',
      `${where}: ${blobs.length} layers, but its configuration names ${config.diffIds.length}`,
    )
  }
  return {
    targetDigest: at.target.digest,
    manifestDigest: at.manifest.digest,
    configDigest: configAt.digest,
    configBytes: bytes.length,
    os: config.os,
    architecture: config.architecture,
    createdAt: config.createdAt,
    config: config.config,
    blobs: { config: bytes.toString('base64'), manifest: at.manifest.bytes.toString('base64') },
    layers: chain(blobs, config.diffIds),
  }
}

/** The chain id of a layer names it together with all that is below it (OCI image specification). */
export function chain(blobs: readonly Descriptor[], diffIds: readonly Digest[]): ResolvedLayer[] {
  let above: Digest | undefined
  return blobs.flatMap((blob, i) => {
    const diffId = diffIds[i]
    if (diffId === undefined) return []
    const chainId: Digest = above === undefined ? diffId : sha256Of(`${above} ${diffId}`)
    above = chainId
    return [{ ...blob, diffId, chainId }]
  })
}

function parseLayer(layer: Json, where: string): Descriptor {
  const blob = descriptorIn(layer, where)
  if (FOREIGN_LAYER.test(blob.mediaType)) {
    throw new Fault(
      'unsupported',
      `${where}: "${clip(blob.mediaType)}" is kept outside the registry: such layers are not fetched`,
    )
  }
  if (blob.mediaType.endsWith('+encrypted')) {
    throw new Fault(
      'unsupported',
      `${where}: "${clip(blob.mediaType)}" is encrypted, and images are not decrypted here: pull one that is not encrypted`,
    )
  }
  if (!LAYER.test(blob.mediaType))
    throw new Fault('unsupported', `${where}: "${clip(blob.mediaType)}" is not a layer that can be unpacked`)
  return blob
}

function parsePlatform(value: Json, where: string): Platform {
  const variant = textIn(value.variant ?? '', `${where}: variant`)
  return {
    os: textIn(value.os ?? '', `${where}: os`),
    architecture: textIn(value.architecture ?? '', `${where}: architecture`),
    ...(variant === '' ? {} : { variant }),
  }
}

interface ParsedConfig extends Platform {
  readonly createdAt: string
  readonly config: ImageConfig
  readonly diffIds: readonly Digest[]
}

/** Parses an image configuration; throws `corrupt` naming the field. */
export function parseConfig(bytes: Buffer, where: string): ParsedConfig {
  const root = parseObject(bytes, where)
  const rootfs = objectIn(root.rootfs, `${where}: rootfs`)
  const field = `${where}: rootfs.diff_ids`
  const diffIds = listIn(rootfs.diff_ids ?? [], field).map((d) => digestIn(d, field))
  const inner = objectIn(root.config ?? {}, `${where}: config`)
  const str = (key: string) => textIn(inner[key] ?? '', `${where}: config.${key}`)
  const strings = (key: string) =>
    listIn(inner[key] ?? [], `${where}: config.${key}`).map((v) => textIn(v, `${where}: config.${key}`))
  const labels = Object.entries(objectIn(inner.Labels ?? {}, `${where}: config.Labels`)).map(
    ([k, v]) => [k, textIn(v, `${where}: config.Labels`)] as const,
  )
  const config: ImageConfig = {
    env: strings('Env'),
    entrypoint: strings('Entrypoint'),
    cmd: strings('Cmd'),
    workingDir: str('WorkingDir'),
    user: str('User'),
    volumes: Object.keys(objectIn(inner.Volumes ?? {}, `${where}: config.Volumes`)),
    stopSignal: str('StopSignal'),
    labels: Object.fromEntries(labels),
  }
  return {
    ...parsePlatform(root, where),
    createdAt: textIn(root.created ?? '', `${where}: created`),
    config,
    diffIds,
  }
}

function parseObject(bytes: Buffer, where: string): Json {
  return objectIn(parseDocument(bytes.toString('utf8'), where), where)
}
