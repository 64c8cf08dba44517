// SPDX-License-Identifier: Apache-2.0
/**
 * ImagePuller: one pull worker process a pull. Owns its pipes, its end (TERM, then KILL, always awaited) and
 * the sweep of what a killed worker left. Credentials go through the worker's stdin: never argv, environment,
 * log or error. Knows no image store; the layers are on disk and durable when a pull has succeeded.
 */

import { randomBytes } from 'node:crypto'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { asFault, Fault } from '../../base/fault.ts'
import { abortFault, checkpoint, type Scope } from '../../base/scope.ts'
import type { Platform } from '../../model/platform.ts'
import { PULL, type RegistryAuth, type Sealed } from '../../model/pull-policy.ts'
import { type Digest, formatReference, type Reference } from '../../model/reference.ts'
import type { Fd, Native } from '../native.ts'
import type { LayerStore } from './layers.ts'
import {
  formatLine,
  type PulledImage,
  type PullProgress,
  parseWorkerLine,
  type WorkerMessage,
  type WorkerRequest,
} from './protocol.ts'

export type { PulledImage, PullProgress }

export interface PullerOptions {
  readonly native: Pick<Native, 'spawn' | 'pipe' | 'close' | 'pidfdOpen' | 'pidfdSignal'>
  readonly layers: LayerStore
  /** Absolute paths: node itself, the worker's entry file, `gantry-unpack`, the addon. */
  readonly node: string
  readonly worker: string
  readonly unpackProgram: string
  readonly addon: string
  readonly certsDirs: readonly string[]
  readonly platform: Platform
  readonly parallelLayers?: number
  /** A pull that fetches nothing for this long is given up, milliseconds. */
  readonly noProgressMs?: number
}

export interface PullRequest {
  readonly reference: Reference
  readonly auth: Sealed<RegistryAuth>
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
   * Fetches what is missing of an image; success means that all its layers are whole and durable. Throws
   * `not-found`, `denied`, `unavailable` (reason RegistryUnavailable when no host could be reached), `corrupt`,
   * `unsupported`, `invalid`, `timeout`, `cancelled`. @abort kills
   */
  pull(scope: Scope, request: PullRequest, events: PullEvents): Promise<PulledImage>
}

const SIGTERM = 15
const SIGKILL = 9
const KILL_GRACE_MS = 3_000
const STDERR_MAX = 4_096
const NO_PROGRESS_MS = 300_000
/** What a worker may need of the daemon's environment: proxies and certificate stores. */
const PASSED_ENV = /^(?:https?_proxy|no_proxy|all_proxy|SSL_CERT_(?:FILE|DIR)|NODE_EXTRA_CA_CERTS|TZ)$/i

export function imagePuller(options: PullerOptions): ImagePuller {
  return {
    async pull(scope, request, events) {
      checkpoint(scope)
      const pullId = randomBytes(6).toString('hex')
      const name = formatReference(request.reference)
      const worker = start(options)
      try {
        return await converse(scope, worker, { options, request, events, pullId })
      } catch (e) {
        throw Fault.during(`pull ${name}`, e)
      } finally {
        const clean = await worker.end()
        if (!clean)
          await options.layers.sweep(pullId).catch((e: unknown) => {
            scope.log.warn('pull-sweep-failed', { pull: pullId, error: asFault(e).message })
          })
      }
    },
  }
}

interface Conversation {
  readonly options: PullerOptions
  readonly request: PullRequest
  readonly events: PullEvents
  readonly pullId: string
}

async function converse(scope: Scope, worker: Worker, c: Conversation): Promise<PulledImage> {
  const { promise: stopped, reject: stop } = Promise.withResolvers<never>()
  stopped.catch(() => {})
  const onAbort = () => stop(abortFault(scope.signal))
  scope.signal.addEventListener('abort', onAbort, { once: true })
  const limit = c.options.noProgressMs ?? NO_PROGRESS_MS
  let fetched = -1
  let timer: NodeJS.Timeout | undefined
  const moved = () => {
    clearTimeout(timer)
    timer = setTimeout(
      () =>
        stop(new Fault('timeout', `nothing was fetched for ${limit} ms`, { reason: 'RegistryUnavailable' })),
      limit,
    )
  }
  const onProgress = (progress: PullProgress) => {
    const sum = progress.layers.reduce((total, layer) => total + layer.doneBytes, 0)
    if (sum !== fetched) moved()
    fetched = sum
    c.events.onProgress?.(progress)
  }
  try {
    moved()
    worker.say(requestOf(c))
    return await Promise.race([listen(scope, worker, { ...c.events, onProgress }), stopped])
  } finally {
    clearTimeout(timer)
    scope.signal.removeEventListener('abort', onAbort)
  }
}

