// SPDX-License-Identifier: Apache-2.0
/**
 * Exec probes without end leave daemon and monitor as large as they were, and nothing behind. GANTRY_TEST_EXECS
 * sets their number: 500 by default, 5000 in CI (.ci/run), 100000 in a night.
 */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { execSync, type RunningPod } from '../support/cri-requests.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { type Kept, kept } from '../support/scenario-run.ts'

const total = Number(process.env.GANTRY_TEST_EXECS ?? 500)
const atOnce = 8
const PARTS = 10
let s: Scenario
let pod: RunningPod
let c: Kept

beforeAll(async () => {
  s = await startScenario()
  pod = await s.pod('soak')
  c = await kept(s, pod)
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const residentKiB = async (pid: number) =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])

async function probes(count: number): Promise<void> {
  let left = count
  const one = async () => {
    while (left-- > 0) {
      const { stdout, exitCode } = await execSync(s.client, c.id, ['echo', 'ok'], 30)
      if (stdout !== 'ok\n' || exitCode !== 0)
        throw new Error(`a probe said ${JSON.stringify(stdout)}, ${exitCode}`)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, one))
}

it(
  `${total} probes: daemon and monitor stay as they are`,
  async () => {
    const monitor = (await processes()).find(
      (p) => p.argv[0]?.endsWith('gantry-monitor') && p.argv.includes(c.id),
    )
    if (!monitor) throw new Error('the container has no monitor')
    await probes(Math.min(200, total))
    const quiet = await snapshot(s.workspace.leakScope({ daemonPid: s.daemon.pid }))
    const now = async () => ({
      daemon: await residentKiB(s.daemon.pid),
      monitor: await residentKiB(monitor.pid),
    })
    const seen = [await now()]
    const startMs = performance.now()
    for (let part = 0; part < PARTS; part++) {
      await probes(Math.ceil(total / PARTS))
      seen.push(await now())
    }
    const perExecMs = Number(((performance.now() - startMs) / total).toFixed(1))
    console.log(JSON.stringify({ total, perExecMs, seen: seen.map((r) => `${r.daemon}+${r.monitor}`) }))
    const long = total >= 5000
    const grown = (of: 'daemon' | 'monitor') =>
      Math.min(...seen.slice(-PARTS / 2).map((r) => r[of])) - (seen[long ? 4 : 0]?.[of] ?? 0)
    expect(grown('monitor')).toBeLessThan(256)
    // The heap of V8 grows to its size in some 1500 probes, then it breathes: what counts is how small the daemon can
    // be in the second half, and of a long run that nothing is added any more.
    expect(grown('daemon')).toBeLessThan((long ? 4 : 32) * 1024)
    await expectNoLeaks(quiet, { withinMs: 10_000 })
  },
  60_000 + total * 500,
)
