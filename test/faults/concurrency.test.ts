// SPDX-License-Identifier: Apache-2.0
/** Calls that meet: they join, overtake, wait for each other or refuse each other; nothing is made twice or lost. */
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { setFaultHook } from '../../src/base/fault-point.ts'
import { noResources } from '../../src/model/resources.ts'
import { createContainer, podConfig, runPod } from '../support/fake-host-requests.ts'
import type { Daemon } from '../support/fake-host-world.ts'
import { faultOf, onMachine } from './bench.ts'
import { containerRequest, madeRunning, podRequest } from './verbs.ts'

afterEach(() => {
  setFaultHook(undefined)
  vi.useRealTimers()
})

const gone = () => new Fault('cancelled', 'the caller went away')
/** Begins a call that waits at a step until `release()`; the work comes back unfinished. */
async function begun<T>(d: Daemon, key: string, begin: () => Promise<T>): Promise<{ work: Promise<T> }> {
  d.steps.record({ [key]: 'late' })
  const work = begin()
  work.catch(() => {})
  await d.steps.reached
  return { work }
}

describe('equal requests', () => {
  test('two RunPodSandbox make one pod and answer with its id', async () => {
    await onMachine(async (d, w) => {
      const run = () => d.engine.pods.run(d.scope(), podRequest(w))
      const [a, b] = await Promise.all([run(), run()])
      expect(a).toBe(b)
      expect(await run()).toBe(a)
      expect([w.books.count('namespaces.create'), w.books.count('network.attach')]).toEqual([1, 1])
      return undefined
    })
  })

  test('two CreateContainer start one monitor and answer with one id', async () => {
    await onMachine(async (d, w) => {
      const pod = await d.engine.pods.run(d.scope(), podRequest(w))
      const create = () => d.engine.containers.create(d.scope(), containerRequest(w, pod))
      const [a, b] = await Promise.all([create(), create()])
      expect([b, await create()]).toEqual([a, a])
      expect(w.books.count('monitors.start')).toBe(1)
      return undefined
    })
  })

  test('two StartContainer open the gate once', async () => {
    await onMachine(async (d, w) => {
      const pod = await d.engine.pods.run(d.scope(), podRequest(w))
      const id = await d.engine.containers.create(d.scope(), containerRequest(w, pod))
      await Promise.all([d.engine.containers.start(d.scope(), id), d.engine.containers.start(d.scope(), id)])
      expect(w.books.count('runtime.start')).toBe(1)
      return undefined
    })
  })
})

describe('another configuration under the same name', () => {
  test('is refused for a pod that is there, and for one in flight', async () => {
    await onMachine(async (d, w) => {
      const other = { ...podRequest(w), config: { ...podConfig, labels: { app: 'other' } } }
      const { work } = await begun(d, 'network.attach#1', () => d.engine.pods.run(d.scope(), podRequest(w)))
      const second = faultOf(d.engine.pods.run(d.scope(), other))
      d.steps.release()
      await work
      expect(await second).toMatch(/^exists: .*with another configuration.*remove it/)
      expect(await faultOf(d.engine.pods.run(d.scope(), other))).toMatch(/^exists: /)
      return undefined
    })
  })

  test('is refused for a container; a further attempt is another container', async () => {
    await onMachine(async (d, w) => {
      const pod = await d.engine.pods.run(d.scope(), podRequest(w))
      await d.engine.containers.create(d.scope(), createContainer(pod))
      const changed = createContainer(pod, { args: ['--other'] })
      expect(await faultOf(d.engine.containers.create(d.scope(), changed))).toMatch(/^exists: .*attempt/)
      const again = createContainer(pod, { args: ['--other'], metadata: { name: 'app', attempt: 1 } })
      await d.engine.containers.create(d.scope(), again)
      expect(d.engine.containers.list()).toHaveLength(2)
      return undefined
    })
  })
})

describe('a port of the node that another pod has', () => {
  const withPort = (name: string, hostIp = '') =>
    runPod({
      metadata: { ...podConfig.metadata, name, uid: name },
      portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp }],
    })

  test('is refused with the name of that pod, in flight too, and free when it is stopped', async () => {
    await onMachine(async (d, w) => {
      const run = (name: string, hostIp?: string) => d.engine.pods.run(d.scope(), withPort(name, hostIp))
      const { work } = await begun(d, 'network.attach#1', () => run('first', '192.0.2.1'))
      const before = w.lines()
      const taken =
        /^wrong-state: config.port_mappings: 8080\/tcp of the node is taken by pod default\/first /
      expect(await faultOf(run('second'))).toMatch(taken)
      expect(w.lines()).toEqual(before)
      d.steps.release()
      const first = await work
      expect(await faultOf(run('second'))).toMatch(taken)
      await run('elsewhere', '192.0.2.2')
      await d.engine.pods.stop(d.scope(), first)
      await run('again', '192.0.2.1')
      expect(w.books.hostports.size).toBe(2)
      return undefined
    })
  })
})

