// SPDX-License-Identifier: Apache-2.0
/**
 * The stream worker: a process that serves the clients of exec, attach and port-forward. It exists so that no
 * byte of theirs, and nothing hostile that they send, comes near the daemon, and so that sessions survive its
 * restart: when stdin closes, because the daemon is gone or has no use for it, it stops listening, lets the
 * sessions end, and ends. What a session does is in `stream-worker/`, the wire in `edge/streaming/`.
 */
import { createInterface } from 'node:readline'
import { asFault } from './base/fault.ts'
import type { Log } from './base/log.ts'
import { type StreamServer, streamServer } from './edge/streaming/server.ts'
import { tlsFiles } from './edge/tls.ts'
import { loadNative } from './host/native.ts'
import { stepBack } from './host/step-back.ts'
import {
  type FromWorker,
  formatLine,
  type LogLevel,
  parseToWorker,
  type StreamSettings,
} from './host/streaming/protocol.ts'
import type { StreamPlan, StreamTicket } from './model/streaming.ts'
import { sessions } from './stream-worker/sessions.ts'

function say(message: FromWorker): void {
  if (process.stdout.writable) process.stdout.write(formatLine(message))
}

/** Lines for the daemon's log. When it is gone nobody reads them. */
function logTo(bound: Readonly<Record<string, unknown>> = {}): Log {
  const at = (level: LogLevel) => (event: string, fields?: Readonly<Record<string, unknown>>) =>
    say({ type: 'log', level, event, fields: { ...bound, ...fields } })
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => logTo({ ...bound, ...fields }),
  }
}

interface Serving {
  readonly server: StreamServer<StreamPlan>
  readonly log: Log
  /** Before each ticket: its client will see the certificate that is in the files now. */
  refresh(): Promise<void>
}

async function begin(settings: StreamSettings): Promise<Serving> {
  const log = logTo()
  const { tls, host, port, addon } = settings
  let now = tls && (await tlsFiles('streaming', tls))
  const server = streamServer<StreamPlan>({
    host,
    port,
    ...(now ? { tls: now.pem } : {}),
    sessions: sessions(loadNative(addon)),
    log,
  })
  const { url } = await server.listen()
  say({ type: 'ready', url })
  const refresh = async () => {
    if (!tls || !now) return
    try {
      const found = await tlsFiles('streaming', tls)
      if (found.stamp === now.stamp) return
      server.reload(found.pem)
      now = found
      log.info('stream-certificate', { file: tls.certFile })
    } catch (e) {
      // Half of a new pair: the old one is good until the rest is there.
      log.warn('stream-certificate-unusable', { error: asFault(e).message })
    }
  }
  return { server, log, refresh }
}

async function offer({ server, refresh }: Serving, id: number, ticket: StreamTicket): Promise<void> {
  try {
    await refresh()
    say({ type: 'offered', id, path: server.offer(ticket) })
  } catch (e) {
    const { kind, message } = asFault(e)
    say({ type: 'refused', id, kind, message })
  }
}

/** Says so when there has been nothing to do for a while. */
function watchIdle({ server }: Serving, idleMs: number, offers: () => number): void {
  let busyAt = performance.now()
  const look = () => {
    const { tokens, sessions: running } = server.busy
    if (tokens + running > 0) busyAt = performance.now()
    else if (performance.now() - busyAt >= idleMs) say({ type: 'idle', offers: offers() })
  }
  setInterval(look, Math.min(idleMs / 2, 5_000)).unref()
}

async function main(): Promise<void> {
  await stepBack('gantry-stream')
  for (const out of [process.stdout, process.stderr]) out.on('error', () => out.destroy())
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
  let serving: Serving | undefined
  let offers = 0
  try {
    for await (const line of createInterface({ input: process.stdin })) {
      const message = parseToWorker(line)
      if (message.type === 'start') {
        serving = await begin(message.settings)
        watchIdle(serving, message.settings.idleMs, () => offers)
      } else if (serving) {
        offers++
        await offer(serving, message.id, message.ticket)
      }
    }
  } catch (e) {
    const { kind, message } = asFault(e)
    say({ type: 'failed', kind, message })
  }
  serving?.server.stopListening()
  await serving?.server.idle()
  process.exit(0)
}

await main()
