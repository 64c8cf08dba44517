// SPDX-License-Identifier: Apache-2.0
/**
 * Shapes: what the engine writes comes back as what it was; a record with a part missing or of another type is
 * refused, or is one that nothing which reads it back stumbles over.
 */
import { describe, expect, test } from 'vitest'
import { formatJson, parseJson } from '../../../../src/base/json-file.ts'
import { containerBytes, containerStatus } from '../../../../src/edge/cri/encode/container.ts'
import { podBytes, podStatus } from '../../../../src/edge/cri/encode/pod.ts'
import { v1 } from '../../../../src/edge/cri/gen/api.js'
import {
  isContainerRecord,
  isContainerState,
  isPodRecord,
  isPodState,
  isResources,
} from '../../../../src/engine/state/shapes.ts'
import {
  type ContainerRecord,
  type ContainerState,
  containerLeftover,
  created,
  exited,
  running,
  unknownExit,
} from '../../../../src/model/container.ts'
import { absPath, containerId, podId, unixNanos } from '../../../../src/model/ids.ts'
import { type PodRecord, type PodState, podLeftover, ready, stopped } from '../../../../src/model/pod.ts'
import { containerConfig, podConfig } from '../../../support/fake-host-requests.ts'

const at = unixNanos(2n ** 60n)
const process = { bootId: 'b', pid: 7, startTicks: 2n ** 55n }
const exit = unknownExit(at, '5n is not a number')

const pod: PodRecord = {
  id: podId('ab'.repeat(32)),
  handler: 'runc',
  config: podConfig,
  cgroup: { parent: absPath('/a'), sandbox: absPath('/a/b'), ownsParent: false },
  createdAt: at,
  requestHash: 'h',
  bootId: 'b',
}
const container: ContainerRecord = {
  id: containerId('cd'.repeat(32)),
  pod: pod.id,
  handler: 'runc',
  config: {
    ...containerConfig,
    mounts: [
      {
        containerPath: '/a',
        hostPath: '/b',
        readonly: true,
        recursiveReadOnly: false,
        selinuxRelabel: false,
        propagation: 'private',
      },
    ],
    resources: { ...containerConfig.resources, hugepages: [{ pageSize: '2MB', limitBytes: 4n }] },
  },
  imageId: 'sha256:1',
  imageRef: 'r@sha256:2',
  logPath: absPath('/logs/0.log'),
  cgroup: absPath('/a/c'),
  user: { uid: 0, gid: 0, additionalGids: [1], home: '/root' },
  stopSignal: 15,
  createdAt: at,
  requestHash: 'h',
  bootId: 'b',
}
const withVolume: ContainerRecord = {
  ...container,
  config: {
    ...container.config,
    mounts: container.config.mounts.map((m) => ({
      ...m,
      hostPath: '',
      image: { image: 'r.test/v:1', userSpecifiedImage: 'v', subPath: 'a' },
    })),
  },
  volumes: [{ mount: 0, imageId: `sha256:${'ef'.repeat(32)}` }],
}
const podStates: readonly PodState[] = [
  { phase: 'creating' },
  ready(['10.0.0.1']),
  ready([], process),
  stopped(at),
  podLeftover('why', ['what']),
]
const containerStates: readonly ContainerState[] = [
  { phase: 'creating' },
  created(process),
  created(undefined, 'no such file'),
  running(process, at),
  exited(running(process, at), exit),
  exited(created(process), exit),
  containerLeftover('why', ['what']),
]
const throughDisk = (value: object): unknown => parseJson(formatJson(value))

describe('what is written comes back', () => {
  test('records', () => {
    for (const [value, is] of [
      [pod, isPodRecord],
      [container, isContainerRecord],
      [{ ...container, logPath: undefined }, isContainerRecord],
      [withVolume, isContainerRecord],
      [container.config.resources, isResources],
    ] as const) {
      const back = throughDisk(value)
      expect(is(back)).toBe(true)
      expect(back).toEqual(value)
    }
  })

  test.each(podStates)('pod $phase', (state) => {
    expect(isPodState(throughDisk(state))).toBe(true)
    expect(throughDisk(state)).toEqual(state)
  })

  test.each(containerStates)('container $phase', (state) => {
    expect(isContainerState(throughDisk(state))).toBe(true)
    expect(throughDisk(state)).toEqual(state)
  })
})

/** Every path in a value: `['config', 'metadata', 'name']`, … Lists are entered at their first item. */
function pathsOf(value: unknown, at: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return []
  const keys = Array.isArray(value) ? (value.length > 0 ? ['0'] : []) : Object.keys(value)
  return keys.flatMap((k) => [[...at, k], ...pathsOf(Reflect.get(value, k), [...at, k])])
}

