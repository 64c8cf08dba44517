// SPDX-License-Identifier: Apache-2.0
/**
 * The job `push`: one image of this machine to a registry: layers and configuration, then the manifest. A layer
 * that the registry has, or can take from another of its repositories, is not sent. One whose blob was not kept
 * is made anew and compressed, always to the same bytes; then the manifest says so, and its digest is another.
 */
import { Fault } from '../base/fault.ts'
import type { LayerOut, LayerProgress, PushJob } from '../host/images/protocol.ts'
import { loadNative } from '../host/native.ts'
import { sha256Of } from '../host/registry/client.ts'
import { registryPlan } from '../host/registry/plan.ts'
import { type PushBlob, type Pusher, pusher } from '../host/registry/push.ts'
import { type Digest, parseReference, type Reference } from '../model/reference.ts'
import { authorizer } from './authorizer.ts'
import type { JobContext } from './job.ts'
import { openLayerFile } from './layer-file.ts'
import { compressionIn, type LayerBlob, withLayers } from './manifest-out.ts'
import { inParallel } from './parallel.ts'
import { reporting } from './progress.ts'

export interface PushedImage {
  readonly digest: Digest
  readonly warnings: readonly string[]
}

/** Repositories that are asked to give a blob: each that cannot leaves an upload behind at the registry. */
const MOUNT_FROM = 2

interface Work {
  readonly context: JobContext
  readonly job: PushJob
  readonly to: Pusher
  readonly mountFrom: readonly string[]
}

/** The digest that the registry has the image by. Throws `denied`, `unavailable`, `unsupported`. @abort stops */
export async function pushJob(context: JobContext, job: PushJob): Promise<PushedImage> {
  const ref = parseReference(job.target)
  const { image } = job
  const to = await open(context, job, ref)
  const progress = new Map(
    image.layers.map((l) => [
      l.digest,
      progressOf(l, { state: 'waiting', doneBytes: 0, totalBytes: l.size }),
    ]),
  )
  using _ = reporting(context, () => ({ layers: [...progress.values()] }))
  const work: Work = { context, job, to, mountFrom: repositories(job, ref) }
  const layers = [...new Map(image.layers.map((layer) => [layer.digest, layer])).values()]
  const sent = await inParallel(context, { items: layers, width: job.parallelLayers }, (layer) =>
    pushLayer(work, layer, (step) => progress.set(layer.digest, progressOf(layer, step))),
  )
  await pushBytes(work, image.configDigest, Buffer.from(image.blobs.config, 'base64'))
  const bySource = new Map(layers.map((layer, i) => [layer.digest, sent[i]]))
  const blobs = image.layers.flatMap((layer) => bySource.get(layer.digest) ?? [])
  const raw = Buffer.from(image.blobs.manifest, 'base64')
  const made = withLayers(raw, blobs)
  if (ref.digest !== undefined && ref.digest !== sha256Of(made.bytes)) {
    const why = made.bytes === raw ? 'it has' : 'its layers had to be compressed anew, and so it has'
    throw new Fault('invalid', `the image cannot be pushed as ${ref.digest}: ${why} ${sha256Of(made.bytes)}`)
  }
  const warnings =
    made.bytes === raw
      ? []
      : [
          'the blobs of some layers were not kept: they were compressed anew, so the manifest has another digest than where it was pulled from. The image ID stays',
        ]
  return { digest: await to.manifest(ref.tag, made), warnings }
}

type Step = Pick<LayerProgress, 'state' | 'doneBytes' | 'totalBytes'> & Partial<LayerProgress>

const progressOf = ({ digest }: LayerOut, step: Step): LayerProgress => ({
  digest,
  unpackedBytes: 0,
  ...step,
})

async function open(context: JobContext, job: PushJob, ref: Reference): Promise<Pusher> {
  const plan = await registryPlan(job, ref)
  for (const message of plan.warnings) context.say({ type: 'warning', message })
  const native = loadNative(job.addon)
  return pusher(ref, {
    hosts: plan.candidates[0]?.hosts ?? [],
    auth: authorizer(context, job, { ref, native, actions: 'pull,push' }),
    signal: context.scope.signal,
  })
}

/** Other repositories of the same registry that the image is known by here. */
function repositories(job: PushJob, ref: Reference): string[] {
  const known = job.image.names.map(parseReference).filter((name) => name.domain === ref.domain)
  return [...new Set(known.map((name) => name.path))].filter((path) => path !== ref.path).slice(0, MOUNT_FROM)
}

async function pushLayer(
  { context, job, to, mountFrom }: Work,
  layer: LayerOut,
  onStep: (step: Step) => void,
): Promise<LayerBlob> {
  // What the registry has as it was pulled need not be made at all.
  if ((await to.find(layer.digest, mountFrom)) !== undefined) {
    onStep({ state: 'had', doneBytes: layer.size, totalBytes: layer.size })
    return { digest: layer.digest, size: layer.size, compression: compressionIn(layer.mediaType) }
  }
  let made = 0
  await using file = await openLayerFile(context, {
    job,
    layer,
    compress: 'gzip',
    onMade: (count) => {
      made += count
      onStep({ state: 'packing', doneBytes: 0, unpackedBytes: made, totalBytes: layer.size })
    },
  })
  if (file.from === 'kept' || (await to.find(file.digest, [])) === undefined)
    await to.send(file, (doneBytes) => onStep({ state: 'sending', doneBytes, totalBytes: file.size }))
  onStep({ state: 'done', doneBytes: file.size, totalBytes: file.size })
  const { digest, size, compression } = file
  return { digest, size, compression }
}

async function pushBytes({ to, mountFrom }: Work, digest: Digest, bytes: Buffer): Promise<void> {
  if ((await to.find(digest, mountFrom)) !== undefined) return
  const blob: PushBlob = {
    digest,
    size: bytes.length,
    async *open(offset) {
      yield bytes.subarray(offset)
    },
  }
  await to.send(blob, () => {})
}
