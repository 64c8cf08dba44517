// SPDX-License-Identifier: Apache-2.0
/**
 * The daemon is killed at random moments while pods come and go beside a container that must not notice: inside
 * acts, between requests, during recovery. The seed of the moments is printed; the clients retry what failed with
 * the daemon, as the kubelet does.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import { containerState, execSync, namespaceMode } from '../support/cri-requests.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { outcomeOf } from '../support/scenario-refusal.ts'
import { busybox } from '../support/scenario-run.ts'
import { type Bystander, startBystander } from './bystander.ts'

const runMs = 30_000
let s: Scenario
let bystander: Bystander
let quiet: Snapshot

beforeAll(async () => {
  s = await startScenario({ images: [names.busybox], pushed: [names.layers] })
  bystander = await startBystander(s)
  quiet = await snapshot(s.workspace.leakScope())
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

/** xorshift32: the same moments for the same seed. */
function randomOf(seed: number): () => number {
  let x = seed | 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) / 2 ** 32
  }
}

/** Sends it again while the daemon is away. Any other failure than its death is one of the test. */
async function persist<T>(send: () => Promise<T>): Promise<T> {
  for (const endMs = performance.now() + 30_000; ; await sleep(30)) {
    let value: { readonly is: T } | undefined
    const failed = await outcomeOf(
      send().then((is) => {
        value = { is }
      }),
    )
    if (value !== undefined) return value.is
    const died = failed?.code === 'UNAVAILABLE' || failed?.code === 'CANCELLED'
    if (!died || performance.now() > endMs) throw new Error(`${failed?.code}: ${failed?.details}`)
  }
}

/** One pod from nothing to nothing, every request until it has succeeded. */
async function cycle(name: string): Promise<void> {
  const { client } = s
  const shared = name.endsWith('0')
  const pid = shared ? namespaceMode.pod : namespaceMode.container
  const config = s.podConfig(name, { bridged: !name.endsWith('1'), pid })
  const { podSandboxId } = await persist(() => client.call('RunPodSandbox', { config, runtimeHandler: '' }))
  const container = busybox({
    container: 'main',
    command: ['sleep', '600'],
    linux: { securityContext: { namespaceOptions: { pid } } },
  })
  const create = { podSandboxId, config: container, sandboxConfig: config }
  const { containerId } = await persist(() => client.call('CreateContainer', create))
  await persist(() => client.call('StartContainer', { containerId }))
  const { status } = await persist(() => client.call('ContainerStatus', { containerId }))
  expect(status?.state).toBe(containerState.running)
  expect((await persist(() => execSync(client, containerId, ['echo', name]))).stdout).toBe(`${name}\n`)
  await persist(() => client.call('StopContainer', { containerId, timeout: 0n }))
  await persist(() => client.call('StopPodSandbox', { podSandboxId }))
  await persist(() => client.call('RemovePodSandbox', { podSandboxId }))
}

async function pullCycle(): Promise<void> {
  const image = { image: names.layers }
  await persist(() => s.client.call('PullImage', { image }))
  await persist(() => s.client.call('RemoveImage', { image }))
}

it('killed at random under load: every request succeeds in the end, nothing is lost, nothing is left', async () => {
  const seed = Number(process.env.GANTRY_TEST_SEED ?? Date.now() % 2 ** 31)
  const random = randomOf(seed)
  const endMs = performance.now() + runMs
  const running = () => performance.now() < endMs
  const done = { pods: 0, pulls: 0, kills: 0 }
  const worker = async (lane: number): Promise<void> => {
    for (let i = 0; running(); i++) {
      await cycle(`lane${lane}-${i}-${i % 3}`)
      done.pods++
    }
  }
  const puller = async (): Promise<void> => {
    for (; running(); done.pulls++) await pullCycle()
  }
  const killer = async (): Promise<void> => {
    for (; running(); done.kills++) {
      await sleep(random() * 900)
      await s.daemon.kill9()
      await s.daemon.restart({ readyWithinMs: 20_000 })
    }
  }
  await Promise.all([killer(), worker(0), worker(1), worker(2), puller()]).catch((e: unknown) => {
    throw new Error(`with GANTRY_TEST_SEED=${seed}`, { cause: e })
  })
  console.log(`seed ${seed}: ${done.kills} kills, ${done.pods} pods, ${done.pulls} pulls`)
  expect(done.kills).toBeGreaterThan(3)
  expect(done.pods).toBeGreaterThan(3)
  await bystander.expectUntouched()
  const { items } = await s.client.call('ListPodSandbox', {})
  expect(items?.map((p) => p.id)).toEqual([bystander.podId])
  expect(s.daemon.events('bug')).toEqual([])
  await expectNoLeaks(quiet, { withinMs: 20_000 })
}, 150_000)
