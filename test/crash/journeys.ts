// SPDX-License-Identifier: Apache-2.0
/**
 * journeys: for each kind of work of the engine, the way to the request that does it, the request itself, what must
 * hold after it has succeeded, and the way back to nothing. The acts of each are listed here; the crash suite
 * compares the list with what a traced run really does.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { names } from '../images/catalog.ts'
import type { PodConfig } from '../support/cri-requests.ts'
import { containerState, namespaceMode, waitForExit } from '../support/cri-requests.ts'
import type { Scenario } from '../support/scenario.ts'
import { waitForLog } from '../support/scenario-log.ts'
import { busybox } from '../support/scenario-run.ts'

/** Ids that one step leaves for the next. */
export interface Trip {
  readonly s: Scenario
  readonly name: string
  pod: string
  container: string
}

export interface Journey {
  /** The first part of its fault points. */
  readonly work: string
  readonly acts: readonly string[]
  /** Those of them that the answer does not wait for. */
  readonly afterAnswer?: readonly string[]
  /** Does not pass any of the acts. */
  prepare(t: Trip): Promise<void>
  /** The one request; sent again, it succeeds. */
  request(t: Trip): Promise<void>
  /** What is true once the request has succeeded. */
  check(t: Trip): Promise<void>
}

const MiB = 1024n * 1024n

function configOf(t: Trip, full: boolean): PodConfig {
  const config = t.s.podConfig(t.name, full ? { bridged: true, pid: namespaceMode.pod } : {})
  // The same request after the crash: the uid, too, is that of the name.
  return { ...config, metadata: { ...config.metadata, uid: `uid-${t.name}` } }
}

/** A pod that needs every act: its own network, shared memory, a pause process. */
const isFull = (t: Trip) => !t.name.startsWith('plain')

async function runPod(t: Trip): Promise<void> {
  const request = { config: configOf(t, isFull(t)), runtimeHandler: '' }
  t.pod = (await t.s.client.call('RunPodSandbox', request)).podSandboxId
}

/** Notices TERM and stays: a stop of it needs the signal and the kill. */
const stubborn =
  "trap 'echo no' TERM; mkfifo /pause; exec 3<>/pause; echo up; while :; do read -t 1 x <&3; done"

async function createContainer(t: Trip): Promise<void> {
  const pid = isFull(t) ? namespaceMode.pod : namespaceMode.container
  const config = busybox({
    container: 'main',
    command: ['sh', '-c', stubborn],
    linux: { securityContext: { namespaceOptions: { pid } }, resources: { memoryLimitInBytes: 64n * MiB } },
  })
  const request = { podSandboxId: t.pod, config, sandboxConfig: configOf(t, isFull(t)) }
  t.container = (await t.s.client.call('CreateContainer', request)).containerId
}

async function startContainer(t: Trip): Promise<void> {
  await t.s.client.call('StartContainer', { containerId: t.container })
}

async function upAndRunning(t: Trip): Promise<void> {
  await runPod(t)
  await createContainer(t)
  await startContainer(t)
  await waitForLog(join(t.s.workspace.logs, t.name, 'main.log'), 'up\n')
}

const stateOf = async (t: Trip): Promise<number | undefined> => {
  const { containers } = await t.s.client.call('ListContainers', { filter: { id: t.container } })
  return containers?.[0]?.state ?? undefined
}
const podStateOf = async (t: Trip): Promise<number | undefined> => {
  const { items } = await t.s.client.call('ListPodSandbox', { filter: { id: t.pod } })
  return items?.[0]?.state ?? undefined
}
const imageOf = async (t: Trip, image: string) =>
  (await t.s.client.call('ImageStatus', { image: { image } })).image
const layersOf = async (t: Trip): Promise<string[]> => readdir(join(t.s.workspace.state, 'layers'))

