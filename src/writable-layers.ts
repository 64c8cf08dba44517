// SPDX-License-Identifier: Apache-2.0
/**
 * What containers have written: all of it measured when asked, one tree after the other on the thread pool, and the
 * last measurement of each kept. When to measure is decided by who asks.
 */
import { stat } from 'node:fs/promises'
import { addUsage, type FsPart, NO_USAGE } from './engine/images/usage.ts'
import type { Catalog } from './engine/state/catalog.ts'
import type { Native } from './host/native.ts'
import type { ContainerId } from './model/ids.ts'
import { containerPaths, folders, type Roots } from './model/names.ts'
import type { WritableUse } from './model/stats/usage.ts'

export interface Written {
  of(id: ContainerId): WritableUse | undefined
  measure(): Promise<FsPart>
}

/** Kubelets take different mount points for different disks: one disk gets one name. */
export function writableLayers(roots: Roots, native: Native, { containers }: Catalog): Written {
  const all = folders(roots)
  const kept = new Map<ContainerId, WritableUse>()
  return {
    of: (id) => kept.get(id),
    async measure() {
      let sum = NO_USAGE
      for (const id of containers.byId.keys()) {
        // One that goes while its layer is looked at is no failure of the rest.
        const use = await native.treeUsage(containerPaths(roots, id).upper).catch(() => undefined)
        if (use) kept.set(id, { ...use, atNs: BigInt(Date.now()) * 1_000_000n })
        sum = addUsage(sum, use ?? NO_USAGE)
      }
      for (const id of kept.keys()) if (!containers.byId.has(id)) kept.delete(id)
      const isOne = (await stat(all.containers)).dev === (await stat(all.layers)).dev
      return { ...sum, mountpoint: isOne ? all.layers : all.containers }
    },
  }
}
