// SPDX-License-Identifier: Apache-2.0
/**
 * The table of all 43 RPCs, one row each: how it is carried out, or which capability brings it. The server
 * registers from it, the README's status table is written from it; a missing row does not compile.
 */

import { noResources } from '../../model/resources.ts'
import type { Call } from './context.ts'
import { decodeCreateContainer } from './decode/container.ts'
import { Fields, requiredId } from './decode/fields.ts'
import { decodePull } from './decode/image.ts'
import { decodeRunPod } from './decode/pod.ts'
import { resources } from './decode/shared.ts'
import { decodeAttach, decodeExec, decodePortForward, execArgs } from './decode/streaming.ts'
import { containerBytes } from './encode/container.ts'
import { eventMessage } from './encode/event.ts'
import { imageBytes } from './encode/image.ts'
import { allMetrics, descriptors } from './encode/metrics.ts'
import { podBytes } from './encode/pod.ts'
import { type Encoded, repeatedField1 } from './encode/repeated.ts'
import { containerStatsBytes, podStatsBytes } from './encode/stats.ts'
import { batches, containers, imageName, pods, readyPods, runningContainers } from './filter.ts'
import type { RpcMessages, RpcName } from './gen/rpcs.ts'
import * as show from './show.ts'

type Request<N extends RpcName> = RpcMessages[N]['request']
type Response<N extends RpcName> = RpcMessages[N]['response']

type Messages<R> = Iterable<R | Encoded> | AsyncIterable<R | Encoded>

export type Method<N extends RpcName> =
  | {
      readonly is: 'unary'
      readonly run: (
        call: Call,
        request: Request<N>,
      ) => Promise<Response<N> | Encoded> | Response<N> | Encoded
    }
  | {
      readonly is: 'stream'
      readonly run: (call: Call, request: Request<N>) => Messages<Response<N>>
    }
  /** Goes on until the client leaves or the daemon ends; what it gives back is disposed then. `send` never waits. */
  | {
      readonly is: 'live'
      readonly run: (
        call: Call,
        request: Request<N>,
        send: (message: Response<N> | Encoded) => void,
      ) => Disposable
    }
  /** Answers UNIMPLEMENTED and says what will bring it. */
  | { readonly is: 'later'; readonly capability: string }

const unary = <N extends RpcName>(run: Extract<Method<N>, { is: 'unary' }>['run']) =>
  ({ is: 'unary', run }) as const
const stream = <N extends RpcName>(run: Extract<Method<N>, { is: 'stream' }>['run']) =>
  ({ is: 'stream', run }) as const
const live = <N extends RpcName>(run: Extract<Method<N>, { is: 'live' }>['run']) =>
  ({ is: 'live', run }) as const
const later = (capability: string) => ({ is: 'later', capability }) as const

const CHECKPOINT = 'checkpoint and restore'

const SECOND_MS = 1000
const MAX_SECONDS = { min: 0n, max: 2n ** 31n } as const

