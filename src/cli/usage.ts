// SPDX-License-Identifier: Apache-2.0
/**
 * usage: what pods and containers use, as rows for a person or a script: two looks at a daemon's statistics, and
 * what went through between them. Reading asks over the CRI; all else is pure.
 */
import { Fault } from '../base/fault.ts'
import { clip } from '../model/ids.ts'
import type { CriClient, Reply } from './client.ts'
import { safe, shortId, sizeText, table } from './text.ts'

/** Sums since the beginning, and amounts now. Undefined: the kernel does not tell. */
export interface Totals {
  readonly cpuSeconds: number | undefined
  readonly memoryBytes: number | undefined
  readonly memoryAvailableBytes: number | undefined
  readonly readBytes: number | undefined
  readonly writeBytes: number | undefined
  readonly rxBytes: number | undefined
  readonly txBytes: number | undefined
  readonly tasks: number | undefined
  readonly writableBytes: number | undefined
}

interface Entry extends Totals {
  readonly kind: 'pod' | 'container'
  readonly id: string
  readonly podId: string
  readonly namespace: string
  readonly pod: string
  /** '' for a pod. */
  readonly container: string
  /** How often it was made anew. */
  readonly restarts: number
  readonly atNs: bigint
}

/** One look at everything, pods with their containers behind them. */
export type Look = readonly Entry[]

export interface Usage extends Omit<Entry, 'atNs'> {
  /** Over the time between the looks. */
  readonly cpuCores: number | undefined
  readonly readBytesPerSecond: number | undefined
  readonly writeBytesPerSecond: number | undefined
  readonly rxBytesPerSecond: number | undefined
  readonly txBytesPerSecond: number | undefined
}

type PodStats = NonNullable<Reply<'ListPodSandboxStats'>['stats']>[number]
type Linux = NonNullable<PodStats['linux']>
type Metrics = NonNullable<NonNullable<Reply<'ListPodSandboxMetrics'>['podMetrics']>[number]['metrics']>

const number = (of: { readonly value?: bigint | number | null } | null | undefined): number | undefined =>
  of?.value === undefined || of.value === null ? undefined : Number(of.value)

/** All values of a metric together; undefined if there is none. */
function metric(all: Metrics | undefined, name: string): number | undefined {
  const found = (all ?? []).filter((m) => m.name === `container_${name}`)
  return found.length === 0 ? undefined : found.reduce((sum, m) => sum + (number(m.value) ?? 0), 0)
}

function totals(of: Pick<Linux, 'cpu' | 'memory'>, metrics: Metrics | undefined) {
  const cpuNs = number(of.cpu?.usageCoreNanoSeconds)
  return {
    cpuSeconds: cpuNs === undefined ? undefined : cpuNs / 1e9,
    memoryBytes: number(of.memory?.workingSetBytes),
    memoryAvailableBytes: number(of.memory?.availableBytes),
    readBytes: metric(metrics, 'fs_reads_bytes_total'),
    writeBytes: metric(metrics, 'fs_writes_bytes_total'),
    tasks: metric(metrics, 'threads'),
    atNs: of.cpu?.timestamp ?? 0n,
  }
}

function network(of: Linux): Pick<Totals, 'rxBytes' | 'txBytes'> {
  const links = [of.network?.defaultInterface, ...(of.network?.interfaces ?? [])].filter((l) => !!l)
  const sum = (key: 'rxBytes' | 'txBytes') =>
    links.length === 0 ? undefined : links.reduce((all, link) => all + (number(link[key]) ?? 0), 0)
  return { rxBytes: sum('rxBytes'), txBytes: sum('txBytes') }
}

/** Asks the daemon. Throws the client's Faults. */
export async function look(client: CriClient): Promise<Look> {
  const [{ stats }, { podMetrics }] = await Promise.all([
    client.call('ListPodSandboxStats', {}),
    client.call('ListPodSandboxMetrics', {}),
  ])
  return (stats ?? []).flatMap(({ attributes, linux }) => {
    const id = attributes?.id ?? ''
    const metrics = podMetrics?.find((m) => m.podSandboxId === id)
    const { namespace = '', name: pod = '', attempt } = attributes?.metadata ?? {}
    const names = { podId: id, namespace: namespace ?? '', pod: pod ?? '' }
    const inside = (linux?.containers ?? []).map((c): Entry => {
      const own = c.attributes?.id ?? ''
      const ownMetrics = metrics?.containerMetrics?.find((m) => m.containerId === own)?.metrics ?? []
      return {
        ...{ kind: 'container', id: own, ...names, container: c.attributes?.metadata?.name ?? '' },
        restarts: c.attributes?.metadata?.attempt ?? 0,
        ...totals(c, ownMetrics),
        ...{ rxBytes: undefined, txBytes: undefined },
        writableBytes: number(c.writableLayer?.usedBytes),
      }
    })
    const own: Entry = {
      ...{ kind: 'pod', id, ...names, container: '', restarts: attempt ?? 0 },
      ...totals(linux ?? {}, metrics?.metrics ?? []),
      ...network(linux ?? {}),
      writableBytes: undefined,
    }
    return [own, ...inside]
  })
}

