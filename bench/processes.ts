// SPDX-License-Identifier: Apache-2.0
/**
 * Processes: reads /proc to answer three questions about a runtime under measurement: which process serves its
 * socket, how much memory the daemon holds, and which processes each pod costs beside its container. It only
 * reads; a process that ends while being read is left out.
 */
import { readdir, readFile, readlink } from 'node:fs/promises'

/** Programs that runtimes keep beside a container, by the base name of the file or by comm (15 characters). */
const HELPERS = new Set([
  'gantry-monitor',
  'gantry-pause',
  'containerd-shim-runc-v2',
  'containerd-shim',
  'conmon',
  'conmonrs',
  'pause',
  'catatonit',
  'runc',
  'crun',
  'runsc',
])

export interface Process {
  pid: number
  parent: number
  name: string
  startTicks: string
}

export interface Memory {
  rssBytes: number
  pssBytes: number
}

/** What the pods of one runtime cost in processes beside their containers. */
export interface HelperCost {
  names: Record<string, number>
  pssBytes: number
  /** New programs that are as many as the pods and are neither known helpers nor the bench's container. */
  unexplained: Record<string, number>
}

async function attempt<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read
  } catch {
    return undefined // the process is gone, or it is a kernel thread
  }
}

async function readProcess(pid: number): Promise<Process | undefined> {
  const stat = await attempt(readFile(`/proc/${pid}/stat`, 'utf8'))
  if (stat === undefined) return undefined
  const open = stat.indexOf('(')
  const close = stat.lastIndexOf(')')
  const fields = stat.slice(close + 2).split(' ')
  const comm = stat.slice(open + 1, close)
  if (fields[0] === 'Z') return undefined // has ended; its parent has not looked yet
  const exe = (await attempt(readlink(`/proc/${pid}/exe`)))?.replace(/ \(deleted\)$/, '')
  const base = exe?.slice(exe.lastIndexOf('/') + 1)
  const name = base !== undefined && !HELPERS.has(comm) ? base : comm
  return { pid, parent: Number(fields[1]), name, startTicks: fields[19] ?? '' }
}

/** Every process, by pid and start time, so that a reused pid is a new process. */
export async function allProcesses(): Promise<Map<string, Process>> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(pids.map(readProcess))
  return new Map(found.flatMap((one) => (one ? [[`${one.pid}:${one.startTicks}`, one] as const] : [])))
}

/** RSS and PSS of the given processes together. */
export async function memoryOf(pids: Iterable<number>): Promise<Memory> {
  const total: Memory = { rssBytes: 0, pssBytes: 0 }
  for (const pid of pids) {
    const rollup = await attempt(readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))
    if (rollup === undefined) continue
    total.rssBytes += Number(/^Rss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024
    total.pssBytes += Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024
  }
  return total
}

/** Compares two looks at the process table around `pods` pods that hold the bench's own container program. */
export async function helperCost(
  before: ReadonlyMap<string, Process>,
  after: ReadonlyMap<string, Process>,
  pods: number,
): Promise<HelperCost> {
  const names: Record<string, number> = {}
  const others: Record<string, number> = {}
  const helpers: number[] = []
  for (const [key, process] of after) {
    if (before.has(key)) continue
    const isHelper = HELPERS.has(process.name)
    const tally = isHelper ? names : others
    tally[process.name] = (tally[process.name] ?? 0) + 1
    if (isHelper) helpers.push(process.pid)
  }
  const unexplained = Object.fromEntries(
    Object.entries(others).filter(([name, count]) => name !== 'hold' && count >= pods),
  )
  return { names, pssBytes: (await memoryOf(helpers)).pssBytes, unexplained }
}

/** The pid that listens on a unix socket. Rejects when nobody does. */
export async function listenerOf(socket: string): Promise<number> {
  const table = await readFile('/proc/net/unix', 'utf8')
  const listening = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[7] === socket && (Number.parseInt(fields[3] ?? '0', 16) & 0x10000) !== 0)
  const wanted = new Set(listening.map((fields) => `socket:[${fields[6]}]`))
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const fd of (await attempt(readdir(`/proc/${pid}/fd`))) ?? []) {
      const target = await attempt(readlink(`/proc/${pid}/fd/${fd}`))
      if (target !== undefined && wanted.has(target)) return Number(pid)
    }
  }
  throw new Error(`bench: no process listens on ${socket} (are you root?)`)
}

/** The daemon and what it keeps beside itself (workers): its descendants down to, and without, the helpers. */
export async function daemonProcesses(root: number): Promise<number[]> {
  const all = [...(await allProcesses()).values()]
  const found = [root]
  for (const pid of found) {
    for (const child of all) if (child.parent === pid && !HELPERS.has(child.name)) found.push(child.pid)
  }
  return found
}

/** USER_HZ */
const TICKS_PER_SECOND = 100

/** CPU time of the daemon, its workers and those of them that have ended and were waited for, ms. */
export async function cpuMs(pid: number): Promise<number> {
  let ticks = 0
  for (const one of await daemonProcesses(pid)) {
    const stat = await readFile(`/proc/${one}/stat`, 'utf8').catch(() => '')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    for (const n of [11, 12, 13, 14]) ticks += Number(fields[n] ?? 0)
  }
  return (ticks * 1000) / TICKS_PER_SECOND
}
