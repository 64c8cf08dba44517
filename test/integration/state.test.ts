// SPDX-License-Identifier: Apache-2.0
/**
 * What the daemon knows and how it is asked: lists, filters, streams, prefixes of ids, the unknown; equal requests
 * at once; names that are taken; images that are in use; removal of what still runs.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { containerState, podState } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, kept } from '../support/scenario-run.ts'

let s: Scenario

beforeAll(async () => {
  s = await startScenario({ images: [names.busybox], pushed: [names.hello] })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const unknown = 'f'.repeat(64)
const create = (pod: RunningPod, config = busybox({ command: ['sleep', '60'] })) =>
  s.client.call('CreateContainer', { podSandboxId: pod.podId, config, sandboxConfig: pod.config })

describe('the unknown', () => {
  it.each([
    ['PodSandboxStatus', { podSandboxId: unknown }],
    ['ContainerStatus', { containerId: unknown }],
    ['StartContainer', { containerId: unknown }],
    ['ReopenContainerLog', { containerId: unknown }],
    ['UpdateContainerResources', { containerId: unknown, linux: { cpuShares: 2n } }],
    ['ExecSync', { containerId: unknown, cmd: ['true'] }],
  ] as const)('%s of it is NOT_FOUND, by its id', async (rpc, request) => {
    const { code, details } = await refusalOf(s.client.call(rpc, request))
    expect([code, details]).toEqual(['NOT_FOUND', expect.stringContaining('ffffff')])
  })

  it.each([
    ['StopPodSandbox', { podSandboxId: unknown }],
    ['RemovePodSandbox', { podSandboxId: unknown }],
    ['StopContainer', { containerId: unknown, timeout: 5n }],
    ['RemoveContainer', { containerId: unknown }],
    ['RemoveImage', { image: { image: 'no.such/image:1' } }],
  ] as const)('%s of it succeeds', async (rpc, request) => {
    await s.client.call(rpc, request)
  })

  it('is an empty answer for an image, and an empty list for a filter', async () => {
    expect((await s.client.call('ImageStatus', { image: { image: 'no.such/image:1' } })).image).toBeNull()
    expect((await s.client.call('ListContainers', { filter: { id: unknown } })).containers).toEqual([])
    expect((await s.client.call('ListPodSandbox', { filter: { id: unknown } })).items).toEqual([])
  })

  it('container in a pod that is not there is NOT_FOUND, image that is not there too', async () => {
    const pod = await s.pod('lookup')
    expect((await refusalOf(create({ ...pod, podId: unknown }))).code).toBe('NOT_FOUND')
    const { code, details } = await refusalOf(
      create(pod, { ...busybox(), image: { image: 'no.such/image:1' } }),
    )
    expect([code, details]).toEqual(['NOT_FOUND', expect.stringContaining('no.such/image:1')])
    await pod.remove()
  })
})

describe('lists', () => {
  let web: RunningPod
  let db: RunningPod
  let running: string
  let created: string
  beforeAll(async () => {
    web = await s.pod('web', { labels: { app: 'web', tier: 'front' }, annotations: { note: 'one' } })
    db = await s.pod('db', { labels: { app: 'db' } })
    const shown = { metadata: { name: 'shown', attempt: 2 }, labels: { part: 'a' }, annotations: { x: 'y' } }
    running = (await kept(s, web, shown)).id
    created = (await create(web, busybox({ labels: { part: 'b' } }))).containerId
    await s.client.call('StopPodSandbox', { podSandboxId: db.podId })
  })
  afterAll(() => s.removePods())

  const pods = async (filter = {}) =>
    (await s.client.call('ListPodSandbox', { filter })).items?.map((p) => p.metadata?.name).sort()
  const containers = async (filter = {}) =>
    (await s.client.call('ListContainers', { filter })).containers?.map((c) => c.id).sort()

  it('of pods by id, prefix, state and labels, all of which have to hold', async () => {
    expect(await pods()).toEqual(['db', 'web'])
    expect(await pods({ id: web.podId })).toEqual(['web'])
    expect(await pods({ id: web.podId.slice(0, 12) })).toEqual(['web'])
    expect(await pods({ state: { state: podState.notReady } })).toEqual(['db'])
    expect(await pods({ labelSelector: { app: 'web' } })).toEqual(['web'])
    expect(await pods({ labelSelector: { app: 'web', tier: 'back' } })).toEqual([])
    expect(await pods({ labelSelector: { app: 'web' }, state: { state: podState.notReady } })).toEqual([])
  })

  it('of containers by id, pod, state and labels', async () => {
    expect(await containers()).toEqual([running, created].sort())
    expect(await containers({ podSandboxId: web.podId.slice(0, 10) })).toEqual([running, created].sort())
    expect(await containers({ podSandboxId: db.podId })).toEqual([])
    expect(await containers({ state: { state: containerState.running } })).toEqual([running])
    expect(await containers({ labelSelector: { part: 'b' } })).toEqual([created])
    expect(await containers({ id: running, labelSelector: { part: 'b' } })).toEqual([])
  })

  it('show what was asked for', async () => {
    const [one] = (await s.client.call('ListContainers', { filter: { id: running } })).containers ?? []
    const imageId = (await s.client.call('ImageStatus', { image: { image: names.busybox } })).image?.id
    expect(one).toMatchObject({
      podSandboxId: web.podId,
      metadata: { name: 'shown', attempt: 2 },
      state: containerState.running,
      labels: { part: 'a' },
      annotations: { x: 'y' },
      imageId,
      image: { image: names.busybox },
    })
    const { status } = await s.client.call('PodSandboxStatus', { podSandboxId: web.podId })
    expect(status).toMatchObject({
      id: web.podId,
      metadata: web.config.metadata,
      state: podState.ready,
      labels: { app: 'web', tier: 'front' },
      annotations: { note: 'one' },
      runtimeHandler: 'runc',
      linux: { namespaces: { options: { network: 2, pid: 1, ipc: 0 } } },
    })
  })

  it('come as streams with the same content', async () => {
    const streamed: unknown[] = []
    for await (const part of s.client.stream('StreamContainers', {}))
      streamed.push(...(part.containers ?? []))
    expect(streamed).toEqual((await s.client.call('ListContainers', {})).containers)
    const streamedPods: unknown[] = []
    for await (const part of s.client.stream('StreamPodSandboxes', { filter: { id: web.podId } }))
      streamedPods.push(...(part.podSandboxes ?? []))
    expect(streamedPods).toEqual((await s.client.call('ListPodSandbox', { filter: { id: web.podId } })).items)
    const images: unknown[] = []
    for await (const part of s.client.stream('StreamImages', {})) images.push(...(part.images ?? []))
    expect(images).toEqual((await s.client.call('ListImages', {})).images)
  })

  it('ids may be prefixes in every verb, if they are of one object only', async () => {
    const prefix = running.slice(0, 13)
    expect((await s.client.call('ContainerStatus', { containerId: prefix })).status?.id).toBe(running)
    expect((await s.client.call('ExecSync', { containerId: prefix, cmd: ['true'] })).exitCode).toBe(0)
    expect(
      (await s.client.call('PodSandboxStatus', { podSandboxId: web.podId.slice(0, 13) })).status?.id,
    ).toBe(web.podId)
    const many = await Promise.all(Array.from({ length: 17 }, (_, i) => s.pod(`prefix${i}`)))
    const seen = new Map<string, number>()
    for (const { podId } of many) seen.set(podId.slice(0, 1), (seen.get(podId.slice(0, 1)) ?? 0) + 1)
    const twice = [...seen].find(([, n]) => n > 1)?.[0] ?? '' // seventeen ids, sixteen digits
    const { code, details } = await refusalOf(s.client.call('PodSandboxStatus', { podSandboxId: twice }))
    expect([code, details]).toEqual(['INVALID_ARGUMENT', expect.stringContaining('ambiguous')])
  })
})

describe('equal requests at once', () => {
  it('twenty RunPodSandbox are one pod', async () => {
    const config = s.podConfig('joined', { bridged: true })
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => s.client.call('RunPodSandbox', { config, runtimeHandler: '' })),
    )
    expect(new Set(replies.map((r) => r.podSandboxId)).size).toBe(1)
    const again = await s.client.call('RunPodSandbox', { config, runtimeHandler: 'runc' })
    expect(again.podSandboxId).toBe(replies[0]?.podSandboxId)
    expect((await s.client.call('ListPodSandbox', {})).items).toHaveLength(1)
    const other = { ...config, labels: { other: 'request' } }
    const { code, details } = await refusalOf(
      s.client.call('RunPodSandbox', { config: other, runtimeHandler: '' }),
    )
    expect([code, details]).toEqual(['ALREADY_EXISTS', expect.stringContaining('joined')])
    await s.removePods()
  })

  it('twenty CreateContainer are one container, twenty Start and Stop are one each', async () => {
    const pod = await s.pod('joined-containers')
    const config = busybox({ command: ['sleep', '60'] })
    const replies = await Promise.all(Array.from({ length: 20 }, () => create(pod, config)))
    const [containerId = ''] = new Set(replies.map((r) => r.containerId))
    expect(replies.map((r) => r.containerId)).toEqual(Array(20).fill(containerId))
    await Promise.all(Array.from({ length: 20 }, () => s.client.call('StartContainer', { containerId })))
    expect((await refusalOf(create(pod, config))).code).toBe('ALREADY_EXISTS')
    await Promise.all(
      Array.from({ length: 20 }, () => s.client.call('StopContainer', { containerId, timeout: 0n })),
    )
    await Promise.all(Array.from({ length: 20 }, () => s.client.call('RemoveContainer', { containerId })))
    await Promise.all(Array.from({ length: 20 }, () => pod.remove()))
  })

  it('twenty PullImage are one pull', async () => {
    const image = { image: names.hello }
    const replies = await Promise.all(Array.from({ length: 20 }, () => s.client.call('PullImage', { image })))
    expect(new Set(replies.map((r) => r.imageRef)).size).toBe(1)
    expect(s.daemon.events('image-pulled').filter((e) => e.image === names.hello)).toHaveLength(1)
    await s.client.call('RemoveImage', { image })
  })

  it('a caller that leaves does not take the others’ pod away', async () => {
    const config = s.podConfig('left', { bridged: true })
    const leaving = new AbortController()
    const first = s.client
      .call('RunPodSandbox', { config, runtimeHandler: '' }, { signal: leaving.signal })
      .catch(() => undefined)
    const second = s.client.call('RunPodSandbox', { config, runtimeHandler: '' })
    setTimeout(() => leaving.abort(), 5)
    await first
    const { podSandboxId } = await second
    expect((await s.client.call('PodSandboxStatus', { podSandboxId })).status?.state).toBe(podState.ready)
    await s.removePods()
  })

  it('a caller that leaves alone leaves no pod, and can come again', async () => {
    const config = s.podConfig('abandoned', { bridged: true })
    const request = { config, runtimeHandler: '' }
    for (const deadlineMs of [3, 8, 15, 30, 60]) {
      await s.client.call('RunPodSandbox', request, { deadlineMs }).catch(() => undefined)
    }
    const { podSandboxId } = await s.client.call('RunPodSandbox', request)
    expect((await s.client.call('ListPodSandbox', {})).items?.map((p) => p.id)).toEqual([podSandboxId])
    await s.removePods()
  })
})

describe('removal', () => {
  it('of a pod takes running containers with it', async () => {
    const pod = await s.pod('busy', { bridged: true })
    await kept(s, pod)
    await kept(s, pod)
    await create(pod)
    await s.client.call('RemovePodSandbox', { podSandboxId: pod.podId })
    expect((await s.client.call('ListContainers', {})).containers).toEqual([])
    expect((await refusalOf(s.client.call('PodSandboxStatus', { podSandboxId: pod.podId }))).code).toBe(
      'NOT_FOUND',
    )
  })

  it('of a running container ends it', async () => {
    const pod = await s.pod('short')
    const c = await kept(s, pod)
    await s.client.call('RemoveContainer', { containerId: c.id })
    expect((await refusalOf(s.client.call('ContainerStatus', { containerId: c.id }))).code).toBe('NOT_FOUND')
    await pod.remove()
  })

  it('of an image in use takes its names; the container lives on, and its layers go with it', async () => {
    const pod = await s.pod('image-user')
    const c = await kept(s, pod, { container: 'user-of-it' })
    const later = await create(pod)
    const image = { image: names.busybox }
    const id = (await s.client.call('ImageStatus', { image })).image?.id ?? ''
    await s.client.call('RemoveImage', { image })
    expect((await s.client.call('ImageStatus', { image })).image).toBeNull()
    expect((await s.client.call('ImageStatus', { image: { image: id } })).image).toBeNull()
    await s.daemon.restart({})
    const run = { containerId: c.id, cmd: ['cat', '/etc/passwd'], timeout: 10n }
    expect((await s.client.call('ExecSync', run)).exitCode ?? 0).toBe(0)
    expect((await s.client.call('ContainerStatus', { containerId: c.id })).status?.imageId).toBe(id)
    await s.client.call('StartContainer', { containerId: later.containerId })
    await pod.remove()
    await waitUntil(
      'the layers have gone',
      async () => {
        const [fs] = (await s.client.call('ImageFsInfo', {})).imageFilesystems ?? []
        return fs?.usedBytes?.value === 0n
      },
      { withinMs: 10_000 },
    )
    await s.client.call('PullImage', { image })
  })

  it('a stopped pod takes no more containers', async () => {
    const pod = await s.pod('over')
    await s.client.call('StopPodSandbox', { podSandboxId: pod.podId })
    expect((await refusalOf(create(pod))).code).toBe('FAILED_PRECONDITION')
    await pod.remove()
  })
})
