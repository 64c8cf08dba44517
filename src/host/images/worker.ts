// SPDX-License-Identifier: Apache-2.0
/**
 * The image worker as the daemon sees it: messages over the lines of a worker process. Credentials go through its
 * stdin: never argv, environment, log or error. Does not know what a job means.
 */
import type { Fd } from '../native.ts'
import { startWorkerProcess, type WorkerProcess, type WorkerProgram } from '../worker-process.ts'
import { formatLine, parseWorkerLine, type WorkerMessage, type WorkerRequest } from './protocol.ts'

export type WorkerOptions = WorkerProgram

export interface Worker extends Pick<WorkerProcess, 'exited' | 'stderr' | 'end'> {
  /** What it says next; undefined when it has ended. One reader at a time. */
  next(): Promise<WorkerMessage | undefined>
  say(message: WorkerRequest | { readonly go: true }): void
}

/** Starts a worker. `extra` become its descriptors 3, 4, …; they stay the caller's to close. Throws `internal`. */
export function startWorker(options: WorkerOptions, extra: readonly Fd[] = []): Worker {
  const worker = startWorkerProcess({
    ...options,
    name: 'gantry-pull',
    flags: ['--max-semi-space-size=1', '--use-system-ca'],
    extra,
  })
  return {
    exited: worker.exited,
    stderr: worker.stderr,
    end: worker.end,
    say: (message) => worker.write(formatLine(message)),
    async next() {
      const line = await worker.nextLine()
      return line === undefined ? undefined : parseWorkerLine(line)
    },
  }
}
