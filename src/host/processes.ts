// SPDX-License-Identifier: Apache-2.0
/**
 * Processes by an identity that survives pid reuse and reboots (boot id, pid, start time). Signals go through
 * pidfds only, after the identity was checked, and never to pid 1 or below.
 */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { errnoCode, Fault } from '../base/fault.ts'
import { orAbort, type Scope } from '../base/scope.ts'
import type { ProcessId } from '../model/pod.ts'
import type { Native } from './native.ts'

export interface Processes {
  readonly bootId: string
  /** The identity of a live process, or undefined. */
  identify(pid: number): ProcessId | undefined
  /** Is it still that process (a zombie counts as gone)? */
  alive(process: ProcessId): boolean
  /** Sends a signal; false when the process is gone. */
  signal(process: ProcessId, signal: number): boolean
  /** Waits for the end of the process; at once if it is gone. @abort stops */
  gone(scope: Scope, process: ProcessId): Promise<void>
  /** Live processes whose executable is one of `exes` and that have all of `words` among their arguments. */
  find(
    exes: readonly string[],
    words: readonly string[],
  ): Promise<{ process: ProcessId; argv: readonly string[] }[]>
}

/** Field 22 of /proc/PID/stat (proc(5)): the command in parentheses may hold spaces. */
function parseStat(text: string): { state: string; startTicks: bigint } | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, ticks] = [fields[0], fields[19]]
  return state === undefined || ticks === undefined ? undefined : { state, startTicks: BigInt(ticks) }
}

export function processes(native: Native, bootId: string): Processes {
  const stat = (pid: number) => {
    const [result] = native.readMany([`/proc/${pid}/stat`])
    return result instanceof Buffer ? parseStat(result.toString('latin1')) : undefined
  }
  const same = (p: ProcessId) => {
    if (p.bootId !== bootId || p.pid <= 1) return false
    const now = stat(p.pid)
    return now !== undefined && now.startTicks === p.startTicks && now.state !== 'Z' && now.state !== 'X'
  }
  /** A pidfd of exactly this process, or undefined. The caller closes it. */
  const open = (p: ProcessId): number | undefined => {
    if (p.pid <= 1) throw new Fault('internal', `refusing to touch pid ${p.pid}`)
    let fd: number
    try {
      fd = native.pidfdOpen(p.pid)
    } catch (e) {
      if (errnoCode(e) === 'ESRCH') return undefined
      throw e
    }
    if (same(p)) return fd
    native.close(fd)
    return undefined
  }
  return {
    bootId,
    identify(pid) {
      const now = pid > 1 ? stat(pid) : undefined
      return now ? { bootId, pid, startTicks: now.startTicks } : undefined
    },
    alive: same,
    signal(p, signal) {
      const fd = open(p)
      if (fd === undefined) return false
      try {
        native.pidfdSignal(fd, signal)
        return true
      } catch (e) {
        if (errnoCode(e) === 'ESRCH') return false
        throw e
      } finally {
        native.close(fd)
      }
    },
    async gone(scope, p) {
      const fd = open(p)
      if (fd === undefined) return
      let ended: Promise<void>
      try {
        ended = native.pidfdWait(fd)
      } finally {
        // The wait has a copy of its own.
        native.close(fd)
      }
      await orAbort(scope, ended)
    },
    find: (exes, words) => find(exes, words, (pid) => stat(pid)?.startTicks, bootId),
  }
}

async function find(
  exes: readonly string[],
  words: readonly string[],
  ticks: (pid: number) => bigint | undefined,
  bootId: string,
): Promise<{ process: ProcessId; argv: readonly string[] }[]> {
  const out: { process: ProcessId; argv: readonly string[] }[] = []
  for (const name of await readdir('/proc')) {
    const pid = /^\d+$/.test(name) ? Number(name) : 0
    if (pid <= 1 || pid === process.pid) continue
    try {
      const exe = (await readlink(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, '')
      if (!exes.includes(exe)) continue
      const argv = (await readFile(`/proc/${pid}/cmdline`, 'latin1')).split('\0').slice(0, -1)
      const startTicks = ticks(pid)
      if (startTicks !== undefined && words.every((w) => argv.includes(w))) {
        out.push({ process: { bootId, pid, startTicks }, argv })
      }
    } catch {
      // Ended while we looked, or a kernel thread without an executable.
    }
  }
  return out
}
