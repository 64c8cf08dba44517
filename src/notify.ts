// SPDX-License-Identifier: Apache-2.0
/**
 * What systemd is told of the daemon (sd_notify(3)): ready, reloading, stopping, and that it is alive. Says nothing
 * when nobody asked. Takes the variables out of the environment, so that no child speaks in the daemon's name.
 */
import { asFault } from './base/fault.ts'
import type { Log } from './base/log.ts'
import type { Native } from './host/native.ts'

export interface Notify {
  ready(): void
  /** Until the next `ready`. */
  reloading(): void
  stopping(): void
  /** The daemon's loop turns. */
  alive(): void
  /** systemd ends a daemon that was not `alive` for so long; undefined: it does not. */
  readonly watchdogMs: number | undefined
}

/** Never throws: what systemd cannot be told is logged. */
export function systemdNotify(
  native: Pick<Native, 'notify'>,
  { env, log }: { readonly env: NodeJS.ProcessEnv; readonly log: Log },
): Notify {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name]
  const say = (text: string) => {
    if (socket === undefined) return
    try {
      native.notify(socket, text)
    } catch (e) {
      log.warn('systemd-not-told', { text: text.split('\n')[0], error: asFault(e).message })
    }
  }
  const ours = socket !== undefined && (pid === undefined || Number(pid) === process.pid)
  const limit = Number(usec) / 1000
  return {
    ready: () => say('READY=1'),
    reloading: () => say(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping: () => say('STOPPING=1'),
    alive: () => say('WATCHDOG=1'),
    watchdogMs: ours && limit > 0 ? limit : undefined,
  }
}
