// SPDX-License-Identifier: Apache-2.0
/**
 * cri-requests: the requests that most tests begin with: a pod, a container, and the way from nothing to one
 * that runs. Each gives the least that is valid; a test spreads its own fields over it.
 */
import { randomUUID } from 'node:crypto'
import type { v1 } from '../../src/edge/cri/gen/api.js'
import { waitUntil } from './child.ts'
import type { CriClient } from './cri-client.ts'

export type PodConfig = v1.PodSandboxConfig.$Properties
export type ContainerConfig = v1.ContainerConfig.$Properties

/** As NamespaceMode of the proto; the values are those on the wire. */
export const namespaceMode = { pod: 0, container: 1, node: 2, target: 3 } as const
/** As PodSandboxState and ContainerState of the proto. */
export const podState = { ready: 0, notReady: 1 } as const
export const containerState = { created: 0, running: 1, exited: 2, unknown: 3 } as const

/** A pod as the kubelet makes them: its own network, container PID namespaces, a uid of its own. */
export function podConfig(name: string, more: PodConfig = {}): PodConfig {
  return {
    metadata: { name, uid: randomUUID(), namespace: 'default', attempt: 0 },
    hostname: name,
    ...more,
    linux: {
      securityContext: { namespaceOptions: { pid: namespaceMode.container } },
      ...more.linux,
    },
  }
}

/** The same on the host's network, which needs no CNI. */
export function hostNetworkPod(name: string, more: PodConfig = {}): PodConfig {
  const namespaceOptions = { network: namespaceMode.node, pid: namespaceMode.container }
  return podConfig(name, {
    ...more,
    linux: { ...more.linux, securityContext: { ...more.linux?.securityContext, namespaceOptions } },
  })
}

/** A container of `image`; without `command` the image's own. PID namespace of its own, as in `podConfig`. */
export function containerConfig(
  name: string,
  image: string,
  more: ContainerConfig & { readonly command?: string[] } = {},
): ContainerConfig {
  return {
    metadata: { name, attempt: 0 },
    image: { image, userSpecifiedImage: image },
    logPath: `${name}.log`,
    ...more,
    linux: {
      ...more.linux,
      securityContext: {
        namespaceOptions: { pid: namespaceMode.container },
        ...more.linux?.securityContext,
      },
    },
  }
}

/** Pulls if absent. Resolves with the image ID. */
export async function ensureImage(client: CriClient, image: string): Promise<string> {
  const there = await client.call('ImageStatus', { image: { image } })
  const id = there.image?.id
  if (typeof id === 'string' && id !== '') return id
  return (await client.call('PullImage', { image: { image } }, { deadlineMs: 120_000 })).imageRef
}

export interface RunningPod {
  readonly podId: string
  readonly config: PodConfig
  /** Creates and starts a container in it. Resolves with its ID. */
  start(container: ContainerConfig): Promise<string>
  /** StopPodSandbox and RemovePodSandbox. */
  remove(): Promise<void>
}

/** RunPodSandbox with what to do next. */
export async function runPod(client: CriClient, config: PodConfig, runtimeHandler = ''): Promise<RunningPod> {
  const { podSandboxId: podId } = await client.call('RunPodSandbox', { config, runtimeHandler })
  return {
    podId,
    config,
    start: async (container) => {
      const request = { podSandboxId: podId, config: container, sandboxConfig: config }
      const { containerId } = await client.call('CreateContainer', request)
      await client.call('StartContainer', { containerId })
      return containerId
    },
    remove: async () => {
      await client.call('StopPodSandbox', { podSandboxId: podId })
      await client.call('RemovePodSandbox', { podSandboxId: podId })
    },
  }
}

/** Waits until the container has exited. Resolves with its status. */
export async function waitForExit(
  client: CriClient,
  containerId: string,
  withinMs = 15_000,
): Promise<v1.ContainerStatus.$Properties> {
  let seen: v1.ContainerStatus.$Properties = {}
  await waitUntil(
    `container ${containerId} exits`,
    async () => {
      seen = (await client.call('ContainerStatus', { containerId })).status ?? {}
      return seen.state === containerState.exited
    },
    { withinMs, everyMs: 25 },
  )
  return seen
}

/** ExecSync with output as text. An exit code other than 0 is a result, not an error. */
export async function execSync(
  client: CriClient,
  containerId: string,
  cmd: string[],
  timeoutS = 10,
): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const request = { containerId, cmd, timeout: BigInt(timeoutS) }
  const reply = await client.call('ExecSync', request, { deadlineMs: timeoutS * 1000 + 20_000 })
  const text = (b: Uint8Array): string => Buffer.from(b).toString('utf8')
  return { stdout: text(reply.stdout), stderr: text(reply.stderr), exitCode: reply.exitCode }
}
