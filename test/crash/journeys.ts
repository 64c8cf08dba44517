// SPDX-License-Identifier: Apache-2.0
/**
 * journeys: for each kind of work of the engine, the way to the request that does it, the request itself, what must
 * hold after it has succeeded, and the way back to nothing. The acts of each are listed here; the crash suite
 * compares the list with what a traced run really does.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { expect } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import { connectNode, type NodeClient } from '../../src/cli/node-client.ts'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
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
/** Of the node, for one pod at a time. */
const PORT = 17_802

const ids = [{ hostId: 300_000, containerId: 0, length: 65_536 }]
const mapped = { uidMappings: ids, gidMappings: ids }
const podReleases = [
  'pause-process',
  'host-ports',
  'pod-network',
  'mapped-layers',
  'namespaces',
  'shared-memory',
]
const userns = { mode: namespaceMode.pod, uids: ids, gids: ids }

function configOf(t: Trip, full: boolean): PodConfig {
  const more = {
    bridged: true,
    pid: namespaceMode.pod,
    portMappings: [{ hostPort: PORT, containerPort: 7000 }],
  }
  const config = t.s.podConfig(t.name, { userns, ...(full ? more : {}) })
  // The same request after the crash: the uid, too, is that of the name.
  return { ...config, metadata: { ...config.metadata, uid: `uid-${t.name}` } }
}

/** A pod that needs every act: its own network and shared memory, a pause process. */
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
    mounts: [
      { containerPath: '/volume', image: { image: names.busybox }, imageSubPath: 'bin', readonly: true },
      { containerPath: '/logs', hostPath: t.s.workspace.logs, ...mapped },
    ],
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
/** What is sent to whoever connects to a port of the node. */
const heard = (port: number): Promise<string> => text(createConnection(port, '127.0.0.1'))
const imageOf = async (t: Trip, image: string) =>
  (await t.s.client.call('ImageStatus', { image: { image } })).image
const layersOf = async (t: Trip): Promise<string[]> => readdir(join(t.s.workspace.state, 'layers'))
const pullLayers = async (t: Trip) => {
  await t.s.client.call('PullImage', { image: { image: names.layers } })
}
const removeLayers = async (t: Trip) => {
  await t.s.client.call('RemoveImage', { image: { image: names.layers } })
}
/** The image is there, and nothing half-made; then it goes. */
async function expectLayersOnce(t: Trip): Promise<void> {
  expect((await imageOf(t, names.layers))?.repoTags).toContain(names.layers)
  expect((await layersOf(t)).filter((name) => name.startsWith('.'))).toEqual([])
  await removeLayers(t)
}

const OTHER = 'gantry.test/other:1'
const archiveOf = (t: Trip) => join(t.s.workspace.root, 'layers.tar')
const noEnd = new AbortController().signal

/** One request to the daemon's own service. */
async function atNode(t: Trip, ask: (client: NodeClient) => Promise<unknown>): Promise<void> {
  using client = await connectNode(t.s.workspace.socket)
  await ask(client)
}

async function lastOf(events: AsyncIterable<object>): Promise<void> {
  let last: object = {}
  for await (const event of events) last = event
  expect(last).toHaveProperty('done')
}

const save = (t: Trip) =>
  atNode(t, async (client) => {
    async function* chunks() {
      for await (const { chunk } of client.stream(
        'Save',
        { images: [names.layers], format: 'docker' },
        noEnd,
      ))
        if (chunk) yield chunk
    }
    await pipeline(Readable.from(chunks()), createWriteStream(archiveOf(t)))
  })

const push = (t: Trip) =>
  atNode(t, (client) => lastOf(client.stream('Push', { image: names.layers, target: pushedTo(t) }, noEnd)))
const pushedTo = (t: Trip) => `${t.s.registry.host}/pushed/${t.name}:1`

/** Sent again after a crash it may be done already. */
const untag = (t: Trip) =>
  atNode(t, async (client) => {
    const asked = client.call('Remove', { image: OTHER })
    await asked.catch((e: unknown) => {
      if (!isFault(e, 'not-found')) throw e
    })
  })

