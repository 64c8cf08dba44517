// SPDX-License-Identifier: Apache-2.0
/**
 * Noticing that systemd has read its units again (daemon-reload, package installs, reexec), after which it writes
 * the cgroups of all its units anew. The file that is watched is touched by it at every load (since version 245);
 * where there is none nothing is told. Says nothing to systemd: its scopes are made by the OCI runtimes.
 */
import { watch } from 'node:fs'

const LOADED = '/run/systemd/systemd-units-load'

/** systemd writes after it has told: soon, and late for a machine with many units. */
const AFTER_MS = [500, 5000]

/** Calls `listener` some time after every reload, for as long as the process lives, which it does not prolong. */
export function onReload(listener: () => void): void {
  let timers: readonly NodeJS.Timeout[] = []
  try {
    const watcher = watch(LOADED, { persistent: false }, () => {
      for (const timer of timers) clearTimeout(timer)
      timers = AFTER_MS.map((ms) => setTimeout(listener, ms).unref())
    })
    watcher.on('error', () => watcher.close())
  } catch {
    // No such file: an older systemd, or none.
  }
}
