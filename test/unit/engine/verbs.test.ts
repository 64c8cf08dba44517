// SPDX-License-Identifier: Apache-2.0
/** The verbs of the engine on a fake host: what they promise of repetition, of the unknown, and of wrong states. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Fault, isFault } from '../../../src/base/fault.ts'
import { noResources } from '../../../src/model/resources.ts'
import { createContainer, podConfig, runPod, security } from '../../support/fake-host-requests.ts'
import { MISSING } from '../../support/fake-host-runtime.ts'
import { type Daemon, type TestWorld, testWorld } from '../../support/fake-host-world.ts'

let w: TestWorld
let d: Daemon
beforeEach(async () => {
  w = await testWorld()
  d = await w.boot()
})
afterEach(async () => {
  for (const id of [...d.ctx.catalog.pods.byId.keys()]) await d.engine.pods.remove(d.scope(), id)
  await w.expectEmpty(d)
  await w.remove()
})

const faultOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no fault',
    (e: unknown) => (isFault(e) ? `${e.kind}: ${e.message}` : e),
  )
const pod = (change: Parameters<typeof runPod>[0] = {}) => d.engine.pods.run(d.scope(), runPod(change))
const create = (id: string, change: Parameters<typeof createContainer>[1] = {}) =>
  d.engine.containers.create(d.scope(), createContainer(id, change))
const start = (id: string) => d.engine.containers.start(d.scope(), id)
const stop = (id: string, graceMs = 1000) => d.engine.containers.stop(d.scope(), { id, graceMs })
const running = async () => {
  const id = await create(await pod())
  await start(id)
  return id
}
const unknown = 'ef'.repeat(32)

describe('the unknown', () => {
  test('Stop and Remove of it succeed', async () => {
    await d.engine.pods.stop(d.scope(), unknown)
    await d.engine.pods.remove(d.scope(), unknown)
    await stop(unknown)
    await d.engine.containers.remove(d.scope(), unknown)
    expect(d.steps.calls.filter((c) => c.key.startsWith('runtime'))).toEqual([])
  })

  test('everything else says that it is unknown', async () => {
    const asks = [
      create(unknown),
      start(unknown),
      d.engine.containers.update(d.scope(), { id: unknown, change: noResources }),
      d.engine.containers.execSync(d.scope(), { id: unknown, args: ['x'], timeoutMs: 0 }),
      d.engine.containers.reopenLog(d.scope(), unknown),
    ].map(faultOf)
    for (const fault of await Promise.all(asks)) expect(fault).toMatch(/^not-found: .* is unknown$/)
    expect(() => d.engine.pods.get(unknown)).toThrow(/is unknown/)
    expect(() => d.engine.containers.get(unknown)).toThrow(/is unknown/)
  })

  test('a runtime handler that is not configured is refused', async () => {
    const command = { ...runPod(), handler: 'nope' }
    expect(await faultOf(d.engine.pods.run(d.scope(), command))).toMatch(/^invalid: runtime_handler: "nope"/)
  })
})

describe('again', () => {
  test('Start, Stop and Remove may come twice', async () => {
    const id = await running()
    await start(id)
    await stop(id)
    await stop(id)
    const { pod: podId } = d.engine.containers.get(id).record
    await d.engine.pods.stop(d.scope(), podId)
    await d.engine.pods.stop(d.scope(), podId)
    await d.engine.containers.remove(d.scope(), id)
    await d.engine.containers.remove(d.scope(), id)
    await d.engine.pods.remove(d.scope(), podId)
    await d.engine.pods.remove(d.scope(), podId)
    expect([w.books.count('runtime.start'), w.books.count('network.detach')]).toEqual([1, 1])
  })

  test('a stopped pod keeps its name, and its state, until it is removed', async () => {
    const id = await pod()
    await d.engine.pods.stop(d.scope(), id)
    expect(await faultOf(pod())).toMatch(/^exists: .*is stopped: remove it, or raise/)
    expect(await faultOf(create(id))).toMatch(/^wrong-state: .*is stopped, expected ready/)
    await d.engine.pods.remove(d.scope(), id)
    expect(await pod()).not.toBe(id)
  })
})

describe('wrong states', () => {
  test('Start of an exited container, exec and log of one that does not run', async () => {
    const id = await running()
    await stop(id)
    expect(await faultOf(start(id))).toMatch(/^wrong-state: .*is exited, expected created/)
    const exec = d.engine.containers.execSync(d.scope(), { id, args: ['x'], timeoutMs: 0 })
    expect(await faultOf(exec)).toMatch(/^wrong-state: .*is exited, expected running/)
    expect(await faultOf(d.engine.containers.reopenLog(d.scope(), id))).toMatch(/^wrong-state: /)
    const update = d.engine.containers.update(d.scope(), { id, change: noResources })
    expect(await faultOf(update)).toMatch(/^wrong-state: .*is exited/)
  })

  test('a log that the container does not have cannot be reopened', async () => {
    const id = await running()
    expect(await faultOf(d.engine.containers.reopenLog(d.scope(), id))).toMatch(/has no log file/)
  })

  test('a container that was never started is ended too', async () => {
    const id = await create(await pod())
    await stop(id, 60_000)
    expect(d.engine.containers.get(id).state).toMatchObject({ startedAt: undefined, exit: { code: 137 } })
  })
})

test('an update of huge pages is written beside the runtime, which leaves them as they are', async () => {
  const id = await running()
  const change = { ...noResources, hugepages: [{ pageSize: '2MB', limitBytes: 4n << 20n }] }
  await d.engine.containers.update(d.scope(), { id, change })
  expect(w.books.count('runtime.update')).toBe(1)
  expect(w.books.count('limits hugetlb.2MB.max=4194304')).toBe(1)
  expect(d.engine.containers.get(id).resources.hugepages).toEqual(change.hugepages)
})

describe('a program that cannot be executed', () => {
  test('is created all the same; Start tells, with code 128; then it is exited', async () => {
    const id = await create(await pod(), { command: [MISSING] })
    expect(d.engine.containers.get(id).state).toMatchObject({ phase: 'created', process: undefined })
    await stop(id)
    expect(await faultOf(start(id))).toMatch(/^invalid: start container app .*no such file/)
    expect(d.engine.containers.get(id).state).toMatchObject({
      phase: 'exited',
      exit: { code: 128, reason: 'StartError', message: expect.stringContaining(MISSING) },
    })
    expect(await faultOf(start(id))).toMatch(/^wrong-state/)
  })
})

describe('sharing a PID namespace', () => {
  test('POD needs a pod that was run with one', async () => {
    const id = await pod({ namespaces: { network: 'pod', pid: 'container', ipc: 'pod' } })
    const refused = create(id, { security: { ...security, pid: { mode: 'pod' } } })
    expect(await faultOf(refused)).toMatch(/^invalid: .*run without a shared PID namespace/)
    expect(w.books.count('monitors.start')).toBe(0)
  })

  test('POD after the pause process has died is refused before anything is made', async () => {
    const id = await pod()
    for (const p of [...w.books.processes.values()]) if (p.what === 'pause') w.books.end(p, 9)
    expect(await faultOf(create(id))).toMatch(/^wrong-state: the pause process of the pod has ended/)
  })

  test('TARGET is a running container of the same pod', async () => {
    const id = await pod()
    const target = await create(id)
    const other = await pod({ metadata: { ...podConfig.metadata, name: 'other' } })
    const of = (podId: string, name: string, targetId: string) =>
      create(podId, {
        metadata: { name, attempt: 0 },
        security: { ...security, pid: { mode: 'target', target: targetId } },
      })
    expect(await faultOf(of(id, 'a', target))).toMatch(/^wrong-state: .*is created, not running/)
    await start(target)
    expect(await faultOf(of(other, 'a', target))).toMatch(/^not-found: .*is not in this pod/)
    expect(await faultOf(of(id, 'a', unknown))).toMatch(/^not-found: /)
    expect(d.engine.containers.get(await of(id, 'a', target)).state.phase).toBe('created')
  })
})

describe('seccomp profiles of this node', () => {
  const localhost = (ref: string) => ({
    security: { ...security, seccomp: { type: 'localhost' as const, ref } },
  })

  test('one that is not there, or is no profile, is refused by its path', async () => {
    const id = await pod()
    expect(await faultOf(create(id, localhost('/nowhere/p.json')))).toMatch(
      /^invalid: .*\/nowhere\/p.json does not exist/,
    )
    expect(await faultOf(create(id, localhost(`${w.roots.root}/gantry-pause`)))).toMatch(
      /is not (JSON|a profile)/,
    )
    expect(d.engine.containers.list()).toEqual([])
  })
})

describe('the pod network', () => {
  test('is not waited for by a pod on the node’s network, which gets no address', async () => {
    const id = await pod({ namespaces: { network: 'node', pid: 'node', ipc: 'node' }, sysctls: {} })
    expect(d.engine.pods.get(id).state).toMatchObject({ phase: 'ready', ips: [] })
    expect(w.books.count('network.attach')).toBe(0)
  })

  test('that is not ready refuses a pod before anything is made', async () => {
    const network = {
      ...d.host.network,
      status: async () => ({ ready: false, reason: 'No', message: 'because' }),
    }
    const ctx = { ...d.ctx, host: { ...d.host, network } }
    const { runPod: run } = await import('../../../src/engine/pods/run.ts')
    expect(await faultOf(run(ctx, d.scope(), runPod()))).toMatch(/^unavailable: .*No: because/)
    expect(w.lines()).toEqual([])
  })
})

describe('exec', () => {
  test('that takes too long is a timeout, one that fails is a result', async () => {
    const id = await running()
    const exec = () => d.engine.containers.execSync(d.scope(), { id, args: ['x'], timeoutMs: 5 })
    w.behaviour.exec = async () => ({ code: 3, stdout: 'x'.repeat(5000) })
    const result = await exec()
    expect([result.code, result.stdout.length]).toEqual([3, 1024])
    const monitors = {
      ...d.host.monitors,
      exec: async () => ({ code: 137, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), timedOut: true }),
    }
    const { execSync } = await import('../../../src/engine/containers/exec-sync.ts')
    const ctx = { ...d.ctx, host: { ...d.host, monitors } }
    expect(await faultOf(execSync(ctx, d.scope(), { id, args: ['x'], timeoutMs: 5 }))).toMatch(
      /^timeout: exec in container app .*took longer than 5 ms and was killed/,
    )
  })
})

test('a call whose scope has ended changes nothing', async () => {
  const over = d.scope()
  over.abort(new Fault('timeout', 'too late'))
  expect(await faultOf(d.engine.pods.run(over, runPod()))).toBe('timeout: too late')
  await d.idle()
  expect(w.lines()).toEqual([])
})
