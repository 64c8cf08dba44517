// SPDX-License-Identifier: Apache-2.0
/**
 * Suites: what is measured, one function each. Latency suites run once a round for each runtime in turn; `held`
 * runs once at the end. A suite only adds samples; it leaves no pod behind when it succeeds, and the workload's
 * sweep does the rest when it fails.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CriClient, RpcName } from './client.ts'
import type { Options, Suite } from './options.ts'
import type { Network } from './pod-config.ts'
import { allProcesses, daemonProcesses, helperCost, memoryOf } from './processes.ts'
import { imagePulls, type PullSet } from './pulls.ts'
import type { Samples } from './samples.ts'
import { statistics } from './stats.ts'
import { streamed } from './streaming.ts'
import { DOWN, isUnimplemented, type Pod, sum, UP, type Workload } from './workload.ts'

const MiB = 1024 * 1024
const MANY = 300
const SOME = 30

export interface Target {
  /** A or B. */
  label: string
  name: string
  version: string
  daemonPid: number
  client: CriClient
  workload: Workload
  samples: Samples
}

export interface Turn {
  target: Target
  round: number
  options: Options
  signal: AbortSignal
  /** What the `images` suite pulls, by round; there when the suite was asked for. */
  pulls?: readonly PullSet[] | undefined
}

/** Runs `count` jobs, `width` at a time; after a failure no new one begins, and the first error is thrown. */
export async function pool(
  count: number,
  width: number,
  job: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const errors: unknown[] = []
  const worker = async () => {
    while (next < count && errors.length === 0)
      await job(next++).catch((error: unknown) => errors.push(error))
  }
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker))
  if (errors.length > 0) throw errors[0]
}

function addPod(turn: Turn, prefix: string, pod: Pod): void {
  const { target, round } = turn
  const add = (name: string, value: number) => target.samples.add(`${prefix}.${name}`, 'ms', { round, value })
  add('up', sum(pod.times, UP))
  add('down', sum(pod.times, DOWN))
  for (const [rpc, ms] of pod.times) add(rpc, ms)
  add('first_log_line', pod.firstLineMs)
}

async function sequentialPods(turn: Turn, prefix: string, network: Network): Promise<void> {
  const { target, options, signal } = turn
  for (let i = 0; i < options.iterations; i++) {
    signal.throwIfAborted()
    const pod = await target.workload.up(network)
    await target.workload.down(pod)
    addPod(turn, prefix, pod)
  }
}

async function widePods(turn: Turn): Promise<void> {
  const { target, round, options, signal } = turn
  const began = performance.now()
  await pool(options.wide, options.width, async () => {
    signal.throwIfAborted()
    const pod = await target.workload.up('host')
    await target.workload.down(pod)
    const add = (name: string, value: number) => target.samples.add(`wide.${name}`, 'ms', { round, value })
    add('up', sum(pod.times, UP))
    add('down', sum(pod.times, DOWN))
  })
  const value = options.wide / ((performance.now() - began) / 1000)
  target.samples.add('wide.pods_per_second', '1/s', { round, value })
}

/** Calls one RPC again and again; an RPC that the runtime lacks becomes a figure that says so. */
export async function repeat(
  turn: Turn,
  figure: string,
  call: { rpc: RpcName; count: number; request?: object },
): Promise<void> {
  const { target, round, signal } = turn
  for (let i = -1; i < call.count; i++) {
    signal.throwIfAborted()
    try {
      const { ms, reply } = await target.client.call(call.rpc, call.request)
      if ('exitCode' in reply && reply.exitCode !== 0)
        throw new Error(`bench: ${figure}: exit code ${reply.exitCode}`)
      if (i >= 0) target.samples.add(figure, 'ms', { round, value: ms }) // the first call warms up
    } catch (error) {
      if (!isUnimplemented(error)) throw error
      target.samples.missing(figure, 'ms', 'UNIMPLEMENTED')
      return
    }
  }
}

async function execProbe(turn: Turn): Promise<void> {
  const { workload } = turn.target
  const pod = await workload.up('host')
  const request = { containerId: pod.container, cmd: ['/bin/true'], timeout: 10 }
  await repeat(turn, 'exec.ExecSync', { rpc: 'ExecSync', count: turn.options.iterations * 2, request })
  await workload.down(pod)
}

