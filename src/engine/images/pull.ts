// SPDX-License-Identifier: Apache-2.0
/**
 * PullImage: the worker brings the layers, then one record makes the image. Equal requests that come while one
 * is in flight share it; it is given up when the last caller has left, and then nothing appears later. A
 * failure leaves no image and no name; layers that were complete are kept for a while, for the next attempt.
 */
import { createHash } from 'node:crypto'
import { act } from '../../base/act.ts'
import type { Scope } from '../../base/scope.ts'
import type { SharedTasks } from '../../base/shared-task.ts'
import type { ImagePuller, PulledImage, PullProgress } from '../../host/images/puller.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { RegistryAuth, Sealed } from '../../model/pull-policy.ts'
import {
  type Digest,
  formatReference,
  imageId,
  parseReference,
  type Reference,
  writtenReference,
} from '../../model/reference.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'
import type { ImageCatalog } from './catalog.ts'
import type { LayerCollector } from './gc.ts'
import { after, named } from './names.ts'
import type { Settler } from './settle.ts'
import type { ImageStore } from './store.ts'
import type { LayerVerifier } from './verify.ts'

export type { PullProgress }

export interface PullCommand {
  readonly reference: Reference
  readonly auth: Sealed<RegistryAuth>
  /** Of the pod that the image is for: it may have a signature policy of its own. */
  readonly namespace?: string
  readonly annotations?: Readonly<Record<string, string>>
  /** Told of one's own pull only, not of one that is joined. */
  readonly onProgress?: (progress: PullProgress) => void
}

/** A pull on its way. */
export interface Flight {
  readonly key: string
  readonly reference: string
  readonly startedAtNs: bigint
  progress: PullProgress
}

export interface PullDeps {
  readonly store: ImageStore
  readonly collector: LayerCollector
  readonly verifier: Pick<LayerVerifier, 'ensure' | 'reveal'>
  readonly settler: Pick<Settler, 'soon'>
  readonly puller: ImagePuller
  readonly tasks: SharedTasks<ImageRecord>
  readonly flights: Set<Flight>
  readonly nowNs: () => bigint
  /** The signature policy for a namespace; without it every image is accepted. */
  readonly policyFor?: (namespace: string) => Promise<TrustSettings>
}

/** The image, whole and recorded. Faults as `ImagePuller.pull`. @abort kills */
export async function pullImage(scope: Scope, deps: PullDeps, command: PullCommand): Promise<ImageRecord> {
  const trusted = { ...command, trust: await deps.policyFor?.(command.namespace ?? '') }
  return deps.tasks.run(scope, keyOf(trusted), (own) => pullOnce(own, deps, trusted))
}

interface TrustedPull extends PullCommand {
  readonly trust: TrustSettings | undefined
}

/**
 * Other credentials are another request: one caller's failure to get in must not be another's. So is another
 * signature policy: what is good enough for one namespace must not be taken for good enough in another.
 */
function keyOf({ auth, reference, trust }: TrustedPull): string {
  const secret = createHash('sha256').update(JSON.stringify(auth.reveal())).digest('hex')
  return `${writtenReference(reference)} ${secret} ${trust?.policyFile ?? ''}`
}

async function pullOnce(scope: Scope, deps: PullDeps, command: TrustedPull): Promise<ImageRecord> {
  const flight: Flight = {
    key: keyOf(command),
    reference: writtenReference(command.reference),
    startedAtNs: deps.nowNs(),
    progress: { layers: [] },
  }
  deps.flights.add(flight)
  const onProgress = (progress: PullProgress) => {
    flight.progress = progress
    command.onProgress?.(progress)
  }
  try {
    return await bringLayers(deps, async (add) => {
      const onPlan = (chainIds: readonly Digest[]) =>
        act(scope, { work: 'pull', name: 'plan' }, () => add(chainIds))
      const image = await act(scope, { work: 'pull', name: 'worker' }, () =>
        deps.puller.pull(scope, command, { onPlan, onProgress }),
      )
      const { annotations = {} } = command
      const reference = image.reference === undefined ? command.reference : parseReference(image.reference)
      const record = await act(scope, { work: 'pull', name: 'record' }, () =>
        recordImage(scope, deps, { image, names: [reference], annotations }),
      )
      scope.log.info('image-pulled', {
        image: formatReference(reference),
        id: record.id,
        layers: image.layers.length,
        had: image.layersHad,
      })
      return record
    })
  } finally {
    deps.flights.delete(flight)
  }
}

/**
 * Runs `work`, which brings layers: those that it tells stay until it settles, and are whole if they are there
 * at all when `onPlan` resolves. What it has brought when it fails is kept for a while. @abort finishes
 */
export async function bringLayers<T>(
  { collector, verifier }: Pick<PullDeps, 'collector' | 'verifier'>,
  work: (onPlan: (chainIds: readonly Digest[]) => Promise<void>) => Promise<T>,
): Promise<T> {
  using lease = collector.lease()
  try {
    const value = await work(async (chainIds) => {
      await lease.add(chainIds)
      await verifier.ensure(chainIds)
    })
    await verifier.reveal()
    return value
  } catch (e) {
    collector.schedule()
    throw e
  }
}

export interface NewImage {
  readonly image: PulledImage
  /** The image gets their tags, and `name@digest` of each. */
  readonly names: readonly Reference[]
  readonly annotations: Readonly<Record<string, string>>
}

/** One record makes the image; its layers are there. All of it becomes durable soon after. @abort finishes */
export async function recordImage(
  scope: Scope,
  deps: Pick<PullDeps, 'store' | 'settler' | 'nowNs'>,
  from: NewImage,
): Promise<ImageRecord> {
  const record = await deps.store.change(scope, (catalog) => {
    const put = named(catalog, freshRecord(catalog, deps.nowNs(), from), from.names)
    return { put, blobs: from.image.blobs, value: put[0] }
  })
  deps.settler.soon(from.image.layers.map((layer) => layer.chainId))
  return record
}

function freshRecord(catalog: ImageCatalog, nowNs: bigint, { image, annotations }: NewImage): ImageRecord {
  const id = imageId(image.configDigest)
  const before = catalog.byId.get(id)
  return {
    id,
    manifestDigest: image.manifestDigest,
    targetDigest: image.targetDigest,
    // While it was hidden, a tag of it may have gone to another image.
    repoTags: (before?.repoTags ?? []).filter((tag) => (catalog.byName.get(tag) ?? id) === id),
    repoDigests: before?.repoDigests ?? [],
    size: image.layers.reduce((sum, layer) => sum + layer.bytes, BigInt(image.configBytes)),
    architecture: image.architecture,
    os: image.os,
    createdAt: image.createdAt,
    config: image.config,
    layers: image.layers,
    pulledAtNs: after(catalog, nowNs),
    pinned: false,
    annotations,
    local: false,
    ...(image.artifactType === undefined ? {} : { artifactType: image.artifactType }),
  }
}
