// SPDX-License-Identifier: Apache-2.0
/**
 * bystander: a pod with an address and a container that counts into its log, running while the daemon dies around
 * it. `expectUntouched` says whether it is still the same: process, address, state, and every number in the log.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { waitUntil } from '../support/child.ts'
import { containerState, execSync, podState } from '../support/cri-requests.ts'
import type { Scenario } from '../support/scenario.ts'
import { logText } from '../support/scenario-log.ts'
import { busybox, pidOf } from '../support/scenario-run.ts'

export interface Bystander {
  readonly podId: string
  readonly containerId: string
  /** Fails the test unless the pod and its container are as they were and the log has gone on without a gap. */
  expectUntouched(): Promise<void>
}

/** Waits without forking: what it forks would be new on the host each time somebody looks. */
const counting =
  'mkfifo /pause; exec 3<>/pause; i=0; while :; do echo $i; i=$((i + 1)); read -t 0.02 x <&3; done'

/** Starts it. It ends with the scenario. */
export async function startBystander(s: Scenario): Promise<Bystander> {
  const pod = await s.pod('bystander', { bridged: true })
  const containerId = await pod.start(busybox({ container: 'counter', command: ['sh', '-c', counting] }))
  const path = s.logOf(pod, 'counter')
  const numbers = async (): Promise<string[]> => (await logText(path)).trimEnd().split('\n')
  const podStatus = async () => (await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })).status
  await waitUntil('it counts', async () => (await numbers()).length > 2, { withinMs: 10_000 })
  const [pid, ip] = [await pidOf(s, containerId), (await podStatus())?.network?.ip]
  let seen = 0
  return {
    podId: pod.podId,
    containerId,
    expectUntouched: async () => {
      expect(await podStatus()).toMatchObject({ state: podState.ready, network: { ip } })
      const { status } = await s.client.call('ContainerStatus', { containerId })
      expect(status).toMatchObject({ state: containerState.running })
      expect(await pidOf(s, containerId)).toBe(pid)
      const before = (await numbers()).length
      expect(before).toBeGreaterThanOrEqual(seen)
      for (let i = 0; i < 200 && (await numbers()).length <= before; i++) await sleep(10)
      const all = await numbers()
      expect(all.length).toBeGreaterThan(before)
      expect(all).toEqual(all.map((_, i) => String(i)))
      seen = all.length
      expect((await execSync(s.client, containerId, ['cat', '/proc/1/comm'])).stdout).toBe('sh\n')
    },
  }
}
