// SPDX-License-Identifier: Apache-2.0
/**
 * Cgroups: makes and removes the cgroup parent that the kubelet would give its pods, in every hierarchy that is
 * mounted below /sys/fs/cgroup. Nothing outside of that one parent is touched.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const CGROUP_ROOT = '/sys/fs/cgroup'

/** Makes the parent everywhere and fills in its cpuset, without which v1 accepts no process. */
export async function makeParent(parent: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    const path = join(CGROUP_ROOT, hierarchy, parent)
    await mkdir(path, { recursive: true })
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const value = await readFile(join(CGROUP_ROOT, hierarchy, file), 'utf8').catch(() => undefined)
      if (value !== undefined) await writeFile(join(path, file), value)
    }
  }
}

/** Removes the parent and what is below it; rejects when a process is still in there. Idempotent. */
export async function removeParent(parent: string): Promise<void> {
  for (const hierarchy of await hierarchies()) await removeCgroup(join(CGROUP_ROOT, hierarchy, parent))
}

/** The folders of the mounted cgroup hierarchies below /sys/fs/cgroup; one empty name on a pure v2 machine. */
async function hierarchies(): Promise<string[]> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8')
  const found = mounts.split('\n').flatMap((line) => {
    const [mount, type] = [line.split(' ')[4] ?? '', line.split(' - ')[1]?.split(' ')[0]]
    return type?.startsWith('cgroup') && mount.startsWith(CGROUP_ROOT)
      ? [mount.slice(CGROUP_ROOT.length)]
      : []
  })
  return [...new Set(found)]
}

async function removeCgroup(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) if (entry.isDirectory()) await removeCgroup(join(path, entry.name))
  for (let tries = 0; ; tries++) {
    try {
      return await rmdir(path)
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
      if (code === 'ENOENT') return
      if (code !== 'EBUSY' || tries === 20)
        throw new Error(`bench: cannot remove the cgroup ${path}`, { cause })
      await sleep(50) // the last process has ended but has not left yet
    }
  }
}
