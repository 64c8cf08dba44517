// SPDX-License-Identifier: Apache-2.0
/** Figures of containers and pods as the CRI shows them. Attributes, which never change, are encoded once. */
import type { ContainerSample, PodSample } from '../../../engine/stats/collect.ts'
import type { Container } from '../../../model/container.ts'
import type { Pod } from '../../../model/pod.ts'
import type { CgroupUsage, LinkUsage, Psi, PsiLine } from '../../../model/stats/usage.ts'
import { v1 } from '../gen/api.js'

const uint = (value: bigint | undefined) => (value === undefined ? null : { value })

const psiData = (line: PsiLine | undefined) =>
  line ? { Total: line.totalNs, Avg10: line.avg10, Avg60: line.avg60, Avg300: line.avg300 } : null
const psiStats = (psi: Psi | undefined) => (psi ? { Full: psiData(psi.full), Some: psiData(psi.some) } : null)

interface Sampled {
  readonly atNs: bigint
  readonly nanoCores: bigint | undefined
}

function figures({ counters: c, psi }: CgroupUsage, { atNs: timestamp, nanoCores }: Sampled) {
  return {
    cpu: {
      timestamp,
      usageCoreNanoSeconds: uint(c.cpuNs),
      usageNanoCores: uint(nanoCores),
      psi: psiStats(psi.cpu),
    },
    memory: {
      timestamp,
      workingSetBytes: uint(c.workingSetBytes),
      availableBytes: uint(c.availableBytes),
      usageBytes: uint(c.memoryBytes),
      rssBytes: uint(c.rssBytes),
      pageFaults: uint(c.pageFaults),
      majorPageFaults: uint(c.majorPageFaults),
      psi: psiStats(psi.memory),
    },
    io: { timestamp, psi: psiStats(psi.io) },
  }
}

const attributes = ({ record: { id, config } }: Container | Pod) => ({
  id,
  metadata: config.metadata,
  labels: { ...config.labels },
  annotations: { ...config.annotations },
})

const cache = new WeakMap<Container['record'], Uint8Array>()

/** The bytes of one `ContainerStats` message: protobuf messages are joined by writing one behind the other. */
export function containerStatsBytes(sample: ContainerSample): Uint8Array {
  const { container, usage, writable, atNs } = sample
  const before = cache.get(container.record)
  const head = before ?? v1.ContainerStats.encode({ attributes: attributes(container) }).finish()
  if (!before) cache.set(container.record, head)
  const tail = v1.ContainerStats.encode({
    ...(usage ? figures(usage, sample) : {}),
    ...(usage
      ? {
          swap: {
            timestamp: atNs,
            swapAvailableBytes: uint(usage.counters.swapAvailableBytes),
            swapUsageBytes: uint(usage.counters.swapBytes),
          },
        }
      : {}),
    ...(writable
      ? {
          writableLayer: {
            timestamp: writable.atNs,
            fsId: { mountpoint: sample.mountpoint },
            usedBytes: uint(writable.bytes),
            inodesUsed: uint(writable.inodes),
          },
        }
      : {}),
  }).finish()
  return Buffer.concat([head, tail])
}

const link = (l: LinkUsage) => ({
  name: l.name,
  rxBytes: uint(l.rxBytes),
  rxErrors: uint(l.rxErrors),
  txBytes: uint(l.txBytes),
  txErrors: uint(l.txErrors),
})

/** As CNI and the kubelet name the one that has the pod's address. */
const DEFAULT_LINK = 'eth0'

function network(links: readonly LinkUsage[], timestamp: bigint) {
  const outer = links.filter((l) => l.name !== 'lo')
  const usual = outer.find((l) => l.name === DEFAULT_LINK) ?? outer[0]
  return {
    timestamp,
    defaultInterface: usual ? link(usual) : null,
    interfaces: outer.filter((l) => l !== usual).map(link),
  }
}

/** One `PodSandboxStats`; what the kernel did not tell is absent, not zero. */
export function podStats(sample: PodSample): v1.PodSandboxStats.$Properties {
  const { pod, usage, links, atNs, containers, processCount } = sample
  return {
    attributes: attributes(pod),
    linux: {
      ...(usage ? figures(usage, sample) : {}),
      ...(links ? { network: network(links, atNs) } : {}),
      ...(processCount === undefined
        ? {}
        : { process: { timestamp: atNs, processCount: uint(processCount) } }),
      containers: containers.map((c) => v1.ContainerStats.decode(containerStatsBytes(c))),
    },
  }
}

/** Its bytes. */
export const podStatsBytes = (sample: PodSample): Uint8Array =>
  v1.PodSandboxStats.encode(podStats(sample)).finish()