export const journeys: readonly Journey[] = [
  {
    work: 'run-pod',
    acts: [
      'record',
      'folders',
      'namespaces',
      'layers',
      'shm',
      'cgroup',
      'network',
      'host-ports',
      'files',
      'pause',
      'ready',
    ],
    prepare: async () => {},
    request: runPod,
    check: async (t) => {
      expect(await podStateOf(t)).toBe(0)
      const config = busybox({
        container: 'after',
        command: ['sh', '-c', 'ip addr show eth0 | grep inet && echo mapped | nc -l -p 7000'],
      })
      const request = { podSandboxId: t.pod, config, sandboxConfig: configOf(t, true) }
      const { containerId } = await t.s.client.call('CreateContainer', request)
      await t.s.client.call('StartContainer', { containerId })
      const answer = () => heard(PORT).catch(() => '')
      await waitUntil('the port leads there', async () => (await answer()) === 'mapped\n', {
        withinMs: 10_000,
      })
      expect(await waitForExit(t.s.client, containerId)).toMatchObject({ exitCode: 0 })
    },
  },
  {
    work: 'create-container',
    acts: ['record', 'folders', 'rootfs', 'image-volumes', 'mapped-mounts', 'bundle', 'monitor', 'created'],
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
    acts: ['runtime', 'oom-score', 'record'],
    prepare: upAndRunning,
    request: async (t) => {
      const linux = { memoryLimitInBytes: 80n * MiB, oomScoreAdj: 900n }
      await t.s.client.call('UpdateContainerResources', { containerId: t.container, linux })
    },
    check: async (t) => {
      const { status } = await t.s.client.call('ContainerStatus', { containerId: t.container })
      expect(status?.resources?.linux?.memoryLimitInBytes).toBe(80n * MiB)
    },
  },
  {
    work: 'update-pod',
    acts: ['limits', 'record'],
    prepare: runPod,
    request: async (t) => {
      const resources = { memoryLimitInBytes: 400n * MiB }
      await t.s.client.call('UpdatePodSandboxResources', { podSandboxId: t.pod, resources })
    },
    check: async (t) => {
      const { info } = await t.s.client.call('PodSandboxStatus', { podSandboxId: t.pod, verbose: true })
      expect(info.info).toContain(String(400n * MiB))
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
    acts: ['runtime-container', 'rootfs', 'mapped-mounts', 'image-volumes', 'run-folder', 'record'],
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
    acts: [...podReleases, 'stopped'],
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
    acts: [...podReleases, 'cgroup', 'run-folder', 'record'],
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
    request: pullLayers,
    check: expectLayersOnce,
  },
  {
    work: 'remove-image',
    acts: ['record'],
    prepare: pullLayers,
    request: removeLayers,
    check: async (t) => {
      expect(await imageOf(t, names.layers)).toBeNull()
    },
  },
  {
    work: 'tag-image',
    acts: ['record'],
    prepare: pullLayers,
    request: (t) => atNode(t, (client) => client.call('Tag', { image: names.layers, name: OTHER })),
    check: async (t) => {
      expect((await imageOf(t, OTHER))?.repoTags?.sort()).toEqual([names.layers, OTHER].sort())
      await removeLayers(t)
    },
  },
  {
    work: 'untag-image',
    acts: ['record'],
    prepare: async (t) => {
      await pullLayers(t)
      await atNode(t, (client) => client.call('Tag', { image: names.layers, name: OTHER }))
    },
    request: untag,
    check: async (t) => {
      expect(await imageOf(t, OTHER)).toBeNull()
      await expectLayersOnce(t)
    },
  },
  {
    work: 'prune-images',
    acts: ['record'],
    prepare: pullLayers,
    request: (t) => atNode(t, (client) => client.call('Prune', { all: true })),
    check: async (t) => {
      expect(await imageOf(t, names.layers)).toBeNull()
      // What a container is made from stays.
      expect(await imageOf(t, names.busybox)).toBeTruthy()
    },
  },
  {
    work: 'save',
    acts: ['worker'],
    prepare: pullLayers,
    request: save,
    check: async (t) => {
      expect((await stat(archiveOf(t))).size).toBeGreaterThan(10_000)
      await expectLayersOnce(t)
    },
  },
  {
    work: 'load',
    acts: ['plan', 'worker', 'record'],
    prepare: async (t) => {
      await pullLayers(t)
      await save(t)
      await removeLayers(t)
      // What it had may be kept for a moment: the load is to bring it anew.
      await waitUntil('the layers have gone', async () => (await layersOf(t)).length <= 1, {
        withinMs: 10_000,
      })
    },
    request: (t) => atNode(t, (client) => lastOf(client.load(createReadStream(archiveOf(t)), noEnd))),
    check: expectLayersOnce,
  },
  {
    work: 'push',
    acts: ['worker'],
    prepare: pullLayers,
    request: push,
    check: async (t) => {
      await removeLayers(t)
      await t.s.client.call('PullImage', { image: { image: pushedTo(t) } })
      await t.s.client.call('RemoveImage', { image: { image: pushedTo(t) } })
    },
  },
]