/** What happened between two looks. One that was not there before, or whose counters went back, has no rates. */
export function usageOf(before: Look, now: Look): readonly Usage[] {
  const earlier = new Map(before.map((e) => [e.id, e]))
  return now.map(({ atNs, ...entry }) => {
    const old = earlier.get(entry.id)
    const seconds = old ? Number(atNs - old.atNs) / 1e9 : 0
    const rate = (key: 'cpuSeconds' | 'readBytes' | 'writeBytes' | 'rxBytes' | 'txBytes') => {
      const [from, to] = [old?.[key], entry[key]]
      return seconds <= 0 || from === undefined || to === undefined || to < from
        ? undefined
        : (to - from) / seconds
    }
    return {
      ...entry,
      cpuCores: rate('cpuSeconds'),
      readBytesPerSecond: rate('readBytes'),
      writeBytesPerSecond: rate('writeBytes'),
      rxBytesPerSecond: rate('rxBytes'),
      txBytesPerSecond: rate('txBytes'),
    }
  })
}

/** Pods that use the most CPU first, each with its containers, which are in the same order. */
export function busiestFirst(all: readonly Usage[]): readonly Usage[] {
  const byCpu = (a: Usage, b: Usage) =>
    (b.cpuCores ?? 0) - (a.cpuCores ?? 0) || (b.memoryBytes ?? 0) - (a.memoryBytes ?? 0)
  const groups = Map.groupBy(
    all.filter((u) => u.kind === 'container'),
    (u) => u.podId,
  )
  return all
    .filter((u) => u.kind === 'pod')
    .toSorted(byCpu)
    .flatMap((pod) => [pod, ...(groups.get(pod.id) ?? []).toSorted(byCpu)])
}

/** Those that the words name: ids or their beginnings, names, `namespace/pod`, `pod/container`. A pod brings its containers. */
export function chosen(all: readonly Usage[], words: readonly string[]): readonly Usage[] {
  if (words.length === 0) return all
  const isMeant = (u: Usage, word: string) => {
    const pod = [u.pod, `${u.namespace}/${u.pod}`]
    const container = [u.container, ...pod.map((p) => `${p}/${u.container}`)]
    return u.id.startsWith(word) || (u.kind === 'pod' ? pod : container).includes(word)
  }
  for (const word of words) {
    if (!all.some((u) => isMeant(u, word)))
      throw new Fault('not-found', `${clip(word)}: no container or pod that runs has this id or name`)
  }
  const named = all.filter((u) => words.some((word) => isMeant(u, word)))
  const pods = new Set(named.filter((u) => u.kind === 'pod').map((u) => u.id))
  return all.filter((u) => pods.has(u.podId) || named.includes(u))
}

const HEADING = [
  'POD / CONTAINER',
  'ID',
  'CPU',
  'MEMORY',
  'READ/S',
  'WRITE/S',
  'RX/S',
  'TX/S',
  'TASKS',
  'RESTARTS',
]

/** The table; what is not known is `-`. */
export function usageTable(all: readonly Usage[]): string {
  const size = (bytes: number | undefined) => (bytes === undefined ? '-' : sizeText(Math.round(bytes)))
  return table(
    HEADING,
    all.map((u) => [
      u.kind === 'pod' ? safe(`${u.namespace}/${u.pod}`) : `  ${safe(u.container)}`,
      shortId(u.id),
      u.cpuCores === undefined ? '-' : u.cpuCores.toFixed(3),
      size(u.memoryBytes),
      size(u.readBytesPerSecond),
      size(u.writeBytesPerSecond),
      size(u.rxBytesPerSecond),
      size(u.txBytesPerSecond),
      u.tasks === undefined ? '-' : String(u.tasks),
      String(u.restarts),
    ]),
  )
}
