// SPDX-License-Identifier: Apache-2.0
/** Pods and containers as values: transitions, what is visible, and refusals that name both states. */
import { describe, expect, test } from 'vitest'
import {
  type Container,
  type ContainerState,
  containerLeftover,
  containerPid,
  containerVisible,
  created,
  exited,
  exitOf,
  expectPhase,
  running,
  unknownExit,
} from '../../../src/model/container.ts'
import { absPath, containerId, podId, unixNanos } from '../../../src/model/ids.ts'
import {
  expectReady,
  type PodState,
  podLeftover,
  podVisible,
  ready,
  stopped,
} from '../../../src/model/pod.ts'
import { noResources } from '../../../src/model/resources.ts'
import { containerConfig, podConfig } from '../../support/fake-host-requests.ts'

const at = unixNanos(5n)
const process = { bootId: 'b', pid: 7, startTicks: 1n }
const id = 'ab'.repeat(32)
const exit = unknownExit(at, 'gone')

const container = (state: ContainerState): Container => ({
  record: {
    id: containerId(id),
    pod: podId(id),
    handler: 'runc',
    config: containerConfig,
    imageId: 'i',
    imageRef: 'r',
    logPath: undefined,
    cgroup: absPath('/c'),
    user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
    stopSignal: 15,
    createdAt: at,
    requestHash: '',
    bootId: 'b',
  },
  state,
  resources: noResources,
})
const pod = (state: PodState) => ({
  record: {
    id: podId(id),
    handler: 'runc',
    config: podConfig,
    cgroup: { parent: absPath('/c'), sandbox: absPath('/c/s'), ownsParent: false },
    createdAt: at,
    requestHash: '',
    bootId: 'b',
  },
  state,
})

describe('the end of a container', () => {
  test('from running keeps when it started; from created it never did', () => {
    expect(exited(running(process, at), exit)).toEqual({ phase: 'exited', startedAt: at, exit })
    expect(exited(created(process), exit)).toEqual({ phase: 'exited', startedAt: undefined, exit })
  })

  test('comes once: the first exit stays', () => {
    const first = exited(running(process, at), exit)
    expect(exited(first, unknownExit(at, 'another'))).toBe(first)
  })

  test.each([{ phase: 'creating' } as const, containerLeftover('x', [])])('not from $phase', (state) => {
    expect(() => exited(state, exit)).toThrow(`a container that is ${state.phase} cannot exit`)
  })

  test.each([
    [0, false, 'Completed'],
    [1, false, 'Error'],
    [137, true, 'OOMKilled'],
    [0, true, 'OOMKilled'],
  ])('code %i, out of memory %s: %s', (code, oomKilled, reason) => {
    expect(exitOf({ code, oomKilled, exitedAtNs: 9n })).toEqual({ code, at: 9n, reason, message: '' })
  })
})

test('only whole objects are visible', () => {
  const states = [
    { phase: 'creating' } as const,
    created(process),
    running(process, at),
    exited(created(process), exit),
  ]
  expect(states.map((s) => containerVisible(container(s)))).toEqual([false, true, true, true])
  expect(containerVisible(container(containerLeftover('x', [])))).toBe(false)
  const pods = [{ phase: 'creating' } as const, ready([]), stopped(at), podLeftover('x', [])]
  expect(pods.map((s) => podVisible(pod(s)))).toEqual([false, true, true, false])
})

test('a wrong state names the object, the state and what was expected', () => {
  expect(() => expectPhase(container(created(process)), 'running')).toThrow(
    'container app (ababababababa) is created, expected running',
  )
  expect(() => expectReady(pod(stopped(at)))).toThrow(
    'pod sandbox default/web (ababababababa) is stopped, expected ready',
  )
})

test('a container has a pid while it lives', () => {
  const states = [
    created(process),
    running(process, at),
    exited(created(process), exit),
    created(undefined, 'no'),
  ]
  expect(states.map((s) => containerPid(container(s)))).toEqual([7, 7, undefined, undefined])
})