/** A deep copy in which what is at `path` is gone, or is `by`. */
function spoiled(value: object, path: readonly string[], by?: unknown): unknown {
  const copy: unknown = throughDisk(value)
  let parent: unknown = copy
  for (const key of path.slice(0, -1))
    parent = typeof parent === 'object' && parent ? Reflect.get(parent, key) : {}
  const last = path.at(-1) ?? ''
  if (typeof parent === 'object' && parent !== null) {
    if (by === undefined && Array.isArray(parent)) parent.splice(Number(last), 1)
    else if (by === undefined) Reflect.deleteProperty(parent, last)
    else Reflect.set(parent, last, by)
  }
  return copy
}

const names = (value: object) => pathsOf(value).map((path) => [path.join('.'), path] as const)
/** What a field may turn into: of another type than anything that stands there. */
const others = [undefined, null, 5.5, 'n"o\0pe', [null], { x: null }]

describe('a pod record with a part missing or of another type', () => {
  test.each(names(pod))('%s', (_name, path) => {
    for (const by of others) {
      const value = spoiled(pod, path, by)
      if (!isPodRecord(value)) continue
      for (const state of podStates) {
        const shown = { record: value, state }
        expect(() => podBytes(shown)).not.toThrow()
        expect(() => v1.PodSandboxStatus.encode(podStatus(shown)).finish()).not.toThrow()
      }
    }
  })

  test.each([
    'id handler config cgroup createdAt requestHash bootId cgroup.parent cgroup.sandbox cgroup.ownsParent',
    'config.metadata config.metadata.name config.metadata.namespace config.metadata.uid config.metadata.attempt',
    'config.namespaces config.namespaces.network config.namespaces.pid config.namespaces.ipc config.labels',
    'config.annotations config.cgroupParent config.hostname config.logDirectory config.privileged',
  ])('is refused without any of %s', (list) => {
    for (const path of list.split(' '))
      expect([path, isPodRecord(spoiled(pod, path.split('.')))]).toEqual([path, false])
  })
})

describe('a container record with a part missing or of another type', () => {
  test.each(names(container))('%s', (_name, path) => {
    for (const by of others) {
      const value = spoiled(container, path, by)
      if (!isContainerRecord(value)) continue
      for (const state of containerStates) {
        const shown = { record: value, state, resources: value.config.resources }
        expect(() => containerBytes(shown)).not.toThrow()
        expect(() => v1.ContainerStatus.encode(containerStatus(shown)).finish()).not.toThrow()
      }
    }
  })

  test.each([
    'id pod handler config imageId imageRef cgroup user stopSignal createdAt requestHash bootId user.uid user.gid',
    'user.additionalGids config.metadata config.metadata.name config.metadata.attempt config.image config.labels',
    'config.annotations config.mounts config.resources config.security config.security.privileged config.tty',
    'config.security.pid config.security.pid.mode config.resources.cpuShares config.resources.hugepages',
  ])('is refused without any of %s', (list) => {
    for (const path of list.split(' '))
      expect([path, isContainerRecord(spoiled(container, path.split('.')))]).toEqual([path, false])
  })
})

describe('a state with a part missing is refused', () => {
  const optional = new Set(['pause', 'startError', 'startedAt'])
  test.each(podStates)('pod $phase', (state) => {
    for (const path of pathsOf(state).filter((p) => p.at(-1) !== '0' && !optional.has(p.join('.'))))
      expect([path, isPodState(spoiled(state, path))]).toEqual([path, false])
  })

  test.each(containerStates)('container $phase', (state) => {
    const whole = (path: readonly string[]) =>
      path.at(-1) === '0' ||
      (state.phase === 'exited' && path.join('.') === 'startedAt') ||
      (state.phase === 'created' && ['process', 'startError'].includes(path.join('.')))
    for (const path of pathsOf(state).filter((p) => !whole(p)))
      expect([path, isContainerState(spoiled(state, path))]).toEqual([path, false])
  })

  test.each([
    null,
    'ready',
    {},
    { phase: 'running' },
    { phase: 'constructor' },
    { phase: 'created', process: { bootId: 'b', pid: 1, startTicks: 1n } },
    { phase: 'created', process: { bootId: 'b', pid: 7.5, startTicks: 1n } },
  ])('%o is no state', (value) => {
    expect([isPodState(value), isContainerState(value)]).toEqual([false, false])
  })
})

test.each(['/a/../b', 'a', '', 5])('%s is no cgroup, and no log path', (path) => {
  expect(isContainerRecord({ ...container, cgroup: path })).toBe(false)
  expect(isContainerRecord({ ...container, logPath: path })).toBe(false)
})

test.each(['sha256:../../etc', 'sha256:1', '', 7])(
  'an image volume of %j is no record: its id is a path',
  (imageId) => {
    expect(isContainerRecord({ ...withVolume, volumes: [{ mount: 0, imageId }] })).toBe(false)
  },
)
