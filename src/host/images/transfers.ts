// SPDX-License-Identifier: Apache-2.0
/**
 * ImageTransfers: images that leave this machine or come by an archive, each as one job of an image worker. An
 * archive goes through a pipe between the worker and whoever reads or writes it, at the pace of the slower one;
 * the daemon holds a few chunks of it. Owns those pipes. Knows no image store.
 */
import { Socket } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { errnoCode, Fault } from '../../base/fault.ts'
import { childScope, type Scope } from '../../base/scope.ts'
import type { RegistryAuth, Sealed } from '../../model/pull-policy.ts'
import { type Digest, formatReference, type Reference } from '../../model/reference.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'
import type { Fd } from '../native.ts'
import type { DiffEntry, ImageOut, LoadedImage } from './protocol.ts'
import { jobBase, type PullEvents, type PullerOptions, registryAccess, runJob } from './puller.ts'

export type { DiffEntry, ImageOut, LoadedImage }

export interface TransferOptions extends PullerOptions {
  /** Where compressed blobs are that were kept. */
  readonly blobsRoot: string
  /** Largest archive that is taken, inflated, bytes. */
  readonly maxArchiveBytes: number
}

export interface SaveRequest {
  readonly format: 'docker' | 'oci'
  readonly images: readonly ImageOut[]
}

export interface LoadRequest {
  readonly source: AsyncIterable<Buffer>
  /** The signature policy; undefined: every archive is accepted. */
  readonly trust?: TrustSettings | undefined
}

export interface PushRequest {
  readonly target: Reference
  readonly image: ImageOut
  readonly auth: Sealed<RegistryAuth>
}

export interface ImageTransfers {
  /**
   * Writes the archive into `sink` and leaves that open; a piece is the sink's until it calls back, and not
   * longer. What a failure leaves there is not whole. Throws
   * `unsupported` for a layer that cannot be given back, `corrupt`. @abort kills
   */
  save(
    scope: Scope,
    request: SaveRequest,
    sink: Writable,
  ): Promise<{ readonly bytes: number; readonly warnings: readonly string[] }>
  /** All images of the archive, their layers whole. Throws `corrupt`, `unsupported`, `exhausted`. @abort kills */
  load(
    scope: Scope,
    request: LoadRequest,
    events: PullEvents,
  ): Promise<{ readonly images: readonly LoadedImage[]; readonly warnings: readonly string[] }>
  /** Gives the digest of the manifest at the registry. Throws `denied`, `unavailable`, `unsupported`. @abort kills */
  push(
    scope: Scope,
    request: PushRequest,
    events: Pick<PullEvents, 'onProgress'>,
  ): Promise<{ readonly digest: Digest; readonly warnings: readonly string[] }>
  /** What `upper` changes of `lower` (topmost first), sorted by path; truncated beyond a limit. @abort kills */
  diff(
    scope: Scope,
    folders: { readonly upper: string; readonly lower: readonly string[] },
  ): Promise<{ readonly entries: readonly DiffEntry[]; readonly truncated: boolean }>
}

const PIECE_BYTES = 256 * 1024
const noPlan = () => Promise.reject(new Fault('internal', 'this job has no plan'))

export function imageTransfers(options: TransferOptions): ImageTransfers {
  const { native } = options
  const base = () => ({ ...jobBase(options), blobsRoot: options.blobsRoot })
  return {
    async save(scope, request, sink) {
      const job = { job: 'save', ...base(), ...request } as const
      using own = childScope(scope)
      const [readEnd, writeEnd] = native.pipe()
      const { socket, piping } = handOn(readEnd, sink)
      try {
        const done = runJob(own, { options, job, events: { onPlan: noPlan }, fds: [writeEnd] })
        native.close(writeEnd)
        piping.catch((e: unknown) => own.abort(Fault.during('the reader of the archive', e)))
        const { bytes, warnings } = await done
        await piping
        return { bytes, warnings }
      } finally {
        socket.destroy()
      }
    },
    async load(scope, { source, trust }, events) {
      const job = { job: 'load', ...base(), maxBytes: options.maxArchiveBytes, trust } as const
      using own = childScope(scope)
      const [readEnd, writeEnd] = native.pipe()
      const socket = new Socket({ fd: writeEnd, readable: false, writable: true })
      try {
        const done = runJob(own, { options, job, events, fds: [readEnd] })
        native.close(readEnd)
        pipeline(Readable.from(source, { objectMode: false }), socket).catch((e: unknown) => {
          // A worker that reads no more says itself why.
          if (errnoCode(e) !== 'EPIPE') own.abort(Fault.during('the source of the archive', e))
        })
        const { images, warnings } = await done
        return { images, warnings }
      } catch (e) {
        throw Fault.during('load the archive', e)
      } finally {
        socket.destroy()
      }
    },
    async push(scope, { target, image, auth }, { onProgress }) {
      const name = formatReference(target)
      const job = { job: 'push', ...base(), ...registryAccess(options, auth), target: name, image } as const
      const events = { onPlan: noPlan, ...(onProgress === undefined ? {} : { onProgress }) }
      try {
        const { digest, warnings } = await runJob(scope, { options, job, events })
        return { digest, warnings }
      } catch (e) {
        throw Fault.during(`push ${name}`, e)
      }
    },
    async diff(scope, folders) {
      const job = { job: 'diff', ...base(), ...folders } as const
      const { entries, truncated } = await runJob(scope, { options, job, events: { onPlan: noPlan } })
      return { entries, truncated }
    },
  }
}

/**
 * Hands on to `sink` what comes from a pipe: one buffer for all of it, read anew when the sink has taken it.
 * `piping` resolves at the end of the pipe, and rejects as the sink fails.
 */
function handOn(fd: Fd, sink: Writable): { readonly socket: Socket; readonly piping: Promise<void> } {
  const { promise: piping, resolve, reject } = Promise.withResolvers<void>()
  piping.catch(() => {}) // a failure of the job comes first
  const onread = {
    buffer: Buffer.allocUnsafeSlow(PIECE_BYTES),
    callback(bytes: number, buffer: Uint8Array): boolean {
      sink.write(buffer.subarray(0, bytes), (e) => {
        if (e) reject(e)
        else socket.resume()
      })
      return false
    },
  }
  const socket = new Socket({ fd, readable: true, writable: false, onread })
  socket.on('end', resolve)
  socket.on('error', reject)
  sink.on('error', reject)
  socket.on('close', () => sink.off('error', reject))
  return { socket, piping }
}
