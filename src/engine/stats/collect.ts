// SPDX-License-Identifier: Apache-2.0
/**
 * Figures of containers and pods, now: one native read for all that is asked, the rates from the look before, and
 * what the background has measured of writable layers. Keeps two looks at each CPU counter and nothing else. What is
 * stuck or has just gone never spoils the rest.
 */
import type { Scope } from '../../base/scope.ts'
import type { ReadingRequest } from '../../host/cgroup/readings.ts'
import { type Container, containerPid } from '../../model/container.ts'
import { podPaths } from '../../model/names.ts'
import type { Pod } from '../../model/pod.ts'
import { cgroupUsage, type Detail } from '../../model/stats/cgroup.ts'
import { linksOf, processCounts, softOpenFiles } from '../../model/stats/process.ts'
import {
  type CgroupUsage,
  type CpuHistory,
  type DiskUse,
  type LinkUsage,
  nextCpu,
  type ProcessCounts,
  sumUsage,
  type WritableUse,
} from '../../model/stats/usage.ts'
import type { Context } from '../context.ts'

/** One look; without `usage` the kernel did not answer in time, or there is no cgroup. */
interface Sample {
  readonly atNs: bigint
  readonly usage: CgroupUsage | undefined
  readonly nanoCores: bigint | undefined
  readonly processes: ProcessCounts | undefined
}

export interface ContainerSample extends Sample {
  readonly container: Container
  readonly writable: WritableUse | undefined
  readonly mountpoint: string
  readonly openFilesMax: bigint | undefined
}

export interface PodSample extends Sample {
  readonly pod: Pod
  /** None on the node's network. */
  readonly links: readonly LinkUsage[] | undefined
  /** Of those that run. */
  readonly containers: readonly ContainerSample[]
  /** In the containers together; not told if one of them is stuck, nor with metrics, which have it by container. */
  readonly processCount: bigint | undefined
}

export interface Stats {
  /** In the order given; one that runs no more, and whose cgroup is gone, is left out. @abort finishes */
  containers(scope: Scope, of: readonly Container[]): Promise<readonly ContainerSample[]>
  /** One container in whatever state; without figures if it has no cgroup. @abort finishes */
  container(scope: Scope, of: Container): Promise<ContainerSample>
  /** Pods with the containers in them. `metrics` reads what cAdvisor reads beside. @abort finishes */
  pods(scope: Scope, of: readonly Pod[], detail?: Detail): Promise<readonly PodSample[]>
  /** The disk of writable layers. @abort finishes */
  disk(): Promise<DiskUse>
}

interface Look extends Sample {
  readonly is: 'read' | 'gone' | 'stuck'
  readonly links: readonly LinkUsage[] | undefined
  readonly openFilesMax: bigint | undefined
}