async function listen(scope: Scope, worker: Worker, events: Required<PullEvents>): Promise<PulledImage> {
  for await (const message of worker.messages) {
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
      case 'done':
        return message.image
      case 'failed':
        throw new Fault(message.kind, message.message, { reason: message.reason })
      default:
        message satisfies never
    }
  }
  const { code, signal } = await worker.exited
  const how = signal > 0 ? `signal ${signal}` : `code ${code}`
  throw new Fault('internal', `the pull worker ended by ${how} without an answer ${worker.stderr()}`)
}

function requestOf({ options, request, pullId }: Conversation): WorkerRequest {
  return {
    pullId,
    reference: formatReference(request.reference),
    auth: request.auth.reveal(),
    certsDirs: options.certsDirs,
    platform: options.platform,
    layersRoot: options.layers.root,
    unpackProgram: options.unpackProgram,
    addon: options.addon,
    parallelLayers: options.parallelLayers ?? PULL.parallelLayers,
  }
}

interface Worker {
  readonly messages: AsyncIterable<WorkerMessage>
  readonly exited: Promise<{ code: number; signal: number }>
  say(message: WorkerRequest | { readonly go: true }): void
  stderr(): string
  /** Ends and reaps it; true if it ended by itself, so that it has tidied up. Idempotent. */
  end(): Promise<boolean>
}

function start(options: PullerOptions): Worker {
  const { native } = options
  const open: Fd[] = []
  const pipe = () => {
    const ends = native.pipe()
    open.push(...ends)
    return ends
  }
  const { promise: exited, resolve } = Promise.withResolvers<{ code: number; signal: number }>()
  let pid: number
  let ours: readonly [Fd, Fd, Fd]
  try {
    const [inRead, inWrite] = pipe()
    const [outRead, outWrite] = pipe()
    const [errRead, errWrite] = pipe()
    pid = native.spawn(
      {
        file: options.node,
        argv: ['gantry-pull', '--max-semi-space-size=1', '--use-system-ca', options.worker],
        env: Object.entries(process.env).flatMap(([k, v]) =>
          PASSED_ENV.test(k) && v !== undefined ? [`${k}=${v}`] : [],
        ),
        cwd: '/',
        fds: [inRead, outWrite, errWrite],
        newSession: true,
      },
      (code, signal) => resolve({ code, signal }),
    )
    ours = [inWrite, outRead, errRead]
  } catch (e) {
    for (const fd of open) native.close(fd)
    throw new Fault(
      'internal',
      `cannot start the pull worker: ${e instanceof Error ? e.message : String(e)}`,
      { cause: e },
    )
  }
  for (const fd of open) if (!ours.includes(fd)) native.close(fd)
  return own(native, { pid, ours, exited })
}

function own(
  native: PullerOptions['native'],
  child: { pid: number; ours: readonly [Fd, Fd, Fd]; exited: Promise<{ code: number; signal: number }> },
): Worker {
  const [inFd, outFd, errFd] = child.ours
  const stdin = new Socket({ fd: inFd, readable: false, writable: true })
  const stdout = new Socket({ fd: outFd, readable: true, writable: false })
  const stderr = new Socket({ fd: errFd, readable: true, writable: false })
  let said = ''
  for (const socket of [stdin, stdout, stderr]) socket.on('error', () => {})
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < STDERR_MAX) said += chunk.toString('utf8')
  })
  let reaped = false
  child.exited.then(() => {
    reaped = true
  })
  const kill = (signal: number) => {
    if (reaped) return
    try {
      const pidfd = native.pidfdOpen(child.pid)
      try {
        native.pidfdSignal(pidfd, signal)
      } finally {
        native.close(pidfd)
      }
    } catch {
      // It has just ended: its exit is on the way.
    }
  }
  return {
    messages: messagesOf(stdout),
    exited: child.exited,
    say: (message) => {
      if (!stdin.destroyed) stdin.write(formatLine(message))
    },
    stderr: () => said.slice(0, STDERR_MAX).trim(),
    async end() {
      stdin.destroy()
      const ladder = [setTimeout(() => kill(SIGTERM), 0), setTimeout(() => kill(SIGKILL), KILL_GRACE_MS)]
      const { signal } = await child.exited
      for (const rung of ladder) clearTimeout(rung)
      stdout.destroy()
      stderr.destroy()
      return signal === 0
    },
  }
}

async function* messagesOf(stdout: Socket): AsyncGenerator<WorkerMessage> {
  for await (const line of createInterface({ input: stdout })) yield parseWorkerLine(line)
}
