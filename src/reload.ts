// SPDX-License-Identifier: Apache-2.0
/**
 * SIGHUP: the configuration is read again. What can change without a restart is taken over, which is the level of the
 * log; what else has changed is named in it. A configuration with a problem changes nothing.
 */
import { asFault } from './base/fault.ts'
import { type Config, optionKeys, options } from './config/schema.ts'
import { valueAt } from './config/show.ts'
import type { Notify } from './notify.ts'
import type { OpenLog } from './sink.ts'

export interface Reloading {
  readonly sink: OpenLog
  readonly notify: Pick<Notify, 'ready' | 'reloading'>
  /** In force since the start. */
  readonly config: Config
  /** Reads it as at the start; throws what is wrong with it. */
  readonly read: () => Config
}

/** Keys whose value is another one now and counts from the next start only. */
function needsRestart(before: Config, now: Config): string[] {
  const text = (config: Config, key: (typeof optionKeys)[number]) =>
    JSON.stringify(valueAt(config, key), (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v))
  const keys = optionKeys.filter((k) => !options[k].reloadable && text(before, k) !== text(now, k))
  return JSON.stringify(before.runtimes) === JSON.stringify(now.runtimes) ? keys : [...keys, 'runtimes']
}

/** Never throws: what goes wrong is in the log. */
export function reload({ sink, notify, config, read }: Reloading): void {
  notify.reloading()
  try {
    const now = read()
    sink.level = now.log.level
    const waiting = needsRestart(config, now)
    sink.log.info('reloaded', {
      level: sink.level,
      ...(waiting.length > 0 ? { needsRestart: waiting } : {}),
    })
  } catch (e) {
    sink.log.error('not-reloaded', { error: asFault(e).message })
  }
  notify.ready()
}
