// SPDX-License-Identifier: Apache-2.0
/**
 * signing: signatures of images as podman, skopeo and cosign make them, with keys that are made for the test. The
 * GnuPG home is below the folder that is given, without a passphrase; its agent ends with `stop`.
 */
import { execFile } from 'node:child_process'
import { createHash, type KeyObject, sign } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
export const sha256 = (bytes: Buffer | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`
export const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString()

/** What a signature is about. */
export interface Claim {
  readonly digest: string
  readonly reference: string
  readonly type?: string
}

export const payloadOf = (claim: Claim, type: string): Buffer =>
  Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': claim.reference },
        image: { 'docker-manifest-digest': claim.digest },
        type: claim.type ?? type,
      },
      optional: { creator: 'a test', timestamp: 1_790_000_000 },
    }),
  )

export interface GpgSigner {
  /** The public key, armored. */
  readonly publicKey: string
  sign(claim: Claim, options?: readonly string[]): Promise<Buffer>
  signBytes(bytes: Buffer, options?: readonly string[]): Promise<Buffer>
  /** The public key once revoked. */
  revoke(): Promise<string>
  stop(): Promise<void>
}

/** A new OpenPGP key. `expires` as gpg takes it; with `faked` gpg believes it is that time while making the key. */
export async function gpgSigner(
  dir: string,
  name: string,
  how: { readonly expires?: string; readonly faked?: string } = {},
): Promise<GpgSigner> {
  const home = join(dir, `gpg-${name}`)
  await mkdir(home, { mode: 0o700, recursive: true })
  const base = ['--homedir', home, '--batch', '--no-tty', '--quiet', '--yes', '--pinentry-mode', 'loopback']
  const gpg = async (args: readonly string[]): Promise<Buffer> => {
    const { stdout } = await run('gpg', [...base, '--passphrase', '', ...args], { encoding: 'buffer' })
    return stdout
  }
  const faked = how.faked === undefined ? [] : ['--faked-system-time', how.faked]
  await gpg([
    ...faked,
    '--quick-gen-key',
    `${name} <${name}@example>`,
    'ed25519',
    'sign',
    how.expires ?? 'never',
  ])
  const exported = async () => (await gpg(['--armor', '--export'])).toString('utf8')
  const signBytes = async (bytes: Buffer, options: readonly string[] = []): Promise<Buffer> => {
    const file = join(home, 'to-sign')
    await writeFile(file, bytes)
    return gpg([...faked, ...options, '--output', '-', '--sign', file])
  }
  return {
    publicKey: await exported(),
    signBytes,
    sign: (claim, options) => signBytes(payloadOf(claim, 'atomic container signature'), options),
    async revoke() {
      const [, fingerprint = ''] =
        /^fpr:+([0-9A-F]+):/m.exec((await gpg(['--with-colons', '-k'])).toString()) ?? []
      const file = join(home, 'openpgp-revocs.d', `${fingerprint}.rev`)
      await run('sed', ['-i', 's/^:-----BEGIN/-----BEGIN/', file])
      await gpg(['--import', file])
      return exported()
    },
    async stop() {
      await run('gpgconf', ['--homedir', home, '--kill', 'all'])
      await rm(home, { recursive: true, force: true })
    },
  }
}

export interface CosignSignature {
  readonly payload: Buffer
  readonly annotations: Record<string, string>
}

/** A signature of cosign's form by `key`. */
export function cosign(claim: Claim, key: KeyObject, digest: string | null = 'sha256'): CosignSignature {
  const payload = payloadOf(claim, 'cosign container image signature')
  const signature = sign(key.asymmetricKeyType === 'ed25519' ? null : digest, payload, key)
  return { payload, annotations: { 'dev.cosignproject.cosign/signature': signature.toString('base64') } }
}

/** The same with the promise of a log whose key is `log`, for the key or certificate in `pem`. */
export function logged(
  signature: CosignSignature,
  log: KeyObject,
  of: { readonly pem: string; readonly at?: Date; readonly change?: (entry: Entry) => void },
): CosignSignature {
  const content = signature.annotations['dev.cosignproject.cosign/signature'] ?? ''
  const entry: Entry = {
    apiVersion: '0.0.1',
    kind: 'hashedrekord',
    spec: {
      data: { hash: { algorithm: 'sha256', value: sha256(signature.payload).slice(7) } },
      signature: { content, publicKey: { content: Buffer.from(of.pem).toString('base64') } },
    },
  }
  of.change?.(entry)
  const payload = {
    body: Buffer.from(JSON.stringify(entry)).toString('base64'),
    integratedTime: Math.floor((of.at ?? new Date()).getTime() / 1000),
    logID: 'c0ffee',
    logIndex: 7,
  }
  const promise = sign('sha256', Buffer.from(JSON.stringify(payload)), log).toString('base64')
  // In another order than the canonical one, as the log's own client writes it.
  const { body, ...rest } = payload
  const bundle = JSON.stringify({ SignedEntryTimestamp: promise, Payload: { ...rest, body } })
  return { ...signature, annotations: { ...signature.annotations, 'dev.sigstore.cosign/bundle': bundle } }
}

export interface Entry {
  apiVersion: string
  kind: string
  spec: {
    data: { hash: { algorithm: string; value: string } }
    signature: { content: string; publicKey: { content: string } }
  }
}

/** The same with certificates. */
export const certified = (signature: CosignSignature, pem: string, chain?: string): CosignSignature => ({
  ...signature,
  annotations: {
    ...signature.annotations,
    'dev.sigstore.cosign/certificate': pem,
    ...(chain === undefined ? {} : { 'dev.sigstore.cosign/chain': chain }),
  },
})

/** The manifest that carries signatures, and its payloads by digest. */
export function attachment(signatures: readonly CosignSignature[]): {
  manifest: Buffer
  blobs: Map<string, Buffer>
} {
  const blobs = new Map(signatures.map((s) => [sha256(s.payload), s.payload]))
  const layers = signatures.map((s) => ({
    mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json',
    digest: sha256(s.payload),
    size: s.payload.length,
    annotations: s.annotations,
  }))
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: sha256('{}'), size: 2 }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers,
  }
  return { manifest: Buffer.from(JSON.stringify(manifest)), blobs }
}
