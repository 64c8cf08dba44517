// SPDX-License-Identifier: Apache-2.0
/** Gives a job up that does not get on: neither fetched nor unpacked bytes for a time, while some are due. */
import { Fault } from '../../base/fault.ts'
import type { LayerProgress, PullProgress } from './protocol.ts'

export interface ProgressWatch extends Disposable {
  told(progress: PullProgress): void
}

const isOver = ({ state }: LayerProgress): boolean => state === 'done' || state === 'had'

/** Calls `stop` once, with a `timeout` that names the layers it waits for. Begins to count at once. */
export function watchProgress(limitMs: number, stop: (why: Fault) => void): ProgressWatch {
  let timer: NodeJS.Timeout | undefined
  let sum = -1
  let waitingFor: readonly string[] = []
  const late = () => {
    const which = waitingFor.length === 0 ? '' : ` of layer ${waitingFor.join(', ')}`
    const reason = 'RegistryUnavailable'
    stop(new Fault('timeout', `nothing was fetched${which} for ${limitMs} ms`, { reason }))
  }
  const moved = () => {
    clearTimeout(timer)
    timer = setTimeout(late, limitMs)
  }
  moved()
  return {
    told({ layers, archiveBytes = 0 }) {
      const now = layers.reduce((n, l) => n + l.doneBytes + l.unpackedBytes, archiveBytes)
      if (now !== sum) moved()
      sum = now
      waitingFor = layers.flatMap((l) =>
        l.state === 'fetching' || l.state === 'unpacking' ? [l.digest] : [],
      )
      // What is left is work of the disk, which takes the time that it takes.
      if (layers.length > 0 && archiveBytes === 0 && layers.every(isOver)) clearTimeout(timer)
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}
