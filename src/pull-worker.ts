// SPDX-License-Identifier: Apache-2.0
/**
 * The pull worker: a short-lived process that fetches one image into layers and says so. It exists so that the
 * daemon never loads an HTTP client, holds no blob in memory, and can give a pull up by a signal. It ends when
 * its stdin closes, because then the daemon is gone, and it takes its temporary folders with it.
 */
import { createInterface } from 'node:readline'
import type { Writable } from 'node:stream'
import { asFault, Fault } from './base/fault.ts'
import { silent } from './base/log.ts'
import { abortFault, type Scope } from './base/scope.ts'
import { adoptImplied } from './host/images/implied.ts'
import { type LayerStore, layerStore, type PendingLayer } from './host/images/layers.ts'
import {
  formatLine,
  type PulledImage,
  parseRequest,
  type WorkerMessage,
  type WorkerRequest,
} from './host/images/protocol.ts'
import { loadNative, type Native } from './host/native.ts'
import { Authorizer } from './host/registry/auth.ts'
import { RegistryClient } from './host/registry/client.ts'
import { registryHosts } from './host/registry/hosts-toml.ts'
import { closeConnections } from './host/registry/http.ts'
import { type ResolvedImage, type ResolvedLayer, resolveImage } from './host/registry/resolve.ts'
import { startUnpack } from './host/unpack/parent.ts'
import type { UnpackResult } from './host/unpack/result.ts'
import type { LayerRecord } from './model/image.ts'
import { parseReference, type Reference } from './model/reference.ts'

const PROGRESS_MS = 250

interface Made {
  readonly layer: ResolvedLayer
  readonly facts: LayerRecord
  /** Undefined: the layer was there. */
  readonly pending: PendingLayer | undefined
  readonly implied: readonly string[]
}

interface Work {
  readonly request: WorkerRequest
  readonly client: RegistryClient
  readonly store: LayerStore
  readonly native: Native
  readonly scope: Scope
  readonly progress: Map<string, { digest: string; doneBytes: number; totalBytes: number }>
}

function say(message: WorkerMessage): void {
  process.stdout.write(formatLine(message))
}

/** Fetches and unpacks one layer into a pending folder; a failure leaves no folder. @abort kills */
async function makeLayer(work: Work, layer: ResolvedLayer): Promise<Made> {
  const had = await work.store.read(layer.chainId)
  if (had) return { layer, facts: had, pending: undefined, implied: [] }
  const state = { digest: layer.digest, doneBytes: 0, totalBytes: layer.size }
  work.progress.set(layer.chainId, state)
  const pending = await work.store.begin(work.request.pullId)
  try {
    const verdict = await unpack(work, {
      layer,
      into: pending.fs,
      onBytes: (count) => {
        state.doneBytes += count
      },
    })
    for (const message of verdict.warnings)
      say({ type: 'warning', message: `layer ${layer.digest}: ${message}` })
    const facts: LayerRecord = {
      diffId: layer.diffId,
      chainId: layer.chainId,
      digest: layer.digest,
      blobBytes: BigInt(layer.size),
      mediaType: layer.mediaType,
      bytes: BigInt(verdict.bytes),
      inodes: BigInt(verdict.inodes),
    }
    await work.store.describe(pending, facts)
    return { layer, facts, pending, implied: verdict.implied }
  } catch (e) {
    await work.store.discard(pending)
    throw e
  }
}

/** One blob through `gantry-unpack`, which verifies it. @abort kills */
async function unpack(
  work: Work,
  job: { readonly layer: ResolvedLayer; readonly into: string; readonly onBytes: (count: number) => void },
): Promise<UnpackResult> {
  const { digest, diffId, size } = job.layer
  const deps = { native: work.native, program: work.request.unpackProgram }
  const unpacking = startUnpack(work.scope, deps, { into: job.into, digest, diffId, size })
  try {
    await feed(work.client.blob(job.layer), unpacking.stdin, job.onBytes)
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
    onBytes(piece.length)
    if (!into.write(piece)) await writable(into)
  }
  into.end()
}

/** Resolves when there is room again, or when nobody reads any more. */
function writable(into: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      into.off('drain', done)
      into.off('close', done)
      resolve()
    }
    if (into.destroyed) return resolve()
    into.on('drain', done)
    into.on('close', done)
  })
}

