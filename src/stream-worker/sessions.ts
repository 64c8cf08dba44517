// SPDX-License-Identifier: Apache-2.0
/**
 * Carries out what a ticket stands for: exec and attach through the container's monitor, which owns the process,
 * its pipes and its terminal, and port-forward by `forward.ts`. Holds no data: who is slow holds back the other
 * end. When the client has gone, so has the connection to the monitor, and with it an exec's process.
 */
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { asFault, isFault } from '../base/fault.ts'
import { silent } from '../base/log.ts'
import type { Channels, SessionEnd, Sessions, TerminalSize } from '../edge/streaming/channels.ts'
import { monitorFailure } from '../host/monitor/failure.ts'
import { openAttach, openExec, type Session } from '../host/monitor/session.ts'
import type { Native } from '../host/native.ts'
import { runtimeFault } from '../host/oci-runtime/failure.ts'
import { STREAM_WORKER, type StreamPlan } from '../model/streaming.ts'
import { forward } from './forward.ts'

type Plan<K extends StreamPlan['is']> = Extract<StreamPlan, { readonly is: K }>

export function sessions(native: Pick<Native, 'socketInNetns'>): Sessions<StreamPlan> {
  return {
    async run(plan, channels, signal) {
      try {
        if (plan.is === 'exec') return await exec(plan, channels, signal)
        if (plan.is === 'attach') return await attach(plan, channels, signal)
        return { is: 'failure', message: 'a port-forward has no process' }
      } catch (e) {
        return { is: 'failure', message: explained(plan, e) }
      }
    },
    async forward(plan, connection, signal) {
      if (plan.is === 'forward') await forward(native, plan, { connection, signal })
    },
  }
}

/** A refusal of the runtime in its own words; the end of the monitor as what it means to a client. */
function explained(plan: StreamPlan, e: unknown): string {
  const refusal = monitorFailure(e)
  if (refusal && plan.is === 'exec') {
    const { message } = runtimeFault(plan.runtime, 'exec', refusal.log)
    return `cannot exec in container ${plan.label}: ${message}`
  }
  if (plan.is === 'forward' || !isFault(e) || e.reason !== 'monitor-gone') return asFault(e).message
  return plan.is === 'exec'
    ? `container ${plan.label} ended during the exec`
    : `container ${plan.label} has ended, or this client read its output too slowly`
}

const streamsOf = ({ stdin, stdout, stderr }: Channels) => ({
  stdin: stdin !== undefined,
  stdout: stdout !== undefined,
  stderr: stderr !== undefined,
})

async function exec(plan: Plan<'exec'>, channels: Channels, signal: AbortSignal): Promise<SessionEnd> {
  const tty = Reflect.get(plan.process, 'terminal') === true
  const size = sizeOf(channels)
  const asked = tty ? await size.first() : undefined
  const session = await openExec({ signal, log: silent }, plan.control, {
    ...streamsOf(channels),
    process: plan.process,
    tty,
    ...asked,
  })
  try {
    size.follow(session, asked)
    const copied = copy(channels, session)
    const { code } = await session.exit
    await copied
    return code === 0 ? { is: 'success' } : { is: 'exit', code }
  } finally {
    session.close()
  }
}

/** How the container ends is for its status to tell: the session just ends. */
async function attach(plan: Plan<'attach'>, channels: Channels, signal: AbortSignal): Promise<SessionEnd> {
  const size = sizeOf(channels)
  const session = await openAttach({ signal, log: silent }, plan.control, streamsOf(channels))
  try {
    size.follow(session, undefined)
    const copied = copy(channels, session)
    const onlyStdin = !channels.stdout && !channels.stderr
    const fed = onlyStdin && session.stdin ? closed(session.stdin) : new Promise<never>(() => {})
    await Promise.race([session.exit, fed])
    if (!onlyStdin) await copied
    return { is: 'success' }
  } finally {
    session.close()
  }
}

/** The size of the client's terminal: what it is now, and from then on each change for a session. */
function sizeOf(channels: Channels) {
  let last: TerminalSize | undefined
  let to: Pick<Session, 'resize'> | undefined
  const came = Promise.withResolvers<void>()
  channels.onResize((size) => {
    last = size
    came.resolve()
    to?.resize(size.cols, size.rows)
  })
  return {
    /** Clients send it with the opening of their streams: programs that ask once, at their start, get it right. */
    async first(): Promise<TerminalSize | undefined> {
      if (!last) await Promise.race([came.promise, sleep(STREAM_WORKER.firstSizeMs)])
      return last
    },
    follow(session: Pick<Session, 'resize'>, known: TerminalSize | undefined) {
      to = session
      if (last && last !== known) session.resize(last.cols, last.rows)
    },
  }
}

/** Copies both ways; resolves when all output is in the channels. */
async function copy(channels: Channels, session: Session): Promise<void> {
  if (channels.stdin && session.stdin) feed(channels.stdin, session.stdin)
  await Promise.all([drain(session.stdout, channels.stdout), drain(session.stderr, channels.stderr)])
}

const ignored = () => {}

function closed(stream: Readable | Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) resolve()
    else stream.once('close', resolve)
  })
}

/** The end of the client's stdin, however it comes, is that of the process. */
function feed(from: Readable, to: Writable): void {
  from.on('error', ignored)
  to.on('error', ignored)
  from.pipe(to)
  from.once('close', () => to.end())
  // Nobody reads it any more: what still comes is dropped, so that the client is not stuck.
  to.once('close', () => from.resume())
}

/** What the client does not take any more is read and dropped: the process is not to hang on it. */
async function drain(from: Readable | undefined, to: Writable | undefined): Promise<void> {
  if (!from || !to) return
  from.on('error', ignored)
  to.on('error', ignored)
  from.pipe(to, { end: false })
  to.once('close', () => from.resume())
  await closed(from)
}
