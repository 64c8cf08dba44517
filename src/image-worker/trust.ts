// SPDX-License-Identifier: Apache-2.0
/**
 * A registry behind the signature policy: it notes the manifests that are fetched, and lets out no configuration
 * and no layer before the policy has accepted them. Where signatures come from over HTTP is here, too.
 */
import { Fault, isFault } from '../base/fault.ts'
import type { PullJob } from '../host/images/protocol.ts'
import type { Native } from '../host/native.ts'
import type { RegistryClient } from '../host/registry/client.ts'
import { NO_TLS } from '../host/registry/hosts-toml.ts'
import { readAll, shownUrl } from '../host/registry/http.ts'
import { persist } from '../host/registry/retry.ts'
import type { FetchedManifest, ImageSource } from '../host/registry/source.ts'
import type { SignatureSource } from '../host/trust/signatures.ts'
import { verifyTrust } from '../host/trust/verify.ts'
import { PULL } from '../model/pull-policy.ts'
import type { Reference } from '../model/reference.ts'
import type { JobContext } from './job.ts'

/** `source` as far as the policy of `job` lets it be seen; the same without a policy to ask. */
export function trustedSource(
  context: JobContext,
  job: PullJob,
  from: { readonly ref: Reference; readonly source: RegistryClient; readonly native: Native },
): ImageSource {
  const { ref, source, native } = from
  if (!job.trust) return source
  const deps = {
    settings: job.trust,
    source: signaturesOf(context, source),
    gpg: { native, tempDir: job.layersRoot, owner: job.workId },
  }
  const chain: FetchedManifest[] = []
  let verdict: Promise<void> | undefined
  const accepted = (): Promise<void> => {
    verdict ??= verifyTrust(context.scope, deps, { reference: ref, manifests: chain.map((m) => m.digest) })
    return verdict
  }
  return {
    async manifest(what, expected) {
      const above = chain.at(-1)
      // A signature of an index counts for what the index leads to, and for nothing else.
      if (verdict || (above && !above.bytes.includes(what)))
        throw new Fault('internal', `the manifest ${what} is no part of what is verified`)
      const found = await source.manifest(what, expected)
      chain.push(found)
      return found
    },
    async smallBlob(blob, maxBytes) {
      await accepted()
      return source.smallBlob(blob, maxBytes)
    },
    async *blob(blob) {
      await accepted()
      yield* source.blob(blob)
    },
    async *part(blob, part) {
      await accepted()
      yield* source.part(blob, part)
    },
    distrust: (digest) => source.distrust(digest),
  }
}

function signaturesOf({ scope }: JobContext, source: RegistryClient): SignatureSource {
  return {
    async manifest(tag) {
      try {
        return (await source.manifest(tag)).bytes
      } catch (e) {
        if (isFault(e, 'not-found')) return undefined
        throw e
      }
    },
    blob: (blob, maxBytes) => source.smallBlob(blob, maxBytes),
    async get(url, maxBytes) {
      const call = {
        method: 'GET',
        url,
        headers: {},
        privateHeaders: {},
        tls: NO_TLS,
        connectMs: PULL.connectMs,
      } as const
      const reply = await persist({ ...call, signal: scope.signal })
      if (reply.status === 200) return readAll(reply, url, maxBytes)
      reply.body.destroy()
      if (reply.status === 404) return undefined
      throw new Fault('unavailable', `${shownUrl(url)} gives no signature (HTTP ${reply.status})`, {
        reason: 'RegistryUnavailable',
      })
    },
  }
}