/** Runs `task` over the layers, `width` at a time. The first failure ends all and is thrown when all have ended. */
async function inParallel(
  layers: readonly ResolvedLayer[],
  width: number,
  how: { readonly task: (layer: ResolvedLayer) => Promise<Made>; readonly stop: (why: Fault) => void },
): Promise<{ made: Made[]; failure: Fault | undefined }> {
  const made: Made[] = []
  const waiting = [...layers]
  let failure: Fault | undefined
  const lane = async () => {
    for (let layer = waiting.shift(); layer && failure === undefined; layer = waiting.shift()) {
      try {
        made.push(await how.task(layer))
      } catch (e) {
        failure ??= asFault(e)
        how.stop(failure)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, width) }, lane))
  return { made, failure }
}

async function makeLayers(
  work: Work,
  image: ResolvedImage,
  stop: (why: Fault) => void,
): Promise<readonly Made[]> {
  const timer = setInterval(() => say({ type: 'progress', layers: [...work.progress.values()] }), PROGRESS_MS)
  const { made, failure } = await inParallel(image.layers, work.request.parallelLayers, {
    task: (layer) => makeLayer(work, layer),
    stop,
  }).finally(() => clearInterval(timer))
  const byChain = new Map(made.map((m) => [m.layer.chainId, m]))
  const ordered = image.layers.flatMap((layer) => byChain.get(layer.chainId) ?? [])
  try {
    if (failure) throw failure
    await finishLayers(work, ordered)
    return ordered
  } catch (e) {
    for (const m of made) if (m.pending) await work.store.discard(m.pending)
    throw e
  }
}

/** Folders without entries take over from below, then all layers become durable and visible. */
async function finishLayers(work: Work, ordered: readonly Made[]): Promise<void> {
  const below: string[] = []
  for (const m of ordered) {
    const fs = m.pending?.fs ?? work.store.fsOf(m.layer.chainId)
    if (m.implied.length > 0) await adoptImplied(fs, m.implied, below)
    below.unshift(fs)
  }
  if (work.scope.signal.aborted) throw abortFault(work.scope.signal)
  await work.store.commit(ordered.flatMap((m) => (m.pending ? [{ pending: m.pending, facts: m.facts }] : [])))
}

async function pullImage(
  request: WorkerRequest,
  go: Promise<void>,
  controller: AbortController,
): Promise<PulledImage> {
  const signal = controller.signal
  const ref: Reference = parseReference(request.reference)
  const native = loadNative(request.addon)
  const store = layerStore(request.layersRoot, native)
  const client = new RegistryClient(ref, {
    hosts: await registryHosts(request.certsDirs, ref.domain),
    auth: new Authorizer(request.auth, ref),
    signal,
  })
  const image = await resolveImage(client, ref, request.platform)
  say({ type: 'plan', chainIds: image.layers.map((l) => l.chainId) })
  await go
  const work: Work = { request, client, store, native, scope: { signal, log: silent }, progress: new Map() }
  const made = await makeLayers(work, image, (why) => controller.abort(why))
  const { layers: _, ...rest } = image
  return { ...rest, layers: made.map((m) => m.facts), layersHad: made.filter((m) => !m.pending).length }
}

async function main(): Promise<void> {
  process.title = 'gantry-pull'
  const controller = new AbortController()
  const stop = (why: string) => () => controller.abort(new Fault('cancelled', why))
  process.on('SIGTERM', stop('the pull was cancelled'))
  process.on('SIGINT', () => {})
  process.stdout.on('error', stop('the daemon is gone'))
  const lines = createInterface({ input: process.stdin })
  const { promise: first, resolve: onRequest } = Promise.withResolvers<WorkerRequest>()
  const { promise: go, resolve: onGo, reject: onStop } = Promise.withResolvers<void>()
  go.catch(() => {})
  controller.signal.addEventListener('abort', () => onStop(abortFault(controller.signal)))
  let count = 0
  lines.on('line', (line) => (count++ === 0 ? onRequest(parseRequest(line)) : onGo()))
  lines.on('close', stop('the daemon is gone'))
  try {
    const gone = go.then(() => first)
    const request = await Promise.race([first, gone])
    say({ type: 'done', image: await pullImage(request, go, controller) })
  } catch (e) {
    const fault = asFault(e)
    say({
      type: 'failed',
      kind: fault.kind,
      message: fault.message,
      ...(fault.reason === undefined ? {} : { reason: fault.reason }),
    })
  }
  closeConnections()
  process.stdin.destroy()
  process.stdout.end(() => process.exit(0))
}

await main()
