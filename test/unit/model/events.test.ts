// SPDX-License-Identifier: Apache-2.0
/** Every change of a pod or a container is the events that a client expects, and what was never shown is none. */
import { expect, test } from 'vitest'
import type { Container, Phase } from '../../../src/model/container.ts'
import { eventsOf } from '../../../src/model/events.ts'
import type { Pod } from '../../../src/model/pod.ts'

/** Only the phase is looked at. */
const value = <T>(phase: string | undefined): T | undefined =>
  phase === undefined ? undefined : ({ state: { phase } } as unknown as T)

test.each<[Phase | undefined, Phase | undefined, string[]]>([
  [undefined, 'creating', []],
  ['creating', 'created', ['created']],
  ['created', 'running', ['started']],
  ['running', 'running', []],
  ['running', 'exited', ['stopped']],
  ['created', 'exited', ['stopped']],
  ['exited', 'exited', []],
  ['exited', undefined, ['deleted']],
  ['created', undefined, ['deleted']],
  ['creating', undefined, []],
  ['creating', 'leftover', []],
  ['leftover', undefined, []],
])('a container from %s to %s: %j', (before, after, events) => {
  expect(eventsOf(value<Container>(before), value<Container>(after))).toEqual(events)
})

test.each<[Pod['state']['phase'] | undefined, Pod['state']['phase'] | undefined, string[]]>([
  [undefined, 'creating', []],
  ['creating', 'ready', ['created', 'started']],
  ['ready', 'ready', []],
  ['ready', 'stopped', ['stopped']],
  ['stopped', undefined, ['deleted']],
  ['ready', undefined, ['deleted']],
  ['creating', 'leftover', []],
  ['leftover', undefined, []],
])('a pod from %s to %s: %j', (before, after, events) => {
  expect(eventsOf(value<Pod>(before), value<Pod>(after))).toEqual(events)
})
