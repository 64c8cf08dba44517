// SPDX-License-Identifier: Apache-2.0
/**
 * The life of pods and containers as random commands, on the fake host: every answer is the one that a simple
 * model of states expects, also when programs end by themselves and the daemon is killed and started again in
 * between; at the end Remove leaves an empty machine.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import { createContainer, podConfig, runPod } from '../support/fake-host-requests.ts'
import { type Daemon, type TestWorld, testWorld } from '../support/fake-host-world.ts'

type Phase = 'created' | 'running' | 'exited'
/** What a client can know. */
interface Model {
  readonly pods: Map<string, 'ready' | 'stopped'>
  readonly containers: Map<string, { pod: string; phase: Phase }>
}
/** The machine, the daemon of the moment, and ids by name. */
interface Real {
  readonly w: TestWorld
  d: Daemon
  readonly pod: Map<string, string>
  readonly container: Map<string, string>
}

const answer = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (e: unknown) => (isFault(e) ? e.kind : String(e)),
  )
const unknown = '00'.repeat(32)
const meta = (name: string) => ({ metadata: { ...podConfig.metadata, name } })

/** After every command: what is shown is what the model says, and the machine has exactly what that needs. */
async function compare(m: Model, r: Real): Promise<void> {
  await r.d.idle()
  const { engine } = r.d
  const pods = engine.pods.list().map((p) => [p.record.config.metadata.name, p.state.phase])
  expect(Object.fromEntries(pods)).toEqual(Object.fromEntries(m.pods))
  const containers = engine.containers.list().map((c) => [c.record.config.metadata.name, c.state.phase])
  expect(Object.fromEntries(containers)).toEqual(
    Object.fromEntries([...m.containers].map(([name, c]) => [name, c.phase])),
  )
  const alive = [...m.containers.values()].filter((c) => c.phase !== 'exited').length
  const ready = [...m.pods.values()].filter((p) => p === 'ready').length
  const { books } = r.w
  expect([books.monitors.size, books.attachments.size, books.pins.size, books.mounts.size]).toEqual([
    alive,
    ready,
    3 * ready,
    alive,
  ])
  expect(books.violations).toEqual([])
}

interface Step {
  readonly text: string
  run(m: Model, r: Real): Promise<void>
}
const command = ({ text, run }: Step): fc.AsyncCommand<Model, Real> => ({
  check: () => true,
  async run(m, r) {
    await run(m, r)
    await compare(m, r)
  },
  toString: () => text,
})

const idOf = (ids: Map<string, string>, name: string) => ids.get(name) ?? unknown
const endAll = (m: Model, pod: string) => {
  for (const c of m.containers.values()) if (c.pod === pod) c.phase = 'exited'
}

const runPodStep = (name: string): Step => ({
  text: `run pod ${name}`,
  async run(m, r) {
    const work = r.d.engine.pods.run(r.d.scope(), runPod(meta(name)))
    const got = await answer(work)
    expect(got).toBe(m.pods.get(name) === 'stopped' ? 'exists' : 'ok')
    if (got !== 'ok') return
    if (m.pods.has(name)) expect(await work).toBe(r.pod.get(name))
    r.pod.set(name, await work)
    m.pods.set(name, 'ready')
  },
})

const createStep = (pod: string, name: string): Step => ({
  text: `create ${name} in ${pod}`,
  async run(m, r) {
    const command = createContainer(idOf(r.pod, pod), { metadata: { name, attempt: 0 } })
    const work = r.d.engine.containers.create(r.d.scope(), command)
    const there = m.containers.get(name)
    const state = m.pods.get(pod)
    const wanted = !state
      ? 'not-found'
      : state === 'stopped'
        ? 'wrong-state'
        : there && there.phase !== 'created'
          ? 'exists'
          : 'ok'
    expect(await answer(work)).toBe(wanted)
    if (wanted !== 'ok') return
    if (there) expect(await work).toBe(r.container.get(name))
    r.container.set(name, await work)
    m.containers.set(name, { pod, phase: 'created' })
  },
})

const startStep = (name: string): Step => ({
  text: `start ${name}`,
  async run(m, r) {
    const c = m.containers.get(name)
    const got = await answer(r.d.engine.containers.start(r.d.scope(), idOf(r.container, name)))
    expect(got).toBe(!c ? 'not-found' : c.phase === 'exited' ? 'wrong-state' : 'ok')
    if (c && got === 'ok') c.phase = 'running'
  },
})

