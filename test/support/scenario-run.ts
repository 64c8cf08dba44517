// SPDX-License-Identifier: Apache-2.0
/**
 * scenario-run: the two ways in which tests use a container: to its end, for what it wrote and how it ended; or
 * kept alive, to look at from outside and to run commands in. The containers stay for the test or the end of the
 * scenario to remove.
 */
import type { v1 } from '../../src/edge/cri/gen/api.js'
import { names } from '../images/catalog.ts'
import type { ContainerConfig, RunningPod } from './cri-requests.ts'
import { containerConfig, execSync, waitForExit } from './cri-requests.ts'
import type { Scenario } from './scenario.ts'
import { logText } from './scenario-log.ts'

export type ContainerFields = ContainerConfig & { readonly command?: string[]; readonly container?: string }

export interface Ended {
  readonly id: string
  readonly stdout: string
  readonly stderr: string
  readonly status: v1.ContainerStatus.$Properties
}

let counter = 0

/** busybox, with a name that no other container of the run has. */
export function busybox(fields: ContainerFields = {}): ContainerConfig {
  const { container = `c${++counter}`, ...more } = fields
  return containerConfig(container, names.busybox, more)
}

/** Runs a shell script in a container of its own to its end. */
export async function ran(
  s: Scenario,
  pod: RunningPod,
  script: string,
  fields: ContainerFields = {},
): Promise<Ended> {
  const config = busybox({ command: ['sh', '-c', script], ...fields })
  const id = await pod.start(config)
  const status = await waitForExit(s.client, id)
  const path = s.logOf(pod, config.metadata?.name ?? '')
  return { id, stdout: await logText(path), stderr: await logText(path, 'stderr'), status }
}

export interface Kept {
  readonly id: string
  readonly config: ContainerConfig
  /** Runs a shell script in it; the output of one that fails is in the error. */
  sh(script: string): Promise<string>
  /** Verbose ContainerStatus: the pid as the host sees it. */
  pid(): Promise<number>
}

/** A container that sleeps until it is told to end. */
export async function kept(s: Scenario, pod: RunningPod, fields: ContainerFields = {}): Promise<Kept> {
  const config = busybox({ command: ['sleep', '3600'], ...fields })
  const id = await pod.start(config)
  return {
    id,
    config,
    sh: async (script) => {
      const { stdout, stderr, exitCode } = await execSync(s.client, id, ['sh', '-c', script])
      if (exitCode !== 0) throw new Error(`${script}: exit ${exitCode}: ${stdout}${stderr}`)
      return stdout
    },
    pid: () => pidOf(s, id),
  }
}

/** The first process of a running container, as the host numbers it. */
export async function pidOf(s: Scenario, containerId: string): Promise<number> {
  const { info } = await s.client.call('ContainerStatus', { containerId, verbose: true })
  const text: { pid?: number } = JSON.parse(info.info ?? '{}')
  if (typeof text.pid !== 'number' || text.pid <= 1)
    throw new Error(`container ${containerId} has no pid: ${info.info}`)
  return text.pid
}
