// SPDX-License-Identifier: Apache-2.0
/**
 * Streams: the way from a request to the URL at which its client is served. Owns the one stream worker: starts it
 * for the first ticket, lets it go when it has had nothing to do, starts another when it has died. No byte of a
 * session comes through here, and sessions go on when the daemon is gone.
 */
import { Fault } from '../../base/fault.ts'
import { orAbort, type Scope } from '../../base/scope.ts'
import { STREAM_WORKER, type StreamTicket } from '../../model/streaming.ts'
import { startWorkerProcess, type WorkerProcess, type WorkerProgram } from '../worker-process.ts'
import { type FromWorker, formatLine, parseFromWorker, type StreamSettings } from './protocol.ts'

export interface Streams {
  /**
   * The URL at which one client may do what the ticket says, once and soon. Throws `exhausted` when too many wait
   * for their clients, `unavailable` when the server cannot be had. @abort stops
   */
  offer(scope: Scope, ticket: StreamTicket): Promise<string>
  /**
   * No more clients. Waits a moment for a worker without sessions; one that has some ends after them, by itself.
   * Idempotent. @abort finishes
   */
  close(): Promise<void>
}

export interface StreamsOptions extends WorkerProgram {
  /** Folder that the worker is in: it tells whose it is. */
  readonly cwd: string
  readonly settings: StreamSettings
}

interface Running {
  readonly url: string
  offer(ticket: StreamTicket): Promise<string>
  leave(): Promise<void>
}

/** The worker went away before it answered: the one case in which asking another one may help. */
const GONE = 'worker-gone'

/** `daemon`: for the log, and because the worker outlives a call. */
export function streams(daemon: Scope, options: StreamsOptions): Streams {
  let current: Promise<Running> | undefined
  let closed = false
  const forget = (gone: Promise<Running>) => {
    if (current === gone) current = undefined
  }
  const running = (): Promise<Running> => {
    if (closed) return Promise.reject(new Fault('unavailable', 'gantryd is stopping'))
    if (current) return current
    const started: Promise<Running> = start(daemon, options, () => forget(started))
    current = started
    started.catch(() => forget(started))
    return started
  }
  const once = async (ticket: StreamTicket) => {
    const worker = await running()
    return worker.url + (await worker.offer(ticket))
  }
  const offered = async (ticket: StreamTicket) => {
    try {
      return await once(ticket)
    } catch (e) {
      if (!(e instanceof Fault) || e.reason !== GONE) throw e
      return await once(ticket)
    }
  }
  return {
    offer: (scope, ticket) => orAbort(scope, offered(ticket)),
    async close() {
      closed = true
      await current?.then(
        (worker) => worker.leave(),
        () => {},
      )
    },
  }
}

async function start(daemon: Scope, options: StreamsOptions, onGone: () => void): Promise<Running> {
  const worker = startWorkerProcess({
    ...options,
    name: 'gantry-stream',
    flags: [
      '--max-semi-space-size=1',
      `--max-old-space-size=${STREAM_WORKER.heapMib}`,
      '--disable-warning=ExperimentalWarning',
    ],
  })
  worker.write(formatLine({ type: 'start', settings: options.settings }))
  const late = setTimeout(() => void worker.end(), STREAM_WORKER.startMs)
  try {
    const first = await next(worker)
    if (first?.type === 'failed') throw new Fault(first.kind, first.message)
    if (first?.type !== 'ready') throw gone(worker)
    daemon.log.debug('stream-worker', { pid: worker.pid, url: first.url })
    return serve(daemon, { worker, url: first.url, onGone })
  } catch (e) {
    await worker.end()
    throw e
  } finally {
    clearTimeout(late)
  }
}

async function next(worker: WorkerProcess): Promise<FromWorker | undefined> {
  const line = await worker.nextLine()
  return line === undefined ? undefined : parseFromWorker(line)
}

function gone(worker: WorkerProcess): Fault {
  const said = worker.stderr()
  return new Fault('unavailable', `the stream worker ended${said === '' ? '' : `: ${said}`}`, {
    reason: GONE,
  })
}

function serve(
  daemon: Scope,
  { worker, url, onGone }: { readonly worker: WorkerProcess; readonly url: string; onGone(): void },
): Running {
  const asked = new Map<number, { resolve(path: string): void; reject(why: Fault): void }>()
  let offers = 0
  const settle = (id: number) => {
    const found = asked.get(id)
    asked.delete(id)
    return found
  }
  const take = (message: FromWorker) => {
    if (message.type === 'offered') settle(message.id)?.resolve(message.path)
    else if (message.type === 'refused') settle(message.id)?.reject(new Fault(message.kind, message.message))
    else if (message.type === 'log') daemon.log[message.level](message.event, message.fields)
    else if (message.type === 'idle' && message.offers === offers) {
      // Whoever comes now gets a worker of their own.
      onGone()
      worker.closeInput()
    }
  }
  const listen = async () => {
    for (let m = await next(worker); m !== undefined; m = await next(worker)) take(m)
  }
  const over = listen()
    .catch((e: unknown) => daemon.log.error('stream-worker-broken', { error: String(e) }))
    .then(async () => {
      onGone()
      // Its stdout is closed: it is dead, or of no use.
      const clean = await worker.end()
      if (!clean) daemon.log.warn('stream-worker-died', { pid: worker.pid, stderr: worker.stderr() })
      for (const [id] of asked) settle(id)?.reject(gone(worker))
    })
  return {
    url,
    offer(ticket) {
      const { promise, resolve, reject } = Promise.withResolvers<string>()
      const id = ++offers
      asked.set(id, { resolve, reject })
      worker.write(formatLine({ type: 'offer', id, ticket }))
      return promise
    },
    async leave() {
      worker.closeInput()
      const { promise: enough, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, STREAM_WORKER.leaveMs)
      await Promise.race([over, enough])
      clearTimeout(timer)
    },
  }
}
