// SPDX-License-Identifier: Apache-2.0
/**
 * The bytes of one blob on their way to the unpacker. Small ones come straight from the source. Large ones, and
 * those that are to be kept, go through a spool file that several connections fill at once and that outlives
 * this process. Verifies nothing: the unpacker does.
 */

import { asFault, Fault } from '../base/fault.ts'
import type { Segment, Spool, SpoolFile } from '../host/images/spool.ts'
import type { ImageSource } from '../host/registry/source.ts'
import type { Descriptor } from '../model/document.ts'
import { PULL } from '../model/pull-policy.ts'

export interface BlobFlow {
  /** In order, each piece valid until the next is asked for. */
  readonly bytes: AsyncIterable<Buffer>
  /** Bytes that an earlier pull had fetched. */
  readonly resumed: number
  /** Ends the fetching and closes the spool file: `SpoolFile.close`. Idempotent. */
  close(how: Parameters<SpoolFile['close']>[0]): Promise<void>
}

export interface Fetching {
  readonly source: ImageSource
  readonly spool: Spool
  readonly signal: AbortSignal
  /** Also small blobs go through a file. */
  readonly spoolAll: boolean
  readonly onBytes: (count: number) => void
}

/** Begins to fetch a blob. A failure shows in `bytes`. @abort stops */
export async function openBlob(fetching: Fetching, blob: Descriptor): Promise<BlobFlow> {
  const large = fetching.source.part !== undefined && blob.size >= PULL.spoolBytes
  // Another process that has the file is making another layer of the same blob: rare, so it is not waited for.
  const file = large || fetching.spoolAll ? await fetching.spool.open(blob) : undefined
  return file === undefined ? direct(fetching, blob) : spooled(fetching, blob, file)
}

function direct({ source, onBytes }: Fetching, blob: Descriptor): BlobFlow {
  async function* counted() {
    for await (const piece of source.blob(blob)) {
      onBytes(piece.length)
      yield piece
    }
  }
  return { bytes: counted(), resumed: 0, close: async () => {} }
}

function spooled(fetching: Fetching, blob: Descriptor, file: SpoolFile): BlobFlow {
  const own = new AbortController()
  const signal = AbortSignal.any([own.signal, fetching.signal])
  fetching.onBytes(file.resumed)
  const filling = fill({ ...fetching, signal }, blob, file).catch((e: unknown) => own.abort(asFault(e)))
  return {
    bytes: file.read(signal),
    resumed: file.resumed,
    async close(how) {
      own.abort(new Fault('cancelled', 'the fetching was stopped'))
      await filling
      await file.close(how)
    },
  }
}

/** Fetches what is missing, in rounds: a host that sends no parts ends one, and the next has one connection. */
async function fill(fetching: Fetching, blob: Descriptor, file: SpoolFile): Promise<void> {
  const { source } = fetching
  if (source.part === undefined) return await write(fetching, file, { from: source.blob(blob), at: 0 })
  for (let missing = file.missing(); missing.length > 0; missing = file.missing()) {
    const round = new Round(fetching, blob, { file, missing })
    await round.run()
  }
}

/** Lanes that take segment after segment. The first runs alone until it is known that its host sends parts. */
class Round {
  readonly #fetching: Fetching
  readonly #blob: Descriptor
  readonly #file: SpoolFile
  readonly #waiting: Segment[]
  readonly #lanes: { readonly stop: AbortController; readonly ended: Promise<void> }[] = []
  #failure: Fault | undefined

  constructor(
    fetching: Fetching,
    blob: Descriptor,
    what: { readonly file: SpoolFile; readonly missing: readonly Segment[] },
  ) {
    this.#fetching = fetching
    this.#blob = blob
    this.#file = what.file
    this.#waiting = [...what.missing]
  }

  async run(): Promise<void> {
    this.#start()
    // More may be started by those that run.
    for (let i = 0; i < this.#lanes.length; i++) await this.#lanes[i]?.ended
    if (this.#failure) throw this.#failure
  }

  #start(): void {
    const stop = new AbortController()
    this.#lanes.push({ stop, ended: this.#lane(stop) })
  }

  async #lane(stop: AbortController): Promise<void> {
    const signal = AbortSignal.any([stop.signal, this.#fetching.signal])
    const { source } = this.#fetching
    try {
      for (let s = this.#waiting.shift(); s; s = this.#waiting.shift()) {
        const part = { ...s, signal, onOpen: (whole: boolean) => this.#opened(stop, whole) }
        const from = source.part?.(this.#blob, part) ?? source.blob(this.#blob)
        await write(this.#fetching, this.#file, { from, at: s.start })
      }
    } catch (e) {
      if (stop.signal.aborted) return
      this.#failure ??= asFault(e)
      this.#stopOthers(stop)
    }
  }

  #opened(by: AbortController, whole: boolean): void {
    if (whole) this.#stopOthers(by)
    else if (this.#lanes.length === 1)
      for (let i = Math.min(PULL.segmentLanes - 1, this.#waiting.length); i > 0; i--) this.#start()
  }

  #stopOthers(than: AbortController): void {
    this.#waiting.length = 0
    for (const lane of this.#lanes)
      if (lane.stop !== than) lane.stop.abort(new Fault('cancelled', 'one connection sends all'))
  }
}

/** Held by each connection of each layer that comes: more costs memory and saves no time. */
const BATCH_BYTES = 128 * 1024

/** Writes what comes, in batches: fewer and larger writes. */
async function write(
  { onBytes }: Fetching,
  file: SpoolFile,
  what: { readonly from: AsyncIterable<Buffer>; readonly at: number },
): Promise<void> {
  let { at } = what
  let batch: Buffer[] = []
  let bytes = 0
  const flush = async () => {
    if (bytes === 0) return
    await file.write(batch, at)
    onBytes(bytes)
    at += bytes
    batch = []
    bytes = 0
  }
  for await (const piece of what.from) {
    batch.push(piece)
    bytes += piece.length
    if (bytes >= BATCH_BYTES) await flush()
  }
  await flush()
}
