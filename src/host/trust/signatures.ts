// SPDX-License-Identifier: Apache-2.0
/**
 * Fetching the signatures of one manifest: simple signatures from a lookaside folder, one after another until one
 * is missing, and cosign's from the image that is tagged after the digest. What comes is bounded, and believed
 * by nobody.
 */
import { readFile, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { errnoCode, Fault } from '../../base/fault.ts'
import { TRUST } from '../../model/limits.ts'
import { type Digest, hexOf, parseDigest } from '../../model/reference.ts'
import type { SigstoreSignature } from './sigstore.ts'

/** How bytes are had from elsewhere, given by who has an HTTP client. A thing that is not there is undefined. */
export interface SignatureSource {
  /** A manifest of the image's repository by its tag. @abort stops */
  manifest(tag: string): Promise<Buffer | undefined>
  /** A blob of that repository, verified by size and digest. @abort stops */
  blob(
    blob: { readonly mediaType: string; readonly digest: Digest; readonly size: number },
    maxBytes: number,
  ): Promise<Buffer>
  /** @abort stops */
  get(url: URL, maxBytes: number): Promise<Buffer | undefined>
}

const COSIGN_TYPE = 'application/vnd.dev.cosign.simplesigning.v1+json'

/** The simple signatures of a manifest below `lookaside`. @abort stops */
export async function* simpleSignatures(
  source: SignatureSource,
  lookaside: URL,
  digest: Digest,
): AsyncGenerator<() => Promise<Buffer>> {
  for (let n = 1; n <= TRUST.signatures; n++) {
    const url = new URL(lookaside)
    url.pathname += `@sha256=${hexOf(digest)}/signature-${n}`
    const found =
      url.protocol === 'file:' ? await readSmall(url) : await source.get(url, TRUST.signatureBytes)
    if (!found) return
    yield () => Promise.resolve(found)
  }
}

async function readSmall(url: URL): Promise<Buffer | undefined> {
  const path = fileURLToPath(url)
  try {
    const { size } = await stat(path)
    if (size > TRUST.signatureBytes)
      throw new Fault('corrupt', `${path} is larger than ${TRUST.signatureBytes} bytes`)
    return await readFile(path)
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return undefined
    throw e instanceof Fault ? e : new Fault('unavailable', `${path} cannot be read`, { cause: e })
  }
}

/** The tag under which cosign keeps the signatures of a manifest. */
export const attachmentTag = (digest: Digest): string => `sha256-${hexOf(digest)}.sig`

/** cosign's signatures of a manifest; each payload is fetched when it is wanted. @abort stops */
export async function* sigstoreSignatures(
  source: SignatureSource,
  digest: Digest,
): AsyncGenerator<() => Promise<SigstoreSignature>> {
  const manifest = await source.manifest(attachmentTag(digest))
  if (!manifest) return
  for (const layer of layersOf(manifest, attachmentTag(digest)))
    yield async () => ({
      payload: await source.blob(layer, TRUST.signatureBytes),
      annotations: layer.annotations,
    })
}

function layersOf(manifest: Buffer, tag: string) {
  let layers: unknown
  try {
    const parsed: unknown = JSON.parse(manifest.toString('utf8'))
    layers = typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'layers') : undefined
  } catch {
    layers = undefined
  }
  if (!Array.isArray(layers)) throw new Fault('corrupt', `${tag} is not a manifest with signatures`)
  if (layers.length > TRUST.signatures)
    throw new Fault('corrupt', `${tag} has ${layers.length} signatures, at most ${TRUST.signatures} are read`)
  return layers.flatMap((layer: unknown) => {
    const of: Readonly<Record<string, unknown>> =
      typeof layer === 'object' && layer !== null ? { ...layer } : {}
    if (of.mediaType !== COSIGN_TYPE) return []
    const { size, digest } = of
    if (typeof digest !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      throw new Fault('corrupt', `${tag} has a layer without digest and size`)
    return [
      { mediaType: COSIGN_TYPE, digest: parseDigest(digest), size, annotations: textsOf(of.annotations) },
    ]
  })
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return {}
  const texts = Object.entries(value).filter((e): e is [string, string] => typeof e[1] === 'string')
  return Object.fromEntries(texts)
}