export function stats(ctx: Context): Stats {
  const { host, catalog } = ctx
  const histories = new Map<string, CpuHistory>()

  function rate(id: string, usage: CgroupUsage | undefined): bigint | undefined {
    const cpuNs = usage?.counters.cpuNs
    if (cpuNs === undefined) return undefined
    const next = nextCpu(histories.get(id), { atNs: host.readings.monotonicNs(), cpuNs })
    histories.set(id, next.history)
    return next.nanoCores
  }

  function forgetGone(): void {
    const { pods, containers } = catalog
    if (histories.size <= pods.byId.size + containers.byId.size) return
    const live = new Set<string>([...pods.byId.keys(), ...containers.byId.keys()])
    for (const id of histories.keys()) if (!live.has(id)) histories.delete(id)
  }

  async function look(requests: readonly ReadingRequest[]): Promise<readonly Look[]> {
    const found = await host.readings.read(requests)
    const atNs = host.clock.now()
    forgetGone()
    return found.map((one, i) => {
      if (typeof one === 'string')
        return {
          is: one,
          atNs,
          ...{ usage: undefined, nanoCores: undefined, processes: undefined },
          ...{ links: undefined, openFilesMax: undefined },
        }
      const { id, cgroup } = requests[i] as ReadingRequest
      const usage = cgroup === undefined ? undefined : cgroupUsage(host.facts.cgroupVersion, one.texts)
      return {
        is: 'read',
        atNs,
        usage,
        nanoCores: rate(id, usage),
        processes: one.processes === undefined ? undefined : processCounts(one.processes),
        links: one.links === undefined ? undefined : linksOf(one.links),
        openFilesMax: one.limits === undefined ? undefined : softOpenFiles(one.limits),
      }
    })
  }

  const withLayers = () => {
    const { mountpoint, of } = ctx.writable()
    return (container: Container, found: Look): ContainerSample => ({
      ...found,
      ...{ container, writable: of(container.record.id), mountpoint },
    })
  }

  async function containers(of: readonly Container[]): Promise<readonly ContainerSample[]> {
    const found = await look(of.map((c) => containerRequest(ctx, c, 'stats')))
    const ofContainer = withLayers()
    return of.flatMap((c, i) => (found[i]?.is === 'gone' ? [] : [ofContainer(c, found[i] as Look)]))
  }

  return {
    containers: (_scope, of) => containers(of),
    async container(_scope, of) {
      const [found] = await look([containerRequest(ctx, of, 'stats')])
      return withLayers()(of, found as Look)
    },
    async pods(_scope, of, detail = 'stats') {
      const inside = of.map((pod) =>
        catalog.containersOf(pod.record.id).filter((c) => c.state.phase === 'running'),
      )
      const isOwn = ownCgroups([...catalog.pods.byId.values()])
      const requests = of.flatMap((pod, i) => [
        podRequest(ctx, pod, { detail, isOwn: isOwn(pod) }),
        ...(inside[i] ?? []).map((c) => containerRequest(ctx, c, detail === 'stats' ? 'counted' : detail)),
      ])
      const found = await look(requests)
      const ofContainer = withLayers()
      let at = 0
      return of.map((pod, i) => {
        const own = found[at++] as Look
        const samples = (inside[i] ?? []).flatMap((c) => {
          const one = found[at++] as Look
          return one.is === 'gone' ? [] : [ofContainer(c, one)]
        })
        const summed = isOwn(pod) ? own.usage : sumUsage(samples.flatMap((s) => s.usage ?? []))
        const nanoCores = isOwn(pod) ? own.nanoCores : rate(pod.record.id, summed)
        return {
          ...own,
          pod,
          usage: summed,
          nanoCores,
          containers: samples,
          processCount: processesIn(samples),
        }
      })
    },
    disk: () => host.readings.disk(ctx.options.roots.root),
  }
}

const processesIn = (samples: readonly ContainerSample[]): bigint | undefined =>
  samples.reduce<bigint | undefined>((sum, { usage }) => {
    const one = usage?.counters.processes
    return sum === undefined || one === undefined ? undefined : sum + one
  }, 0n)

/** In a kernel of the pod's own all is done by that kernel, in the pod's cgroup: a container has no figures. */
const containerRequest = ({ host: { facts } }: Context, c: Container, detail: Detail): ReadingRequest => ({
  id: c.record.id,
  detail,
  ...(facts.handlers[c.record.handler]?.sandboxed ? {} : { cgroup: c.record.cgroup }),
  ...(detail === 'metrics' ? { pid: containerPid(c) } : {}),
})

const podRequest = (
  ctx: Context,
  { record, state }: Pod,
  { detail, isOwn }: { readonly detail: Detail; readonly isOwn: boolean },
): ReadingRequest => ({
  id: record.id,
  detail,
  ...(isOwn ? { cgroup: record.cgroup.parent } : {}),
  ...(state.phase === 'ready' && record.config.namespaces.network === 'pod'
    ? { netns: podPaths(ctx.options.roots, record.id).netns }
    : {}),
})

/** The kubelet makes a cgroup for each pod; others give one to several, or none, and then it tells nothing of a pod. */
function ownCgroups(pods: readonly Pod[]): (pod: Pod) => boolean {
  const users = new Map<string, number>()
  for (const { record, state } of pods)
    if (state.phase === 'ready') users.set(record.cgroup.parent, (users.get(record.cgroup.parent) ?? 0) + 1)
  return ({ record }) => record.cgroup.parent !== '/' && users.get(record.cgroup.parent) === 1
}
