// SPDX-License-Identifier: Apache-2.0
/**
 * cgroups: a pod's own, which gantry makes in every v1 hierarchy or in the one v2 tree, and what has to be done to
 * those of containers beside their OCI runtime, which makes and removes them. Chosen once between v1 and v2;
 * callers pass paths relative to the root of the hierarchies and never ask which it is.
 */
import { mkdir, readdir, rmdir } from 'node:fs/promises'
import { errnoCode } from '../../base/fault.ts'
import { type Scope, sleep } from '../../base/scope.ts'
import type { LimitFile } from '../../model/plan/limit-files.ts'
import type { Native } from '../native.ts'
import { heldMemory, restoreLimits, type SavedLimits, saveLimits, setLimits } from './limits.ts'
import { adjustOom, killAll, namesOf, pidsIn } from './members.ts'
import { onReload } from './systemd.ts'

export type { SavedLimits }

export interface Cgroups {
  /** Makes the cgroup and its parents; existing ones are fine. @abort finishes */
  create(scope: Scope, path: string): Promise<void>
  /** Removes the cgroup and empty ones below it; success if there is none. @abort finishes */
  remove(scope: Scope, path: string): Promise<void>
  /** Files that count OOM kills for a container's cgroup: path and key, as the monitor wants them. */
  oomFiles(path: string): readonly string[]
  /**
   * KILL to every process in the cgroup and below it, until none is left; success if there is no such cgroup.
   * Fault `timeout` with the names of those that do not end. @abort finishes
   */
  kill(scope: Scope, path: string): Promise<void>
  /** Lets the processes of a frozen cgroup go on, which on v1 not even KILL reaches; else nothing. */
  thaw(path: string): void
  /** The processes in the cgroup and below, for a person: `4711 dd (D, nfs_wait_bit)`. */
  processes(path: string): Promise<readonly string[]>
  /** Sets all limits or none; see limits.ts for the Faults. */
  limit(path: string, limits: readonly LimitFile[]): void
  /** What the files of these limits hold now, for `restore`. */
  saved(path: string, limits: readonly LimitFile[]): SavedLimits
  restore(saved: SavedLimits): void
  /** Bytes in use that the kernel cannot reclaim; undefined where it refuses too low a limit by itself (v1). */
  heldMemory(path: string): number | undefined
  /** With systemd as the driver: it may have set limits back that it was not told of. Said some times too often. */
  onReset(listener: () => void): void
  /** Gives a new oom_score_adj to each process that has still the old one. Fault `denied` where it may not. */
  adjustOom(path: string, change: { readonly from: number; readonly to: number }): Promise<void>
}

const REMOVE_TRIES = 40
const REMOVE_WAIT_MS = 25

async function removeOne(scope: Scope, path: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await rmdir(path)
      return
    } catch (e) {
      const code = errnoCode(e)
      if (code === 'ENOENT') return
      if (code !== 'EBUSY' && code !== 'ENOTEMPTY') throw e
      const children = (await readdir(path, { withFileTypes: true })).filter((d) => d.isDirectory())
      for (const child of children) await removeOne(scope, `${path}/${child.name}`)
      // A process that has just ended leaves its cgroup a moment later.
      if (tries >= REMOVE_TRIES) throw e
      if (tries > 0) await sleep(scope, REMOVE_WAIT_MS)
    }
  }
}

/** `mounts`: where each v1 controller is, and the v2 tree if there is one (see HostFacts.cgroupMounts). */
export function cgroups(native: Native, version: 1 | 2, mounts: Readonly<Record<string, string>>): Cgroups {
  const roots = [...new Set(Object.values(mounts))]
  const memory = version === 2 ? mounts.unified : mounts.memory
  const procsOf = version === 2 ? mounts.unified : (mounts.pids ?? mounts.memory)
  const placeIn = (path: string) => (limit: LimitFile) => {
    const root = version === 2 ? mounts.unified : mounts[limit.controller]
    return root === undefined ? undefined : `${root}${path}/${limit.file}`
  }
  return {
    async create(_scope, path) {
      await Promise.all(roots.map((root) => mkdir(`${root}${path}`, { recursive: true })))
      if (version === 2 && mounts.unified) enableControllers(native, mounts.unified, path)
    },
    async remove(scope, path) {
      await Promise.all(roots.map((root) => removeOne(scope, `${root}${path}`)))
    },
    oomFiles(path) {
      if (memory === undefined) return []
      return version === 2
        ? [`${memory}${path}/memory.events:oom_kill`]
        : [`${memory}${path}/memory.oom_control:oom_kill`]
    },
    async kill(scope, path) {
      if (procsOf !== undefined) await killAll(scope, native, `${procsOf}${path}`)
    },
    thaw(path) {
      const [file, frozen, free] =
        version === 2
          ? [`${mounts.unified}${path}/cgroup.freeze`, '1', '0']
          : [`${mounts.freezer}${path}/freezer.state`, 'F', 'THAWED']
      const [state] = native.readMany([file])
      if (state instanceof Buffer && state.toString('latin1').startsWith(frozen)) native.writeFile(file, free)
    },
    async processes(path) {
      return procsOf === undefined ? [] : namesOf(native, await pidsIn(native, `${procsOf}${path}`))
    },
    limit: (path, limits) => setLimits(native, placeIn(path), limits),
    saved: (path, limits) => saveLimits(native, placeIn(path), limits),
    restore: (saved) => restoreLimits(native, saved),
    heldMemory(path) {
      if (version === 1) return undefined
      const [current, stat] = native.readMany([
        `${memory}${path}/memory.current`,
        `${memory}${path}/memory.stat`,
      ])
      if (!(current instanceof Buffer) || !(stat instanceof Buffer)) return undefined
      return heldMemory(current.toString('latin1').trim(), stat.toString('latin1'))
    },
    onReset: onReload,
    async adjustOom(path, change) {
      if (procsOf !== undefined) adjustOom(native, await pidsIn(native, `${procsOf}${path}`), change)
    },
  }
}

const words = (native: Native, file: string): readonly string[] => {
  const [got] = native.readMany([file])
  return got instanceof Buffer
    ? got
        .toString('latin1')
        .split(/\s+/)
        .filter((w) => w !== '')
    : []
}

/** v2: a controller has to be switched on in every parent before a child has its files (cgroup-v2.rst). */
function enableControllers(native: Native, root: string, path: string): void {
  const parts = path.split('/').filter((p) => p !== '')
  for (let depth = 0; depth < parts.length; depth++) {
    const folder = `${root}/${parts.slice(0, depth).join('/')}`
    const on = words(native, `${folder}/cgroup.subtree_control`)
    for (const controller of words(native, `${folder}/cgroup.controllers`)) {
      if (on.includes(controller)) continue
      try {
        native.writeFile(`${folder}/cgroup.subtree_control`, `+${controller}`)
      } catch {
        // A controller that cannot be delegated here is simply not there for pods: facts and doctor say so.
      }
    }
  }
}
