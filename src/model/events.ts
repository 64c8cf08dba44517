// SPDX-License-Identifier: Apache-2.0
/** Which events a change of a pod or a container is, in their order. Pure; what was never shown makes none. */
import type { Container } from './container.ts'
import type { Pod } from './pod.ts'

export type EventKind = 'created' | 'started' | 'stopped' | 'deleted'

const HIDDEN = 0
const CREATED = 1
const STARTED = 2
const STOPPED = 3
const RANK: Readonly<Record<(Pod | Container)['state']['phase'], number>> = {
  creating: HIDDEN,
  leftover: HIDDEN,
  created: CREATED,
  running: STARTED,
  ready: STARTED,
  exited: STOPPED,
  stopped: STOPPED,
}

const rankOf = (value: Pod | Container | undefined): number => (value ? RANK[value.state.phase] : HIDDEN)

/**
 * The events from one value to the next; undefined: there is none. A pod is shown when it is ready: it was created
 * and started at once. A container that ends before it ran was not started.
 */
export function eventsOf<T extends Pod | Container>(
  before: T | undefined,
  after: T | undefined,
): EventKind[] {
  const [from, to] = [rankOf(before), rankOf(after)]
  if (to === HIDDEN) return from === HIDDEN ? [] : ['deleted']
  const kinds: EventKind[] = from === HIDDEN ? ['created'] : []
  if (from < STARTED && to === STARTED) kinds.push('started')
  if (from < STOPPED && to === STOPPED) kinds.push('stopped')
  return kinds
}