export const methods: { readonly [N in RpcName]: Method<N> } = {
  Version: unary<'Version'>(({ about }) => show.version(about)),
  RunPodSandbox: unary<'RunPodSandbox'>(async ({ scope, engine }, request) => ({
    podSandboxId: await engine.pods.run(scope, decodeRunPod(request)),
  })),
  StopPodSandbox: unary<'StopPodSandbox'>(async ({ scope, engine }, { podSandboxId }) => {
    await engine.pods.stop(scope, requiredId('pod_sandbox_id', podSandboxId))
    return {}
  }),
  RemovePodSandbox: unary<'RemovePodSandbox'>(async ({ scope, engine }, { podSandboxId }) => {
    await engine.pods.remove(scope, requiredId('pod_sandbox_id', podSandboxId))
    return {}
  }),
  PodSandboxStatus: unary<'PodSandboxStatus'>(({ engine }, request) =>
    show.podSandboxStatus(engine, request),
  ),
  ListPodSandbox: unary<'ListPodSandbox'>(({ engine }, { filter }) =>
    repeatedField1(pods(engine, filter).map(podBytes)),
  ),
  StreamPodSandboxes: stream<'StreamPodSandboxes'>(function* ({ engine }, { filter }) {
    for (const some of batches(pods(engine, filter))) yield repeatedField1(some.map(podBytes))
  }),
  CreateContainer: unary<'CreateContainer'>(async ({ scope, engine }, request) => ({
    containerId: await engine.containers.create(scope, decodeCreateContainer(request)),
  })),
  StartContainer: unary<'StartContainer'>(async ({ scope, engine }, { containerId }) => {
    await engine.containers.start(scope, requiredId('container_id', containerId))
    return {}
  }),
  StopContainer: unary<'StopContainer'>(async ({ scope, engine }, { containerId, timeout }) => {
    await engine.containers.stop(scope, {
      id: requiredId('container_id', containerId),
      graceMs: seconds('timeout', timeout) * SECOND_MS,
    })
    return {}
  }),
  RemoveContainer: unary<'RemoveContainer'>(async ({ scope, engine }, { containerId }) => {
    await engine.containers.remove(scope, requiredId('container_id', containerId))
    return {}
  }),
  ListContainers: unary<'ListContainers'>(({ engine }, { filter }) =>
    repeatedField1(containers(engine, filter).map(containerBytes)),
  ),
  StreamContainers: stream<'StreamContainers'>(function* ({ engine }, { filter }) {
    for (const some of batches(containers(engine, filter))) yield repeatedField1(some.map(containerBytes))
  }),
  ContainerStatus: unary<'ContainerStatus'>((call, request) =>
    show.containerStatusReply(call.engine, request),
  ),
  UpdateContainerResources: unary<'UpdateContainerResources'>(async ({ scope, engine }, request) => {
    const f = new Fields()
    const change = resources(f, 'linux', request.linux) ?? noResources
    if (request.windows) f.unsupported('windows', 'this is a Linux node')
    f.done('invalid update')
    const id = requiredId('container_id', request.containerId)
    await engine.containers.update(scope, { id, change })
    return {}
  }),
  ReopenContainerLog: unary<'ReopenContainerLog'>(async ({ scope, engine }, { containerId }) => {
    await engine.containers.reopenLog(scope, requiredId('container_id', containerId))
    return {}
  }),
  ExecSync: unary<'ExecSync'>(async ({ scope, engine }, request) => {
    const f = new Fields()
    const args = execArgs(f, request.cmd)
    f.done('invalid exec')
    const { code, stdout, stderr } = await engine.containers.execSync(scope, {
      id: requiredId('container_id', request.containerId),
      args,
      timeoutMs: seconds('timeout', request.timeout) * SECOND_MS,
    })
    return { exitCode: code, stdout, stderr }
  }),
  Exec: unary<'Exec'>(async ({ scope, engine }, request) => ({
    url: await engine.containers.exec(scope, decodeExec(request)),
  })),
  Attach: unary<'Attach'>(async ({ scope, engine }, request) => ({
    url: await engine.containers.attach(scope, decodeAttach(request)),
  })),
  PortForward: unary<'PortForward'>(async ({ scope, engine }, request) => ({
    url: await engine.pods.portForward(scope, decodePortForward(request)),
  })),
  ContainerStats: unary<'ContainerStats'>(async ({ scope, engine }, { containerId }) => {
    const container = engine.containers.get(requiredId('container_id', containerId))
    return repeatedField1([containerStatsBytes(await engine.stats.container(scope, container))])
  }),
  ListContainerStats: unary<'ListContainerStats'>(async ({ scope, engine }, { filter }) =>
    repeatedField1(
      (await engine.stats.containers(scope, runningContainers(engine, filter))).map(containerStatsBytes),
    ),
  ),
  StreamContainerStats: stream<'StreamContainerStats'>(async function* ({ scope, engine }, { filter }) {
    for (const some of batches(await engine.stats.containers(scope, runningContainers(engine, filter))))
      yield repeatedField1(some.map(containerStatsBytes))
  }),
  PodSandboxStats: unary<'PodSandboxStats'>(async ({ scope, engine }, { podSandboxId }) => {
    const pod = engine.pods.get(requiredId('pod_sandbox_id', podSandboxId))
    return repeatedField1((await engine.stats.pods(scope, [pod])).map(podStatsBytes))
  }),
  ListPodSandboxStats: unary<'ListPodSandboxStats'>(async ({ scope, engine }, { filter }) =>
    repeatedField1((await engine.stats.pods(scope, readyPods(engine, filter))).map(podStatsBytes)),
  ),
  StreamPodSandboxStats: stream<'StreamPodSandboxStats'>(async function* ({ scope, engine }, { filter }) {
    for (const some of batches(await engine.stats.pods(scope, readyPods(engine, filter))))
      yield repeatedField1(some.map(podStatsBytes))
  }),
  // The pod CIDR is for network plugins that want it from the runtime; CNI configurations carry their own.
  UpdateRuntimeConfig: unary<'UpdateRuntimeConfig'>(() => ({})),
  Status: unary<'Status'>((call, { verbose }) => show.status(call, verbose)),
  CheckpointContainer: later(CHECKPOINT),
  CheckpointPod: later(CHECKPOINT),
  RestorePod: later(CHECKPOINT),
  GetContainerEvents: live<'GetContainerEvents'>(({ engine }, _, send) =>
    engine.events.subscribe((event) => send(eventMessage(event))),
  ),
  ListMetricDescriptors: unary<'ListMetricDescriptors'>(({ engine }) => descriptors(engine)),
  ListPodSandboxMetrics: unary<'ListPodSandboxMetrics'>(async ({ scope, engine }) =>
    repeatedField1(await allMetrics(scope, engine)),
  ),
  StreamPodSandboxMetrics: stream<'StreamPodSandboxMetrics'>(async function* ({ scope, engine }) {
    for (const some of batches(await allMetrics(scope, engine), 10)) yield repeatedField1(some)
  }),
  RuntimeConfig: unary<'RuntimeConfig'>(({ engine }) => show.runtimeConfig(engine)),
  UpdatePodSandboxResources: unary<'UpdatePodSandboxResources'>(async ({ scope, engine }, request) => {
    const f = new Fields()
    const overhead = resources(f, 'overhead', request.overhead)
    const change = resources(f, 'resources', request.resources)
    f.done('invalid update')
    const id = requiredId('pod_sandbox_id', request.podSandboxId)
    await engine.pods.update(scope, { id, overhead, resources: change })
    return {}
  }),
  ListImages: unary<'ListImages'>(({ engine }, { filter }) =>
    repeatedField1(engine.images.list(filter?.image?.image ?? '').map(imageBytes)),
  ),
  StreamImages: stream<'StreamImages'>(function* ({ engine }, { filter }) {
    for (const some of batches(engine.images.list(filter?.image?.image ?? '')))
      yield repeatedField1(some.map(imageBytes))
  }),
  ImageStatus: unary<'ImageStatus'>(({ engine }, request) => show.imageStatus(engine, request)),
  PullImage: unary<'PullImage'>(async ({ scope, engine }, request) => ({
    imageRef: (await engine.images.pull(scope, decodePull(request, engine.facts.handlers))).id,
  })),
  RemoveImage: unary<'RemoveImage'>(async ({ scope, engine }, request) => {
    await engine.images.remove(scope, imageName(request.image, 'image.image'))
    return {}
  }),
  ImageFsInfo: unary<'ImageFsInfo'>(({ engine }) => show.imageFsInfo(engine)),
}

function seconds(field: string, value: bigint | number | null | undefined): number {
  const f = new Fields()
  const v = f.int(field, value, MAX_SECONDS)
  f.done('invalid request')
  return Number(v)
}
