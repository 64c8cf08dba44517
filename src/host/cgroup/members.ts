// SPDX-License-Identifier: Apache-2.0
/**
 * The processes of one cgroup and of those below it: who they are, their end, and their weight when memory is
 * short. They are found by the cgroup's own files alone, so that nothing outside of it can be meant.
 */
import { readdir } from 'node:fs/promises'
import { errnoCode, Fault } from '../../base/fault.ts'
import { type Scope, sleep } from '../../base/scope.ts'
import type { Native } from '../native.ts'

const SIGKILL = 9
const KILL_TRIES = 200
const KILL_WAIT_MS = 10

type Files = Pick<Native, 'readMany' | 'writeFile'>
type Kernel = Files & Pick<Native, 'pidfdOpen' | 'pidfdSignal' | 'close'>

const textOf = (native: Files, path: string): string | undefined => {
  const [got] = native.readMany([path])
  return got instanceof Buffer ? got.toString('latin1').trim() : undefined
}

/** pids in the folder of a cgroup and in all below it. */
export async function pidsIn(native: Files, root: string): Promise<readonly number[]> {
  const folders = [root]
  const out: number[] = []
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const lines = textOf(native, `${folder}/cgroup.procs`)?.split('\n') ?? []
    out.push(...lines.filter((l) => l !== '').map(Number))
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
    folders.push(...entries.filter((d) => d.isDirectory()).map((d) => `${folder}/${d.name}`))
  }
  return out.filter((pid) => pid > 1)
}

/** `4711 dd (D, nfs_wait_bit)` each: the state and, where the kernel tells, in which of its functions it waits. */
export function namesOf(native: Files, pids: readonly number[]): readonly string[] {
  return pids.flatMap((pid) => {
    const stat = textOf(native, `/proc/${pid}/stat`)
    if (stat === undefined) return []
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
    const state = stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '?'
    const where = textOf(native, `/proc/${pid}/wchan`)
    return [`${pid} ${name} (${state}${where && where !== '0' ? `, ${where}` : ''})`]
  })
}

/** A pid that is still in the cgroup while we hold its pidfd cannot be another process's by then. */
async function killOne(native: Kernel, folder: string, pid: number): Promise<void> {
  try {
    const fd = native.pidfdOpen(pid)
    try {
      if ((await pidsIn(native, folder)).includes(pid)) native.pidfdSignal(fd, SIGKILL)
    } finally {
      native.close(fd)
    }
  } catch (e) {
    if (errnoCode(e) !== 'ESRCH') throw e
  }
}

/** `cgroup.kill` where the kernel has it (v2, 5.14), else one by one; then until nobody is left. @abort finishes */
export async function killAll(scope: Scope, native: Kernel, folder: string): Promise<void> {
  const forever: Scope = { signal: new AbortController().signal, log: scope.log }
  for (let tries = 0; ; tries++) {
    const pids = await pidsIn(native, folder)
    if (pids.length === 0) return
    if (tries >= KILL_TRIES) {
      const left = namesOf(native, pids).join(', ')
      throw new Fault('timeout', `processes that do not end after SIGKILL: ${left}`)
    }
    try {
      native.writeFile(`${folder}/cgroup.kill`, '1')
    } catch {
      for (const pid of pids) await killOne(native, folder, pid)
    }
    await sleep(forever, KILL_WAIT_MS)
  }
}

/** Only those that have the old value: a program that chose another for itself keeps it. */
export function adjustOom(
  native: Files,
  pids: readonly number[],
  change: { readonly from: number; readonly to: number },
): void {
  for (const pid of pids) {
    const file = `/proc/${pid}/oom_score_adj`
    if (textOf(native, file) !== String(change.from)) continue
    try {
      native.writeFile(file, String(change.to))
    } catch (e) {
      const code = errnoCode(e)
      if (code === 'ESRCH' || code === 'ENOENT') continue
      throw new Fault(
        'denied',
        `cannot set oom_score_adj ${change.to} of process ${pid}: ${code ?? String(e)}`,
      )
    }
  }
}
