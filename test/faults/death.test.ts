// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon dies at every step of every verb, before it, after it, and half-way where there is a half-way. The
 * next daemon over the same machine: forgets what was half-made, adopts what runs, settles what has ended; the
 * same request then succeeds; after Remove the machine is empty.
 */
import { describe, expect, test } from 'vitest'
import { deathModes } from '../support/fake-host-steps.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import { dieAt, expectWhole, reboot, removeAll, stepsOf, withWorld } from './bench.ts'
import { madeRunning, making, podIds, startMissingVerb, verbs } from './verbs.ts'

const cases = await Promise.all(
  // What a daemon that died in the middle of a failing start leaves is an exit like any other: see below.
  verbs
    .filter((v) => v !== startMissingVerb)
    .map(async (verb) => ({
      verb,
      at: (await stepsOf(verb)).flatMap((call) => deathModes(call).map((mode) => ({ key: call.key, mode }))),
    })),
)

/** Every container that is shown as alive has a monitor, a process and a watch: its end is noticed. */
async function expectAlive(d: Daemon, w: TestWorld): Promise<void> {
  for (const c of d.engine.containers.list()) {
    if (c.state.phase !== 'created' && c.state.phase !== 'running') continue
    const process = c.state.process && w.books.processOf(c.state.process)
    expect(process, `container is ${c.state.phase}`).toBeDefined()
  }
}

describe.each(cases)('$verb.name', ({ verb, at }) => {
  test.each(at)('$key $mode', async ({ key, mode }) => {
    await withWorld(async (w) => {
      const first = await w.boot()
      const made = await verb.prepare(first, w)
      await first.idle()
      const before = w.lines()
      const d = await dieAt(w, first, { key, mode, call: (scope) => verb.call(first, scope, made, w) })
      expectWhole(d)
      expect(d.problems).toEqual([])
      await expectAlive(d, w)
      // What was being made is there as a whole, or not at all.
      const lists: Readonly<Record<string, readonly unknown[]>> = {
        RunPodSandbox: d.engine.pods.list(),
        CreateContainer: d.engine.containers.list(),
        PullImage: d.engine.images.list(),
      }
      const whole = lists[verb.name.split(' ')[0] ?? ''] ?? []
      if (making.includes(verb) && whole.length === 0) expect(w.lines()).toEqual(before)
      await verb.call(d, d.scope(), made, w)
      await d.idle()
      await verb.succeeded(d, made, w)
      await removeAll(d, verb.pods(d, made))
      await w.expectEmpty(d)
    })
  })
})

describe('what a death leaves', () => {
  test('a running container that ends while nobody watches has its exit settled', async () => {
    await withWorld(async (w) => {
      const first = await w.boot()
      const made = await madeRunning(first, w)
      await first.idle()
      first.steps.die()
      const c = first.engine.containers.get(made.container)
      const process = c.state.phase === 'running' ? w.books.processOf(c.state.process) : undefined
      if (process) w.books.end(process, 15)
      const d = await reboot(w, first)
      expect(d.engine.containers.get(made.container).state).toMatchObject({
        phase: 'exited',
        exit: { code: 143, reason: 'Error' },
      })
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })

  test('a container whose program could not be started has ended', async () => {
    await withWorld(async (w) => {
      const first = await w.boot()
      const made = await startMissingVerb.prepare(first, w)
      await first.idle()
      const at = { key: 'runtime.delete container#1', mode: 'die-before' } as const
      const call = (scope: Parameters<typeof startMissingVerb.call>[1]) =>
        startMissingVerb.call(first, scope, made, w)
      const d = await dieAt(w, first, { ...at, call })
      expect(d.engine.containers.get(made.container).state).toMatchObject({
        phase: 'exited',
        exit: { code: 1, reason: 'Error' },
      })
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })

  test('a monitor that vanished leaves a process, which is killed, and an exit that is unknown', async () => {
    await withWorld(async (w) => {
      const first = await w.boot()
      const made = await madeRunning(first, w)
      await first.idle()
      first.steps.die()
      for (const m of [...w.books.monitors.values()]) w.books.end(m.process, 9)
      const d = await reboot(w, first)
      expect(d.engine.containers.get(made.container).state).toMatchObject({
        phase: 'exited',
        exit: { code: 255, reason: 'ContainerStatusUnknown' },
      })
      expect([...w.books.processes.values()].filter((p) => p.what === 'container')).toEqual([])
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })

  test('an exit is the same for every daemon that comes after, also one that was not told', async () => {
    await withWorld(async (w) => {
      const first = await w.boot()
      const made = await madeRunning(first, w)
      await first.idle()
      for (const m of [...w.books.monitors.values()]) w.books.end(m.process, 9)
      await first.idle()
      const { state } = first.engine.containers.get(made.container)
      expect(state).toMatchObject({ phase: 'exited', exit: { code: 255 } })
      const d = await reboot(w, first)
      expect(d.engine.containers.get(made.container).state).toEqual(state)
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })

  test('after a power cut pods are not ready, containers have ended, and the addresses are given back', async () => {
    await withWorld(async (w) => {
      const first = await w.boot()
      const made = await madeRunning(first, w)
      await first.idle()
      first.steps.die()
      w.books.reboot('boot-2')
      const d = await reboot(w, first)
      expect(d.engine.pods.get(made.pod).state.phase).toBe('stopped')
      expect(d.engine.containers.get(made.container).state).toMatchObject({ phase: 'exited' })
      expect(w.books.attachments.size).toBe(0)
      await removeAll(d, podIds(d))
      await w.expectEmpty(d)
    })
  })
})
