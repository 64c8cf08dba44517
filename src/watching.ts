// SPDX-License-Identifier: Apache-2.0
/** What watches the daemon, as it is configured: the watchdog always, metrics and traces where they are switched on. */
import { hostname } from 'node:os'
import type { Scope } from './base/scope.ts'
import type { Config } from './config/schema.ts'
import type { Native } from './host/native.ts'
import type { Notify } from './notify.ts'
import type { ObserveSettings } from './observe-worker/protocol.ts'
import { workerFile } from './places.ts'
import { daemonState, type SnapshotOf } from './snapshot.ts'
import { VERSION } from './version.ts'
import { watchdog } from './watchdog.ts'

export interface Watching {
  /** Hands over what is left. Idempotent. @abort finishes */
  close(): Promise<void>
}

export interface WatchingOptions {
  readonly config: Config
  readonly native: Native
  readonly notify: Notify
  /** The log is JSON. */
  readonly json: boolean
  readonly all: SnapshotOf
}

/** Metrics and traces come up later, by themselves; what keeps them from it is logged. */
export async function startWatching(daemon: Scope, options: WatchingOptions): Promise<Watching> {
  const { config, native, notify, json, all } = options
  const { jobMs } = config.watchdog
  const dog = watchdog(native, { log: daemon.log, notify, jobMs, json })
  const settings = observeSettings(config)
  // Nothing of it is loaded unless it is switched on.
  const observing =
    settings &&
    (await import('./observe.ts')).startObserving(daemon, {
      program: { native, node: process.execPath, worker: workerFile('observe-worker') },
      cwd: config.runDir,
      settings,
      state: (lag) => daemonState(all, lag),
    })
  return {
    async close() {
      await observing?.close()
      dog[Symbol.dispose]()
    },
  }
}

/** What the observe worker is told; undefined: neither metrics nor traces are switched on. */
function observeSettings({ metrics, traces }: Config): ObserveSettings | undefined {
  const { address } = metrics
  const { endpoint, samplePercent } = traces
  if (address === '' && endpoint === '') return undefined
  return {
    version: VERSION,
    nodeName: hostname(),
    ...(address === '' ? {} : { metrics: { address, ...tlsOf(metrics) } }),
    ...(endpoint === '' ? {} : { traces: { endpoint, ratio: samplePercent / 100 } }),
  }
}

/** The files of a server that may have TLS: none without a certificate. */
export function tlsOf(group: Config['streaming'] | Config['metrics']) {
  const { tlsCertFile: certFile, tlsKeyFile: keyFile, tlsClientCaFile } = group
  const clientCaFile = tlsClientCaFile === '' ? undefined : tlsClientCaFile
  return certFile === '' ? {} : { tls: { certFile, keyFile, clientCaFile } }
}
