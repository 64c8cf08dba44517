// SPDX-License-Identifier: Apache-2.0
/**
 * bench: what the fault suites do with a verb of the engine: run it once to learn its steps, then again on a new
 * machine with something happening at one of them, and look at what is left.
 */
import { expect } from 'vitest'
import { asFault, Fault } from '../../src/base/fault.ts'
import type { Scope } from '../../src/base/scope.ts'
import { type Mode, type StepCall, Steps } from '../support/fake-host-steps.ts'
import { type Daemon, type TestWorld, testWorld } from '../support/fake-host-world.ts'

/** One verb, ready to be called; `I` is what its preparation made. */
export interface Verb<I> {
  readonly name: string
  /** The step with which what is made becomes whole, for verbs that make something. */
  readonly commit?: string
  /** On an empty machine: what has to be there before the call. */
  prepare(d: Daemon, w: TestWorld): Promise<I>
  call(d: Daemon, scope: Scope, made: I, w: TestWorld): Promise<unknown>
  /** After a call that succeeded, at once or by a retry. */
  succeeded(d: Daemon, made: I, w: TestWorld): void | Promise<void>
  /** Gives back what preparation and call have made: pods by their ids. */
  pods(d: Daemon, made: I): readonly string[]
}

/** The steps of one undisturbed call, with what it starts in the background. */
export async function stepsOf<I>(verb: Verb<I>): Promise<readonly StepCall[]> {
  return await withWorld(async (w) => {
    const d = await w.boot()
    const made = await verb.prepare(d, w)
    await d.idle()
    d.steps.record()
    await verb.call(d, d.scope(), made, w)
    await d.idle()
    const { calls } = d.steps
    await verb.succeeded(d, made, w)
    await removeAll(d, verb.pods(d, made))
    await w.expectEmpty(d)
    expect(d.events).toEqual([])
    return calls
  })
}

/** A world for one test, taken away whatever happens. */
export async function withWorld<T>(work: (w: TestWorld) => Promise<T>): Promise<T> {
  const w = await testWorld()
  try {
    return await work(w)
  } finally {
    await w.remove()
  }
}

export async function removeAll(d: Daemon, pods: readonly string[]): Promise<void> {
  await d.idle()
  d.steps.record()
  for (const id of pods) await d.engine.pods.remove(d.scope(), id)
  for (const { id } of d.engine.images.list()) await d.engine.images.remove(d.scope(), id)
}

/** The call with faults at steps; for `hang` and `late` the caller goes away as soon as the step is reached. */
export async function callWith(
  d: Daemon,
  faults: Readonly<Record<string, Mode>>,
  call: (scope: Scope) => Promise<unknown>,
): Promise<Fault | undefined> {
  d.steps.record(faults)
  const scope = d.scope()
  const work = call(scope).then(
    () => undefined,
    (e: unknown) => asFault(e),
  )
  if (Object.values(faults).some((m) => m === 'hang' || m === 'late')) {
    await Promise.race([d.steps.reached, work])
    // With more than one fault, what hangs is a release: its caller has gone wrong already.
    if (Object.keys(faults).length === 1) scope.abort(new Fault('cancelled', 'the caller went away'))
    // Verbs that run in a scope of the daemon's do not see that: their patience ends now.
    setTimeout(() => d.steps.release(), 1)
  }
  const fault = await work
  await d.idle()
  return fault
}

/** Runs `call` until the daemon dies at the step, then starts another one over what is left. */
export async function dieAt(
  w: TestWorld,
  d: Daemon,
  at: { key: string; mode: Mode; call: (scope: Scope) => Promise<unknown> },
): Promise<Daemon> {
  d.steps.record({ [at.key]: at.mode })
  const work = at.call(d.scope()).catch(() => {})
  // A step in the background of the call comes after its answer.
  await Promise.race([d.steps.died, work.then(() => d.idle())])
  expect(d.steps.dead, `${at.key} was not reached`).toBe(true)
  return await reboot(w, d)
}

/** Another daemon over the same machine, with its recovery at an end. */
export async function reboot(w: TestWorld, before: Daemon, steps = new Steps()): Promise<Daemon> {
  before.steps.die()
  const d = await w.boot(steps)
  await d.idle()
  return d
}

/** No object is half-made: every record is of a whole one. */
export function expectWhole(d: Daemon): void {
  const phases = [...d.ctx.catalog.pods.byId.values(), ...d.ctx.catalog.containers.byId.values()]
    .map((x) => x.state.phase)
    .filter((phase) => phase === 'creating' || phase === 'leftover')
  expect(phases).toEqual([])
}

/** What a call failed with, as `kind: message`; undefined when it succeeded. */
export const faultOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (e: unknown) => (e instanceof Fault ? `${e.kind}: ${e.message}` : e),
  )

/** A world with a daemon; at the end everything is removed and the machine is empty. */
export async function onMachine(
  work: (d: Daemon, w: TestWorld) => Promise<Daemon | undefined>,
): Promise<void> {
  await withWorld(async (w) => {
    const first = await w.boot()
    const d = (await work(first, w)) ?? first
    await removeAll(d, [...d.ctx.catalog.pods.byId.keys()])
    await w.expectEmpty(d)
  })
}
