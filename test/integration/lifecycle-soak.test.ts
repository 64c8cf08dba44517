// SPDX-License-Identifier: Apache-2.0
/**
 * Containers that come and go without end leave the daemon as large as it was, with the descriptors that it had, and
 * nothing behind. GANTRY_TEST_LIFECYCLES sets their number (240 by default; 10000 in a soak).
 */
import { readdir, readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { expectNoLeaks, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { busybox } from '../support/scenario-run.ts'

const total = Number(process.env.GANTRY_TEST_LIFECYCLES ?? 240)
const atOnce = 4
const PARTS = 12
/** Until the code is compiled and the heap has its size; what grows with each life grows after it too. */
const WARM_UP = 500
let s: Scenario
let pod: RunningPod
/** Waits for the end of a container: by the daemon's own events, which soak too. */
const ends = new Map<string, () => void>()
const controller = new AbortController()

beforeAll(async () => {
  s = await startScenario({ config: { 'log.level': '"info"' } })
  pod = await s.pod('soak')
})
afterAll(async () => {
  controller.abort()
  await s?.end((before) => expectNoLeaks(before))
})

async function listen(): Promise<void> {
  const stream = s.client.stream('GetContainerEvents', {}, { signal: controller.signal })
  for await (const { containerId, containerEventType } of stream)
    if (containerEventType === 2) ends.get(containerId ?? '')?.()
}

async function life(): Promise<void> {
  const { podId: podSandboxId, config: sandboxConfig } = pod
  const config = busybox({ command: ['true'] })
  const { containerId } = await s.client.call('CreateContainer', { podSandboxId, config, sandboxConfig })
  const ended = new Promise<void>((resolve) => ends.set(containerId, resolve))
  await s.client.call('StartContainer', { containerId })
  await ended
  ends.delete(containerId)
  await s.client.call('RemoveContainer', { containerId })
}

const residentKiB = async () =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${s.daemon.pid}/status`, 'utf8'))?.[1])
const descriptors = async () => (await readdir(`/proc/${s.daemon.pid}/fd`)).length

/** Runs so many. Resolves with the least memory that was seen: the heap breathes, what it cannot give up counts. */
async function lives(count: number): Promise<number> {
  let left = count
  let least = Number.POSITIVE_INFINITY
  const one = async () => {
    while (left-- > 0) {
      await life()
      least = Math.min(least, await residentKiB())
    }
  }
  await Promise.all(Array.from({ length: atOnce }, one))
  return least
}

/** By how much the line of least squares through the values rises from the first to the last. */
function rise(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const xy = values.reduce((sum, v, i) => sum + (i - middle) * (v - mean), 0)
  const xx = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0)
  return (xy / xx) * (values.length - 1)
}

it(
  `${total} lives of containers: the daemon stays as it is`,
  async () => {
    const listening = listen().catch(() => undefined)
    await lives(WARM_UP)
    const quiet = await snapshot(s.workspace.leakScope({ daemonPid: s.daemon.pid }))
    const fds = await descriptors()
    const seen: number[] = []
    const startMs = performance.now()
    for (let part = 0; part < PARTS; part++) seen.push(await lives(Math.ceil(total / PARTS)))
    const perLifeMs = Number(((performance.now() - startMs) / total).toFixed(1))
    const later = seen.slice(PARTS / 3)
    const risenKiB = Math.round(rise(later))
    console.log(JSON.stringify({ total, perLifeMs, risenKiB, fds, seen }))
    // Less than a byte for each byte of a kept record would be: 10000 of those are 20 MiB.
    expect(risenKiB).toBeLessThan(8 * 1024)
    await waitUntil('descriptors are as before', async () => (await descriptors()) === fds, {
      withinMs: 10_000,
    })
    await expectNoLeaks(quiet, { withinMs: 10_000 })
    controller.abort()
    await listening
  },
  60_000 + (WARM_UP + total) * 500,
)
