// SPDX-License-Identifier: Apache-2.0
/** verbs: the verbs of the engine as the fault suites exercise them, each with what has to be there before. */
import { expect } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import { noResources } from '../../src/model/resources.ts'
import { createContainer, runPod, security } from '../support/fake-host-requests.ts'
import { MISSING_AT_START, runtimeKey } from '../support/fake-host-runtime.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import type { Verb } from './bench.ts'

export interface Made {
  pod: string
  container: string
}

export const podIds = (d: Daemon) => [...d.ctx.catalog.pods.byId.keys()]

/** A pod with everything: namespaces, shared memory, network, pause process, log folder. */
export const podRequest = (w: TestWorld) => runPod({ logDirectory: `${w.dir}/logs` })

/** A container that makes the engine look at everything that it can look at. */
export const containerRequest = (w: TestWorld, pod: string) =>
  createContainer(pod, {
    mounts: [
      {
        containerPath: '/data',
        hostPath: `${w.dir}/data`,
        readonly: false,
        recursiveReadOnly: false,
        selinuxRelabel: false,
        propagation: 'private',
      },
    ],
    devices: [{ containerPath: '/dev/null', hostPath: '/dev/null', permissions: 'rwm' }],
    security: { ...security, seccomp: { type: 'localhost', ref: `${w.dir}/profile.json` } },
  })

async function madePod(d: Daemon, w: TestWorld): Promise<Made> {
  return { pod: await d.engine.pods.run(d.scope(), podRequest(w)), container: '' }
}

async function madeContainer(d: Daemon, w: TestWorld): Promise<Made> {
  const made = await madePod(d, w)
  made.container = await d.engine.containers.create(d.scope(), containerRequest(w, made.pod))
  return made
}

export async function madeRunning(d: Daemon, w: TestWorld): Promise<Made> {
  const made = await madeContainer(d, w)
  await d.engine.containers.start(d.scope(), made.container)
  return made
}

const phaseOf = (d: Daemon, made: Made) =>
  [...d.ctx.catalog.containers.byId.values()].find((c) => c.record.id === made.container)?.state.phase

export const runPodVerb: Verb<Made> = {
  name: 'RunPodSandbox',
  commit: 'store.putPod ready#1',
  prepare: async () => ({ pod: '', container: '' }),
  async call(d, scope, made, w) {
    made.pod = await d.engine.pods.run(scope, podRequest(w))
  },
  succeeded(d, made, w) {
    expect(d.engine.pods.list().map((p) => p.record.id)).toEqual([made.pod])
    const pod = d.engine.pods.get(made.pod)
    expect(pod.state.phase).toBe('ready')
    expect(w.lines().filter((l) => /^(pin|shm|attachment|process|runtime) /.test(l))).toHaveLength(7)
  },
  pods: (d) => podIds(d),
}

export const createVerb: Verb<Made> = {
  name: 'CreateContainer',
  commit: 'store.putContainer created#1',
  prepare: madePod,
  async call(d, scope, made, w) {
    made.container = await d.engine.containers.create(scope, containerRequest(w, made.pod))
  },
  succeeded(d, made, w) {
    expect(d.engine.containers.list().map((c) => [c.record.id, c.state.phase])).toEqual([
      [made.container, 'created'],
    ])
    expect(w.books.monitors.size).toBe(1)
  },
  pods: (d) => podIds(d),
}

export const startVerb: Verb<Made> = {
  name: 'StartContainer',
  prepare: madeContainer,
  call: (d, scope, made) => d.engine.containers.start(scope, made.container),
  succeeded(d, made, w) {
    expect(phaseOf(d, made)).toBe('running')
    expect(w.books.runtimes.get(runtimeKey('runc', made.container))?.status).toBe('running')
    expect(w.books.count('runtime.start')).toBe(1)
  },
  pods: (d) => podIds(d),
}

const ended = (d: Daemon, made: Made, w: TestWorld) => {
  const c = d.ctx.catalog.containers.find(made.container)
  expect(c?.state).toMatchObject({ phase: 'exited' })
  expect(w.books.monitors.size).toBe(0)
}

export const stopVerb: Verb<Made> = {
  name: 'StopContainer',
  prepare: madeRunning,
  call: (d, scope, made) => d.engine.containers.stop(scope, { id: made.container, graceMs: 5_000 }),
  succeeded: ended,
  pods: (d) => podIds(d),
}

