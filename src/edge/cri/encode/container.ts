// SPDX-License-Identifier: Apache-2.0
/** Containers as the CRI shows them; the entry of a list is encoded once per value and cached. */
import type { Container, MountPropagation, VolumeRequest } from '../../../model/container.ts'
import { formatReference, parseReference } from '../../../model/reference.ts'
import type { Resources } from '../../../model/resources.ts'
import { signalToCri } from '../../../model/signals.ts'
import { v1 } from '../gen/api.js'
import { idMappings } from './userns.ts'

const STATES = { created: 0, running: 1, exited: 2, creating: 3, leftover: 3 } as const
const PROPAGATION: Readonly<Record<MountPropagation, number>> = {
  private: 0,
  'host-to-container': 1,
  bidirectional: 2,
}

export function containerState(c: Container): number {
  return STATES[c.state.phase]
}

const imageSpec = (c: Container) => ({
  image: c.record.config.image,
  userSpecifiedImage: c.record.config.userSpecifiedImage,
})

/**
 * For people: the name the pod was written with, whole. The kubelet creates by the image's ID, and shows what the
 * status has here as the container's image.
 */
function imageName({ config, imageId }: Container['record']): string {
  if (config.image !== imageId) return config.image
  try {
    return formatReference(parseReference(config.userSpecifiedImage))
  } catch {
    return config.image // an ID there too, or no name at all
  }
}

/** The image's id as image_ref: PullImage answered with it. */
const imageMount = ({ volumes = [] }: Container['record'], of: VolumeRequest, mount: number) => ({
  image: {
    image: of.image,
    userSpecifiedImage: of.userSpecifiedImage,
    imageRef: volumes.find((v) => v.mount === mount)?.imageId ?? '',
  },
  imageSubPath: of.subPath,
})

export function resources(r: Resources): v1.LinuxContainerResources.$Properties {
  return {
    cpuPeriod: r.cpuPeriod,
    cpuQuota: r.cpuQuota,
    cpuShares: r.cpuShares,
    memoryLimitInBytes: r.memoryLimitBytes,
    memorySwapLimitInBytes: r.memorySwapLimitBytes,
    oomScoreAdj: BigInt(r.oomScoreAdj),
    cpusetCpus: r.cpusetCpus,
    cpusetMems: r.cpusetMems,
    hugepageLimits: r.hugepages.map((h) => ({ pageSize: h.pageSize, limit: h.limitBytes })),
    unified: { ...r.unified },
  }
}

function times(c: Container) {
  const s = c.state
  if (s.phase === 'running') return { startedAt: s.startedAt }
  if (s.phase !== 'exited') return {}
  return {
    startedAt: s.startedAt ?? 0n,
    finishedAt: s.exit.at,
    exitCode: s.exit.code,
    reason: s.exit.reason,
    message: s.exit.message,
  }
}

export function containerStatus(c: Container): v1.ContainerStatus.$Properties {
  const { record } = c
  const { config } = record
  return {
    id: record.id,
    metadata: config.metadata,
    state: containerState(c),
    createdAt: record.createdAt,
    ...times(c),
    image: { ...imageSpec(c), image: imageName(record) },
    imageRef: record.imageRef,
    imageId: record.imageId,
    labels: { ...config.labels },
    annotations: { ...config.annotations },
    mounts: config.mounts.map((m, i) => ({
      ...(m.image ? imageMount(record, m.image, i) : {}),
      containerPath: m.containerPath,
      hostPath: m.hostPath,
      readonly: m.readonly,
      recursiveReadOnly: m.recursiveReadOnly,
      selinuxRelabel: m.selinuxRelabel,
      propagation: PROPAGATION[m.propagation],
      ...(m.idmap ? { uidMappings: idMappings(m.idmap.uids), gidMappings: idMappings(m.idmap.gids) } : {}),
      mountOptions: [...(m.options ?? [])],
    })),
    logPath: record.logPath ?? '',
    resources: { linux: resources(c.resources) },
    user: {
      linux: {
        uid: BigInt(record.user.uid),
        gid: BigInt(record.user.gid),
        supplementalGroups: record.user.additionalGids.map(BigInt),
      },
    },
    stopSignal: signalToCri(record.stopSignal),
  }
}

const cache = new WeakMap<Container, Uint8Array>()

/** The bytes of one `Container` message. */
export function containerBytes(c: Container): Uint8Array {
  const before = cache.get(c)
  if (before) return before
  const { record } = c
  const bytes = v1.Container.encode({
    id: record.id,
    podSandboxId: record.pod,
    metadata: record.config.metadata,
    image: imageSpec(c),
    imageRef: record.imageRef,
    imageId: record.imageId,
    state: containerState(c),
    createdAt: record.createdAt,
    labels: { ...record.config.labels },
    annotations: { ...record.config.annotations },
  }).finish()
  cache.set(c, bytes)
  return bytes
}
