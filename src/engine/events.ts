// SPDX-License-Identifier: Apache-2.0
/**
 * Events: what happens to pods and containers, in the order in which it does, told where their values change in
 * memory (`state/catalog.ts`) and nowhere else. Keeps none: what a subscriber was not there for, the lists tell.
 * Without a subscriber a change costs one comparison.
 */
import type { Clock } from '../host/index.ts'
import { type Container, containerVisible } from '../model/container.ts'
import { type EventKind, eventsOf } from '../model/events.ts'
import { type UnixNanos, unixNanos } from '../model/ids.ts'
import type { Pod } from '../model/pod.ts'
import type { Catalog } from './state/catalog.ts'

export interface PodEvent {
  readonly kind: EventKind
  /** Of the pod itself, or of a container in it. */
  readonly id: string
  readonly at: UnixNanos
  /** As it was last, if it is gone now. */
  readonly pod: Pod | undefined
  /** Those that are there now: not the one that was deleted. */
  readonly containers: readonly Container[]
}

export interface Events {
  /** Calls `listener`, which must not throw, at each event from now on, before the change is visible to others. */
  subscribe(listener: (event: PodEvent) => void): Disposable
  /** Now, and later than anything it said before: the kubelet compares it with the time of an event. */
  stamp(): UnixNanos
}

/** Takes the catalog's `onChange` for itself: once a catalog. */
export function events({ catalog, clock }: { catalog: Catalog; clock: Clock }): Events {
  const listeners = new Set<(event: PodEvent) => void>()
  let last = 0n
  const stamp = (): UnixNanos => {
    const now = clock.now()
    last = now > last ? now : last + 1n
    return unixNanos(last)
  }
  const tell = (id: string, pod: Pod | undefined, kinds: readonly EventKind[]): void => {
    if (kinds.length === 0) return
    const containers = pod ? catalog.containersOf(pod.record.id).filter(containerVisible) : []
    for (const kind of kinds) {
      const event = { kind, id, at: stamp(), pod, containers }
      for (const listener of [...listeners]) listener(event)
    }
  }
  catalog.pods.onChange = (before, after) => {
    const pod = after ?? before
    if (listeners.size > 0 && pod) tell(pod.record.id, pod, eventsOf(before, after))
  }
  catalog.containers.onChange = (before, after) => {
    const record = (after ?? before)?.record
    if (listeners.size > 0 && record)
      tell(record.id, catalog.pods.byId.get(record.pod), eventsOf(before, after))
  }
  return {
    stamp,
    subscribe(listener) {
      // A function that subscribes twice is two subscribers.
      const own = (event: PodEvent) => listener(event)
      listeners.add(own)
      return { [Symbol.dispose]: () => listeners.delete(own) }
    },
  }
}