/** The container's program does not care for the stop signal. */
export const killVerb: Verb<Made> = {
  ...stopVerb,
  name: 'StopContainer of a stubborn one',
  async prepare(d, w) {
    w.behaviour.ignores = new Set([15])
    return madeRunning(d, w)
  },
  call: (d, scope, made) => d.engine.containers.stop(scope, { id: made.container, graceMs: 3 }),
}

export const stopPodVerb: Verb<Made> = {
  name: 'StopPodSandbox',
  prepare: madeRunning,
  call: (d, scope, made) => d.engine.pods.stop(scope, made.pod),
  succeeded(d, made, w) {
    ended(d, made, w)
    expect(d.engine.pods.get(made.pod).state.phase).toBe('stopped')
    expect(w.lines().filter((l) => /^(pin|shm|attachment|process) /.test(l))).toEqual([])
  },
  pods: (d) => podIds(d),
}

export const removeVerb: Verb<Made> = {
  name: 'RemoveContainer',
  prepare: madeRunning,
  call: (d, scope, made) => d.engine.containers.remove(scope, made.container),
  succeeded(d, made, w) {
    expect(phaseOf(d, made)).toBeUndefined()
    const left = w.lines().filter((l) => l.includes(made.container) || /monitor|process container/.test(l))
    expect(left).toEqual([])
  },
  pods: (d) => podIds(d),
}

export const removePodVerb: Verb<Made> = {
  name: 'RemovePodSandbox',
  prepare: madeRunning,
  call: (d, scope, made) => d.engine.pods.remove(scope, made.pod),
  succeeded(d, _made, w) {
    expect(podIds(d)).toEqual([])
    expect(w.lines()).toEqual([])
  },
  pods: (d) => podIds(d),
}

export const execVerb: Verb<Made> = {
  name: 'ExecSync',
  prepare: madeRunning,
  call: (d, scope, made) =>
    d.engine.containers.execSync(scope, { id: made.container, args: ['/bin/true'], timeoutMs: 0 }),
  succeeded(d, made, w) {
    expect(phaseOf(d, made)).toBe('running')
    expect(w.lines().filter((l) => l === 'process exec')).toEqual([])
    expect(w.books.count('monitors.exec')).toBeGreaterThan(0)
  },
  pods: (d) => podIds(d),
}

export const updateVerb: Verb<Made> = {
  name: 'UpdateContainerResources',
  prepare: madeRunning,
  call: (d, scope, made) =>
    d.engine.containers.update(scope, { id: made.container, change: { ...noResources, cpuShares: 7n } }),
  succeeded(d, made, w) {
    expect(d.engine.containers.get(made.container).resources.cpuShares).toBe(7n)
    const resources = w.books.runtimes.get(runtimeKey('runc', made.container))?.resources
    expect(resources).toMatchObject({ cpu: { shares: 7 } })
  },
  pods: (d) => podIds(d),
}

/** A program of which the runtime says at start only that it cannot be executed. */
export const startMissingVerb: Verb<Made> = {
  name: 'StartContainer of a missing program',
  async prepare(d, w) {
    const made = await madePod(d, w)
    const command = createContainer(made.pod, { command: [MISSING_AT_START] })
    made.container = await d.engine.containers.create(d.scope(), command)
    return made
  },
  async call(d, scope, made) {
    const error = await d.engine.containers.start(scope, made.container).catch((e: unknown) => e)
    const told = isFault(error) && (error.reason === 'bad-command' || error.kind === 'wrong-state')
    if (!told) throw error
  },
  succeeded(d, made) {
    expect(d.engine.containers.get(made.container).state).toMatchObject({
      phase: 'exited',
      exit: { code: 128, reason: 'StartError' },
    })
  },
  pods: (d) => podIds(d),
}

export const verbs: readonly Verb<Made>[] = [
  runPodVerb,
  createVerb,
  startVerb,
  startMissingVerb,
  stopVerb,
  killVerb,
  stopPodVerb,
  removeVerb,
  removePodVerb,
  execVerb,
  updateVerb,
]

/** These leave nothing behind when they fail; the others leave what they began, for a retry to end. */
export const making: readonly Verb<Made>[] = [runPodVerb, createVerb]
