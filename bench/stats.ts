// SPDX-License-Identifier: Apache-2.0
/**
 * Stats: what statistics and metrics of many running containers take, what a kubelet's polling costs the daemon
 * (lists each second, statistics each tenth, Version three times a second), and how long after the kill of a
 * container's process a subscriber hears of its end. Holds the pods and takes them away again.
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RpcError, RpcName } from './client.ts'
import { allProcesses, cpuMs } from './processes.ts'
import { pool, repeat, type Turn } from './suites.ts'
import type { Pod } from './workload.ts'

/** Counted, after as many that are not, or some seconds of them: answers for pods take some runtimes seconds each. */
const CALLS = { ListContainerStats: 30, ListPodSandboxStats: 10, ListPodSandboxMetrics: 5 } as const
const WARM_MS = 5_000
const POLLED_S = 20

async function polling(turn: Turn): Promise<void> {
  const { target, round, signal } = turn
  const call = (rpc: RpcName) => target.client.call(rpc)
  const before = await cpuMs(target.daemonPid)
  const began = performance.now()
  for (let s = 0; s < POLLED_S; s++) {
    await call('ListPodSandbox')
    await call('ListContainers')
    if (s % 10 === 0) await call('ListContainerStats')
    for (let n = 0; n < 3; n++) await call('Version')
    await sleep(Math.max(0, (s + 1) * 1000 - (performance.now() - began)), undefined, { signal })
  }
  const share = ((await cpuMs(target.daemonPid)) - before) / (performance.now() - began)
  target.samples.add('stats.polling_cpu', '%', { round, value: share * 100 })
}

/** Between two exits, so that what a runtime does after one is not in the next; until an event must be there. */
const [APART_MS, HEARD_WITHIN_MS] = [100, 10_000]

/** The pid of each container's process, by the container's ID, which its cgroup is named after. */
async function processesOf(pods: readonly Pod[]): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>()
  for (const { name, pid } of (await allProcesses()).values()) {
    if (name !== 'hold') continue
    const cgroup = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '')
    const pod = pods.find(({ container }) => cgroup.includes(container))
    if (pod) found.set(pod.container, pid)
  }
  return found
}

async function exits({ target, round, signal }: Turn, pods: readonly Pod[]): Promise<void> {
  const heardAt = new Map<string, number>()
  let failure: RpcError | undefined
  using _ = target.client.listen('GetContainerEvents', {
    message({ containerId, containerEventType }) {
      if (containerEventType === 'CONTAINER_STOPPED_EVENT') heardAt.set(containerId, performance.now())
    },
    failed(why) {
      failure = why
    },
  })
  const pids = await processesOf(pods)
  for (const { container } of pods) {
    await sleep(APART_MS, undefined, { signal })
    const pid = pids.get(container)
    if (pid === undefined) throw new Error(`bench: container ${container} has no process`)
    const began = performance.now()
    process.kill(pid, 'SIGKILL')
    while (!heardAt.has(container)) {
      if (failure?.unimplemented) return target.samples.missing('stats.exit_event', 'ms', 'UNIMPLEMENTED')
      if (failure || performance.now() - began > HEARD_WITHIN_MS)
        throw new Error(`bench: ${target.name}: the exit of ${container} is not told`, { cause: failure })
      await sleep(1)
    }
    const value = (heardAt.get(container) ?? 0) - began
    target.samples.add('stats.exit_event', 'ms', { round, value })
  }
}

/** The suite. */
export async function statistics(turn: Turn): Promise<void> {
  const { options, signal } = turn
  const { workload } = turn.target
  const pods: Pod[] = []
  await pool(options.pods, options.width, async () => {
    signal.throwIfAborted()
    pods.push(await workload.up('host'))
  })
  for (const rpc of ['ListContainerStats', 'ListPodSandboxStats', 'ListPodSandboxMetrics'] as const) {
    // As after some minutes of a kubelet's polling: the code of both ends is compiled.
    const endMs = performance.now() + WARM_MS
    for (let i = 0; i < CALLS[rpc] && !signal.aborted && performance.now() < endMs; i++)
      await turn.target.client.call(rpc).catch(() => {})
    await repeat(turn, `stats.${rpc}`, { rpc, count: CALLS[rpc] })
  }
  await polling(turn)
  await exits(turn, pods)
  await pool(pods.length, options.width, async (index) => {
    const pod = pods[index]
    if (pod) await workload.down(pod)
  })
}
