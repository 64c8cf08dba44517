// SPDX-License-Identifier: Apache-2.0
/**
 * ImagePuller: one job of the image worker a pull. Owns the pull's limits and the sweep of what a killed worker
 * left. Knows no image store; the layers are whole when a pull has succeeded, and durable after `LayerStore.settle`.
 */

import { randomBytes } from 'node:crypto'
import { asFault, Fault } from '../../base/fault.ts'
import { addStage } from '../../base/observer.ts'
import { abortFault, checkpoint, type Scope } from '../../base/scope.ts'
import { UNPACK_LIMITS, type UnpackLimits } from '../../model/limits.ts'
import type { Platform } from '../../model/platform.ts'
import { PULL, type RegistryAuth, type Sealed } from '../../model/pull-policy.ts'
import { type Digest, type Reference, writtenReference } from '../../model/reference.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'
import type { Fd } from '../native.ts'
import type { LayerStore } from './layers.ts'
import { watchProgress } from './progress-watch.ts'
import type {
  DoneMessage,
  JobBase,
  PulledImage,
  PullProgress,
  RegistryAccess,
  WorkerRequest,
} from './protocol.ts'
import type { WarmWorkers } from './warm-workers.ts'
import { startWorker, type Worker, type WorkerOptions } from './worker.ts'

export type { PulledImage, PullProgress }

export interface PullerOptions extends WorkerOptions {
  readonly layers: LayerStore
  /** Workers that are used again; without it each job has its own. */
  readonly warm?: WarmWorkers
  /** Where compressed blobs are kept after unpacking; undefined: they are not. */
  readonly keepBlobs?: string | undefined
  /** Absolute paths: `gantry-unpack`, the addon. */
  readonly unpackProgram: string
  readonly addon: string
  readonly certsDirs: readonly string[]
  readonly registriesConf?: RegistryAccess['registriesConf']
  readonly authFiles: readonly string[]
  readonly helperDirs: readonly string[]
  readonly platform: Platform
  readonly parallelLayers?: number
  readonly unpackLimits?: UnpackLimits
  /** A pull that fetches nothing for this long is given up, milliseconds. */
  readonly noProgressMs?: number
}

export interface PullRequest {
  readonly reference: Reference
  readonly auth: Sealed<RegistryAuth>
  /** The signature policy; undefined: every image is accepted. */
  readonly trust?: TrustSettings | undefined
}

export interface PullEvents {
  /**
   * The layers the image needs, told before any is looked for: the worker goes on when the promise resolves,
   * and from then on they must not be removed.
   */
  onPlan(chainIds: readonly Digest[]): Promise<void>
  onProgress?(progress: PullProgress): void
}

export interface ImagePuller {
  /**
   * Fetches what is missing of an image; success means that all its layers are whole. Throws
   * `not-found`, `denied`, `unavailable` (reason RegistryUnavailable when no host could be reached), `corrupt`,
   * `unsupported`, `invalid`, `timeout`, `cancelled`. @abort kills
   */
  pull(scope: Scope, request: PullRequest, events: PullEvents): Promise<PulledImage>
}

export function imagePuller(options: PullerOptions): ImagePuller {
  return {
    async pull(scope, request, events) {
      const name = writtenReference(request.reference)
      try {
        const job = { job: 'pull', ...jobBase(options), ...pullOf(options, request) } as const
        return (await runJob(scope, { options, job, events })).image
      } catch (e) {
        throw Fault.during(`pull ${name}`, e)
      }
    },
  }
}

/** A job with all that happens around it. */
export interface JobRun<R extends WorkerRequest> {
  readonly options: PullerOptions
  readonly job: R
  readonly events: PullEvents
  /** Become the worker's descriptors 3, 4, … */
  readonly fds?: readonly Fd[]
}

