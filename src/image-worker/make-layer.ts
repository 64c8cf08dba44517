// SPDX-License-Identifier: Apache-2.0
/**
 * Makes one layer: its blob through `gantry-unpack` into a pending folder of the layer store, verified. What
 * turns out wrong is fetched again where there is another place to have it from. Does not keep it, and does not
 * know the layers around it.
 */
import { stat } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { asFault, Fault, unlessMissing } from '../base/fault.ts'
import type { LayerStore, PendingLayer } from '../host/images/layers.ts'
import type { JobBase, LayerProgress } from '../host/images/protocol.ts'
import type { Spool } from '../host/images/spool.ts'
import type { Native } from '../host/native.ts'
import type { ResolvedLayer } from '../host/registry/resolve.ts'
import type { ImageSource } from '../host/registry/source.ts'
import { startUnpack } from '../host/unpack/parent.ts'
import type { UnpackResult } from '../host/unpack/result.ts'
import type { LayerRecord } from '../model/image.ts'
import { type BlobFlow, openBlob } from './fetch.ts'
import { storeFile } from './file-layer.ts'
import type { JobContext } from './job.ts'

/** What bringing layers needs: the job's settings, where blobs come from, where layers go. */
export interface LayerWork {
  readonly job: JobBase
  readonly source: ImageSource
  readonly store: LayerStore
  readonly native: Native
}

export interface MakeWork extends LayerWork {
  readonly context: JobContext
  readonly spool: Spool
}

/** A layer on its way. */
export interface LayerToMake extends ResolvedLayer {
  readonly progress: { -readonly [K in keyof LayerProgress]: LayerProgress[K] }
}

/** Unpacked and verified, not yet kept. */
export interface FreshLayer {
  readonly facts: LayerRecord
  readonly pending: PendingLayer
  readonly implied: readonly string[]
  /** Closed by whoever keeps or discards the layer. */
  readonly flow: BlobFlow
}

/** A failure leaves no folder, and the part of the blob only if the next pull can use it. @abort kills */
export async function makeLayer(work: MakeWork, layer: LayerToMake): Promise<FreshLayer> {
  for (;;) {
    layer.progress.state = 'fetching'
    layer.progress.doneBytes = layer.progress.unpackedBytes = 0
    const begin = performance.now()
    const told = (name: 'fetch' | 'unpack') =>
      work.context.say({ type: 'stage', name, ms: performance.now() - begin })
    const flow = await openBlob(
      {
        source: work.source,
        spool: work.spool,
        signal: work.context.scope.signal,
        spoolAll: work.job.keepBlobs !== undefined,
        onBytes: (count) => {
          layer.progress.doneBytes += count
          if (layer.progress.doneBytes !== layer.size) return
          layer.progress.state = 'unpacking'
          told('fetch')
        },
      },
      layer,
    )
    try {
      const made = await unpackLayer(work, layer, flow)
      told('unpack')
      layer.progress.state = 'done'
      return { ...made, flow }
    } catch (e) {
      const { kind } = asFault(e)
      const wrong = kind === 'corrupt'
      await flow.close(wrong || kind === 'unsupported' || kind === 'exhausted' ? 'drop' : 'keep')
      const from = work.source.sendersOf?.(layer.digest) ?? []
      const fault = wrong && from.length > 0 ? Fault.during(`from ${from.join(', ')}`, e) : asFault(e)
      // Another host may have it right, and so may this one, if the part that an earlier pull has left is wrong.
      const again = wrong && (flow.resumed > 0 || work.source.distrust?.(layer.digest) === true)
      if (!again || work.context.scope.signal.aborted) throw fault
      work.context.say({ type: 'warning', message: `${fault.message}: fetching it again` })
    }
  }
}

async function unpackLayer(work: MakeWork, layer: LayerToMake, flow: BlobFlow) {
  const pending = await work.store.begin(work.job.workId)
  try {
    const { file } = layer
    const verdict =
      file === undefined
        ? await unpack(work, { layer, pending, flow })
        : await storeFile(work, { ...layer, file }, { pending, bytes: flow.bytes })
    for (const message of verdict.warnings)
      work.context.say({ type: 'warning', message: `layer ${layer.digest}: ${message}` })
    const own = await storeUsage(pending)
    const facts: LayerRecord = {
      diffId: layer.diffId,
      chainId: layer.chainId,
      digest: layer.digest,
      blobBytes: BigInt(layer.size),
      mediaType: layer.mediaType,
      bytes: BigInt(verdict.bytes) + own.bytes,
      inodes: BigInt(verdict.inodes) + own.inodes,
    }
    return { facts, pending, implied: verdict.implied }
  } catch (e) {
    await work.store.discard(pending)
    throw e
  }
}

/** What a layer takes beyond its entries: folder, root, record, and the facts that are yet to be written. */
async function storeUsage({ folder, fs, record }: PendingLayer): Promise<{ bytes: bigint; inodes: bigint }> {
  // A layer that is a file of an artifact has no record.
  const found = await Promise.all([folder, fs, record].map((path) => stat(path).catch(unlessMissing)))
  const all = found.filter((s) => s !== undefined)
  const blocks = all.reduce((sum, { blocks: count }) => sum + count, 0)
  return { bytes: BigInt(blocks) * 512n, inodes: BigInt(all.length) + 1n }
}

/** One blob through `gantry-unpack`, which verifies it. @abort kills */
async function unpack(
  work: MakeWork,
  job: { readonly layer: LayerToMake; readonly pending: PendingLayer; readonly flow: BlobFlow },
): Promise<UnpackResult> {
  const { digest, diffId, size, progress } = job.layer
  const deps = { native: work.native, program: work.job.unpackProgram }
  const unpacking = startUnpack(work.context.scope, deps, {
    into: job.pending.fs,
    record: job.pending.record,
    digest,
    diffId,
    size,
    limits: work.job.unpackLimits,
  })
  try {
    await feed(job.flow.bytes, unpacking.stdin, (count) => {
      progress.unpackedBytes += count
    })
  } catch (e) {
    unpacking.kill()
    await unpacking.result.catch(() => {})
    throw e
  }
  return unpacking.result
}

/** Writes the blob at the reader's pace. A reader that ends early is no error here: its verdict says why. */
async function feed(
  blob: AsyncIterable<Buffer>,
  into: Writable,
  onBytes: (count: number) => void,
): Promise<void> {
  for await (const piece of blob) {
    if (into.destroyed) return
    // Only when it is written is the piece's memory free again.
    await new Promise<void>((resolve) => into.write(piece, () => resolve()))
    onBytes(piece.length)
  }
  into.end()
}
