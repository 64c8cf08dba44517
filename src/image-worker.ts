// SPDX-License-Identifier: Apache-2.0
/**
 * The image worker: a process that does the heavy work on images, one job after another, and says how it goes.
 * It exists so that the daemon never loads an HTTP client, holds no blob in memory, and can give a job up by a
 * signal. It ends when its stdin closes, because then the daemon is gone or has no more work for it, and it
 * takes the temporary folders of its job with it. What a job does is in `image-worker/`.
 */
import { createInterface } from 'node:readline'
import { asFault, Fault } from './base/fault.ts'
import { silent } from './base/log.ts'
import { abortFault } from './base/scope.ts'
import {
  type DoneMessage,
  formatLine,
  parseRequest,
  type WorkerMessage,
  type WorkerRequest,
} from './host/images/protocol.ts'
import type { JobContext } from './image-worker/job.ts'

function say(message: WorkerMessage): void {
  process.stdout.write(formatLine(message))
}

/** A job's code is loaded when it is asked for: a start is most of what a small one costs. */
async function work(context: JobContext, request: WorkerRequest): Promise<DoneMessage> {
  switch (request.job) {
    case 'pull': {
      const { pullJob } = await import('./image-worker/pull.ts')
      return { type: 'done', job: 'pull', image: await pullJob(context, request) }
    }
    case 'save': {
      const { saveJob } = await import('./image-worker/save.ts')
      return { type: 'done', job: 'save', ...(await saveJob(context, request)) }
    }
    case 'load': {
      const { loadJob } = await import('./image-worker/load.ts')
      return { type: 'done', job: 'load', ...(await loadJob(context, request)) }
    }
    case 'push': {
      const { pushJob } = await import('./image-worker/push.ts')
      return { type: 'done', job: 'push', ...(await pushJob(context, request)) }
    }
    case 'diff': {
      const { diffJob } = await import('./image-worker/diff.ts')
      return { type: 'done', job: 'diff', ...(await diffJob(context, request)) }
    }
    default:
      // A newer daemon cannot be: both ends are of one build.
      request satisfies never
      throw new Fault('internal', 'a job that this worker does not know')
  }
}

function failed(e: unknown): WorkerMessage {
  const { kind, message, reason } = asFault(e)
  return { type: 'failed', kind, message, ...(reason === undefined ? {} : { reason }) }
}

async function main(): Promise<void> {
  process.title = 'gantry-pull'
  const end = new AbortController()
  const over = (why: string) => () => end.abort(new Fault('cancelled', why))
  process.on('SIGTERM', over('the work was cancelled'))
  process.on('SIGINT', () => {})
  process.stdout.on('error', over('the daemon is gone'))
  const lines = createInterface({ input: process.stdin })
  lines.on('close', over('the daemon is gone'))
  const next = lineQueue(lines, end.signal)
  for (let line = await next(); line !== undefined && !end.signal.aborted; line = await next()) {
    const own = new AbortController()
    const signal = AbortSignal.any([own.signal, end.signal])
    const go = async () => {
      if ((await next()) === undefined) throw abortFault(end.signal)
    }
    const context: JobContext = { scope: { signal, log: silent }, stop: (why) => own.abort(why), say, go }
    try {
      say(await work(context, parseRequest(line)))
    } catch (e) {
      say(failed(e))
    }
  }
  process.stdin.destroy()
  process.stdout.end(() => process.exit(0))
}

/** The lines one by one; undefined when there will be none. One reader at a time. */
function lineQueue(lines: ReturnType<typeof createInterface>, end: AbortSignal) {
  const ready: string[] = []
  let wake = () => {}
  lines.on('line', (line) => {
    ready.push(line)
    wake()
  })
  end.addEventListener('abort', () => wake())
  return async (): Promise<string | undefined> => {
    while (ready.length === 0) {
      if (end.aborted) return undefined
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    return ready.shift()
  }
}

await main()
