// SPDX-License-Identifier: Apache-2.0
/**
 * What idle pods cost the node: the processes that stay and their names, their memory, and what the daemon holds
 * after pods have come and gone. The figures are printed; the limits are those that the project promises.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { execSync, namespaceMode } from '../support/cri-requests.ts'
import { openFiles } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { commOf, memoryOf, processesNaming } from '../support/scenario-processes.ts'
import { busybox, kept, ran } from '../support/scenario-run.ts'
import { cgroupfs } from '../support/workspace.ts'

const KiB = 1024
let s: Scenario

beforeAll(async () => {
  s = await startScenario({ config: cgroupfs })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const monitors = () => processesNaming(s.workspace.root, 'gantry-monitor')

describe('idle pods', () => {
  it('are one gantry-monitor for each container and nothing else, within their memory', async () => {
    const count = 12
    for (let i = 0; i < count; i++)
      await (await s.pod(`idle${i}`)).start(busybox({ container: 'main', command: ['sleep', '3600'] }))
    expect(await commOf(s.daemon.pid)).toBe('gantryd')
    const found = await monitors()
    expect(found).toHaveLength(count)
    expect(await processesInPods('gantry-pause')).toEqual([])
    const memory = await Promise.all(found.map((p) => memoryOf(p.pid)))
    const pss = memory.reduce((sum, m) => sum + m.pssBytes, 0) / count
    const rss = Math.max(...memory.map((m) => m.rssBytes))
    const daemon = await memoryOf(s.daemon.pid)
    console.log(
      `per pod ${(pss / KiB).toFixed(0)} KiB PSS, monitor at most ${rss / KiB} KiB RSS, daemon ${(daemon.rssBytes / KiB / KiB).toFixed(0)} MiB RSS`,
    )
    expect(pss).toBeLessThanOrEqual(200 * KiB)
    expect(rss).toBeLessThanOrEqual(1024 * KiB)
    await s.removePods()
  })

  it('with a shared PID namespace are a gantry-pause as well, within the same memory', async () => {
    const count = 10
    const linux = { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } }
    for (let i = 0; i < count; i++) {
      const pod = await s.pod(`shared${i}`, { pid: namespaceMode.pod })
      await pod.start(busybox({ container: 'main', command: ['sleep', '3600'], linux }))
    }
    const found = [...(await monitors()), ...(await processesInPods('gantry-pause'))]
    expect(found).toHaveLength(2 * count)
    const memory = await Promise.all(found.map((p) => memoryOf(p.pid)))
    const pss = memory.reduce((sum, m) => sum + m.pssBytes, 0) / count
    console.log(`per pod with gantry-pause ${(pss / KiB).toFixed(0)} KiB PSS`)
    expect(pss).toBeLessThanOrEqual(200 * KiB)
    await s.removePods()
    expect(await processesInPods('gantry-pause')).toEqual([])
  })
})

/** gantry-pause has a rootfs of its own: it is known by its cgroup. */
const processesInPods = (comm: string) => processesNaming(s.workspace.cgroupParent, comm)

describe('the daemon', () => {
  it('holds no descriptor more after twenty pods than after one', async () => {
    const cycle = async (i: number) => {
      const pod = await s.pod(`cycle${i}`, { bridged: i % 2 === 0, pid: i % 3 === 0 ? 0 : 1 })
      const linux = { securityContext: { namespaceOptions: { pid: i % 3 === 0 ? 0 : 1 } } }
      const c = await kept(s, pod, { linux })
      await execSync(s.client, c.id, ['true'])
      await s.client.call('ReopenContainerLog', { containerId: c.id })
      await ran(s, pod, 'exit 1', { linux })
      await pod.remove()
    }
    const held = async () => [...(await openFiles(s.daemon.pid))].sort(([a], [b]) => (a < b ? -1 : 1))
    for (let i = 0; i < 6; i++) await cycle(i)
    const before = await held()
    for (let i = 0; i < 20; i++) await cycle(i)
    await expect.poll(held, { timeout: 10_000 }).toEqual(before)
  }, 120_000)
})
