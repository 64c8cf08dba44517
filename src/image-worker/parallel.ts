// SPDX-License-Identifier: Apache-2.0
/** Several tasks of one job at once. */
import { asFault, type Fault } from '../base/fault.ts'
import type { JobContext } from './job.ts'

/**
 * Runs `task` over the items, `width` at a time, and gives the results in their order. The first failure ends the
 * job, and is thrown when all have ended.
 */
export async function inParallel<T, R>(
  context: JobContext,
  over: { readonly items: readonly T[]; readonly width: number },
  task: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const waiting = [...over.items.entries()]
  let failure: Fault | undefined
  const lane = async () => {
    for (let next = waiting.shift(); next && failure === undefined; next = waiting.shift()) {
      try {
        results[next[0]] = await task(next[1])
      } catch (e) {
        failure ??= asFault(e)
        context.stop(failure)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, over.width) }, lane))
  if (failure) throw failure
  return results
}
