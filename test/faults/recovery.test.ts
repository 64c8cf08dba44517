// SPDX-License-Identifier: Apache-2.0
/**
 * Recovery itself goes wrong, at each of its steps: the step fails, or the daemon dies again. The daemon starts
 * all the same; at the latest the next one, with nothing in its way, finds everything in order.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { folders } from '../../src/model/names.ts'
import { createContainer, runPod } from '../support/fake-host-requests.ts'
import { deathModes, faultModes, type Mode, Steps } from '../support/fake-host-steps.ts'
import type { Daemon, TestWorld } from '../support/fake-host-world.ts'
import { expectWhole, reboot, removeAll, withWorld } from './bench.ts'
import { podIds } from './verbs.ts'

const name = (n: string) => ({ metadata: { name: n, namespace: 'ns', uid: n, attempt: 0 } })
const ports = (hostPort: number) => ({
  portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort, hostIp: '' }] as const,
})
const named = (n: string) => ({ metadata: { name: n, attempt: 0 } })

/** The daemon dies at `key` of `call`, and nothing is recovered yet. */
async function die(d: Daemon, key: string, call: () => Promise<unknown>): Promise<void> {
  d.steps.record({ [key]: 'die-after' })
  call().catch(() => {})
  await d.steps.died
}

/** A machine as a crash leaves it: one of everything. */
async function crashed(w: TestWorld): Promise<{ d: Daemon; running: string; startedUnwritten: string }> {
  const first = await w.boot()
  const run = (n: string) => first.engine.pods.run(first.scope(), runPod({ ...name(n), ...ports(8080) }))
  const create = (pod: string, n: string) =>
    first.engine.containers.create(first.scope(), createContainer(pod, named(n)))
  const pod = await run('whole')
  const running = await create(pod, 'running')
  await first.engine.containers.start(first.scope(), running)
  const ended = await create(pod, 'ended')
  await first.engine.containers.start(first.scope(), ended)
  const startedUnwritten = await create(pod, 'started-unwritten')
  await create(pod, 'created')
  await first.idle()
  await die(first, 'monitors.start#1', () => create(pod, 'half'))
  // The second life sees nothing of it: it dies at once, while it makes a pod.
  for (const p of [...w.books.processes.values()])
    if (p.what === 'container' && p.cgroup?.endsWith(ended)) w.books.end(p, 15)
  const key = `runc/${startedUnwritten}`
  const container = w.books.runtimes.get(key)
  if (container) container.status = 'running'
  const halfPod = new Steps()
  const second = await w.boot(halfPod)
  await second.idle()
  const half = runPod({ ...name('half'), ...ports(8081) })
  await die(second, 'hostports.add#1', () => second.engine.pods.run(second.scope(), half))
  return { d: second, running, startedUnwritten }
}

async function stepsOfRecovery(): Promise<Steps['calls']> {
  return await withWorld(async (w) => {
    const { d } = await crashed(w)
    const steps = new Steps()
    const next = await reboot(w, d, steps)
    const calls = [...steps.calls]
    await check(next, w)
    return calls
  })
}

/** One pod and its four containers, as they ought to be, and then an empty machine. */
async function check(d: Daemon, w: TestWorld): Promise<void> {
  expectWhole(d)
  const shown = d.engine.containers.list().map((c) => [c.record.config.metadata.name, c.state.phase])
  expect(Object.fromEntries(shown)).toEqual({
    running: 'running',
    ended: 'exited',
    created: 'created',
    'started-unwritten': 'running',
  })
  expect(d.engine.pods.list().map((p) => [p.record.config.metadata.name, p.state.phase])).toEqual([
    ['whole', 'ready'],
  ])
  expect(w.books.attachments.size).toBe(1)
  expect([...w.books.hostports.values()]).toEqual(['8080/tcp'])
  // Adopted containers are watched: their end is noticed.
  for (const c of d.engine.containers.list())
    if (c.state.phase === 'running')
      await d.engine.containers.stop(d.scope(), { id: c.record.id, graceMs: 5_000 })
  expect(d.engine.containers.list().filter((c) => c.state.phase === 'running')).toEqual([])
  await d.engine.pods.run(d.scope(), runPod(name('half')))
  await removeAll(d, podIds(d))
  await w.expectEmpty(d)
}