describe('callers that leave', () => {
  test('one of two: the work goes on for the other', async () => {
    await onMachine(async (d, w) => {
      const [one, two] = [d.scope(), d.scope()]
      const { work } = await begun(d, 'network.attach#1', () => d.engine.pods.run(one, podRequest(w)))
      const other = d.engine.pods.run(two, podRequest(w))
      one.abort(gone())
      expect(await faultOf(work)).toMatch(/^cancelled/)
      d.steps.release()
      expect(d.engine.pods.get(await other).state.phase).toBe('ready')
      expect(w.books.count('network.attach')).toBe(1)
      return undefined
    })
  })

  test('the last: the work ends, what it made is released, and the next call makes a new pod', async () => {
    await onMachine(async (d, w) => {
      const [one, two] = [d.scope(), d.scope()]
      const { work } = await begun(d, 'network.attach#1', () => d.engine.pods.run(one, podRequest(w)))
      const other = d.engine.pods.run(two, podRequest(w))
      one.abort(gone())
      two.abort(gone())
      expect(await faultOf(work)).toMatch(/^cancelled/)
      expect(await faultOf(other)).toMatch(/^cancelled/)
      expect(w.lines()).not.toEqual([])
      // The release of the first goes on: this one comes after it by itself.
      const id = await d.engine.pods.run(d.scope(), podRequest(w))
      await d.idle()
      expect(d.engine.pods.list().map((p) => p.record.id)).toEqual([id])
      expect(w.books.attachments.size).toBe(1)
      return undefined
    })
  })

  test('a caller whose time is up before the lock is free takes nothing with it', async () => {
    await onMachine(async (d, w) => {
      const made = await madeRunning(d, w)
      await d.idle()
      const change = { ...noResources, cpuShares: 9n }
      const update = (scope = d.scope()) => d.engine.containers.update(scope, { id: made.container, change })
      const { work } = await begun(d, 'runtime.update#1', update)
      const impatient = d.scope()
      const second = update(impatient)
      impatient.abort(new Fault('timeout', 'too late'))
      expect(await faultOf(second)).toBe('timeout: too late')
      d.steps.release()
      await work
      expect(w.books.count('runtime.update')).toBe(1)
      return undefined
    })
  })
})

describe('stopping', () => {
  test('a shorter grace overtakes a longer one', async () => {
    await onMachine(async (d, w) => {
      w.behaviour.ignores = new Set([15])
      const { container: id } = await madeRunning(d, w)
      const patient = d.engine.containers.stop(d.scope(), { id, graceMs: 600_000 })
      await vi.waitFor(() => expect(w.books.count('signal 15')).toBe(1))
      await d.engine.containers.stop(d.scope(), { id, graceMs: 0 })
      await patient
      expect(d.engine.containers.get(id).state).toMatchObject({ phase: 'exited', exit: { code: 137 } })
      return undefined
    })
  })

  test('a caller that leaves a Stop leaves the signal sent, and no listener behind', async () => {
    await onMachine(async (d, w) => {
      w.behaviour.ignores = new Set([15])
      const { container: id } = await madeRunning(d, w)
      const scope = d.scope()
      const stop = d.engine.containers.stop(scope, { id, graceMs: 600_000 })
      await vi.waitFor(() => expect(w.books.count('signal 15')).toBe(1))
      scope.abort(gone())
      expect(await faultOf(stop)).toMatch(/^cancelled/)
      expect(d.engine.containers.get(id).state.phase).toBe('running')
      return undefined
    })
  })

  test('a container that ends by itself is settled once, also when Stop and Remove come meanwhile', async () => {
    await onMachine(async (d, w) => {
      const { container: id } = await madeRunning(d, w)
      await d.idle()
      d.steps.record({ 'exitFile#1': 'late' })
      for (const p of [...w.books.processes.values()]) if (p.what === 'container') w.books.end(p, 15)
      await d.steps.reached
      const stop = d.engine.containers.stop(d.scope(), { id, graceMs: 60_000 })
      const remove = d.engine.containers.remove(d.scope(), id)
      d.steps.release()
      await Promise.all([stop, remove])
      await d.idle()
      expect(d.steps.calls.filter((c) => c.key.startsWith('exitFile'))).toHaveLength(1)
      expect(d.engine.containers.list()).toEqual([])
      expect(d.events.filter((e) => e !== 'state-not-written')).toEqual([])
      return undefined
    })
  })

  test('an exit is recorded however long another call holds the container', async () => {
    await onMachine(async (d, w) => {
      const { container: id } = await madeRunning(d, w)
      await d.idle()
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      const change = { ...noResources, cpuShares: 9n }
      const { work } = await begun(d, 'runtime.update#1', () =>
        d.engine.containers.update(d.scope(), { id, change }),
      )
      for (const p of [...w.books.processes.values()]) if (p.what === 'container') w.books.end(p, 15)
      await vi.waitFor(() =>
        expect(d.ctx.locks.held()).toEqual([{ key: id, holders: ['the daemon'], waiting: 1 }]),
      )
      await vi.advanceTimersByTimeAsync(600_000)
      vi.useRealTimers()
      d.steps.release()
      await work
      await d.idle()
      expect(d.engine.containers.get(id).state).toMatchObject({ phase: 'exited', exit: { code: 143 } })
      return undefined
    })
  })

  test('exec goes on while a Stop waits, and ends with the container', async () => {
    await onMachine(async (d, w) => {
      w.behaviour.ignores = new Set([15])
      const { container: id } = await madeRunning(d, w)
      const stop = d.engine.containers.stop(d.scope(), { id, graceMs: 600_000 })
      await vi.waitFor(() => expect(w.books.count('signal 15')).toBe(1))
      const exec = () => d.engine.containers.execSync(d.scope(), { id, args: ['x'], timeoutMs: 0 })
      expect(await exec()).toMatchObject({ code: 0, stdout: Buffer.from('out') })
      w.behaviour.exec = () => new Promise(() => {})
      const forever = faultOf(exec())
      await vi.waitFor(() => expect(w.books.count('monitors.exec')).toBe(2))
      await d.engine.containers.stop(d.scope(), { id, graceMs: 0 })
      await stop
      expect(await forever).toMatch(/^wrong-state: .*ended during the exec/)
      expect(await faultOf(exec())).toMatch(/^wrong-state: .*exited, expected running/)
      return undefined
    })
  })
})

