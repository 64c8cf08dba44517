// SPDX-License-Identifier: Apache-2.0
/** Events as the CRI shows them; one is encoded once, however many subscribe. */
import type { PodEvent } from '../../../engine/events.ts'
import { v1 } from '../gen/api.js'
import { containerStatus } from './container.ts'
import { podStatus } from './pod.ts'
import { Encoded } from './repeated.ts'

const KINDS = { created: 0, started: 1, stopped: 2, deleted: 3 } as const
const cache = new WeakMap<PodEvent, Encoded>()

/** One `ContainerEventResponse`. */
export function eventMessage(event: PodEvent): Encoded {
  const before = cache.get(event)
  if (before) return before
  const bytes = v1.ContainerEventResponse.encode({
    containerId: event.id,
    containerEventType: KINDS[event.kind],
    createdAt: event.at,
    ...(event.pod ? { podSandboxStatus: podStatus(event.pod) } : {}),
    containersStatuses: event.containers.map(containerStatus),
  }).finish()
  const message = new Encoded(Buffer.from(bytes))
  cache.set(event, message)
  return message
}
