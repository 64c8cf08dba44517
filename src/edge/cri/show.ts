// SPDX-License-Identifier: Apache-2.0
/** The replies that only show what is known: Version, Status, RuntimeConfig, and the status of single objects. */
import type { Engine } from '../../engine/index.ts'
import type { About, Call } from './context.ts'
import { requiredId } from './decode/fields.ts'
import { containerStatus } from './encode/container.ts'
import { image, imageInfo } from './encode/image.ts'
import { podStatus } from './encode/pod.ts'
import { imageName } from './filter.ts'
import type { v1 } from './gen/api.js'
import { containerInfo, info, podInfo } from './verbose.ts'

const SYSTEMD = 0
const CGROUPFS = 1

export function version(about: About): v1.VersionResponse.$Properties {
  return { version: '0.1.0', runtimeName: 'gantry', runtimeVersion: about.version, runtimeApiVersion: 'v1' }
}

export async function status(
  call: Call,
  verbose: boolean | null | undefined,
): Promise<v1.StatusResponse.$Properties> {
  const { engine, scope, about } = call
  const health = await engine.health(scope)
  const canMap = engine.facts.noUserNamespaces === undefined
  const handlers = Object.values(engine.facts.handlers).map((h) => ({
    name: h.name,
    features: {
      recursiveReadOnlyMounts: h.recursiveReadOnlyMounts,
      userNamespaces: canMap && h.userNamespaces,
    },
  }))
  const standard = handlers.find((h) => h.name === engine.defaultHandler)
  return {
    status: {
      conditions: [
        { type: 'RuntimeReady', status: health.runtimeReady, reason: '', message: '' },
        {
          type: 'NetworkReady',
          status: health.network.ready,
          reason: health.network.ready ? '' : health.network.reason,
          message: health.network.ready ? '' : health.network.message,
        },
      ],
    },
    runtimeHandlers: [...handlers, ...(standard ? [{ ...standard, name: '' }] : [])],
    features: {
      supplementalGroupsPolicy: true,
      userNamespacesHostNetwork: handlers.some((h) => h.features.userNamespaces),
      mountOptions: true,
    },
    info: verbose
      ? {
          config: info({ ...about.config, cgroupDriver: engine.facts.cgroupDriver }),
          lastCNILoadStatus: health.network.ready ? 'OK' : health.network.message,
          problems: JSON.stringify({ problems: engine.problems() }),
          host: JSON.stringify(hostInfo(engine, health.network.networkName)),
        }
      : {},
  }
}

/** What the machine is, as `gantry status` shows it. */
function hostInfo({ facts, defaultHandler }: Engine, network: string | undefined): object {
  return {
    kernel: facts.kernel,
    cgroupVersion: facts.cgroupVersion,
    cgroupDriver: facts.cgroupDriver,
    network: network ?? '',
    defaultHandler,
    userNamespaces: facts.noUserNamespaces ?? 'yes',
    handlers: Object.fromEntries(Object.values(facts.handlers).map((h) => [h.name, h.version])),
  }
}

export function runtimeConfig(engine: Engine): v1.RuntimeConfigResponse.$Properties {
  return { linux: { cgroupDriver: engine.facts.cgroupDriver === 'systemd' ? SYSTEMD : CGROUPFS } }
}

export async function podSandboxStatus(
  engine: Engine,
  request: v1.PodSandboxStatusRequest.$Properties,
): Promise<v1.PodSandboxStatusResponse.$Properties> {
  const pod = engine.pods.get(requiredId('pod_sandbox_id', request.podSandboxId))
  return {
    status: podStatus(pod),
    containersStatuses: engine.pods.containersOf(pod).map(containerStatus),
    timestamp: engine.events.stamp(),
    info: request.verbose ? { info: await podInfo(engine, pod) } : {},
  }
}

export async function containerStatusReply(
  engine: Engine,
  request: v1.ContainerStatusRequest.$Properties,
): Promise<v1.ContainerStatusResponse.$Properties> {
  const c = engine.containers.get(requiredId('container_id', request.containerId))
  return { status: containerStatus(c), info: request.verbose ? { info: await containerInfo(engine, c) } : {} }
}

export async function imageStatus(
  engine: Engine,
  request: v1.ImageStatusRequest.$Properties,
): Promise<v1.ImageStatusResponse.$Properties> {
  const found = engine.images.find(imageName(request.image, 'image.image'))
  if (!found) return {}
  if (!request.verbose) return { image: image(found), info: {} }
  const raw = await engine.images.blobsOf(found.id)
  return { image: image(found), info: { info: imageInfo(found, raw?.config) } }
}

export function imageFsInfo(engine: Engine): v1.ImageFsInfoResponse.$Properties {
  const use = engine.images.fsInfo()
  const part = ({ mountpoint, bytes, inodes }: typeof use.writable) => ({
    timestamp: use.atNs,
    fsId: { mountpoint },
    usedBytes: { value: bytes },
    inodesUsed: { value: inodes },
  })
  return { imageFilesystems: [part(use)], containerFilesystems: [part(use.writable)] }
}
