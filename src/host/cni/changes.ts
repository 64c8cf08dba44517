// SPDX-License-Identifier: Apache-2.0
/**
 * Telling subscribers that the configuration in force may be another one: hints of the watcher, checked against
 * the signature of what each subscriber was told of last. Watches only while somebody is subscribed.
 */
import type { Log } from '../../base/log.ts'
import type { ConfReading } from './source.ts'
import { watchConfDir } from './watch.ts'

/** Many events of one change become one. */
const SETTLE_MS = 100

export interface ChangesOptions {
  readonly dir: string
  readonly pollMs: number
  readonly current: () => Promise<ConfReading>
  readonly log: Log
}

/** A way to subscribe: the callback comes soon after, and again whenever the reading differs, until disposed. */
export function changes(options: ChangesOptions): (callback: () => void) => Disposable {
  const subscribers = new Set<{ readonly call: () => void; known: string | undefined }>()
  let watching: Disposable | undefined
  let logged: string | undefined
  const onHint = async () => {
    const reading = await options.current()
    if (reading.signature !== logged) {
      logged = reading.signature
      const { list, from, problems } = reading
      options.log.info('cni-configuration', { network: list?.name, from, problems })
    }
    for (const s of subscribers) {
      if (s.known === reading.signature) continue
      s.known = reading.signature
      s.call()
    }
  }
  return (callback) => {
    const entry = { call: callback, known: undefined }
    subscribers.add(entry)
    watching ??= watchConfDir({
      dir: options.dir,
      pollMs: options.pollMs,
      settleMs: SETTLE_MS,
      onHint: () => void onHint(),
    })
    void onHint()
    return {
      [Symbol.dispose]: () => {
        subscribers.delete(entry)
        if (subscribers.size > 0) return
        watching?.[Symbol.dispose]()
        watching = undefined
      },
    }
  }
}
