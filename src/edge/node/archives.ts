// SPDX-License-Identifier: Apache-2.0
/**
 * Images as streams of bytes over gRPC: an archive out, an archive in. Cuts the bytes into messages and waits
 * for each, so that the slower end sets the pace. Knows nothing of archives.
 */
import { Writable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import type { Call } from '../cri/context.ts'
import { required } from './decode.ts'
import type { v1 } from './gen/api.js'
import { CHUNK_BYTES, layers, type Out } from './out.ts'

type SaveEvent = v1.SaveEvent.$Properties
type LoadEvent = v1.LoadEvent.$Properties

/** Sends the archive; the last event says what is in it. */
export async function save(
  { scope, engine }: Call,
  request: v1.SaveRequest,
  out: Out<SaveEvent>,
): Promise<SaveEvent> {
  const references = request.images.map((image, i) => required(`images[${i}]`, image))
  if (references.length === 0) throw new Fault('invalid', 'images: at least one is required')
  const saved = await engine.images.save(scope, { references, format: format(request.format) }, sink(out))
  return { done: { images: saved.images.map(archived), warnings: [...saved.warnings] } }
}

function format(text: string): 'docker' | 'oci' {
  if (text === '' || text === 'docker') return 'docker'
  if (text === 'oci') return text
  throw new Fault('invalid', `format: "${clip(text)}" is neither docker nor oci`)
}

function sink(out: Out<SaveEvent>): Writable {
  const pieces = async (bytes: Buffer): Promise<void> => {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES)
      await out.send({ chunk: bytes.subarray(at, at + CHUNK_BYTES) })
  }
  const writable = new Writable({
    highWaterMark: CHUNK_BYTES,
    write: (bytes: Buffer, _encoding, done) => void pieces(bytes).then(() => done(), done),
  })
  // A reader may go when nobody listens to the stream any more; whoever writes into it is told by its callback.
  writable.on('error', () => {})
  return writable
}

/** Takes the archive; the last event says what it held. */
export async function load(
  { scope, engine }: Call,
  request: AsyncIterable<v1.Chunk>,
  out: Out<LoadEvent>,
): Promise<LoadEvent> {
  const loaded = await engine.images.loadArchive(scope, bytesOf(request), {
    onProgress: (p) => out.offer({ progress: { readBytes: BigInt(p.readBytes), layers: layers(p) } }),
  })
  return { done: { images: loaded.images.map(archived), warnings: [...loaded.warnings] } }
}

async function* bytesOf(request: AsyncIterable<v1.Chunk>): AsyncGenerator<Buffer> {
  for await (const { data } of request) {
    if (data.length > CHUNK_BYTES)
      throw new Fault('invalid', `data: a message of ${data.length} bytes, more than ${CHUNK_BYTES}`)
    yield Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  }
}

const archived = (image: { readonly id: string; readonly names: readonly string[] }) => ({
  id: image.id,
  names: [...image.names],
})
