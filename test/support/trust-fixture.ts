// SPDX-License-Identifier: Apache-2.0
/**
 * trust-fixture: one image behind an index in a registry on loopback, a place for its signatures, a node with a
 * signature policy, and the two questions of the tests: is the image pulled, and is it accepted. What is made is
 * below a folder of its own, which goes with it.
 */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { toGrpc } from '../../src/edge/cri/status.ts'
import type { Images } from '../../src/engine/images/images.ts'
import { choosePolicy } from '../../src/host/trust/choice.ts'
import type { SignatureSource } from '../../src/host/trust/signatures.ts'
import { verifyTrust } from '../../src/host/trust/verify.ts'
import type { ImageRecord } from '../../src/model/image.ts'
import { seal } from '../../src/model/pull-policy.ts'
import { parseDigest, parseReference } from '../../src/model/reference.ts'
import { native, newImageStore, scope } from './image-store.ts'
import { buildImage, buildIndex, hostPlatform, type Image, type Index } from './oci-image.ts'
import { buildLayer } from './oci-layer.ts'
import { type PullRegistry, pullRegistry } from './pull-registry.ts'
import type { Claim } from './signing.ts'

export const trustRoots = join(tmpdir(), 'gt-trust-')
export const ACCEPT = [{ type: 'insecureAcceptAnything' }]
export const REJECT = [{ type: 'reject' }]
/** The status of a server that never answers. */
export const SILENT = 0
export const base64 = (text: string): string => Buffer.from(text).toString('base64')

/** A byte in the middle is another. */
export function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  const middle = copy.length >> 1
  copy[middle] = (copy[middle] ?? 0) ^ 1
  return copy
}

/** A node whose images are pulled under a policy. */
function images(root: string): Images {
  const files = {
    policyFile: join(root, 'policy.json'),
    required: false,
    namespaceDir: join(root, 'policies'),
    registriesDir: join(root, 'registries.d'),
  }
  const deps = { policyFor: (namespace: string) => choosePolicy(files, namespace) }
  return newImageStore(root, { deps }).images
}

export class TrustFixture implements AsyncDisposable {
  readonly root: string
  readonly registry: PullRegistry
  readonly image: Image
  readonly index: Index
  readonly store: Images
  /** What the lookaside server has, by path; a number is a status. */
  readonly lookaside = new Map<string, Buffer | number>()
  /** Manifests by tag and blobs by digest that are attached to the image. */
  readonly attached = new Map<string, Buffer>()

  constructor(made: { root: string; registry: PullRegistry; image: Image; index: Index }) {
    this.root = made.root
    this.registry = made.registry
    this.image = made.image
    this.index = made.index
    this.store = images(made.root)
    this.registry.intercept = (req, res) => {
      if (!req.path.startsWith('/sigs/')) return false
      const found = this.lookaside.get(decodeURIComponent(req.path.slice('/sigs/'.length))) ?? 404
      if (found === SILENT) return true
      res.writeHead(typeof found === 'number' ? found : 200)
      res.end(typeof found === 'number' ? undefined : found)
      return true
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]()
    await rm(this.root, { recursive: true, force: true })
  }

  write(name: string, value: unknown): Promise<void> {
    return writeFile(join(this.root, name), typeof value === 'string' ? value : JSON.stringify(value))
  }

  /** A policy for the registry's images that refuses all others. */
  policy(requirements: readonly object[], file = 'policy.json'): Promise<void> {
    const docker = { [this.registry.host]: requirements }
    return this.write(file, { default: REJECT, transports: { docker } })
  }

  /** The section of the registry in registries.d. */
  registries(section: object): Promise<void> {
    return this.write(
      'registries.d/a.yaml',
      `docker:\n  "${this.registry.host}": ${JSON.stringify(section)}\n`,
    )
  }

  name(rest = 'ns/app:v1'): string {
    return `${this.registry.host}/${rest}`
  }

  pull(what = this.name(), namespace = '', own = scope): Promise<ImageRecord> {
    return this.store.pull(own, { reference: parseReference(what), auth: seal({}), namespace })
  }