describe('removing what is being made', () => {
  test('RemovePodSandbox waits for a CreateContainer in flight, then takes the container too', async () => {
    await onMachine(async (d, w) => {
      const pod = await d.engine.pods.run(d.scope(), podRequest(w))
      const { work } = await begun(d, 'monitors.start#1', () =>
        d.engine.containers.create(d.scope(), containerRequest(w, pod)),
      )
      const remove = d.engine.pods.remove(d.scope(), pod)
      await wait(2)
      d.steps.release()
      await Promise.all([work, remove])
      expect(w.lines()).toEqual([])
      return undefined
    })
  })

  test('StopPodSandbox waits for it, then ends it; a CreateContainer that comes later is refused', async () => {
    await onMachine(async (d, w) => {
      const pod = await d.engine.pods.run(d.scope(), podRequest(w))
      const { work } = await begun(d, 'monitors.start#1', () =>
        d.engine.containers.create(d.scope(), containerRequest(w, pod)),
      )
      const stop = d.engine.pods.stop(d.scope(), pod)
      await wait(2)
      const later = createContainer(pod, { metadata: { name: 'later', attempt: 0 } })
      const refused = faultOf(d.engine.containers.create(d.scope(), later))
      d.steps.release()
      await Promise.all([work, stop])
      expect(await refused).toMatch(/^wrong-state: .*stopped, expected ready/)
      expect(d.engine.containers.list().map((c) => c.state.phase)).toEqual(['exited'])
      return undefined
    })
  })

  test('two RemovePodSandbox and a StopPodSandbox at once all succeed', async () => {
    await onMachine(async (d, w) => {
      const { pod } = await madeRunning(d, w)
      const { stop, remove } = d.engine.pods
      await Promise.all([remove(d.scope(), pod), stop(d.scope(), pod), remove(d.scope(), pod)])
      expect(w.books.count('network.detach')).toBe(1)
      return undefined
    })
  })
})

describe('fault points', () => {
  test('what a hook throws is the failure of the act, and the act is taken back', async () => {
    await onMachine(async (d, w) => {
      const seen: string[] = []
      setFaultHook((name) => {
        seen.push(name)
        if (name === 'run-pod:network:after') throw new Fault('internal', 'the hook')
      })
      expect(await faultOf(d.engine.pods.run(d.scope(), podRequest(w)))).toMatch(
        /^internal: run pod .*the hook/,
      )
      expect(seen.slice(-2)).toEqual(['run-pod:network:before', 'run-pod:network:after'])
      expect(w.lines()).toEqual([])
      return undefined
    })
  })
})
