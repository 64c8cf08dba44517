// SPDX-License-Identifier: Apache-2.0
/**
 * scenario: what nearly every suite over the real daemon begins with: test images in a registry, a workspace, a
 * snapshot for the leak check, the daemon, the images pulled. `end` takes it down in the order in which the leak
 * check means something: pods, daemon, check, workspace. The check itself is the suite's to call.
 */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { v1 } from '../../src/edge/cri/gen/api.js'
import { ensureTestImages } from '../images/build.ts'
import { names } from '../images/catalog.ts'
import { waitUntil } from './child.ts'
import type { CriClient } from './cri-client.ts'
import type { PodConfig, RunningPod } from './cri-requests.ts'
import { ensureImage, namespaceMode, podConfig, runPod } from './cri-requests.ts'
import type { Daemon, DaemonOptions } from './daemon.ts'
import { startDaemon } from './daemon.ts'
import { cgroupMounts } from './host-view.ts'
import type { Snapshot } from './leak-check.ts'
import { snapshot } from './leak-check.ts'
import type { Registry } from './registry.ts'
import { hostsOf, startRegistry, writeHostsToml } from './registry.ts'
import type { Workspace, WorkspaceOptions } from './workspace.ts'
import { makeWorkspace } from './workspace.ts'

export interface ScenarioOptions extends WorkspaceOptions {
  /** Pushed to the registry and pulled at once; busybox when absent. */
  readonly images?: readonly string[]
  /** Pushed only, for tests that pull. */
  readonly pushed?: readonly string[]
  readonly daemon?: DaemonOptions
}

/** What kind of pod; the rest of the configuration goes over it. */
export interface PodKind {
  /** A network of its own; else the node's. */
  readonly bridged?: boolean
  /** Namespace modes of the pod; PID is CONTAINER when absent, IPC is POD. */
  readonly pid?: number
  readonly ipc?: number
  readonly privileged?: boolean
  /** The pod's own user namespace. */
  readonly userns?: v1.UserNamespace.$Properties
  readonly handler?: string
}

export interface Scenario {
  readonly workspace: Workspace
  readonly registry: Registry
  readonly daemon: Daemon
  readonly client: CriClient
  /** From before the daemon was started. */
  readonly before: Snapshot
  /** The configuration of a pod whose logs are kept in a folder of its name. Its `linux` takes no namespaces. */
  podConfig(name: string, more?: PodConfig & PodKind): PodConfig
  /** Runs such a pod. */
  pod(name: string, more?: PodConfig & PodKind): Promise<RunningPod>
  /** Where the log of a container of that pod is. */
  logOf(pod: RunningPod, container: string): string
  /** Removes all pods that are there, through the daemon. */
  removePods(): Promise<void>
  /** The end of a suite: pods, daemon, `check`, workspace, registry. What fails does not stop the rest. */
  end(check: (before: Snapshot) => Promise<void>): Promise<void>
}

/** The parent of all pods is there for good on a node: made before the snapshot, so that it is not a leak. */
async function makeCgroupParent(w: Workspace): Promise<void> {
  for (const mountPoint of await cgroupMounts())
    await mkdir(join(mountPoint, w.cgroupParent), { recursive: true })
}

async function serveImages(wanted: readonly string[], w: Workspace): Promise<Registry> {
  const layout = await ensureTestImages()
  const registry = await startRegistry()
  try {
    await registry.pushLayout(layout, wanted)
    await writeHostsToml(w.certs, hostsOf(wanted), registry.url)
    return registry
  } catch (e) {
    await registry.stop()
    throw e
  }
}

/** RemovePodSandbox on every pod; a container in it is no obstacle. */
async function removeAllPods(client: CriClient): Promise<void> {
  const { items } = await client.call('ListPodSandbox', {})
  for (const { id } of items ?? []) await client.call('RemovePodSandbox', { podSandboxId: id ?? '' })
}

/** Runs every step; throws the first failure when all have run. */
async function eachInTurn(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = []
  for (const step of steps) await step().catch((e: unknown) => failures.push(e))
  if (failures.length > 0) throw failures[0]
}

/** Starts all of it. On failure nothing of it is left. */
export async function startScenario(options: ScenarioOptions = {}): Promise<Scenario> {
  const { images = [names.busybox], pushed = [], daemon: daemonOptions, ...workspaceOptions } = options
  const workspace = await makeWorkspace(workspaceOptions)
  let registry: Registry | undefined
  let daemon: Daemon | undefined
  try {
    await makeCgroupParent(workspace)
    registry = await serveImages([...images, ...pushed], workspace)
    const before = await snapshot(workspace.leakScope())
    daemon = await startDaemon(workspace, daemonOptions)
    for (const image of images) await ensureImage(daemon.client, image)
    return scenarioOf({ workspace, registry, daemon, before })
  } catch (e) {
    await eachInTurn([
      async () => daemon?.stop(),
      () => workspace.remove(),
      async () => registry?.stop(),
    ]).catch(() => undefined)
    throw e
  }
}

function configOfPod(w: Workspace, name: string, more: PodConfig & PodKind): PodConfig {
  const { bridged, pid = namespaceMode.container, ipc = namespaceMode.pod, ...rest } = more
  const { privileged, userns, ...fields } = rest
  const network = bridged === true ? namespaceMode.pod : namespaceMode.node
  const securityContext = {
    ...fields.linux?.securityContext,
    namespaceOptions: { network, pid, ipc, ...(userns ? { usernsOptions: userns } : {}) },
    privileged: privileged === true,
  }
  const { handler: _, ...config } = fields
  return podConfig(name, {
    logDirectory: join(w.logs, name),
    ...config,
    linux: { ...config.linux, securityContext },
  })
}

/** The daemon deletes what was removed after its answer: it gets the time for it before it is stopped. */
async function untilTrashIsEmpty(w: Workspace): Promise<void> {
  const trash = join(w.state, 'trash')
  await waitUntil('the trash is empty', async () => (await readdir(trash)).length === 0, { withinMs: 10_000 })
}

function scenarioOf(made: Pick<Scenario, 'workspace' | 'registry' | 'daemon' | 'before'>): Scenario {
  const { workspace, registry, daemon, before } = made
  const { client } = daemon
  return {
    ...made,
    client,
    podConfig: (name, more = {}) => configOfPod(workspace, name, more),
    pod: (name, more = {}) => runPod(client, configOfPod(workspace, name, more), more.handler),
    logOf: (pod, container) => join(pod.config.logDirectory ?? '', `${container}.log`),
    removePods: () => removeAllPods(client),
    end: (check) =>
      eachInTurn([
        () => removeAllPods(client),
        () => untilTrashIsEmpty(workspace),
        () => daemon.stop(),
        () => check(before),
        () => workspace.remove(),
        () => registry.stop(),
      ]),
  }
}
