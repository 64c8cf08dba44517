// SPDX-License-Identifier: Apache-2.0
/**
 * A pod's namespaces and its shared memory: made in the daemon by the addon, pinned by bind mounts, released
 * by path. Needs no process. Both verbs are idempotent in the direction of release.
 */
import { mkdir } from 'node:fs/promises'
import { errnoCode, Fault } from '../base/fault.ts'
import type { Scope } from '../base/scope.ts'
import type { PodPaths } from '../model/names.ts'
import type { NamespacePlan } from '../model/plan/pod.ts'
import type { UserMapping } from '../model/pod.ts'
import type { Native } from './native.ts'

export interface Namespaces {
  /** Makes and pins what the plan names, which may be nothing; on failure nothing is left. @abort finishes */
  create(scope: Scope, plan: NamespacePlan): Promise<void>
  /** Unpins all of a pod's; success if they never were. @abort finishes */
  release(scope: Scope, paths: PodPaths): Promise<void>
  /** A tmpfs of 64 MiB for /dev/shm of all containers of the pod, of the pod's root. @abort finishes */
  createShm(scope: Scope, path: string, user?: UserMapping): Promise<void>
  releaseShm(scope: Scope, path: string): Promise<void>
}

/** What Docker and the CRI's other runtimes give to a pod. */
const SHM = 'mode=1777,size=65536k'

export function namespaces(native: Native): Namespaces {
  return {
    async create(_scope, plan) {
      const any = [plan.net, plan.ipc, plan.uts, plan.user].some((pin) => pin !== undefined)
      if (!any) return
      try {
        await native.createNamespaces(plan)
      } catch (e) {
        if (errnoCode(e) !== 'ENOSPC') throw e
        const limits =
          'sysctl user.max_user_namespaces, max_net_namespaces, max_ipc_namespaces, max_uts_namespaces'
        throw new Fault('exhausted', `the node has no more namespaces to give: raise ${limits}`, { cause: e })
      }
    },
    async release(_scope, paths) {
      for (const pin of [paths.netns, paths.ipcns, paths.utsns, paths.userns])
        await native.unpinNamespace(pin)
    },
    async createShm(_scope, path, user) {
      await mkdir(path, { recursive: true, mode: 0o1777 })
      await native.mount({
        type: 'tmpfs',
        source: 'shm',
        target: path,
        flags: ['nosuid', 'nodev', 'noexec'],
        data: user ? `${SHM},uid=${user.uids.hostId},gid=${user.gids.hostId}` : SHM,
      })
    },
    releaseShm: (_scope, path) => native.umount(path, true),
  }
}
