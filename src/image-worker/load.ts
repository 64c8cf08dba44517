// SPDX-License-Identifier: Apache-2.0
/**
 * The job `load`: the images of an archive that comes on descriptor 3. The archive is laid aside and verified,
 * each image is resolved as one of a registry is, and its layers are brought the same way. All images or none.
 */
import { Socket } from 'node:net'
import { join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { Fault } from '../base/fault.ts'
import { abortFault } from '../base/scope.ts'
import { inflated } from '../host/archive/inflate.ts'
import { type ArchiveImage, type OpenArchive, openArchive } from '../host/archive/read.ts'
import { spoolArchive } from '../host/archive/spool.ts'
import { layerStore } from '../host/images/layers.ts'
import type { LoadedImage, LoadJob } from '../host/images/protocol.ts'
import { loadNative } from '../host/native.ts'
import { type ResolvedImage, resolveImage } from '../host/registry/resolve.ts'
import { trustArchive } from '../host/trust/verify.ts'
import { repositoryOf } from '../model/reference.ts'
import type { JobContext } from './job.ts'
import { bringLayers } from './layers.ts'
import { reporting } from './progress.ts'

export interface Loaded {
  readonly images: readonly LoadedImage[]
  readonly warnings: readonly string[]
}

interface Resolved {
  readonly of: ArchiveImage
  readonly image: ResolvedImage
}

/** The images with all their layers whole. Throws `corrupt`, `unsupported`, `exhausted`. @abort stops */
export async function loadJob(context: JobContext, job: LoadJob): Promise<Loaded> {
  const { signal } = context.scope
  const socket = addAbortSignal(signal, new Socket({ fd: 3, readable: true, writable: false }))
  const options = { file: join(job.layersRoot, `.tmp-${job.workId}-archive`), maxBytes: job.maxBytes, signal }
  try {
    using report = reporting(context, () => ({ layers: [], archiveBytes: socket.bytesRead }))
    const spool = await spoolArchive(inflated(socket), options)
    try {
      const archive = await openArchive(spool)
      if (job.trust) await trustArchive(job.trust, archive.kind)
      const found = await resolveAll(archive, job)
      report[Symbol.dispose]()
      report.now()
      return { images: await bringAll(context, job, { archive, found }), warnings: archive.warnings }
    } finally {
      await spool.close()
    }
  } catch (e) {
    if (signal.aborted) throw abortFault(signal)
    throw e
  } finally {
    socket.destroy()
  }
}

const shown = (image: ArchiveImage) => `image ${image.tags[0] ?? image.digest}`

async function resolveAll(archive: OpenArchive, job: LoadJob): Promise<Resolved[]> {
  const found: Resolved[] = []
  for (const of of archive.images) {
    try {
      const ref = { domain: '', path: '', tag: undefined, digest: of.digest }
      found.push({ of, image: await resolveImage(archive.source, ref, job.platform) })
    } catch (e) {
      throw Fault.during(shown(of), e)
    }
  }
  return found
}

async function bringAll(
  context: JobContext,
  job: LoadJob,
  from: { readonly archive: OpenArchive; readonly found: readonly Resolved[] },
): Promise<LoadedImage[]> {
  context.say({
    type: 'plan',
    chainIds: from.found.flatMap(({ image }) => image.layers.map((l) => l.chainId)),
  })
  await context.go()
  const native = loadNative(job.addon)
  const store = layerStore(job.layersRoot, native)
  const done: LoadedImage[] = []
  for (const { of, image } of from.found) {
    try {
      const brought = await bringLayers(context, { job, source: from.archive.source, store, native }, image)
      const { layers: _, ...rest } = image
      const repositories = [...new Set(of.repositories.map(repositoryOf))]
      done.push({ image: { ...rest, ...brought }, tags: of.tags, repositories })
    } catch (e) {
      throw Fault.during(shown(of), e)
    }
  }
  return done
}
