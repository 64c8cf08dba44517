// SPDX-License-Identifier: Apache-2.0
/** verbs: the verbs of the engine as the fault suites exercise them, each with what has to be there before. */
import { expect } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import type { Scope } from '../../src/base/scope.ts'
import type { MountRequest } from '../../src/model/container.ts'
import { seal } from '../../src/model/pull-policy.ts'
import { parseReference } from '../../src/model/reference.ts'
import { noResources } from '../../src/model/resources.ts'
import { WORLD_IMAGE } from '../support/fake-host-images.ts'
import { createContainer, podConfig, runPod, security } from '../support/fake-host-requests.ts'
import { MISSING_AT_START, runtimeKey } from '../support/fake-host-runtime.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import type { Verb } from './bench.ts'

export interface Made {
  pod: string
  container: string
}

export const podIds = (d: Daemon) => [...d.ctx.catalog.pods.byId.keys()]

const ids = { hostId: process.getuid?.() ?? 0, length: 65_536 } // of the owner of the world's files
const idmap = { uids: ids, gids: { ...ids, hostId: process.getgid?.() ?? 0 } }
const namespaces = { ...podConfig.namespaces, user: idmap }
const port = { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' } as const
/** A pod with everything: namespaces, a user namespace, shared memory, network, a port, pause process, log folder. */
export const podRequest = (w: TestWorld) =>
  runPod({ logDirectory: `${w.dir}/logs`, namespaces, portMappings: [port] })

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
        idmap,
      },
    ],
    devices: [{ containerPath: '/dev/null', hostPath: '/dev/null', permissions: 'rwm' }],
    cdiDevices: ['v/c=x'],
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
    expect(w.lines().filter((l) => /^(pin|shm|attachment|process|runtime|host) /.test(l))).toHaveLength(9)
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

/** With all of an image, and a part of it, as volumes. */
const volumesRequest = (pod: string, name: string) => {
  const volume = (containerPath: string, subPath: string): MountRequest => ({
    containerPath,
    hostPath: '',
    image: { image: 'r.test/volume:1', userSpecifiedImage: 'volume:1', subPath },
    readonly: true,
    recursiveReadOnly: false,
    selinuxRelabel: false,
    propagation: 'private',
  })
  return createContainer(pod, {
    metadata: { name, attempt: 0 },
    mounts: [volume('/all', ''), volume('/part', 'etc/part')],
  })
}
const volumeMounts = (w: TestWorld) => w.lines().filter((l) => /^mount .*image-volumes/.test(l)).length

export const createWithVolumesVerb: Verb<Made> = {
  ...createVerb,
  name: 'CreateContainer with image volumes',
  async call(d, scope, made) {
    made.container = await d.engine.containers.create(scope, volumesRequest(made.pod, 'app'))
  },
  succeeded(d, made, w) {
    createVerb.succeeded(d, made, w)
    expect(volumeMounts(w)).toBe(1)
  },
}

