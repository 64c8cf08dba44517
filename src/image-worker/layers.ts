// SPDX-License-Identifier: Apache-2.0
/**
 * Brings the layers of an image: from where the blobs are, through `gantry-unpack`, into the layer store. Any
 * source will do, a registry or an archive. A layer is kept as soon as all below it are there, so that a failure
 * or a kill loses no whole layer. Says how far it is. Does not make them durable, and does not know what the
 * image is for.
 */
import { abortFault } from '../base/scope.ts'
import { adoptImplied } from '../host/images/implied.ts'
import { keptBlobs } from '../host/images/kept-blobs.ts'
import { spool } from '../host/images/spool.ts'
import type { ResolvedImage } from '../host/registry/resolve.ts'
import type { LayerRecord } from '../model/image.ts'
import type { JobContext } from './job.ts'
import { type FreshLayer, type LayerToMake, type LayerWork, type MakeWork, makeLayer } from './make-layer.ts'
import { inParallel } from './parallel.ts'
import { reporting } from './progress.ts'

export interface Brought {
  readonly layers: readonly LayerRecord[]
  /** How many of the layers were there already. */
  readonly layersHad: number
}

interface Layer extends LayerToMake {
  made?: Made
}

interface Made {
  readonly facts: LayerRecord
  /** Undefined: the layer was there, or is kept by now. */
  readonly fresh?: FreshLayer
  readonly lock?: AsyncDisposable
}

/**
 * Brings the layers of an image that are missing and says how it goes; success means that all are whole. A
 * failure ends the job's scope, and throws when nothing of it runs any more. @abort kills
 */
export async function bringLayers(
  context: JobContext,
  from: LayerWork,
  image: ResolvedImage,
): Promise<Brought> {
  const work: MakeWork = { ...from, context, spool: spool(from.store.root, from.native) }
  const layers = image.layers.map(
    (layer): Layer => ({
      ...layer,
      progress: {
        digest: layer.digest,
        state: 'waiting',
        doneBytes: 0,
        unpackedBytes: 0,
        totalBytes: layer.size,
      },
    }),
  )
  using report = reporting(context, () => ({ layers: layers.map((l) => l.progress) }))
  report.now()
  const keeper = keepInOrder(work, layers)
  try {
    await inParallel(context, { items: layers, width: work.job.parallelLayers }, async (layer) => {
      layer.made = await findOrMake(work, layer)
      await keeper()
    })
    report.now()
  } finally {
    for (const { made } of layers) if (made) await giveUp(work, made)
  }
  const made = layers.flatMap((l) => (l.made ? [l.made] : []))
  return {
    layers: made.map((m) => m.facts),
    layersHad: layers.filter((l) => l.progress.state === 'had').length,
  }
}

/**
 * Keeps made layers, lowest first: folders without entries take over from the layers below, so these must be
 * there. Each call does what can be done by then; calls wait for one another.
 */
function keepInOrder(work: MakeWork, layers: readonly Layer[]): () => Promise<void> {
  const below: string[] = []
  let next = 0
  let busy = Promise.resolve()
  const step = async () => {
    for (let layer = layers[next]; layer?.made; layer = layers[next]) {
      if (work.context.scope.signal.aborted) throw abortFault(work.context.scope.signal)
      const { fresh, facts, lock } = layer.made
      if (fresh) {
        await adoptImplied(fresh.pending.fs, fresh.implied, below)
        await work.store.keep(fresh.pending, facts)
        layer.made = { facts }
        await fresh.flow.close(await blobPlace(work, layer))
        await lock?.[Symbol.asyncDispose]()
      }
      below.unshift(work.store.fsOf(layer.chainId))
      next++
    }
  }
  return () => {
    busy = busy.then(step)
    return busy
  }
}

async function blobPlace(work: MakeWork, layer: Layer): Promise<'drop' | { readonly moveTo: string }> {
  if (work.job.keepBlobs === undefined) return 'drop'
  const kept = keptBlobs(work.job.keepBlobs)
  await kept.prepare()
  return { moveTo: kept.pathOf(layer.digest) }
}

/** A layer that cannot be kept: its blob stays for the next pull, if it is in a file. */
async function giveUp(work: MakeWork, { fresh, lock }: Made): Promise<void> {
  await fresh?.flow.close('keep')
  if (fresh) await work.store.discard(fresh.pending)
  await lock?.[Symbol.asyncDispose]()
}

/** A layer that is there, or a fresh one with the right to make it, which goes when it is kept. @abort kills */
async function findOrMake(work: MakeWork, layer: Layer): Promise<Made> {
  const had = await work.store.read(layer.chainId)
  if (had) return there(layer, had)
  const lock = await work.store.lock(work.context.scope.signal, layer.chainId)
  try {
    // Whoever had the lock before may have made it.
    const meanwhile = await work.store.read(layer.chainId)
    if (!meanwhile) {
      const fresh = await makeLayer(work, layer)
      return { facts: fresh.facts, fresh, lock }
    }
    await lock[Symbol.asyncDispose]()
    return there(layer, meanwhile)
  } catch (e) {
    await lock[Symbol.asyncDispose]()
    throw e
  }
}

function there(layer: Layer, facts: LayerRecord): Made {
  layer.progress.state = 'had'
  layer.progress.doneBytes = layer.progress.unpackedBytes = layer.size
  return { facts }
}