export const journeys: readonly Journey[] = [
  {
    work: 'run-pod',
    acts: ['record', 'folders', 'namespaces', 'shm', 'cgroup', 'network', 'files', 'pause', 'ready'],
    prepare: async () => {},
    request: runPod,
    check: async (t) => {
      expect(await podStateOf(t)).toBe(0)
      const config = busybox({
        container: 'after',
        command: ['sh', '-c', 'ip addr show eth0 | grep -c inet'],
      })
      const request = { podSandboxId: t.pod, config, sandboxConfig: configOf(t, true) }
      const { containerId } = await t.s.client.call('CreateContainer', request)
      await t.s.client.call('StartContainer', { containerId })
      expect(await waitForExit(t.s.client, containerId)).toMatchObject({ exitCode: 0 })
    },
  },
  {
    work: 'create-container',
    acts: ['record', 'folders', 'rootfs', 'bundle', 'monitor', 'created'],
    prepare: runPod,
    request: createContainer,
    check: async (t) => {
      expect(await stateOf(t)).toBe(containerState.created)
      await startContainer(t)
      await waitForLog(join(t.s.workspace.logs, t.name, 'main.log'), 'up\n')
    },
  },
  {
    work: 'start-container',
    acts: ['runtime', 'running'],
    afterAnswer: ['running'],
    prepare: async (t) => {
      await runPod(t)
      await createContainer(t)
    },
    request: startContainer,
    check: async (t) => {
      expect(await stateOf(t)).toBe(containerState.running)
      await waitForLog(join(t.s.workspace.logs, t.name, 'main.log'), 'up\n')
    },
  },
  {
    work: 'update-container',
    acts: ['runtime', 'record'],
    prepare: upAndRunning,
    request: async (t) => {
      const linux = { memoryLimitInBytes: 80n * MiB }
      await t.s.client.call('UpdateContainerResources', { containerId: t.container, linux })
    },
    check: async (t) => {
      const { status } = await t.s.client.call('ContainerStatus', { containerId: t.container })
      expect(status?.resources?.linux?.memoryLimitInBytes).toBe(80n * MiB)
    },
  },
  {
    work: 'stop-container',
    acts: ['signal', 'kill'],
    prepare: upAndRunning,
    request: async (t) => {
      await t.s.client.call('StopContainer', { containerId: t.container, timeout: 1n })
    },
    check: async (t) => {
      const { status } = await t.s.client.call('ContainerStatus', { containerId: t.container })
      expect(status).toMatchObject({ state: containerState.exited, exitCode: 137 })
    },
  },
  {
    work: 'remove-container',
    acts: ['runtime-container', 'rootfs', 'run-folder', 'record'],
    prepare: upAndRunning,
    request: async (t) => {
      await t.s.client.call('RemoveContainer', { containerId: t.container })
    },
    check: async (t) => {
      expect(await stateOf(t)).toBeUndefined()
    },
  },
  {
    work: 'stop-pod',
    acts: ['pause-process', 'pod-network', 'namespaces', 'shared-memory', 'stopped'],
    prepare: upAndRunning,
    request: async (t) => {
      await t.s.client.call('StopPodSandbox', { podSandboxId: t.pod })
    },
    check: async (t) => {
      expect(await podStateOf(t)).toBe(1)
      expect(await stateOf(t)).toBe(containerState.exited)
    },
  },
  {
    work: 'remove-pod',
    acts: ['pause-process', 'pod-network', 'namespaces', 'shared-memory', 'cgroup', 'run-folder', 'record'],
    prepare: upAndRunning,
    request: async (t) => {
      await t.s.client.call('RemovePodSandbox', { podSandboxId: t.pod })
    },
    check: async (t) => {
      expect([await podStateOf(t), await stateOf(t)]).toEqual([undefined, undefined])
    },
  },
  {
    work: 'pull',
    acts: ['plan', 'worker', 'record'],
    prepare: async () => {},
    request: async (t) => {
      await t.s.client.call('PullImage', { image: { image: names.layers } })
    },
    check: async (t) => {
      expect((await imageOf(t, names.layers))?.repoTags).toEqual([names.layers])
      expect((await layersOf(t)).filter((name) => name.startsWith('.'))).toEqual([])
      await t.s.client.call('RemoveImage', { image: { image: names.layers } })
    },
  },
  {
    work: 'remove-image',
    acts: ['record'],
    prepare: async (t) => {
      await t.s.client.call('PullImage', { image: { image: names.layers } })
    },
    request: async (t) => {
      await t.s.client.call('RemoveImage', { image: { image: names.layers } })
    },
    check: async (t) => {
      expect(await imageOf(t, names.layers)).toBeNull()
    },
  },
]