const stopStep = (name: string, graceMs: number): Step => ({
  text: `stop ${name}`,
  async run(m, r) {
    const id = idOf(r.container, name)
    expect(await answer(r.d.engine.containers.stop(r.d.scope(), { id, graceMs }))).toBe('ok')
    const c = m.containers.get(name)
    if (c) c.phase = 'exited'
  },
})

const execStep = (name: string): Step => ({
  text: `exec in ${name}`,
  async run(m, r) {
    const id = idOf(r.container, name)
    const got = await answer(r.d.engine.containers.execSync(r.d.scope(), { id, args: ['x'], timeoutMs: 0 }))
    const c = m.containers.get(name)
    expect(got).toBe(!c ? 'not-found' : c.phase === 'running' ? 'ok' : 'wrong-state')
  },
})

const removeStep = (name: string): Step => ({
  text: `remove ${name}`,
  async run(m, r) {
    expect(await answer(r.d.engine.containers.remove(r.d.scope(), idOf(r.container, name)))).toBe('ok')
    m.containers.delete(name)
  },
})

const stopPodStep = (name: string): Step => ({
  text: `stop pod ${name}`,
  async run(m, r) {
    expect(await answer(r.d.engine.pods.stop(r.d.scope(), idOf(r.pod, name)))).toBe('ok')
    endAll(m, name)
    if (m.pods.has(name)) m.pods.set(name, 'stopped')
  },
})

const removePodStep = (name: string): Step => ({
  text: `remove pod ${name}`,
  async run(m, r) {
    expect(await answer(r.d.engine.pods.remove(r.d.scope(), idOf(r.pod, name)))).toBe('ok')
    m.pods.delete(name)
    for (const [key, c] of [...m.containers]) if (c.pod === name) m.containers.delete(key)
  },
})

/** The program ends by itself. */
const endStep = (name: string): Step => ({
  text: `${name} ends`,
  async run(m, r) {
    const c = m.containers.get(name)
    const state = r.d.ctx.catalog.containers.find(idOf(r.container, name))?.state
    if (c?.phase !== 'running' || state?.phase !== 'running') return
    const process = r.w.books.processOf(state.process)
    if (process) r.w.books.end(process, 15)
    c.phase = 'exited'
  },
})

const restartStep = (): Step => ({
  text: 'kill the daemon, start another',
  async run(_m, r) {
    r.d.steps.die()
    r.d = await r.w.boot()
    expect(r.d.problems).toEqual([])
  },
})

const pod = fc.constantFrom('p', 'q')
const container = fc.constantFrom('a', 'b')
const steps = [
  pod.map((p) => command(runPodStep(p))),
  fc.tuple(pod, container).map(([p, c]) => command(createStep(p, `${p}-${c}`))),
  fc.tuple(pod, container).map(([p, c]) => command(startStep(`${p}-${c}`))),
  fc.tuple(pod, container).map(([p, c]) => command(execStep(`${p}-${c}`))),
  fc.tuple(pod, container, fc.constantFrom(0, 5000)).map(([p, c, ms]) => command(stopStep(`${p}-${c}`, ms))),
  fc.tuple(pod, container).map(([p, c]) => command(endStep(`${p}-${c}`))),
  fc.tuple(pod, container).map(([p, c]) => command(removeStep(`${p}-${c}`))),
  pod.map((p) => command(stopPodStep(p))),
  pod.map((p) => command(removePodStep(p))),
  fc.constant(command(restartStep())),
]

test('answers and machine agree with the model, whatever the order of calls', async () => {
  await fc.assert(
    fc.asyncProperty(fc.commands(steps, { maxCommands: 30 }), async (commands) => {
      const w = await testWorld()
      try {
        const real: Real = { w, d: await w.boot(), pod: new Map(), container: new Map() }
        const begin = async () => ({ model: { pods: new Map(), containers: new Map() } as Model, real })
        await fc.asyncModelRun(begin, commands)
        for (const id of [...real.d.ctx.catalog.pods.byId.keys()])
          await real.d.engine.pods.remove(real.d.scope(), id)
        await w.expectEmpty(real.d)
      } finally {
        await w.remove()
      }
    }),
    { numRuns: 60 },
  )
})