/** RSS and PSS of the daemon now, as `daemon.<when>.rss` and `.pss`. */
export async function daemonMemory(turn: Turn, when: string): Promise<void> {
  const { target, round } = turn
  const memory = await memoryOf(await daemonProcesses(target.daemonPid))
  if (memory.rssBytes === 0)
    throw new Error(`bench: ${target.name}: the daemon (pid ${target.daemonPid}) is gone`)
  target.samples.add(`daemon.${when}.rss`, 'MiB', { round, value: memory.rssBytes / MiB })
  target.samples.add(`daemon.${when}.pss`, 'MiB', { round, value: memory.pssBytes / MiB })
}

async function heldPods(turn: Turn): Promise<void> {
  const { target, round, options, signal } = turn
  const { samples, workload } = target
  const pods: Pod[] = []
  const before = await allProcesses()
  await pool(options.pods, options.width, async () => {
    signal.throwIfAborted()
    pods.push(await workload.up('host'))
  })
  await sleep(2000) // helpers settle
  const cost = await helperCost(before, await allProcesses(), options.pods)
  const helpers = Object.values(cost.names).reduce((total, count) => total + count, 0)
  samples.add('helpers.pss_per_pod', 'KiB', { round, value: cost.pssBytes / 1024 / options.pods })
  samples.add('helpers.count_per_pod', 'n', { round, value: helpers / options.pods })
  const list = (names: Record<string, number>) =>
    Object.entries(names).map(([name, count]) => `${count} ${name}`)
  samples.notes.push(`${options.pods} pods held: helpers are ${list(cost.names).join(', ') || 'none'}`)
  const strangers = list(cost.unexplained)
  if (strangers.length > 0)
    samples.notes.push(`NOT COUNTED, but as many as the pods: ${strangers.join(', ')}`)
  await daemonMemory(turn, 'held')

  const { reply } = await target.client.call('ListContainers')
  if (reply.containers.length < pods.length)
    throw new Error(`bench: ${target.name}: ListContainers lacks containers`)
  const held = { filter: { labelSelector: {} } }
  // The code of both ends of the call is compiled as it gets warm: what is asked for is the call of a daemon that has
  // been up for a while, not of its first second.
  for (let i = 0; i < WARM_CALLS; i++) await target.client.call('Version')
  await repeat(turn, 'held.Version', { rpc: 'Version', count: MANY })
  await repeat(turn, 'held.ListContainers', { rpc: 'ListContainers', count: SOME * 2, request: held })
  await repeat(turn, 'held.ListPodSandbox', { rpc: 'ListPodSandbox', count: SOME * 2, request: held })
  const request = { containerId: pods[0]?.container ?? '' }
  await repeat(turn, 'held.ContainerStatus', { rpc: 'ContainerStatus', count: MANY, request })
  await repeat(turn, 'held.ListContainerStats', { rpc: 'ListContainerStats', count: SOME / 3 })
  await pool(pods.length, options.width, async (index) => {
    const pod = pods[index]
    if (pod) await workload.down(pod)
  })
  await daemonMemory(turn, 'burst')
}

/** Cheap calls before the first one that is counted in `held`. */
const WARM_CALLS = 1000

/** Runs two pods and some cheap calls that nobody counts. */
export async function warmUp(target: Target): Promise<void> {
  for (let i = 0; i < 50; i++) await target.client.call('Version')
  for (let i = 0; i < 2; i++) await target.workload.down(await target.workload.up('host'))
}

export const ROUND_SUITES: Readonly<Partial<Record<Suite, (turn: Turn) => Promise<void>>>> = {
  pods: (turn) => sequentialPods(turn, 'pods', 'host'),
  cni: (turn) => sequentialPods(turn, 'cni', 'pod'),
  wide: widePods,
  exec: execProbe,
  streaming: streamed,
  images: async (turn) => {
    if (turn.pulls) await imagePulls(turn, turn.pulls)
  },
}
export const LAST_SUITES: Readonly<Partial<Record<Suite, (turn: Turn) => Promise<void>>>> = {
  held: heldPods,
  stats: statistics,
}
