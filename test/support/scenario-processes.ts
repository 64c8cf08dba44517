// SPDX-License-Identifier: Apache-2.0
/**
 * scenario-processes: what /proc says of the daemon and the processes it leaves behind: names, memory, children,
 * namespaces. It only reads.
 */
import { readFile, readlink } from 'node:fs/promises'
import type { ProcessView } from './host-view.ts'
import { processes } from './host-view.ts'

/** The helper processes that belong to a run folder: monitors and pauses, without the daemon. */
export async function processesNaming(text: string, comm: string): Promise<ProcessView[]> {
  return (await processes()).filter((p) => p.comm === comm && !p.zombie && p.text.includes(text))
}

/** The name under which ps shows a process. */
export async function commOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, 'utf8')).trim()
}

export interface Memory {
  readonly rssBytes: number
  readonly pssBytes: number
}

/** Resident and proportional memory, as smaps_rollup gives it. */
export async function memoryOf(pid: number): Promise<Memory> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kib = (name: string): number => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]
    if (found === undefined) throw new Error(`/proc/${pid}/smaps_rollup has no ${name}`)
    return Number(found) * 1024
  }
  return { rssBytes: kib('Rss'), pssBytes: kib('Pss') }
}

async function statFields(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

/**
 * Page faults of all children that a process has reaped so far (field 11 of proc_pid_stat(5)): it stands still
 * only if none ended, for a program cannot run without a fault.
 */
export async function faultsOfReapedChildren(pid: number): Promise<number> {
  return Number((await statFields(pid))[8])
}

/** Live and unreaped children. */
export async function childrenOf(pid: number): Promise<number[]> {
  return (await processes()).filter((p) => p.ppid === pid).map((p) => p.pid)
}

/** `net:[4026531840]` and the like. */
export function namespaceOf(
  pid: number | 'self',
  kind: 'net' | 'ipc' | 'uts' | 'pid' | 'mnt',
): Promise<string> {
  return readlink(`/proc/${pid}/ns/${kind}`)
}
