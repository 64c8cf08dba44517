// SPDX-License-Identifier: Apache-2.0
/** A worker's place on the node: behind the daemon, and no part of what must not be touched when memory runs out. */
import { writeFile } from 'node:fs/promises'
import { setPriority } from 'node:os'

/** Lower than the daemon, which answers first when both want the processor (nice(2)). */
const NICENESS = 2

/** Names this process and takes it back. */
export async function stepBack(title: string): Promise<void> {
  process.title = title
  setPriority(NICENESS)
  await writeFile('/proc/self/oom_score_adj', '0').catch(() => {})
}
