// SPDX-License-Identifier: Apache-2.0
/**
 * The pause process of a pod ends while the daemon lives: the pod is not ready at once and is taken apart, whatever
 * else is done to it at that moment, whichever release goes wrong, and also when the daemon dies meanwhile.
 */
import { describe, expect, test } from 'vitest'
import { deathModes, faultModes } from '../support/fake-host-steps.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import { faultOf, onMachine, reboot, removeAll, withWorld } from './bench.ts'
import { containerRequest, type Made, madeRunning, podIds, podRequest, stopPodVerb } from './verbs.ts'

function killPause(w: TestWorld): void {
  for (const p of [...w.books.processes.values()]) if (p.what === 'pause') w.books.end(p, 9)
}

async function running(w: TestWorld): Promise<{ d: Daemon; made: Made }> {
  const d = await w.boot()
  const made = await madeRunning(d, w)
  await d.idle()
  d.steps.record()
  return { d, made }
}

const steps = await withWorld(async (w) => {
  const { d } = await running(w)
  killPause(w)
  await d.idle()
  return d.steps.calls
})

describe('a pod whose pause process ends', () => {
  test('is stopped as by StopPodSandbox, and told of once, before its containers are', async () => {
    await onMachine(async (d, w) => {
      const made = await madeRunning(d, w)
      const told: string[] = []
      d.engine.events.subscribe(({ kind, id }) => told.push(`${kind} ${id}`))
      killPause(w)
      await d.idle()
      await stopPodVerb.succeeded(d, made, w)
      expect(told).toEqual([`stopped ${made.pod}`, `stopped ${made.container}`])
      expect(d.events).toEqual(['pod-lost'])
      const next = await reboot(w, d)
      expect(next.engine.pods.get(made.pod).state).toEqual(d.engine.pods.get(made.pod).state)
      return next
    })
  })

  test('is watched by the next daemon too', async () => {
    await onMachine(async (first, w) => {
      const made = await madeRunning(first, w)
      const d = await reboot(w, first)
      killPause(w)
      await d.idle()
      await stopPodVerb.succeeded(d, made, w)
      return d
    })
  })

  test('makes room for another one of its name and its port', async () => {
    await onMachine(async (d, w) => {
      await madeRunning(d, w)
      killPause(w)
      await d.idle()
      const { config, handler } = podRequest(w)
      const again = { ...config, metadata: { ...config.metadata, attempt: 1 } }
      const id = await d.engine.pods.run(d.scope(), { config: again, handler })
      expect(d.engine.pods.get(id).state.phase).toBe('ready')
      return undefined
    })
  })

  test('has what could not be released given back by the StopPodSandbox that follows', async () => {
    await onMachine(async (d, w) => {
      const made = await madeRunning(d, w)
      d.steps.record({ 'network.detach#1': 'before', 'network.detach#2': 'before' })
      killPause(w)
      await d.idle()
      expect(d.events).toEqual(['pod-lost', 'release-failed'])
      const stop = () => d.engine.pods.stop(d.scope(), made.pod)
      expect(await faultOf(stop())).toContain('injected: network.detach#2')
      await stop()
      await stopPodVerb.succeeded(d, made, w)
      return undefined
    })
  })

  test('while a CreateContainer is in flight takes that container too', async () => {
    await onMachine(async (d, w) => {
      const pod = await d.engine.pods.run(d.scope(), podRequest(w))
      d.steps.record({ 'monitors.start#1': 'late' })
      const creating = d.engine.containers.create(d.scope(), containerRequest(w, pod))
      await d.steps.reached
      killPause(w)
      d.steps.release()
      const container = await creating
      await d.idle()
      await stopPodVerb.succeeded(d, { pod, container }, w)
      expect(await faultOf(d.engine.containers.create(d.scope(), containerRequest(w, pod)))).toMatch(
        /^wrong-state/,
      )
      return undefined
    })
  })

  test.each(['stop', 'remove'] as const)('while somebody asks to %s it: both succeed', async (verb) => {
    await onMachine(async (d, w) => {
      const made = await madeRunning(d, w)
      d.steps.record({ 'network.detach#1': 'late' })
      killPause(w)
      await d.steps.reached
      const asked = d.engine.pods[verb](d.scope(), made.pod)
      d.steps.release()
      await asked
      expect(w.books.attachments.size).toBe(0)
      expect(w.books.count('network.detach')).toBe(1)
      return undefined
    })
  })
})

async function afterwards(w: TestWorld, d: Daemon, made: Made): Promise<void> {
  expect(d.engine.pods.get(made.pod).state.phase).toBe('stopped')
  await removeAll(d, podIds(d))
  await w.expectEmpty(d)
}

describe('a step of that goes wrong: the pod is stopped, and Remove gives back what is left', () => {
  const at = steps
    // The watch itself: a descriptor that cannot be had, which the next start makes good.
    .filter((call) => call.key !== 'processes.gone#1')
    .flatMap((call) => faultModes(call).map((mode) => ({ key: call.key, mode })))
  test('there are steps', () => expect(at.length).toBeGreaterThan(10))
  test.each(at)('$key $mode', async ({ key, mode }) => {
    await withWorld(async (w) => {
      const { d, made } = await running(w)
      d.steps.record({ [key]: mode })
      void d.steps.reached.then(() => setTimeout(() => d.steps.release(), 1))
      killPause(w)
      await d.idle()
      await afterwards(w, d, made)
    })
  })
})

describe('the daemon dies at a step of that', () => {
  const at = steps.flatMap((call) => deathModes(call).map((mode) => ({ key: call.key, mode })))
  test.each(at)('$key $mode', async ({ key, mode }) => {
    await withWorld(async (w) => {
      const { d, made } = await running(w)
      d.steps.record({ [key]: mode })
      killPause(w)
      await d.steps.died
      await afterwards(w, await reboot(w, d), made)
    })
  })
})
