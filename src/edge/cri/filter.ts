// SPDX-License-Identifier: Apache-2.0
/** The CRI's list filters: all given conditions hold at once; ids may be prefixes; labels are equal, not contained. */
import { Fault } from '../../base/fault.ts'
import type { Engine } from '../../engine/index.ts'
import type { Container } from '../../model/container.ts'
import type { Pod } from '../../model/pod.ts'
import { containerState } from './encode/container.ts'
import { podState } from './encode/pod.ts'
import type { v1 } from './gen/api.js'

type Labels = { [k: string]: string } | null | undefined

function hasLabels(labels: Readonly<Record<string, string>>, wanted: Labels): boolean {
  return Object.entries(wanted ?? {}).every(([k, v]) => labels[k] === v)
}

/** A prefix that no id has, or several, is not an error in a filter: the list says it. */
function matchesId(id: string, wanted: string | null | undefined): boolean {
  return !wanted || id === wanted || id.startsWith(wanted)
}

export function pods(
  engine: Engine,
  filter: v1.PodSandboxFilter.$Properties | null | undefined,
): readonly Pod[] {
  const all = engine.pods.list()
  if (!filter) return all
  return all.filter(
    (p) =>
      matchesId(p.record.id, filter.id) &&
      (!filter.state || podState(p) === (filter.state.state ?? 0)) &&
      hasLabels(p.record.config.labels, filter.labelSelector),
  )
}

export function containers(
  engine: Engine,
  filter: v1.ContainerFilter.$Properties | null | undefined,
): readonly Container[] {
  const all = engine.containers.list()
  if (!filter) return all
  return all.filter(
    (c) =>
      matchesId(c.record.id, filter.id) &&
      matchesId(c.record.pod, filter.podSandboxId) &&
      (!filter.state || containerState(c) === (filter.state.state ?? 0)) &&
      hasLabels(c.record.config.labels, filter.labelSelector),
  )
}

/** Of those that run. */
export const runningContainers = (
  engine: Engine,
  filter: v1.ContainerStatsFilter.$Properties | null | undefined,
): readonly Container[] => containers(engine, filter).filter((c) => c.state.phase === 'running')

export const readyPods = (
  engine: Engine,
  filter: v1.PodSandboxStatsFilter.$Properties | null | undefined,
): readonly Pod[] => pods(engine, filter).filter((p) => p.state.phase === 'ready')

/** The messages of a Stream* reply: every item in exactly one message, none empty (KEP-5825). */
export function* batches<T>(items: readonly T[], size = 100): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}

export function imageName(spec: v1.ImageSpec.$Properties | null | undefined, field: string): string {
  const name = spec?.image ?? ''
  if (name === '') throw new Fault('invalid', `${field}: is required`)
  return name
}