  /** What an honest signature of the image says. */
  claim(more: Partial<Claim> = {}): Claim {
    return { digest: this.image.manifest.digest, reference: this.name(), ...more }
  }

  shelf(digest = this.image.manifest.digest, n = 1): string {
    return `ns/app@${digest.replace(':', '=')}/signature-${n}`
  }

  /** Lays down simple signatures of the manifest, or of another digest. */
  lay(signatures: readonly Buffer[], digest = this.image.manifest.digest): void {
    for (const [i, signature] of signatures.entries())
      this.lookaside.set(this.shelf(digest, i + 1), signature)
  }

  /** The verdict on the image that a pull of `what` would find, without a worker. */
  judge(what = this.name()): Promise<void> {
    const source: SignatureSource = {
      manifest: async (tag) => this.attached.get(tag),
      blob: async (blob) => {
        const bytes = this.attached.get(blob.digest)
        if (!bytes) throw new Fault('not-found', 'no such blob')
        return bytes
      },
      get: async (url, maxBytes) => {
        const found = this.lookaside.get(decodeURIComponent(url.pathname.slice('/sigs/'.length)))
        if (!Buffer.isBuffer(found)) return undefined
        if (found.length > maxBytes) throw new Fault('corrupt', 'larger than is read')
        return found
      },
    }
    const settings = {
      policyFile: join(this.root, 'policy.json'),
      required: true,
      registriesDir: join(this.root, 'registries.d'),
    }
    const gpg = { native, tempDir: join(this.root, 'policies'), owner: 'x' }
    const manifests = [this.index.manifest.digest, this.image.manifest.digest].map(parseDigest)
    return verifyTrust(scope, { settings, source, gpg }, { reference: parseReference(what), manifests })
  }

  /** The verdict is no, with these words, and no keyring is left. */
  async judgedBad(message: RegExp, what = this.name()): Promise<void> {
    await expect(this.judge(what)).rejects.toMatchObject({
      kind: 'denied',
      reason: 'SignatureValidationFailed',
      message: expect.stringMatching(message),
    })
    expect(await readdir(join(this.root, 'policies'))).toEqual([])
  }

  /** The pull is refused as the kubelet expects it, before any blob, and leaves nothing. */
  async refused(message: RegExp, what = this.name(), namespace = ''): Promise<void> {
    const asked = this.registry.blobGets().length
    const fault: unknown = await this.pull(what, namespace).then(
      () => undefined,
      (e: unknown) => e,
    )
    expect(fault).toMatchObject({ kind: 'denied', reason: 'SignatureValidationFailed' })
    expect(toGrpc(fault).details).toMatch(message)
    expect(toGrpc(fault).details).toMatch(/^SignatureValidationFailed: /)
    const parts = [this.image.config.digest, ...this.image.layers.map((l) => l.digest)]
    const fetched = this.registry.blobGets().slice(asked)
    expect(fetched.filter((digest) => parts.includes(digest))).toEqual([])
    expect(this.store.list()).toEqual([])
    expect(await readdir(join(this.root, 'layers'))).toEqual([])
  }
}

/** The image is `ns/app`, with the tags v1 and v2; signatures are looked for in both kinds of place. */
export async function trustFixture(): Promise<TrustFixture> {
  const root = await mkdtemp(trustRoots)
  for (const dir of ['policies', 'registries.d']) await mkdir(join(root, dir))
  const registry = await pullRegistry()
  const layer = await buildLayer([{ type: 'file', path: 'a', content: root }])
  const image = buildImage({ layers: [layer], platform: hostPlatform() })
  const index = buildIndex([image])
  for (const tag of ['v1', 'v2']) registry.add('ns/app', tag, index)
  const fixture = new TrustFixture({ root, registry, image, index })
  await fixture.registries({
    lookaside: `http://${registry.host}/sigs`,
    'use-sigstore-attachments': true,
  })
  await fixture.store.load()
  return fixture
}
