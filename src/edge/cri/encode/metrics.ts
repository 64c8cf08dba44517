// SPDX-License-Identifier: Apache-2.0
/** The CRI's metrics of pods and their containers, from the model's table. Calls that come meanwhile share one look. */
import { setImmediate } from 'node:timers/promises'
import type { Scope } from '../../../base/scope.ts'
import type { Engine } from '../../../engine/index.ts'
import type { PodSample } from '../../../engine/stats/collect.ts'
import type { Pod } from '../../../model/pod.ts'
import { type BaseLabels, type Metric, metricDescriptors, metricsOf } from '../../../model/stats/metrics.ts'
import type { DiskUse } from '../../../model/stats/usage.ts'
import { v1 } from '../gen/api.js'

const KINDS = { counter: 0, gauge: 1 } as const

const wire = (metrics: readonly Metric[]) =>
  metrics.map(({ name, kind, labels, value }) => ({
    name,
    metricType: KINDS[kind],
    labelValues: [...labels],
    value: { value },
  }))

/** Of each metric that a node with these facts can have. */
export function descriptors({ facts }: Engine): v1.ListMetricDescriptorsResponse.$Properties {
  return {
    descriptors: metricDescriptors(facts).map((d) => ({ ...d, labelKeys: [...d.labelKeys] })),
  }
}

function podLabels({ record: { config, cgroup } }: Pod): BaseLabels {
  const { namespace, name: pod } = config.metadata
  return { container: '', id: cgroup.parent, image: '', name: '', namespace, pod }
}

function podMetrics({ facts }: Engine, sample: PodSample, disk: DiskUse | undefined): Uint8Array {
  const base = podLabels(sample.pod)
  return v1.PodSandboxMetrics.encode({
    podSandboxId: sample.pod.record.id,
    metrics: wire(metricsOf(facts, base, sample)),
    containerMetrics: sample.containers.map((one) => {
      const { record, resources, state } = one.container
      const startedAtNs = (state.phase === 'running' ? state.startedAt : undefined) ?? record.createdAt
      const labels = {
        ...base,
        container: record.config.metadata.name,
        id: record.cgroup,
        image: record.config.userSpecifiedImage || record.config.image,
        name: record.id,
      }
      const container = { startedAtNs, resources, writable: one.writable, disk }
      return {
        containerId: record.id,
        metrics: wire(metricsOf(facts, labels, { ...one, container })),
      }
    }),
  }).finish()
}

async function look(scope: Scope, engine: Engine): Promise<readonly Uint8Array[]> {
  const pods = engine.pods.list().filter((p) => p.state.phase === 'ready')
  const [samples, disk] = await Promise.all([
    engine.stats.pods(scope, pods, 'metrics'),
    engine.stats.disk().catch(() => undefined),
  ])
  const out: Uint8Array[] = []
  for (const sample of samples) {
    out.push(podMetrics(engine, sample, disk))
    await setImmediate() // some thousand metrics are not made in one go
  }
  return out
}

const looks = new WeakMap<Engine, Promise<readonly Uint8Array[]>>()

/** The bytes of one `PodSandboxMetrics` for each pod that is ready. */
export function allMetrics(scope: Scope, engine: Engine): Promise<readonly Uint8Array[]> {
  const before = looks.get(engine)
  if (before) return before
  const mine = look(scope, engine).finally(() => looks.delete(engine))
  looks.set(engine, mine)
  return mine
}
