// SPDX-License-Identifier: Apache-2.0
/**
 * Plugins that outlived their daemon: a daemon killed during ADD leaves the plugin at work, and a DEL beside it
 * would race it. Notes who runs, and ends who still runs. Signals only a process whose boot, pid and start time
 * are the noted ones, and only through a pidfd opened before the last look.
 */
import { errnoCode, Fault } from '../../base/fault.ts'
import { type Scope, sleep } from '../../base/scope.ts'
import type { Native } from '../native.ts'
import { type PluginProcess, readProcess, writeProcess } from './record.ts'

const SIGTERM = 15
const SIGKILL = 9
const GRACE_MS = 1_000
const KILLED_MS = 5_000

/** Notes in the state folder that process `pid` is at work. */
export async function noteProcess(native: Native, stateDir: string, pid: number): Promise<void> {
  const startTicks = readStartTicks(native, pid)
  // Ended before its input came: nothing to sweep.
  if (startTicks !== undefined) await writeProcess(stateDir, { bootId: readBootId(native), pid, startTicks })
}

/**
 * Ends the noted plugin process if it still runs, TERM then KILL, and waits for its end. Success if there is
 * none. Throws Fault('unavailable') if it does not die. @abort stops
 */
export async function sweepProcess(scope: Scope, native: Native, stateDir: string): Promise<void> {
  const noted = await readProcess(stateDir)
  if (!noted || noted.bootId !== readBootId(native)) return
  let pidfd: number
  try {
    pidfd = native.pidfdOpen(noted.pid)
  } catch (e) {
    if (errnoCode(e) === 'ESRCH') return
    throw e
  }
  try {
    if (readStartTicks(native, noted.pid) !== noted.startTicks) return
    scope.log.warn('cni-plugin-left-over', { pid: noted.pid })
    await end(scope, { native, pidfd, noted })
  } finally {
    native.close(pidfd)
  }
}

async function end(
  scope: Scope,
  { native, pidfd, noted }: { native: Native; pidfd: number; noted: PluginProcess },
): Promise<void> {
  for (const [signal, waitMs] of [
    [SIGTERM, GRACE_MS],
    [SIGKILL, KILLED_MS],
  ] as const) {
    try {
      // It leads a group of its own (see the call in exec.ts); its helpers must not go on either.
      process.kill(-noted.pid, signal)
      native.pidfdSignal(pidfd, signal)
    } catch (e) {
      if (errnoCode(e) === 'ESRCH') return
      throw e
    }
    for (let waited = 0; waited < waitMs; waited += 20) {
      if (readStartTicks(native, noted.pid) !== noted.startTicks) return
      await sleep(scope, 20)
    }
  }
  throw new Fault('unavailable', `a CNI plugin of an earlier run (pid ${noted.pid}) does not end`)
}

/** Field 22 of /proc/<pid>/stat; undefined when there is no such process, or only its corpse. */
export function readStartTicks(native: Native, pid: number): string | undefined {
  const [read] = native.readMany([`/proc/${pid}/stat`])
  if (!Buffer.isBuffer(read)) return undefined
  const text = read.toString('latin1')
  // The name is in parentheses and may hold anything, so fields count from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}

function readBootId(native: Native): string {
  const [read] = native.readMany(['/proc/sys/kernel/random/boot_id'])
  return Buffer.isBuffer(read) ? read.toString('latin1').trim() : ''
}