const calls = await stepsOfRecovery()
/** Without the list of records nobody knows what runs: such a daemon must not start, and must not clean up. */
const refusals = ['files.names pods#1', 'files.names containers#1']
const failing = calls
  // Reads /proc, which does not fail.
  .filter((c) => !c.key.startsWith('processes.alive') && !refusals.includes(c.key))
  .flatMap((c) => faultModes(c).map((mode) => ({ key: c.key, mode })))
const dying = calls.flatMap((c) => deathModes(c).map((mode) => ({ key: c.key, mode })))

describe('a step of recovery goes wrong', () => {
  test('there are steps', () => {
    expect(failing.length).toBeGreaterThan(20)
  })

  test.each(failing)('$key $mode', async ({ key, mode }) => {
    await withWorld(async (w) => {
      const { d } = await crashed(w)
      const next = await started(w, d, { [key]: mode })
      await check(await reboot(w, next), w)
    })
  })
})

test.each(refusals)('%s fails: the daemon does not start, and nothing is changed', async (key) => {
  await withWorld(async (w) => {
    const { d } = await crashed(w)
    const before = w.lines()
    const steps = new Steps()
    steps.record({ [key]: 'before' })
    await expect(reboot(w, d, steps)).rejects.toThrow('injected')
    steps.die()
    expect(w.lines()).toEqual(before)
    await check(await reboot(w, d), w)
  })
})

/** Another daemon, with faults in its recovery. */
async function started(
  w: TestWorld,
  before: Daemon,
  faults: Readonly<Record<string, Mode>>,
): Promise<Daemon> {
  const steps = new Steps()
  steps.record(faults)
  if (Object.values(faults).some((m) => m === 'hang' || m === 'late'))
    void steps.reached.then(() => setTimeout(() => steps.release(), 1))
  return await reboot(w, before, steps)
}

describe('the daemon dies in its recovery', () => {
  test.each(dying)('$key $mode', async ({ key, mode }) => {
    await withWorld(async (w) => {
      const { d } = await crashed(w)
      const steps = new Steps()
      steps.record({ [key]: mode })
      await reboot(w, d, steps)
      await steps.died
      await check(await reboot(w, d), w)
    })
  })
})

describe('files that cannot be believed', () => {
  const spoil = async (w: TestWorld, d: Daemon, file: string, text: string) => {
    const [pod] = podIds(d)
    await writeFile(join(folders(w.roots).pods, pod ?? '', file), text)
  }

  test('a corrupt record is set aside and told, and the rest starts', async () => {
    await withWorld(async (w) => {
      const { d } = await crashed(w)
      await spoil(w, d, 'record.json', '{"v":1,"record":{')
      const next = await reboot(w, d)
      expect(next.problems).toEqual([expect.stringContaining('quarantine')])
      expect(next.engine.pods.list()).toEqual([])
    })
  })

  test('a corrupt state makes of its pod one that was not finished: all of it is released', async () => {
    await withWorld(async (w) => {
      const d = await w.boot()
      await d.engine.pods.run(d.scope(), runPod())
      await d.idle()
      await spoil(w, d, 'state.json', '{"v":2}')
      const next = await reboot(w, d)
      expect(next.problems).toEqual([expect.stringContaining('treated as unfinished')])
      await w.expectEmpty(next)
    })
  })

  test('a folder without a record is one whose making had not begun: it goes', async () => {
    await withWorld(async (w) => {
      const d = await w.boot()
      d.steps.record({ 'files.ensureFolders ID#1': 'die-after' })
      d.engine.pods.run(d.scope(), runPod()).catch(() => {})
      await d.steps.died
      await w.expectEmpty(await reboot(w, d))
    })
  })
})
