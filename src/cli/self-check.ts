// SPDX-License-Identifier: Apache-2.0
/**
 * self-check: one pod up and down from a built-in image, through the same decoding and the same verbs that a
 * kubelet's requests take, so that a daemon which says it works has shown it. Owns all that it makes: pod,
 * container, image, log folder go away in every case, also what an earlier check that was killed has left.
 */
import { randomUUID } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { asFault, Fault } from '../base/fault.ts'
import { checkpoint, childScope, cleanupScope, type Scope, sleep } from '../base/scope.ts'
import { decodeCreateContainer } from '../edge/cri/decode/container.ts'
import { decodeRunPod } from '../edge/cri/decode/pod.ts'
import type { Engine } from '../engine/index.ts'

const IMAGE = 'gantry.local/hello:latest'
const NAMESPACE = 'gantry-self-check'
const LINE = 'hello from gantry'
const READY_MS = 15_000
const RUN_MS = 60_000
const LOG_MS = 10_000
const CLEANUP_MS = 60_000
const POLL_MS = 20
const NAMESPACE_CONTAINER = 1

export interface SelfCheckOptions {
  /** The program that the image holds. */
  readonly program: string
  /** A folder for the pod's log; made and removed. */
  readonly folder: string
  /** Longest wait for the runtime and the network; 15 s. */
  readonly readyMs?: number
}

export interface SelfCheckResult {
  /** RunPodSandbox, CreateContainer, StartContainer. */
  readonly upMs: number
  /** StopContainer, StopPodSandbox, RemovePodSandbox. */
  readonly downMs: number
}

/** Throws one Fault that says what did not work; nothing of the check is left then either. @abort stops */
export async function selfCheck(
  parent: Scope,
  engine: Engine,
  options: SelfCheckOptions,
): Promise<SelfCheckResult> {
  try {
    await untilReady(parent, engine, options.readyMs ?? READY_MS)
    await cleanUp(parent, engine, options.folder)
    using scope = childScope(parent, { ms: RUN_MS, doing: 'the pod of the self-check' })
    try {
      return await upAndDown(scope, engine, options)
    } finally {
      await cleanUp(parent, engine, options.folder)
    }
  } catch (e) {
    throw Fault.during('the self-check failed', e)
  }
}

/** Waits until Status would say RuntimeReady and NetworkReady. */
async function untilReady(scope: Scope, engine: Engine, ms: number): Promise<void> {
  const endMs = performance.now() + ms
  for (;;) {
    const { runtimeReady, network } = await engine.health(scope)
    if (runtimeReady && network.ready) return
    if (performance.now() > endMs) {
      const after = `after ${Math.round(ms / 1000)} s`
      if (!runtimeReady) throw new Fault('unavailable', `the runtime is not ready ${after}`)
      throw new Fault(
        'unavailable',
        `the pod network is not ready ${after}: ${network.message || network.reason}; install a CNI network, or start with --default-network`,
      )
    }
    await sleep(scope, 100)
  }
}

async function upAndDown(scope: Scope, engine: Engine, options: SelfCheckOptions): Promise<SelfCheckResult> {
  await engine.images.addLocal(scope, {
    name: IMAGE,
    files: [{ path: '/hello', source: options.program, mode: 0o755 }],
    config: { entrypoint: ['/hello'] },
  })
  const begin = performance.now()
  const pod = await engine.pods.run(scope, podCommand(options.folder))
  const container = await engine.containers.create(scope, containerCommand(pod))
  await engine.containers.start(scope, container)
  const upMs = performance.now() - begin
  await untilLogged(scope, `${options.folder}/hello.log`)
  const end = performance.now()
  await engine.containers.stop(scope, { id: container, graceMs: 5000 })
  await engine.pods.stop(scope, pod)
  await engine.pods.remove(scope, pod)
  return { upMs, downMs: performance.now() - end }
}

function podCommand(logDirectory: string) {
  const namespaceOptions = { pid: NAMESPACE_CONTAINER }
  return decodeRunPod({
    config: {
      metadata: { name: 'self-check', namespace: NAMESPACE, uid: randomUUID() },
      hostname: 'self-check',
      logDirectory,
      linux: { securityContext: { namespaceOptions, seccomp: {} } },
    },
  })
}

function containerCommand(podSandboxId: string) {
  const namespaceOptions = { pid: NAMESPACE_CONTAINER }
  return decodeCreateContainer({
    podSandboxId,
    config: {
      metadata: { name: 'hello' },
      image: { image: IMAGE },
      logPath: 'hello.log',
      linux: {
        securityContext: { namespaceOptions, seccomp: {}, noNewPrivs: true, readonlyRootfs: true },
      },
    },
  })
}

/** The line comes through the container's stdout, its monitor and the log file. */
async function untilLogged(scope: Scope, path: string): Promise<void> {
  const endMs = performance.now() + LOG_MS
  for (;;) {
    const text = await readFile(path, 'utf8').catch(() => '')
    if (text.split('\n').some((line) => line.endsWith(` stdout F ${LINE}`))) return
    if (performance.now() > endMs)
      throw new Fault('timeout', `the container started, but its line did not come to ${path}`)
    checkpoint(scope)
    await pause(POLL_MS)
  }
}

/**
 * A RunPodSandbox that was given up goes on in the background until it has released what it made, holding the
 * lock of the pod's name; the daemon must not end before.
 */
async function untilReleased(scope: Scope, engine: Engine): Promise<void> {
  while (engine.work().locks.some(({ key }) => key.includes(`/${NAMESPACE}/`))) await sleep(scope, POLL_MS)
}

/** Takes away every pod of a self-check, the image and the folder, in a scope of its own. */
async function cleanUp(parent: Scope, engine: Engine, folder: string): Promise<void> {
  using scope = cleanupScope(parent.log, CLEANUP_MS)
  const failures: string[] = []
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    await work().catch((e: unknown) => failures.push(asFault(e).message))
  }
  await attempt(() => untilReleased(scope, engine))
  for (const pod of engine.pods.list())
    if (pod.record.config.metadata.namespace === NAMESPACE)
      await attempt(() => engine.pods.remove(scope, pod.record.id))
  await attempt(() => engine.images.remove(scope, IMAGE))
  await attempt(() => rm(folder, { recursive: true, force: true }))
  if (failures.length > 0) throw new Fault('internal', `cleaning up: ${failures.join('; ')}`)
}