/** Runs one job to its end; when this settles, nothing of it runs and nothing temporary is left. @abort kills */
export async function runJob<R extends WorkerRequest>(
  scope: Scope,
  run: JobRun<R>,
): Promise<DoneMessage<R['job']>> {
  checkpoint(scope)
  const { layers, warm } = run.options
  const worker =
    warm && !run.fds
      ? await warm.take(scope, () => startWorker(run.options))
      : startWorker(run.options, run.fds)
  let well = false
  try {
    const done = await converse(scope, worker, run)
    well = warm !== undefined && !run.fds
    return done
  } finally {
    if (well) warm?.give(worker)
    else if (!(await worker.end()))
      await layers.sweep(run.job.workId).catch((e: unknown) => {
        scope.log.warn('pull-sweep-failed', { pull: run.job.workId, error: asFault(e).message })
      })
  }
}

async function converse<R extends WorkerRequest>(
  scope: Scope,
  worker: Worker,
  run: JobRun<R>,
): Promise<DoneMessage<R['job']>> {
  const { promise: stopped, reject: stop } = Promise.withResolvers<never>()
  stopped.catch(() => {})
  const onAbort = () => stop(abortFault(scope.signal))
  scope.signal.addEventListener('abort', onAbort, { once: true })
  using watch = watchProgress(run.options.noProgressMs ?? PULL.noProgressMs, stop)
  const onProgress = (progress: PullProgress) => {
    watch.told(progress)
    run.events.onProgress?.(progress)
  }
  try {
    worker.say(run.job)
    return await Promise.race([
      listen(scope, worker, { job: run.job, events: { ...run.events, onProgress } }),
      stopped,
    ])
  } finally {
    scope.signal.removeEventListener('abort', onAbort)
  }
}

async function listen<R extends WorkerRequest>(
  scope: Scope,
  worker: Worker,
  { job, events }: { readonly job: R; readonly events: Required<PullEvents> },
): Promise<DoneMessage<R['job']>> {
  for (let message = await worker.next(); message !== undefined; message = await worker.next()) {
    switch (message.type) {
      case 'plan':
        await events.onPlan(message.chainIds)
        worker.say({ go: true })
        break
      case 'progress':
        events.onProgress(message)
        break
      case 'warning':
        scope.log.warn('pull-warning', { message: message.message })
        break
      case 'stage':
        addStage(scope.task, { work: job.job, name: message.name, ms: message.ms })
        break
      case 'done':
        if (isDoneOf(message, job)) return message
        throw new Fault('internal', 'the image worker ended a job that it was not given')
      case 'failed':
        throw new Fault(message.kind, message.message, { reason: message.reason })
      default:
        message satisfies never
    }
  }
  const { code, signal } = await worker.exited
  const how = signal > 0 ? `signal ${signal}` : `code ${code}`
  throw new Fault('internal', `the image worker ended by ${how} without an answer ${worker.stderr()}`)
}

function isDoneOf<R extends WorkerRequest>(
  message: DoneMessage,
  { job }: R,
): message is DoneMessage<R['job']> {
  return message.job === job
}

/** What every job is told. */
export function jobBase(options: PullerOptions): JobBase {
  return {
    workId: randomBytes(6).toString('hex'),
    platform: options.platform,
    layersRoot: options.layers.root,
    unpackProgram: options.unpackProgram,
    addon: options.addon,
    parallelLayers: options.parallelLayers ?? PULL.parallelLayers,
    unpackLimits: options.unpackLimits ?? UNPACK_LIMITS,
    keepBlobs: options.keepBlobs,
  }
}

/** How a job gets to registries, with the credentials of the request. */
export function registryAccess(options: PullerOptions, auth: Sealed<RegistryAuth>): RegistryAccess {
  return {
    auth: auth.reveal(),
    certsDirs: options.certsDirs,
    registriesConf: options.registriesConf,
    authFiles: options.authFiles,
    helperDirs: options.helperDirs,
  }
}

function pullOf(options: PullerOptions, request: PullRequest) {
  const access = registryAccess(options, request.auth)
  return { reference: writtenReference(request.reference), ...access, trust: request.trust }
}
