// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon is killed at every boundary of an act: right before and right after each. Started again, it has lost
 * nothing that ran, the same request succeeds, and when all is removed nothing is left of it on the host.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import { waitUntil } from '../support/child.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { outcomeOf } from '../support/scenario-refusal.ts'
import { type Bystander, startBystander } from './bystander.ts'
import { type Journey, journeys, type Trip } from './journeys.ts'

let s: Scenario
let bystander: Bystander
/** With the bystander up: what every test has to come back to. */
let quiet: Snapshot
let layers: readonly string[]
let problems: readonly string[]

const layersNow = async () => (await readdir(join(s.workspace.state, 'layers'))).sort()

async function problemsNow(): Promise<readonly string[]> {
  const { info } = await s.client.call('Status', { verbose: true })
  const told: { problems: string[] } = JSON.parse(info.problems ?? 'null')
  return told.problems
}

beforeAll(async () => {
  s = await startScenario({ pushed: [names.layers], withoutPortmap: true })
  bystander = await startBystander(s)
  quiet = await snapshot(s.workspace.leakScope())
  layers = await layersNow()
  problems = await problemsNow()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

/** Plain pods where the pod is not what is tested: they are quicker. */
const nameOf = (journey: Journey, point: string) =>
  `${/^(?:create|start|update|stop|remove)-container$/.test(journey.work) ? 'plain' : 'full'}-${point.replaceAll(':', '-')}`

async function removeAllButBystander(): Promise<void> {
  const { items } = await s.client.call('ListPodSandbox', {})
  for (const { id } of items ?? [])
    if (id !== bystander.podId) await s.client.call('RemovePodSandbox', { podSandboxId: id ?? '' })
}

/** Nothing is left but the bystander: on the host, in the store of layers, and of problems to tell. */
async function expectQuiet(): Promise<void> {
  await expectNoLeaks(quiet, { withinMs: 15_000 })
  await waitUntil('the layers are as before', async () => `${await layersNow()}` === `${layers}`, {
    withinMs: 15_000,
  })
  expect(await problemsNow()).toEqual(problems)
}

async function killedAt(journey: Journey, point: string): Promise<void> {
  const trip: Trip = { s, name: nameOf(journey, point), pod: '', container: '' }
  await s.daemon.restart({ env: { GANTRY_FAULT: `${point}=kill` } })
  await journey.prepare(trip)
  const outcome = await outcomeOf(journey.request(trip))
  const answered = journey.afterAnswer?.includes(point.split(':')[1] ?? '') === true
  if (!answered || outcome !== undefined) expect(outcome?.code).toMatch(/^(?:UNAVAILABLE|CANCELLED)$/)
  expect(await s.daemon.exited).toMatchObject({ signal: 'SIGKILL' })
  await s.daemon.restart({})
  await bystander.expectUntouched()
  await journey.request(trip)
  await journey.check(trip)
  await removeAllButBystander()
  await expectQuiet()
}

it('the journeys pass exactly the acts that are listed, and every one of the engine', async () => {
  await s.daemon.restart({})
  for (const journey of journeys) {
    const trip: Trip = { s, name: nameOf(journey, `traced-${journey.work}`), pod: '', container: '' }
    const acts = () => s.daemon.events('act').filter((e) => e.work === journey.work)
    await journey.prepare(trip)
    const already = acts().length
    await journey.request(trip)
    const seen = () =>
      acts()
        .slice(already)
        .map((e) => e.act)
    // The log comes through a pipe, a moment after the answer.
    await waitUntil('the log has come', () => seen().length >= journey.acts.length, { withinMs: 5000 })
    expect(seen()).toEqual(journey.acts)
    await journey.check(trip)
    await removeAllButBystander()
  }
  const works = new Set(s.daemon.events('act').map((e) => e.work))
  expect([...works].sort()).toEqual(journeys.map((j) => j.work).sort())
  await expectQuiet()
})

describe.each(journeys.map((j) => [j.work, j] as const))('%s', (work, journey) => {
  for (const act of journey.acts)
    for (const side of ['before', 'after'])
      it(`killed ${side} ${act}`, () => killedAt(journey, `${work}:${act}:${side}`))
})
