// SPDX-License-Identifier: Apache-2.0
/**
 * The job `pull`: resolves a reference at its registry, tells the layers, and brings the missing ones once the
 * daemon has said `go`. Knows nothing of how a layer is made.
 */
import { asFault, Fault } from '../base/fault.ts'
import { layerStore } from '../host/images/layers.ts'
import type { PulledImage, PullJob } from '../host/images/protocol.ts'
import { loadNative } from '../host/native.ts'
import { RegistryClient } from '../host/registry/client.ts'
import { type PullCandidate, registryPlan } from '../host/registry/plan.ts'
import { resolveImage } from '../host/registry/resolve.ts'
import { formatReference, parseReference } from '../model/reference.ts'
import { authorizer } from './authorizer.ts'
import type { JobContext } from './job.ts'
import { bringLayers } from './layers.ts'
import { trustedSource } from './trust.ts'

/** The image with all its layers whole. Faults as `ImagePuller.pull`. @abort stops */
export async function pullJob(context: JobContext, job: PullJob): Promise<PulledImage> {
  const asked = parseReference(job.reference)
  const native = loadNative(job.addon)
  const plan = await registryPlan(job, asked)
  for (const message of plan.warnings) context.say({ type: 'warning', message })
  const { ref, source, image } = await firstOf(plan.candidates, async (candidate) => {
    // What the client sent is for the registry that it had in mind, whatever a short name turns out to mean.
    const auth = authorizer(context, job, { ref: { ...candidate.ref, domain: asked.domain }, native })
    const from = new RegistryClient(candidate.ref, {
      hosts: candidate.hosts,
      auth,
      signal: context.scope.signal,
    })
    const source = trustedSource(context, job, { ref: candidate.ref, source: from, native })
    return { ref: candidate.ref, source, image: await resolveImage(source, candidate.ref, job.platform) }
  })
  context.say({ type: 'plan', chainIds: image.layers.map((l) => l.chainId) })
  await context.go()
  const store = layerStore(job.layersRoot, native)
  const brought = await bringLayers(context, { job, source, store, native }, image)
  const { layers: _, ...rest } = image
  return { ...rest, ...brought, ...(asked.short === undefined ? {} : { reference: formatReference(ref) }) }
}

/** The first candidate that can be had. When none can, the fault of the last that was more than a `not-found`. */
async function firstOf<T>(
  candidates: readonly PullCandidate[],
  attempt: (candidate: PullCandidate) => Promise<T>,
): Promise<T> {
  const faults: Fault[] = []
  for (const candidate of candidates) {
    try {
      return await attempt(candidate)
    } catch (e) {
      const fault = asFault(e)
      if (fault.kind === 'cancelled' || candidates.length === 1) throw fault
      faults.push(Fault.during(formatReference(candidate.ref), fault))
    }
  }
  const chief = faults.findLast((f) => f.kind !== 'not-found') ?? faults.at(-1)
  const told = faults.map((f) => f.message).join('; ')
  throw new Fault(chief?.kind ?? 'internal', told, { cause: chief?.cause, reason: chief?.reason })
}
