// SPDX-License-Identifier: Apache-2.0
/**
 * Records and states on disk: `record.json` is written once, before the first effect; `state.json` is replaced
 * by the daemon only; `exit.json` belongs to the monitor. One file, one writer. Dropping is one rename of the
 * folder into the trash. What is read back is checked for its shape; a file that fails is reported, never
 * believed and never fatal.
 */
import { writeJson } from '../../base/json-file.ts'
import type { Host } from '../../host/index.ts'
import type { Container } from '../../model/container.ts'
import type { ContainerId, PodId } from '../../model/ids.ts'
import { containerPaths, podPaths, type Roots } from '../../model/names.ts'
import type { Pod } from '../../model/pod.ts'

export interface Store {
  /** Makes the folder and writes the record: the intent, before any effect. @abort finishes */
  beginPod(pod: Pod): Promise<void>
  /** Replaces the state. @abort finishes */
  putPod(pod: Pod): Promise<void>
  dropPod(id: PodId): Promise<void>
  beginContainer(c: Container): Promise<void>
  putContainer(c: Container): Promise<void>
  dropContainer(id: ContainerId): Promise<void>
}

/** One write after the other for each id: a state that was put later is never overtaken by an earlier one. */
class InOrder {
  readonly #last = new Map<string, Promise<void>>()

  run(id: string, work: () => Promise<void>): Promise<void> {
    const before = this.#last.get(id)
    const now = before ? before.then(work, work) : work()
    const settled = now
      .catch(() => {})
      .then(() => {
        if (this.#last.get(id) === settled) this.#last.delete(id)
      })
    this.#last.set(id, settled)
    return now
  }
}

export function store(roots: Roots, host: Pick<Host, 'files'>): Store {
  const podFolder = (id: PodId) => podPaths(roots, id).state
  const containerFolder = (id: ContainerId) => containerPaths(roots, id).state
  const order = new InOrder()
  return {
    beginPod: ({ record }) =>
      order.run(record.id, async () => {
        await host.files.ensureFolders([podFolder(record.id)])
        await writeJson(`${podFolder(record.id)}/record.json`, { record })
      }),
    putPod: ({ record, state, resources }) =>
      order.run(record.id, () =>
        writeJson(`${podFolder(record.id)}/state.json`, { state, ...(resources ? { resources } : {}) }),
      ),
    dropPod: (id) => order.run(id, () => host.files.drop(podFolder(id))),
    beginContainer: ({ record }) =>
      order.run(record.id, async () => {
        await host.files.ensureFolders([containerFolder(record.id)])
        await writeJson(`${containerFolder(record.id)}/record.json`, { record })
      }),
    putContainer: ({ record, state, resources }) =>
      order.run(record.id, () => writeJson(`${containerFolder(record.id)}/state.json`, { state, resources })),
    dropContainer: (id) => order.run(id, () => host.files.drop(containerFolder(id))),
  }
}