/** Another container has the same image as a volume, and keeps it. */
export const removeWithVolumesVerb: Verb<Made> = {
  name: 'RemoveContainer with image volumes',
  async prepare(d, w) {
    const made = await madePod(d, w)
    await d.engine.containers.create(d.scope(), volumesRequest(made.pod, 'other'))
    made.container = await d.engine.containers.create(d.scope(), volumesRequest(made.pod, 'app'))
    await d.engine.containers.start(d.scope(), made.container)
    // Once for all, and with the pod's owners twice for each.
    expect(w.books.count('imageVolumes.mount')).toBe(5)
    return made
  },
  call: (d, scope, made) => d.engine.containers.remove(scope, made.container),
  succeeded(d, made, w) {
    expect(phaseOf(d, made)).toBeUndefined()
    expect(volumeMounts(w)).toBe(1)
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
    expect(w.lines().filter((l) => /^(pin|shm|attachment|process|host) /.test(l))).toEqual([])
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

export const updatePodVerb: Verb<Made> = {
  name: 'UpdatePodSandboxResources',
  prepare: madeRunning,
  call: (d, scope, { pod: id }) =>
    d.engine.pods.update(scope, { id, overhead: noResources, resources: noResources }),
  succeeded: (d, { pod }) => expect(d.engine.pods.get(pod).resources?.resources).toEqual(noResources),
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

const images = (d: Daemon) => d.engine.images.list().map((i) => i.repoTags)
const pull = (d: Daemon, scope: Scope, name: string) =>
  d.engine.images.pull(scope, { reference: parseReference(`r.test/${name}`), auth: seal({}) })
const layers = (w: TestWorld) => w.lines().filter((l) => /^layer |layers in the trash|^image/.test(l)).length

export const pullVerb: Verb<Made> = {
  name: 'PullImage',
  commit: 'records.write whole#1',
  prepare: async () => ({ pod: '', container: '' }),
  call: (d, scope) => pull(d, scope, 'a:1'),
  succeeded(d, _made, w) {
    expect(images(d)).toEqual([['r.test/a:1']])
    expect(layers(w)).toBe(3)
  },
  pods: () => [],
}

/** The tag is at another image, which keeps its layers. */
export const pullMovedVerb: Verb<Made> = {
  ...pullVerb,
  name: 'PullImage of a tag that has moved',
  async prepare(d) {
    await pull(d, d.scope(), 'b:1')
    await d.engine.images.tag(d.scope(), 'r.test/b:1', parseReference('r.test/a:1'))
    return { pod: '', container: '' }
  },
  succeeded(d, _made, w) {
    expect(images(d).sort()).toEqual([['r.test/a:1'], ['r.test/b:1']])
    expect(layers(w)).toBe(5)
  },
}

async function pulled(d: Daemon): Promise<Made> {
  await pull(d, d.scope(), 'a:1')
  return { pod: '', container: '' }
}

export const removeImageVerb: Verb<Made> = {
  name: 'RemoveImage',
  prepare: pulled,
  call: (d, scope) => d.engine.images.remove(scope, 'r.test/a:1'),
  succeeded(d, _made, w) {
    expect([images(d), layers(w)]).toEqual([[], 0])
  },
  pods: () => [],
}

/** A container is made from it: its layers stay until that has gone. */
export const removeUsedImageVerb: Verb<Made> = {
  ...removeImageVerb,
  name: 'RemoveImage of one in use',
  async prepare(d, w) {
    const { layers: used } = await pull(d, d.scope(), WORLD_IMAGE)
    const made = await madeContainer(d, w)
    for (const { chainId } of used) w.books.mountedLayers.add(chainId)
    return made
  },
  call: (d, scope) => d.engine.images.remove(scope, `r.test/${WORLD_IMAGE}`),
  succeeded(d, made, w) {
    expect([images(d), layers(w)]).toEqual([[], 3])
    expect(phaseOf(d, made)).toBe('created')
    w.books.mountedLayers.clear()
  },
  pods: (d) => podIds(d),
}

export const tagImageVerb: Verb<Made> = {
  name: 'Tag',
  prepare: pulled,
  call: (d, scope) => d.engine.images.tag(scope, 'r.test/a:1', parseReference('r.test/a:2')),
  succeeded(d) {
    expect(images(d)).toEqual([['r.test/a:1', 'r.test/a:2']])
  },
  pods: () => [],
}

export const untagImageVerb: Verb<Made> = {
  ...removeImageVerb,
  name: 'Untag of the last name',
  async call(d, scope) {
    const error = await d.engine.images.untag(scope, 'r.test/a:1').catch((e: unknown) => e)
    if (!(error instanceof Error)) return
    if (!isFault(error) || error.kind !== 'not-found') throw error
    // It is gone already; what failed in the background then is tried again by the clock, or by this.
    await d.engine.images.collect()
  },
}

export const pruneVerb: Verb<Made> = {
  ...removeImageVerb,
  name: 'Prune',
  call: (d, scope) => d.engine.images.prune(scope, { all: true }),
}

export const verbs: readonly Verb<Made>[] = [
  runPodVerb,
  createVerb,
  createWithVolumesVerb,
  startVerb,
  startMissingVerb,
  stopVerb,
  killVerb,
  stopPodVerb,
  removeVerb,
  removeWithVolumesVerb,
  removePodVerb,
  execVerb,
  updateVerb,
  updatePodVerb,
  pullVerb,
  pullMovedVerb,
  removeImageVerb,
  removeUsedImageVerb,
  tagImageVerb,
  untagImageVerb,
  pruneVerb,
]

/** These leave nothing behind when they fail; the others leave what they began, for a retry to end. */
export const making: readonly Verb<Made>[] = [runPodVerb, createVerb, createWithVolumesVerb, pullVerb]
