// SPDX-License-Identifier: Apache-2.0
/**
 * Calls that come while recovery still cleans up behind the open socket, and a daemon that comes back with another
 * configuration: what is made meanwhile is left alone, what is removed meanwhile is removed once.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createContainer, podConfig, runPod } from '../support/fake-host-requests.ts'
import { Steps } from '../support/fake-host-steps.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import { expectWhole, onMachine, reboot } from './bench.ts'
import { containerRequest, madeRunning, podIds, podRequest } from './verbs.ts'

/** A daemon died while it made a pod with a network; the next one has begun its recovery and waits at `key`. */
async function recovering(w: TestWorld, first: Daemon, key: string): Promise<Daemon> {
  first.steps.record({ 'network.attach#1': 'die-after' })
  first.engine.pods.run(first.scope(), podRequest(w)).catch(() => {})
  await first.steps.died
  const steps = new Steps()
  steps.record({ [key]: 'late' })
  const d = await w.boot(steps)
  await steps.reached
  return d
}

describe('while recovery cleans up behind the open socket', () => {
  test('a retry of the half-made pod waits for its release, and a Remove too', async () => {
    await onMachine(async (first, w) => {
      const d = await recovering(w, first, 'network.detach#1')
      const [half] = podIds(d)
      const run = d.engine.pods.run(d.scope(), podRequest(w))
      const remove = d.engine.pods.remove(d.scope(), half ?? '')
      d.steps.release()
      const id = await run
      await remove
      await d.idle()
      expectWhole(d)
      expect(d.engine.pods.list().map((p) => p.record.id)).toEqual([id])
      expect(w.books.count('network.detach')).toBe(1)
      return d
    })
  })

  test('a retry of a half-made container ends the monitor that is still at work on it', async () => {
    await onMachine(async (first, w) => {
      const pod = await first.engine.pods.run(first.scope(), podRequest(w))
      first.steps.record({ 'monitors.start#1': 'die-middle' })
      first.engine.containers.create(first.scope(), containerRequest(w, pod)).catch(() => {})
      await first.steps.died
      const steps = new Steps()
      steps.record({ 'monitors.sweep#1': 'late' })
      const d = await w.boot(steps)
      await steps.reached
      await d.engine.containers.create(d.scope(), containerRequest(w, pod))
      expect([...w.books.processes.values()].filter((p) => p.what === 'monitor')).toHaveLength(1)
      d.steps.release()
      await d.idle()
      return d
    })
  })

  test('a container that is started meanwhile keeps its monitor', async () => {
    await onMachine(async (first, w) => {
      const d = await recovering(w, first, 'monitors.sweep#1')
      const pod = await d.engine.pods.run(
        d.scope(),
        runPod({ metadata: { ...podConfig.metadata, name: 'b' } }),
      )
      const id = await d.engine.containers.create(d.scope(), createContainer(pod))
      d.steps.release()
      await d.idle()
      expect(d.engine.containers.get(id).state.phase).toBe('created')
      expect(w.books.monitors.size).toBe(1)
      return d
    })
  })

  test('a pod that is attached meanwhile keeps its address', async () => {
    await onMachine(async (first, w) => {
      const d = await recovering(w, first, 'network.gc#1')
      const run = d.engine.pods.run(d.scope(), podRequest(w))
      await wait(2)
      d.steps.release()
      await run
      await d.idle()
      expect(w.books.attachments.size).toBe(1)
      return d
    })
  })

  test('after a power cut, a Remove of a pod meets the release of the same pod', async () => {
    await onMachine(async (first, w) => {
      const { pod } = await madeRunning(first, w)
      await first.idle()
      first.steps.die()
      w.books.reboot('boot-2')
      const steps = new Steps()
      steps.record({ 'network.detach#1': 'late' })
      const d = await w.boot(steps)
      await steps.reached
      const remove = d.engine.pods.remove(d.scope(), pod)
      d.steps.release()
      await remove
      await d.idle()
      expect(d.events).toEqual([])
      expect(w.books.count('network.detach')).toBe(1)
      return d
    })
  })
})

describe('a daemon with another configuration', () => {
  test('starts although the handler of a container is not there any more, and takes its pod apart', async () => {
    await onMachine(async (first, w) => {
      const pod = await first.engine.pods.run(first.scope(), { ...podRequest(w), handler: 'other' })
      await first.engine.containers.create(first.scope(), containerRequest(w, pod))
      await first.idle()
      first.steps.die()
      const runc = first.ctx.host.facts.handlers.runc
      const without = await w.boot(new Steps(), runc ? { handlers: { runc } } : {})
      await without.idle()
      expect(without.engine.containers.list().map((c) => c.state.phase)).toEqual(['created'])
      await without.engine.pods.remove(without.scope(), pod)
      await without.idle()
      expect(w.lines().filter((l) => /^(process|cgroup|mount|folder)/.test(l))).toEqual([])
      // In truth a folder below the daemon's, which goes as such; here a book that only its runtime keeps.
      for (const key of [...w.books.runtimes.keys()])
        if (key.startsWith('other/')) w.books.runtimes.delete(key)
      return await reboot(w, without)
    })
  })
})
