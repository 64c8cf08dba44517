// SPDX-License-Identifier: Apache-2.0
/**
 * Is the network ready for pods, and if not, why: a configuration, its programs, and for version 1.1 the
 * plugins' own STATUS. The answer is kept for a few seconds and shared by all who ask meanwhile, so that a
 * status call costs nothing much. Changes nothing.
 */
import { asFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Scope } from '../../base/scope.ts'
import { SharedTasks } from '../../base/shared-task.ts'
import { findExecutable } from '../exec.ts'
import type { NetworkList } from './conf.ts'
import { pluginInput } from './invocation.ts'
import { callPlugin, type PluginDeps } from './plugin.ts'
import type { ConfReading } from './source.ts'
import { atLeast } from './versions.ts'

export interface NetworkStatus {
  readonly ready: boolean
  /** A word for the condition; empty when ready. */
  readonly reason: string
  readonly message: string
  readonly networkName?: string
}

/** What kubelets and their users look for. */
export const NOT_READY = 'NetworkPluginNotReady'
/** A plugin that hangs must not make the daemon's own status hang. */
const STATUS_DEADLINE_MS = 5_000
const STATUS_TTL_MS = 3_000

/** Programs of the list that no folder has. @abort finishes */
export async function missingPrograms(binDirs: readonly string[], list: NetworkList): Promise<string[]> {
  const wanted = [...new Set(list.plugins.flatMap((p) => [p.type, ...p.delegates]))]
  const found = await Promise.all(wanted.map((type) => findExecutable(binDirs, type)))
  return wanted.filter((_, i) => found[i] === undefined)
}

/** Works the status out afresh. Never throws for a network that is not ready. @abort kills */
export async function examine(
  scope: Scope,
  deps: PluginDeps & { readonly confDir: string },
  reading: ConfReading,
): Promise<NetworkStatus> {
  const { list, problems } = reading
  if (!list) {
    const told = problems.map((p) => `${p.file}: ${p.why}`).join('; ')
    const message =
      problems.length === 0
        ? `there is no CNI configuration in ${deps.confDir}`
        : `no CNI configuration in ${deps.confDir} is usable: ${told}`
    return { ready: false, reason: NOT_READY, message }
  }
  const missing = await missingPrograms(deps.binDirs, list)
  if (missing.length > 0) {
    return notReady(
      list,
      `network ${list.name} (${reading.from}) needs the CNI plugins ${missing.join(', ')}, which are in none of ${deps.binDirs.join(', ')}`,
    )
  }
  if (atLeast(list.cniVersion, '1.1.0')) {
    const limited = { ...deps, deadlineMs: Math.min(deps.deadlineMs, STATUS_DEADLINE_MS) }
    for (const plugin of list.plugins) {
      try {
        await callPlugin(scope, limited, {
          command: 'STATUS',
          type: plugin.type,
          input: pluginInput(list, plugin, {}),
        })
      } catch (e) {
        if (scope.signal.aborted) throw e
        return notReady(list, `network ${list.name} (${reading.from}): ${asFault(e).message}`)
      }
    }
  }
  return { ready: true, reason: '', message: '', networkName: list.name }
}

function notReady(list: NetworkList, message: string): NetworkStatus {
  return { ready: false, reason: NOT_READY, message, networkName: list.name }
}

/** `examine` behind a memory of a few seconds, which a changed configuration ends. @abort stops */
export function statusCache(
  deps: PluginDeps & { readonly confDir: string },
  source: { readonly current: () => Promise<ConfReading>; readonly log: Log },
): (scope: Scope) => Promise<NetworkStatus> {
  let kept: { at: number; signature: string; status: NetworkStatus } | undefined
  const asking = new SharedTasks<NetworkStatus>({ signal: new AbortController().signal, log: source.log })
  return async (scope) => {
    const reading = await source.current()
    const { signature } = reading
    if (kept && kept.signature === signature && performance.now() - kept.at < STATUS_TTL_MS)
      return kept.status
    return await asking.run(scope, signature, async (own) => {
      const status = await examine(own, deps, reading)
      kept = { at: performance.now(), signature, status }
      return status
    })
  }
}
