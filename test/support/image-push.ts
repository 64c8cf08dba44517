// SPDX-License-Identifier: Apache-2.0
/**
 * image-push: an image source pushed to a registry over the distribution API with fetch, manifests of an index
 * before the index, blobs before their manifest; and the taking apart of image names that this needs. For the
 * project's own registries on loopback: no redirects, no chunks.
 */

import type { ImageSource } from './oci-image.ts'
import { mediaTypes } from './oci-image.ts'

export interface SplitName {
  readonly host: string | undefined
  /** The repository at the registry. */
  readonly path: string
  readonly tag: string | undefined
  readonly digest: string | undefined
}

/** `[host/]path[:tag][@digest]` in its parts. The first part is a host if it has a dot, a colon or is localhost. */
export function splitName(name: string): SplitName {
  const [named = '', digest] = name.split('@')
  const slash = named.indexOf('/')
  const first = named.slice(0, Math.max(slash, 0))
  const host = /[.:]/.test(first) || first === 'localhost' ? first : undefined
  const rest = host === undefined ? named : named.slice(slash + 1)
  const colon = rest.indexOf(':')
  return {
    host,
    path: colon < 0 ? rest : rest.slice(0, colon),
    tag: colon < 0 ? undefined : rest.slice(colon + 1),
    digest,
  }
}

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
}

interface AnyManifest {
  readonly manifests?: readonly Descriptor[]
  readonly config?: Descriptor
  readonly layers?: readonly Descriptor[]
}

export interface PushTarget {
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  readonly authorization?: string | undefined
  /** Repositories that already hold a blob, by digest, so that it is mounted and not sent again. Filled here. */
  readonly known: Map<string, string>
}

async function send(target: PushTarget, url: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers)
  if (target.authorization !== undefined) headers.set('authorization', target.authorization)
  return fetch(new URL(url, target.url), { ...init, headers, redirect: 'error' })
}

async function expectStatus(reply: Response, doing: string, status: number): Promise<Response> {
  if (reply.status === status) return reply
  throw new Error(`${doing}: HTTP ${reply.status}: ${(await reply.text()).slice(0, 300)}`)
}

async function pushBlob(
  target: PushTarget,
  path: string,
  blob: { digest: string; bytes: Uint8Array },
): Promise<void> {
  const from = target.known.get(blob.digest)
  if (from === path) return
  const query = from === undefined ? '' : `?mount=${blob.digest}&from=${encodeURIComponent(from)}`
  const started = await send(target, `/v2/${path}/blobs/uploads/${query}`, { method: 'POST' })
  if (started.status !== 201) {
    await expectStatus(started, `start the upload of ${blob.digest} to ${path}`, 202)
    const to = new URL(started.headers.get('location') ?? '', target.url)
    to.searchParams.set('digest', blob.digest)
    const put = await send(target, to.href, {
      method: 'PUT',
      body: Buffer.from(blob.bytes),
      headers: { 'content-type': 'application/octet-stream' },
    })
    await expectStatus(put, `upload ${blob.digest} to ${path}`, 201)
  }
  target.known.set(blob.digest, path)
}

async function pushManifest(
  target: PushTarget,
  image: ImageSource,
  at: { readonly path: string; readonly reference: string; readonly descriptor: Descriptor },
): Promise<void> {
  const bytes = await image.read(at.descriptor.digest)
  const manifest: AnyManifest = JSON.parse(Buffer.from(bytes).toString('utf8'))
  for (const descriptor of manifest.manifests ?? [])
    await pushManifest(target, image, { path: at.path, reference: descriptor.digest, descriptor })
  for (const blob of [
    ...(manifest.layers ?? []),
    ...(manifest.config === undefined ? [] : [manifest.config]),
  ])
    await pushBlob(target, at.path, { digest: blob.digest, bytes: await image.read(blob.digest) })
  const put = await send(target, `/v2/${at.path}/manifests/${at.reference}`, {
    method: 'PUT',
    body: Buffer.from(bytes),
    headers: { 'content-type': at.descriptor.mediaType },
  })
  await expectStatus(put, `put the manifest ${at.path}:${at.reference}`, 201)
}

/**
 * Pushes the image under the path and tag of `name`, whatever host it names; without a tag it can be had by its
 * digest only. Idempotent. Resolves with the digest of the top manifest.
 */
export async function pushImage(target: PushTarget, image: ImageSource, name: string): Promise<string> {
  const { path, tag } = splitName(name)
  await pushManifest(target, image, { path, reference: tag ?? image.digest, descriptor: image })
  return image.digest
}

/** What a client that takes every kind of manifest sends as `Accept`. */
export const acceptManifests = [
  mediaTypes.oci.index,
  mediaTypes.oci.manifest,
  mediaTypes.docker.index,
  mediaTypes.docker.manifest,
].join(', ')
