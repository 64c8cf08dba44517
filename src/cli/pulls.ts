// SPDX-License-Identifier: Apache-2.0
/** pulls: the pulls in flight, as `gantry status` shows them. */
import { isFault } from '../base/fault.ts'
import type { NodeClient } from './node-client.ts'
import { sizeText } from './text.ts'

/** A pull in flight. */
export interface Pull {
  readonly image: string
  readonly startedAt: string
  readonly layers: number
  readonly layersDone: number
  readonly doneBytes: number
  /** 0 as long as it is not known. */
  readonly totalBytes: number
  readonly callers: number
}

/** The pulls in flight; none of a daemon that does not tell. Throws the client's Faults. */
export async function pullsOf(client: Pick<NodeClient, 'call'>): Promise<Pull[]> {
  const { pulls } = await client.call('PullsInFlight', {}).catch((e: unknown) => {
    if (isFault(e, 'unsupported')) return { pulls: [] }
    throw e
  })
  return (pulls ?? []).map((p) => {
    const layers = p.progress?.layers ?? []
    const sum = (of: 'doneBytes' | 'totalBytes') => layers.reduce((n, l) => n + Number(l[of] ?? 0), 0)
    return {
      image: p.name ?? '',
      startedAt: new Date(Number((p.startedAtNs ?? 0n) / 1_000_000n)).toISOString(),
      layers: layers.length,
      layersDone: layers.filter((l) => l.state === 'done' || l.state === 'had').length,
      doneBytes: sum('doneBytes'),
      totalBytes: sum('totalBytes'),
      callers: p.callers ?? 0,
    }
  })
}

/** `docker.io/library/busybox:latest, 1 of 3 layers, 1.5 MiB of 4.0 MiB` */
export function pullText({ image, layers, layersDone, doneBytes, totalBytes }: Pull): string {
  if (layers === 0) return `${image}, asking the registry`
  return `${image}, ${layersDone} of ${layers} layers, ${sizeText(doneBytes)} of ${sizeText(totalBytes)}`
}
