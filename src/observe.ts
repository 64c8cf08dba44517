// SPDX-License-Identifier: Apache-2.0
/**
 * Metrics and traces, where they are switched on: gathers what has ended and hands it to the observe worker, a batch
 * at a time. Whatever becomes of the worker, the daemon goes on: what it does not take is dropped and counted, and
 * one that died is started again after a while, its counters from zero.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { asFault, isFault } from './base/fault.ts'
import { observe } from './base/observer.ts'
import type { Scope } from './base/scope.ts'
import { startWorkerProcess, type WorkerProcess, type WorkerProgram } from './host/worker-process.ts'
import {
  type DaemonState,
  type EndedStage,
  type EndedTask,
  formatLine,
  type ObserveSettings,
  parseFromWorker,
} from './observe-worker/protocol.ts'
import { LAG_EVERY_MS, type LoopLag } from './snapshot.ts'

/** What waits for the next batch; more is dropped. */
const WAITING = 4_096
const EVERY_MS = 200
const HEAP_MIB = 128
const LEAVE_MS = 1_000
const RESTART_MS = { first: 1_000, longest: 60_000 } as const

export interface ObserveOptions {
  readonly program: WorkerProgram
  readonly settings: ObserveSettings
  /** Folder that the worker is in: it tells whose it is. */
  readonly cwd: string
  /** The gauges now; `lag` measures anew from here. */
  state(lag: LoopLag): Promise<DaemonState>
}

export interface Observing {
  /** Hands over what is left, and ends the worker. Idempotent. @abort finishes */
  close(): Promise<void>
}

/** Starts the worker, which comes up later; never throws. */
export function startObserving(daemon: Scope, options: ObserveOptions): Observing {
  const lag = monitorEventLoopDelay({ resolution: LAG_EVERY_MS })
  lag.enable()
  const batch = gather()
  let worker: WorkerProcess | undefined
  let closed = false
  let again: NodeJS.Timeout | undefined
  const run = async (waitMs: number) => {
    const beganAt = performance.now()
    try {
      worker = start(options)
      await serve(daemon, worker, { batch, answer: () => options.state(lag) })
      const clean = await worker.end()
      if (!closed && !clean) daemon.log.warn('observe-worker-died', { stderr: worker.stderr() })
    } catch (e) {
      daemon.log.warn('observe-worker-failed', { error: asFault(e).message })
      await worker?.end()
    }
    worker = undefined
    batch.to(undefined)
    if (closed) return
    const next = performance.now() - beganAt > RESTART_MS.longest ? RESTART_MS.first : waitMs
    again = setTimeout(() => {
      running = run(Math.min(next * 2, RESTART_MS.longest))
    }, next)
    again.unref()
  }
  let running = run(RESTART_MS.first)
  return {
    async close() {
      if (closed) return
      closed = true
      clearTimeout(again)
      lag.disable()
      batch.close()
      worker?.closeInput()
      const late = setTimeout(() => void worker?.end(), LEAVE_MS)
      await running
      clearTimeout(late)
    },
  }
}

function start({ program, cwd, settings }: ObserveOptions): WorkerProcess {
  const worker = startWorkerProcess({
    ...program,
    cwd,
    name: 'gantry-observe',
    flags: [
      '--max-semi-space-size=1',
      `--max-old-space-size=${HEAP_MIB}`,
      '--disable-warning=ExperimentalWarning',
    ],
  })
  worker.write(formatLine({ type: 'start', settings }))
  return worker
}

interface Serving {
  readonly batch: Batch
  answer(): Promise<DaemonState>
}

/** Until the worker has ended. */
async function serve(daemon: Scope, worker: WorkerProcess, { batch, answer }: Serving): Promise<void> {
  for (let line = await worker.nextLine(); line !== undefined; line = await worker.nextLine()) {
    const message = parseFromWorker(line)
    switch (message.type) {
      case 'ready':
        daemon.log.info('observing', { metrics: message.url })
        batch.to((text) => worker.write(text))
        break
      case 'took':
        batch.taken()
        break
      case 'ask':
        batch.flush()
        worker.write(formatLine({ type: 'state', state: await answer() }))
        break
      case 'warn':
        daemon.log.warn(message.event, message.fields)
        break
      case 'failed':
        daemon.log.warn('observe-worker-failed', { error: message.message })
        break
      default:
        message satisfies never
    }
  }
}

interface Batch {
  /** Where batches go from now on. */
  to(write: ((text: string) => void) | undefined): void
  /** The last one has arrived. */
  taken(): void
  flush(): void
  close(): void
}

const unixMs = (at: number): number => performance.timeOrigin + at

/** Gathers what ends into batches, one on its way at a time. */
function gather(): Batch {
  let tasks: EndedTask[] = []
  let stages: EndedStage[] = []
  let dropped = 0
  let write: ((text: string) => void) | undefined
  let onTheWay = false
  let timer: NodeJS.Timeout | undefined
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    if (!write || onTheWay || tasks.length + stages.length === 0) return
    onTheWay = true
    write(formatLine({ type: 'ended', tasks, stages, dropped }))
    tasks = []
    stages = []
    dropped = 0
  }
  const room = () => {
    if (tasks.length + stages.length >= WAITING) {
      dropped++
      return false
    }
    timer ??= setTimeout(flush, EVERY_MS).unref()
    return true
  }
  const observing = observe({
    taskEnded({ id, name, beganMs, traceparent }, code) {
      const [began, endedMs] = [unixMs(beganMs), unixMs(performance.now())]
      if (room()) tasks.push({ id, name, code, beganMs: began, endedMs, traceparent })
    },
    stageEnded({ work, name, task, beganMs, endedMs = performance.now(), error }) {
      const fault = error === undefined ? '' : isFault(error) ? error.kind : 'internal'
      const times = { beganMs: unixMs(beganMs), endedMs: unixMs(endedMs) }
      if (room()) stages.push({ work, name, task: task?.id ?? 0, ...times, fault })
    },
  })
  return {
    to(next) {
      write = next
      onTheWay = false
    },
    taken() {
      onTheWay = false
      if (tasks.length + stages.length > 0) timer ??= setTimeout(flush, EVERY_MS).unref()
    },
    flush,
    close() {
      observing[Symbol.dispose]()
      onTheWay = false
      flush()
      clearTimeout(timer)
    },
  }
}
