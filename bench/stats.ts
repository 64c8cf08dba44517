// SPDX-License-Identifier: Apache-2.0
/**
 * Stats: what statistics and metrics of many running containers take, and what a kubelet's polling costs the daemon:
 * lists each second, statistics each tenth, Version three times a second. Holds the pods and takes them away again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { RpcName } from './client.ts'
import { cpuMs } from './processes.ts'
import { pool, repeat, type Turn } from './suites.ts'
import type { Pod } from './workload.ts'

/** Counted, after as many that are not. The answers for pods take some runtimes seconds. */
const CALLS = { ListContainerStats: 30, ListPodSandboxStats: 10, ListPodSandboxMetrics: 5 } as const
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
    for (let i = 0; i < CALLS[rpc] && !signal.aborted; i++) await turn.target.client.call(rpc).catch(() => {})
    await repeat(turn, `stats.${rpc}`, { rpc, count: CALLS[rpc] })
  }
  await polling(turn)
  await pool(pods.length, options.width, async (index) => {
    const pod = pods[index]
    if (pod) await workload.down(pod)
  })
}
