// SPDX-License-Identifier: Apache-2.0
/** Tasks, stages and jobs: who is told of what, and what is open while it runs. */
import { afterEach, expect, it } from 'vitest'
import { act } from '../../../src/base/act.ts'
import { jobs } from '../../../src/base/jobs.ts'
import { KeyedLock } from '../../../src/base/keyed-lock.ts'
import { silent } from '../../../src/base/log.ts'
import { addStage, beginTask, endTask, observe, open, type Stage } from '../../../src/base/observer.ts'
import { childScope, cleanupScope } from '../../../src/base/scope.ts'
import { SharedTasks } from '../../../src/base/shared-task.ts'

const daemon = { signal: new AbortController().signal, log: silent }
const gate = () => Promise.withResolvers<void>()

afterEach(() => {
  expect([open.tasks.size, open.stages.size]).toEqual([0, 0])
})

it('an act is a stage of the call in whose scope it runs, also below shared work and releases', async () => {
  const ended: Stage[] = []
  using _observing = observe({ stageEnded: (stage) => ended.push(stage) })
  const task = beginTask('RunPodSandbox', '00-x')
  using scope = childScope(daemon, { task })
  using inner = childScope(scope)
  await act(inner, { work: 'run-pod', name: 'network' }, async () => {})
  await new SharedTasks<void>(daemon).run(scope, 'k', (own) =>
    act(own, { work: 'a', name: 'b' }, async () => {}),
  )
  using cleanup = cleanupScope(silent, 1000, scope.task)
  await expect(
    act(cleanup, { work: 'stop-pod', name: 'files' }, () => Promise.reject(new Error('no'))),
  ).rejects.toThrow('no')
  addStage(task, { work: 'pull', name: 'fetch', ms: 250 })
  endTask(task, 0)
  expect(ended.map((s) => [`${s.work}:${s.name}`, s.task === task, s.error !== undefined])).toEqual([
    ['run-pod:network', true, false],
    ['a:b', true, false],
    ['stop-pod:files', true, true],
    ['pull:fetch', true, false],
  ])
  const [, , , fetched] = ended
  expect((fetched?.endedMs ?? 0) - (fetched?.beganMs ?? 0)).toBeCloseTo(250)
  expect(task.stages).toEqual(ended)
})

it('a job is a call with the stages it is in, or a stage of no call; a call without an end is none', async () => {
  const { promise, resolve } = gate()
  const task = beginTask('RunPodSandbox')
  const events = beginTask('GetContainerEvents')
  const at = { work: 'run-pod', name: 'network' }
  const running = [
    act({ ...daemon, task }, at, () => promise),
    act(daemon, { work: 'recover', name: 'release' }, () => promise),
  ]
  await Promise.resolve()
  const found = jobs(performance.now() + 5000)
  expect(found.map(({ of: _of, ageMs: _age, ...rest }) => rest)).toMatchObject([
    { rpc: 'RunPodSandbox', call: task.id, stages: [{ stage: 'run-pod:network' }] },
    { rpc: '', call: 0, stages: [{ stage: 'recover:release' }] },
  ])
  expect(found[0]?.ageMs).toBeGreaterThanOrEqual(5000)
  resolve()
  await Promise.all(running)
  endTask(task, 0)
  endTask(events, 0)
})

it('a task remembers a bounded number of stages', () => {
  const task = beginTask('Node.Prune')
  for (let i = 0; i < 1000; i++) addStage(task, { work: 'prune', name: 'one', ms: 1 })
  endTask(task, 0)
  expect(task.stages).toHaveLength(64)
})

it('a lock says which call holds it', async () => {
  const locks = new KeyedLock()
  const task = beginTask('StopContainer')
  const held = await locks.exclusive({ ...daemon, task }, 'pod')
  const waits = locks.shared(daemon, 'pod')
  expect(locks.held()).toEqual([{ key: 'pod', holders: [`StopContainer (call ${task.id})`], waiting: 1 }])
  held[Symbol.dispose]()
  const other = await waits
  expect(locks.held()).toEqual([{ key: 'pod', holders: ['the daemon'], waiting: 0 }])
  other[Symbol.dispose]()
  expect(locks.held()).toEqual([])
  endTask(task, 0)
})
