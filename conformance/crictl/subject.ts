// SPDX-License-Identifier: Apache-2.0
/**
 * subject: what a run of the crictl scenario is about (a runtime, a handler, an image, where things go), the
 * configuration files it writes, and the small things that its steps share. It runs nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Crictl } from './crictl.ts'

export interface Subject {
  readonly crictl: Crictl
  /** The handler of the pods; '' is the default. */
  readonly handler: string
  /** An image with a shell, in a registry that the runtime can reach. */
  readonly image: string
  /** What `version` must say, or nothing of it. */
  readonly runtimeName?: string
  /** An absolute cgroup for the pods. */
  readonly cgroupParent: string
  /** Folder of the containers' logs; it is there, and empty. */
  readonly logs: string
}

const printedIdLength = 13

/** As crictl prints an ID: without the algorithm, 13 characters. */
export function printed(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, printedIdLength)
}

/** The configuration of a pod as crictl reads it. */
export function podFile(s: Subject, name: string): unknown {
  return {
    metadata: { name, namespace: 'crictl', uid: `uid-of-${name}`, attempt: 0 },
    hostname: name,
    log_directory: s.logs,
    labels: { scenario: 'crictl' },
    linux: { cgroup_parent: s.cgroupParent },
  }
}

/** The configuration of a container that runs a shell script. */
export function containerFile(s: Subject, name: string, script: string): unknown {
  return {
    metadata: { name, attempt: 0 },
    image: { image: s.image },
    command: ['sh', '-c', script],
    labels: { scenario: 'crictl' },
    envs: [{ key: 'GREETING', value: 'good day' }],
    log_path: `${name}.log`,
    linux: { security_context: { namespace_options: { pid: 1 } } },
  }
}

/** Until `ask` gives something for which `good` holds, at most 30 s; gives that, or the last. */
export async function until<T>(ask: () => Promise<T>, good: (value: T) => boolean): Promise<T> {
  const endMs = performance.now() + 30_000
  for (;;) {
    const value = await ask()
    if (good(value) || performance.now() > endMs) return value
    await sleep(50)
  }
}
