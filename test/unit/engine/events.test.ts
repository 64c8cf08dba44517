// SPDX-License-Identifier: Apache-2.0
/** Events over the real verbs and a fake host: their order and contents, their times, and what nobody hears. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { events as eventsFrom, type PodEvent } from '../../../src/engine/events.ts'
import { catalog } from '../../../src/engine/state/catalog.ts'
import { unixNanos } from '../../../src/model/ids.ts'
import { createContainer, runPod } from '../../support/fake-host-requests.ts'
import { type Daemon, type TestWorld, testWorld } from '../../support/fake-host-world.ts'

let w: TestWorld
let d: Daemon
beforeEach(async () => {
  w = await testWorld()
  d = await w.boot()
})
afterEach(() => w.remove())

/** `kind what phase-of-the-pod [phases of its containers]` */
function line(names: ReadonlyMap<string, string>, e: PodEvent): string {
  const inside = e.containers.map((c) => c.state.phase).join(' ')
  return `${e.kind} ${names.get(e.id) ?? 'pod'} ${e.pod?.state.phase} [${inside}]`
}

test('a whole life is told in order, with what is there at that moment inside', async () => {
  const seen: PodEvent[] = []
  using _ = d.engine.events.subscribe((e) => void seen.push(e))
  const pod = await d.engine.pods.run(d.scope(), runPod())
  const id = await d.engine.containers.create(d.scope(), createContainer(pod))
  await d.engine.containers.start(d.scope(), id)
  await d.engine.containers.stop(d.scope(), { id, graceMs: 0 })
  await d.engine.containers.remove(d.scope(), id)
  await d.engine.pods.stop(d.scope(), pod)
  await d.engine.pods.remove(d.scope(), pod)
  expect(seen.map((e) => line(new Map([[id, 'container']]), e))).toEqual([
    'created pod ready []',
    'started pod ready []',
    'created container ready [created]',
    'started container ready [running]',
    'stopped container ready [exited]',
    'deleted container ready []',
    'stopped pod stopped []',
    'deleted pod stopped []',
  ])
  const times = seen.map((e) => e.at)
  expect(times.every((at, i) => i === 0 || at > (times[i - 1] ?? 0n))).toBe(true)
})

test('two subscribers hear the same, one that has left nothing more', async () => {
  const heard: [string[], string[]] = [[], []]
  using _ = d.engine.events.subscribe((e) => void heard[0].push(e.kind))
  const second = d.engine.events.subscribe((e) => void heard[1].push(e.kind))
  const pod = await d.engine.pods.run(d.scope(), runPod())
  second[Symbol.dispose]()
  await d.engine.pods.remove(d.scope(), pod)
  expect(heard).toEqual([
    ['created', 'started', 'stopped', 'deleted'],
    ['created', 'started'],
  ])
})

test('a clock that is put back does not put the times of events back', () => {
  const clock = [5n, 9n, 3n, 9n, 11n]
  const { stamp } = eventsFrom({
    catalog: catalog(),
    clock: { now: () => unixNanos(clock.shift() ?? 0n) },
  })
  expect([stamp(), stamp(), stamp(), stamp(), stamp()]).toEqual([5n, 9n, 10n, 11n, 12n])
})
