// SPDX-License-Identifier: Apache-2.0
/**
 * Workload: pods the way the kubelet asks for them (docs/performance.md says in what they differ), brought up
 * and down one RPC after the other. It owns the folders and the cgroup parent that the kubelet would make; both
 * are made and removed outside of the measured time.
 */
import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeParent, removeParent } from './cgroups.ts'
import { type CriClient, type Replies, RpcError, type RpcName } from './client.ts'
import { LOG_PATH, MOUNTED_FILES, type Network, type PodConfig, podConfig, RUN_LABEL } from './pod-config.ts'

/** A pod with one container; `times` holds each RPC's milliseconds. */
export interface Pod {
  /** From StartContainer's reply until the container's first line was in its log: started is not yet running. */
  firstLineMs: number
  sandbox: string
  container: string
  times: Map<RpcName, number>
}

export interface WorkloadOptions {
  client: CriClient
  /** Unique in the run; names pods, labels and the cgroup parent. */
  run: string
  folder: string
  handler: string
  image: string
  seccomp: 'RuntimeDefault' | 'Unconfined'
  userNamespace: boolean
}

const STOP_SECONDS = 10
const FIRST_LINE_LIMIT_MS = 10_000
export const UP: readonly RpcName[] = ['RunPodSandbox', 'CreateContainer', 'StartContainer']
export const DOWN: readonly RpcName[] = [
  'StopContainer',
  'StopPodSandbox',
  'RemoveContainer',
  'RemovePodSandbox',
]
export const sum = (times: ReadonlyMap<RpcName, number>, names: readonly RpcName[]): number =>
  names.reduce((total, name) => total + (times.get(name) ?? 0), 0)

/** Makes and removes the pods of one runtime in one run. */
export class Workload {
  readonly cgroupParent: string
  readonly #options: WorkloadOptions
  #next = 0

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.cgroupParent = `/gt-bench-${options.run}`
  }

  /** Makes what the kubelet makes before it asks for a pod: folders, a cgroup parent. */
  async prepare(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true })
    await makeParent(this.cgroupParent)
  }

  /** Brings a pod up. A pod that fails half-way is taken down again before the error goes on. */
  async up(network: Network): Promise<Pod> {
    const { handler, image } = this.#options
    const { logFile, sandbox, container } = await this.#describe(network)
    const pod: Pod = { firstLineMs: 0, sandbox: '', container: '', times: new Map() }
    try {
      const request = { config: sandbox, runtimeHandler: handler }
      pod.sandbox = (await this.#timed(pod, 'RunPodSandbox', request)).podSandboxId
      await this.#timed(pod, 'PodSandboxStatus', { podSandboxId: pod.sandbox })
      const found = await this.#timed(pod, 'ImageStatus', { image: { image } })
      if (!found.image) throw new Error(`bench: the runtime has lost the image ${image}`)
      const created = await this.#timed(pod, 'CreateContainer', {
        podSandboxId: pod.sandbox,
        config: { ...container, image: { image: found.image.id, userSpecifiedImage: image } },
        sandboxConfig: sandbox,
      })
      pod.container = created.containerId
      await this.#timed(pod, 'StartContainer', { containerId: pod.container })
      pod.firstLineMs = await firstLine(logFile)
      return pod
    } catch (error) {
      await this.down(pod).catch(() => {}) // sweep() tries again; the first error is the one that tells
      throw error
    }
  }

  /** Takes a pod down, as the kubelet and its garbage collection do. */
  async down(pod: Pod): Promise<void> {
    const { container, sandbox } = pod
    if (container) await this.#timed(pod, 'StopContainer', { containerId: container, timeout: STOP_SECONDS })
    if (sandbox) await this.#timed(pod, 'StopPodSandbox', { podSandboxId: sandbox })
    if (container) await this.#timed(pod, 'RemoveContainer', { containerId: container })
    if (sandbox) await this.#timed(pod, 'RemovePodSandbox', { podSandboxId: sandbox })
  }

  /** Removes every pod of this run that is still there, then the cgroup parent and the folders. */
  async sweep(): Promise<void> {
    const { client, run, folder } = this.#options
    try {
      const { reply } = await client.call('ListPodSandbox', {
        filter: { labelSelector: { [RUN_LABEL]: run } },
      })
      for (const { id } of reply.items) {
        await client.call('StopPodSandbox', { podSandboxId: id })
        await client.call('RemovePodSandbox', { podSandboxId: id })
      }
    } finally {
      await removeParent(this.cgroupParent)
      await rm(folder, { recursive: true, force: true })
    }
  }

  async #timed<K extends RpcName>(pod: Pod, rpc: K, request: object): Promise<Replies[K]> {
    const { reply, ms } = await this.#options.client.call(rpc, request)
    pod.times.set(rpc, ms)
    return reply
  }

  async #describe(network: Network): Promise<PodConfig> {
    const { folder, run, seccomp, userNamespace } = this.#options
    const number = this.#next++
    const podFolder = join(folder, `${run}-${number}`)
    await mkdir(dirname(join(podFolder, 'logs', LOG_PATH)), { recursive: true })
    await Promise.all(MOUNTED_FILES.map((file) => writeFile(join(podFolder, file), '')))
    return podConfig({
      run,
      number,
      podFolder,
      cgroupParent: this.cgroupParent,
      network,
      seccomp,
      userNamespace,
    })
  }
}

async function firstLine(logFile: string): Promise<number> {
  const began = performance.now()
  while (performance.now() - began < FIRST_LINE_LIMIT_MS) {
    const size = (await stat(logFile).catch(() => undefined))?.size ?? 0
    if (size > 0) return performance.now() - began
    await sleep(1)
  }
  throw new Error(
    `bench: the container wrote "ready", but ${logFile} has no line after ${FIRST_LINE_LIMIT_MS} ms`,
  )
}

/** Whether an error only says that the runtime does not have this RPC yet. */
export const isUnimplemented = (error: unknown): boolean => error instanceof RpcError && error.unimplemented
