// SPDX-License-Identifier: Apache-2.0
/** What `gantry inspect` shows: one JSON document for a container, a pod or an image. Reads only. */
import type { Engine } from '../../engine/index.ts'
import { type Container, containerPid, imagesOf } from '../../model/container.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { Pod } from '../../model/pod.ts'
import { info } from '../cri/verbose.ts'
import type { Found } from './find.ts'

/** Nanoseconds as `2026-01-02T03:04:05.006Z`. */
export const timeText = (ns: bigint): string => new Date(Number(ns / 1_000_000n)).toISOString()

/** The document as JSON text. `rawConfig`: an image's configuration as the registry has it, if it was kept. */
export function inspection(engine: Engine, found: Found, rawConfig?: unknown): string {
  switch (found.kind) {
    case 'container':
      return info(container(engine, found.value))
    case 'pod':
      return info(pod(engine, found.value))
    case 'image':
      return info(image(engine, found.value, rawConfig))
    default:
      return found satisfies never
  }
}

function container(engine: Engine, c: Container): object {
  const { record, state } = c
  const pod = engine.pods.list().find((p) => p.record.id === record.pod)?.record.config.metadata
  return {
    kind: 'container',
    id: record.id,
    name: record.config.metadata.name,
    attempt: record.config.metadata.attempt,
    pod: { id: record.pod, name: pod?.name ?? '', namespace: pod?.namespace ?? '' },
    image: { name: record.config.userSpecifiedImage || record.config.image, id: record.imageId },
    createdAt: timeText(record.createdAt),
    pid: containerPid(c) ?? 0,
    state,
    handler: record.handler,
    cgroup: record.cgroup,
    user: record.user,
    logPath: record.logPath ?? '',
    resources: c.resources,
    config: record.config,
  }
}

function pod(engine: Engine, p: Pod): object {
  const { record, state } = p
  return {
    kind: 'pod',
    id: record.id,
    name: record.config.metadata.name,
    namespace: record.config.metadata.namespace,
    createdAt: timeText(record.createdAt),
    pid: state.phase === 'ready' ? (state.pause?.pid ?? 0) : 0,
    state,
    handler: record.handler,
    cgroup: record.cgroup,
    containers: engine.pods
      .containersOf(p)
      .map((c) => ({ id: c.record.id, name: c.record.config.metadata.name, phase: c.state.phase })),
    config: record.config,
  }
}

function image(engine: Engine, record: ImageRecord, rawConfig: unknown): object {
  const users = engine.containers.list().filter((c) => imagesOf(c.record).includes(record.id))
  return {
    kind: 'image',
    id: record.id,
    tags: record.repoTags,
    digests: record.repoDigests,
    manifestDigest: record.manifestDigest,
    targetDigest: record.targetDigest,
    createdAt: record.createdAt,
    pulledAt: timeText(record.pulledAtNs),
    os: record.os,
    architecture: record.architecture,
    sizeBytes: record.size,
    pinned: record.pinned,
    annotations: record.annotations,
    containers: users.map((c) => ({ id: c.record.id, name: c.record.config.metadata.name })),
    layers: record.layers,
    config: rawConfig ?? record.config,
  }
}
