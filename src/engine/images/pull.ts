// SPDX-License-Identifier: Apache-2.0
/**
 * PullImage: the worker brings the layers, then one record makes the image. Equal requests that come while one
 * is in flight share it; it is given up when the last caller has left, and then nothing appears later. A
 * failure leaves no image and no name; layers that were complete are collected.
 */
import { createHash } from 'node:crypto'
import { act } from '../../base/act.ts'
import type { Scope } from '../../base/scope.ts'
import type { SharedTasks } from '../../base/shared-task.ts'
import type { ImagePuller, PulledImage, PullProgress } from '../../host/images/puller.ts'
import { addNames, type ImageRecord, removeTag } from '../../model/image.ts'
import type { RegistryAuth, Sealed } from '../../model/pull-policy.ts'
import { digestName, formatReference, imageId, type Reference, tagName } from '../../model/reference.ts'
import type { ImageCatalog } from './catalog.ts'
import type { LayerCollector } from './gc.ts'
import type { Change, ImageStore } from './store.ts'

export interface PullCommand {
  readonly reference: Reference
  readonly auth: Sealed<RegistryAuth>
  readonly annotations?: Readonly<Record<string, string>>
  /** Told of one's own pull only, not of one that is joined. */
  readonly onProgress?: (progress: PullProgress) => void
}

export interface PullDeps {
  readonly store: ImageStore
  readonly collector: LayerCollector
  readonly puller: ImagePuller
  readonly tasks: SharedTasks<ImageRecord>
  readonly isPinned: (name: string) => boolean
  readonly nowNs: () => bigint
}

/** The image, whole and recorded. Faults as `ImagePuller.pull`. @abort kills */
export function pullImage(scope: Scope, deps: PullDeps, command: PullCommand): Promise<ImageRecord> {
  return deps.tasks.run(scope, keyOf(command), (own) => pullOnce(own, deps, command))
}

/** Other credentials are another request: one caller's failure to get in must not be another's. */
function keyOf(command: PullCommand): string {
  const secret = createHash('sha256').update(JSON.stringify(command.auth.reveal())).digest('hex')
  return `${formatReference(command.reference)} ${secret}`
}

async function pullOnce(scope: Scope, deps: PullDeps, command: PullCommand): Promise<ImageRecord> {
  using lease = deps.collector.lease()
  try {
    const pulled = await act(scope, { work: 'pull', name: 'worker' }, () =>
      deps.puller.pull(scope, command, {
        onPlan: (chainIds) => act(scope, { work: 'pull', name: 'plan' }, () => lease.add(chainIds)),
        ...(command.onProgress === undefined ? {} : { onProgress: command.onProgress }),
      }),
    )
    const record = await act(scope, { work: 'pull', name: 'record' }, () =>
      deps.store.change(scope, (catalog) => withImage(catalog, deps, { command, pulled })),
    )
    scope.log.info('image-pulled', {
      image: formatReference(command.reference),
      id: record.id,
      layers: pulled.layers.length,
      had: pulled.layersHad,
    })
    return record
  } catch (e) {
    deps.collector.schedule()
    throw e
  }
}

function withImage(
  catalog: ImageCatalog,
  deps: PullDeps,
  from: { readonly command: PullCommand; readonly pulled: PulledImage },
): Change & { readonly value: ImageRecord } {
  const { command, pulled } = from
  const ref = command.reference
  const id = imageId(pulled.configDigest)
  const tag = tagName(ref)
  const before = catalog.byId.get(id)
  const fresh: ImageRecord = {
    id,
    manifestDigest: pulled.manifestDigest,
    targetDigest: pulled.targetDigest,
    repoTags: before?.repoTags ?? [],
    repoDigests: before?.repoDigests ?? [],
    size: pulled.layers.reduce((sum, layer) => sum + layer.bytes, BigInt(pulled.configBytes)),
    architecture: pulled.architecture,
    os: pulled.os,
    createdAt: pulled.createdAt,
    config: pulled.config,
    layers: pulled.layers,
    pulledAtNs: after(catalog, deps.nowNs()),
    pinned: false,
    annotations: command.annotations ?? {},
    local: false,
  }
  const named = addNames(fresh, { tag, digestName: digestName(ref, pulled.targetDigest) })
  const record = { ...named, pinned: [...named.repoTags, ...named.repoDigests].some(deps.isPinned) }
  const loserId = tag === undefined ? undefined : catalog.byName.get(tag)
  const loser = loserId === undefined || loserId === id ? undefined : catalog.byId.get(loserId)
  return { put: loser && tag !== undefined ? [record, removeTag(loser, tag)] : [record], value: record }
}

/** `now`, or just after the last pull when the clock has gone back: the order decides who owns a tag. */
function after(catalog: ImageCatalog, now: bigint): bigint {
  let at = now
  for (const { pulledAtNs } of catalog.all) if (pulledAtNs >= at) at = pulledAtNs + 1n
  return at
}
