// SPDX-License-Identifier: Apache-2.0
/** Encoding: what the CRI is shown of pods and containers, the cached bytes, and lists made of encoded items. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { containerBytes, containerState, containerStatus } from '../../../../src/edge/cri/encode/container.ts'
import { podBytes, podState, podStatus } from '../../../../src/edge/cri/encode/pod.ts'
import { repeatedField1 } from '../../../../src/edge/cri/encode/repeated.ts'
import { v1 } from '../../../../src/edge/cri/gen/api.js'
import {
  type Container,
  type ContainerState,
  created,
  exited,
  running,
  unknownExit,
} from '../../../../src/model/container.ts'
import { absPath, containerId, podId, unixNanos } from '../../../../src/model/ids.ts'
import { type Pod, type PodState, ready, stopped } from '../../../../src/model/pod.ts'
import { containerConfig, podConfig } from '../../../support/fake-host-requests.ts'

const at = unixNanos(1_700_000_000_123_456_789n)
const process = { bootId: 'b', pid: 7, startTicks: 1n }
const exit = { ...unknownExit(at, 'gone'), code: 137, reason: 'OOMKilled' as const }

const pod = (state: PodState = ready(['10.0.0.2', 'fd00::2'])): Pod => ({
  record: {
    id: podId('ab'.repeat(32)),
    handler: 'runc',
    config: podConfig,
    cgroup: { parent: absPath('/a'), sandbox: absPath('/a/b'), ownsParent: false },
    createdAt: at,
    requestHash: '',
    bootId: 'b',
  },
  state,
})
const container = (
  state: ContainerState = running(process, at),
  change: Partial<Container> = {},
): Container => ({
  record: {
    id: containerId('cd'.repeat(32)),
    pod: podId('ab'.repeat(32)),
    handler: 'runc',
    config: containerConfig,
    imageId: 'sha256:1',
    imageRef: 'r.test/a@sha256:2',
    logPath: absPath('/logs/app/0.log'),
    cgroup: absPath('/a/c'),
    user: { uid: 1000, gid: 5, additionalGids: [5, 7], home: '/' },
    stopSignal: 15,
    createdAt: at,
    requestHash: '',
    bootId: 'b',
  },
  state,
  resources: { ...containerConfig.resources, cpuShares: 7n },
  ...change,
})

describe('a pod', () => {
  test('its status', () => {
    expect(podStatus(pod())).toEqual({
      id: 'ab'.repeat(32),
      metadata: podConfig.metadata,
      state: 0,
      createdAt: at,
      labels: { app: 'web' },
      annotations: { note: '5n' },
      runtimeHandler: 'runc',
      network: { ip: '10.0.0.2', additionalIps: [{ ip: 'fd00::2' }] },
      linux: { namespaces: { options: { network: 0, pid: 0, ipc: 0 } } },
    })
  })

  test('stopped it is not ready and has no address', () => {
    const status = podStatus(pod(stopped(at)))
    expect([status.state, status.network]).toEqual([1, { ip: '', additionalIps: [] }])
  })

  test.each([
    [{ phase: 'creating' } as const, 1],
    [ready([]), 0],
    [stopped(at), 1],
  ])('%o has state %i', (state, wanted) => {
    expect(podState(pod(state))).toBe(wanted)
  })

  test('its bytes are those of the plain encoding, and are made once', () => {
    const p = pod()
    const { network: _network, linux: _linux, ...plain } = podStatus(p)
    expect(Buffer.from(podBytes(p))).toEqual(Buffer.from(v1.PodSandbox.encode(plain).finish()))
    expect(podBytes(p)).toBe(podBytes(p))
    expect(v1.PodSandbox.decode(podBytes(p))).toMatchObject({ id: p.record.id, createdAt: at, state: 0 })
  })

  test('another value of the same pod is encoded anew', () => {
    const before = podBytes(pod())
    expect(v1.PodSandbox.decode(podBytes(pod(stopped(at)))).state).toBe(1)
    expect(v1.PodSandbox.decode(before).state ?? 0).toBe(0)
  })
})

describe('a container', () => {
  test('its status', () => {
    const wanted = {
      id: 'cd'.repeat(32),
      metadata: { name: 'app', attempt: 0 },
      state: 1,
      createdAt: at,
      startedAt: at,
      image: { image: 'registry.test/app:1', userSpecifiedImage: 'app:1' },
      imageRef: 'r.test/a@sha256:2',
      imageId: 'sha256:1',
      labels: { app: 'web' },
      logPath: '/logs/app/0.log',
      resources: { linux: { cpuShares: 7n, memoryLimitInBytes: 67_108_864n, oomScoreAdj: 0n } },
      user: { linux: { uid: 1000n, gid: 5n, supplementalGroups: [5n, 7n] } },
      stopSignal: 23,
    }
    expect(containerStatus(container())).toMatchObject(wanted)
    const back = v1.ContainerStatus.decode(v1.ContainerStatus.encode(containerStatus(container())).finish())
    expect(back).toMatchObject({ createdAt: at, startedAt: at, stopSignal: 23, imageRef: wanted.imageRef })
  })

  test.each([
    ['app', 'docker.io/library/app:latest'],
    ['registry.test/app@sha256:'.concat('a'.repeat(64)), 'registry.test/app@sha256:'.concat('a'.repeat(64))],
    ['', 'sha256:1'],
    ['no name!', 'sha256:1'],
  ])('made from the ID of its image, for %j, it shows the name %j', (userSpecifiedImage, image) => {
    const { record } = container()
    const byId = { ...record, config: { ...record.config, image: record.imageId, userSpecifiedImage } }
    expect(containerStatus(container(undefined, { record: byId })).image).toEqual({
      image,
      userSpecifiedImage,
    })
  })

  test.each<[string, ContainerState, ReturnType<typeof containerStatus>]>([
    ['created', created(process), { state: 0 }],
    ['running', running(process, at), { state: 1, startedAt: at }],
    [
      'exited',
      exited(running(process, at), exit),
      { state: 2, startedAt: at, finishedAt: at, exitCode: 137, reason: 'OOMKilled', message: 'gone' },
    ],
    ['exited before it ran', exited(created(process), exit), { state: 2, startedAt: 0n, finishedAt: at }],
  ])('%s', (_what, state, wanted) => {
    expect(containerStatus(container(state))).toMatchObject(wanted)
    expect(containerState(container(state))).toBe(wanted.state)
  })

  test('its image volumes, with the id of the image and no path of the node', () => {
    const mount = {
      containerPath: '/v',
      hostPath: '/h',
      readonly: true,
      recursiveReadOnly: false,
      selinuxRelabel: false,
      propagation: 'private' as const,
    }
    const image = { image: 'r.test/v:1', userSpecifiedImage: 'v', subPath: 'etc' }
    const config = { ...containerConfig, mounts: [mount, { ...mount, hostPath: '', image }] }
    const plain = container()
    const record = { ...plain.record, config, volumes: [{ mount: 1, imageId: 'sha256:7' }] }
    const { mounts } = containerStatus({ ...plain, record })
    expect(mounts?.[0]).not.toHaveProperty('image')
    expect(mounts?.[1]).toMatchObject({
      hostPath: '',
      image: { image: 'r.test/v:1', userSpecifiedImage: 'v', imageRef: 'sha256:7' },
      imageSubPath: 'etc',
    })
  })

  test('its bytes are those of the plain encoding, and are made once', () => {
    const c = container()
    const s = containerStatus(c)
    const plain = v1.Container.encode({
      id: s.id ?? '',
      podSandboxId: c.record.pod,
      metadata: s.metadata ?? null,
      image: s.image ?? null,
      imageRef: s.imageRef ?? '',
      imageId: s.imageId ?? '',
      state: s.state ?? 0,
      createdAt: s.createdAt ?? 0n,
      labels: s.labels ?? {},
      annotations: s.annotations ?? {},
    }).finish()
    expect(Buffer.from(containerBytes(c))).toEqual(Buffer.from(plain))
    expect(containerBytes(c)).toBe(containerBytes(c))
  })
})

test('a list of encoded items is the encoding of the list', () => {
  const item = fc.record({
    id: fc.string({ maxLength: 20 }),
    labels: fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 300 }), { maxKeys: 3 }),
    createdAt: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  })
  fc.assert(
    fc.property(fc.array(item, { maxLength: 20 }), (items) => {
      const bytes = items.map((i) => v1.PodSandbox.encode(i).finish())
      const plain = v1.ListPodSandboxResponse.encode({ items }).finish()
      expect(repeatedField1(bytes).bytes).toEqual(Buffer.from(plain))
    }),
    { numRuns: 200 },
  )
})

test.each([0, 1, 127, 128, 16_383, 16_384, 3_000_000])(
  'an item of %i bytes has its length in front',
  (length) => {
    const text = 'x'.repeat(length)
    const bytes = repeatedField1([Buffer.from(text)]).bytes
    // Bytes that are text: the same as a repeated string in field 1.
    const plain = v1.AuthConfig.encode({ username: text }).finish()
    expect(Buffer.compare(bytes, length === 0 ? Buffer.from([0x0a, 0]) : Buffer.from(plain))).toBe(0)
  },
)
