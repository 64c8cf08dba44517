// SPDX-License-Identifier: Apache-2.0
/**
 * The blob of a layer that is here, as an open file: the one that was kept, or what the layer's tree and record
 * give back, which is the uncompressed archive byte for byte, compressed anew if that is wanted. Says which, for
 * a manifest has to say it too. Never guesses: what cannot be given back exactly is an error.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { createGzip } from 'node:zlib'
import { asFault, errnoCode, Fault, isFault } from '../base/fault.ts'
import { piecesOf } from '../host/archive/spool.ts'
import { keptBlobs } from '../host/images/kept-blobs.ts'
import { layerStore } from '../host/images/layers.ts'
import type { JobBase, LayerOut } from '../host/images/protocol.ts'
import { loadNative } from '../host/native.ts'
import { packLayer } from '../host/unpack/pack.ts'
import { type Digest, digestOfHex } from '../model/reference.ts'
import type { JobContext } from './job.ts'
import { compressionIn, type LayerBlob } from './manifest-out.ts'

export interface LayerFile extends AsyncDisposable, LayerBlob {
  /** `kept`: the blob as it was pulled. Else made anew from the layer, with the compression that was asked for. */
  readonly from: 'kept' | 'made'
  /** The bytes, from an offset on. */
  open(offset?: number): AsyncGenerator<Buffer>
}

export interface LayerFileOptions {
  readonly job: JobBase & { readonly blobsRoot: string }
  readonly layer: LayerOut
  /** For a blob that was not kept. */
  readonly compress: 'gzip' | 'none'
  /** Told how many bytes more of such a blob are made. */
  readonly onMade: (count: number) => void
}

let counter = 0

/** Throws `unsupported`, naming the layer and the way out, when the layer cannot be given back. @abort kills */
export async function openLayerFile(context: JobContext, options: LayerFileOptions): Promise<LayerFile> {
  const { job, layer } = options
  const kept = await openKept(keptBlobs(job.blobsRoot).pathOf(layer.digest), layer.size)
  if (kept) {
    const compression = compressionIn(layer.mediaType)
    return fileOf(kept, { digest: layer.digest, size: layer.size, compression, from: 'kept' })
  }
  const path = join(job.layersRoot, `.tmp-${job.workId}-${process.pid}-blob${++counter}`)
  const handle = await open(path, 'wx+', 0o600)
  await unlink(path)
  try {
    const made = await makeAnew(context, options, handle)
    return fileOf(handle, { ...made, compression: options.compress, from: 'made' })
  } catch (e) {
    await handle.close()
    if (context.scope.signal.aborted || isFault(e, 'cancelled')) throw e
    if (errnoCode(e) === 'ENOSPC') throw new Fault('exhausted', `no space is left for ${path}`, { cause: e })
    const { kind, message } = asFault(e)
    throw new Fault(
      kind === 'corrupt' ? kind : 'unsupported',
      `layer ${layer.digest} cannot be given back: ${message}. Set images.keep_blobs and pull the image again`,
      { cause: e },
    )
  }
}

async function openKept(path: string, size: number): Promise<FileHandle | undefined> {
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT') return undefined
    throw e
  }
  if ((await handle.stat()).size === size) return handle
  await handle.close()
  return undefined
}

function fileOf(handle: FileHandle, what: LayerBlob & Pick<LayerFile, 'from'>): LayerFile {
  return {
    ...what,
    open: (offset = 0) => piecesOf(handle, { offset, size: what.size - offset }),
    [Symbol.asyncDispose]: () => handle.close(),
  }
}

async function makeAnew(
  context: JobContext,
  { job, layer, compress, onMade }: LayerFileOptions,
  handle: FileHandle,
): Promise<{ digest: Digest; size: number }> {
  const native = loadNative(job.addon)
  const store = layerStore(job.layersRoot, native)
  const packing = packLayer(
    context.scope,
    { native, program: job.unpackProgram },
    { fs: store.fsOf(layer.chainId), record: store.recordOf(layer.chainId), diffId: layer.diffId },
  )
  const hash = createHash('sha256')
  let size = 0
  for await (const piece of compress === 'gzip' ? gzipped(packing.stdout) : packing.stdout) {
    if (!Buffer.isBuffer(piece)) continue
    hash.update(piece)
    await handle.writeFile(piece)
    size += piece.length
    onMade(piece.length)
  }
  await packing.result
  return { digest: digestOfHex(hash.digest('hex')), size }
}

/** The same tar gives the same bytes with the same zlib: no time and no name stand in the header. */
function gzipped(from: Readable): Readable {
  const gzip = createGzip({ level: 6 })
  from.on('error', (e) => gzip.destroy(e))
  gzip.on('close', () => from.destroy())
  return from.pipe(gzip)
}
