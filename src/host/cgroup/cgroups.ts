// SPDX-License-Identifier: Apache-2.0
/**
 * cgroups that gantry itself makes: a pod's own, in every v1 hierarchy or in the one v2 tree. Chosen once
 * between v1 and v2; callers pass paths relative to the root of the hierarchies and never ask which it is.
 * Containers' cgroups are made and removed by the OCI runtime.
 */
import { mkdir, readdir, rmdir } from 'node:fs/promises'
import { errnoCode } from '../../base/fault.ts'
import { type Scope, sleep } from '../../base/scope.ts'
import type { Native } from '../native.ts'

export interface Cgroups {
  /** Makes the cgroup and its parents; existing ones are fine. @abort finishes */
  create(scope: Scope, path: string): Promise<void>
  /** Removes the cgroup and empty ones below it; success if there is none. @abort finishes */
  remove(scope: Scope, path: string): Promise<void>
  /** Files that count OOM kills for a container's cgroup: path and key, as the monitor wants them. */
  oomFiles(path: string): readonly string[]
  /** pids of all processes in the cgroup and below it. */
  pids(path: string): Promise<readonly number[]>
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
    async pids(path) {
      if (procsOf === undefined) return []
      const folders = [`${procsOf}${path}`]
      const out: number[] = []
      for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
        const [text] = native.readMany([`${folder}/cgroup.procs`])
        if (text instanceof Buffer)
          out.push(
            ...text
              .toString('latin1')
              .split('\n')
              .filter((l) => l !== '')
              .map(Number),
          )
        const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
        folders.push(...entries.filter((d) => d.isDirectory()).map((d) => `${folder}/${d.name}`))
      }
      return out
    },
  }
}

/** v2: a controller has to be switched on in every parent before a child has its files (cgroup-v2.rst). */
function enableControllers(native: Native, root: string, path: string): void {
  const parts = path.split('/').filter((p) => p !== '')
  const [available] = native.readMany([`${root}/cgroup.controllers`])
  if (!(available instanceof Buffer)) return
  const wanted = available
    .toString('latin1')
    .trim()
    .split(' ')
    .filter((c) => c !== '')
    .map((c) => `+${c}`)
  for (let depth = 0; depth < parts.length; depth++) {
    const file = `${root}/${parts.slice(0, depth).join('/')}/cgroup.subtree_control`
    for (const controller of wanted) {
      try {
        native.writeFile(file, controller)
      } catch {
        // A controller that cannot be delegated here is simply not there for pods: facts and doctor say so.
      }
    }
  }
}
