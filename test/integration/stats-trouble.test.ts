// SPDX-License-Identifier: Apache-2.0
/** Statistics while a container is frozen, hangs the reader, or goes: it spoils no other's figures and no call. */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { v1 } from '../../src/edge/cri/gen/api.js'
import { waitUntil } from '../support/child.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { cgroupMounts } from '../support/host-view.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { type Kept, kept } from '../support/scenario-run.ts'
import { containerStats, idsOf as ids, listedStats, amountOf as value } from '../support/stats.ts'
import { cgroupfs } from '../support/workspace.ts'

let s: Scenario
let pod: RunningPod
let quiet: Kept

beforeAll(async () => {
  s = await startScenario({ config: cgroupfs })
  pod = await s.pod('trouble')
  quiet = await kept(s, pod)
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 5000 })))

const listed = () => listedStats(s.client)

describe('what is in trouble', () => {
  it('frozen, it has figures like any other', async () => {
    const c = await kept(s, pod)
    const cgroup = `${s.workspace.cgroupParent}/pod${pod.podId}/${c.id}`
    const freeze = (on: boolean) =>
      spawnSync('sh', [
        '-c',
        `echo ${on ? 'FROZEN' : 'THAWED'} > /sys/fs/cgroup/freezer${cgroup}/freezer.state 2>/dev/null || echo ${on ? 1 : 0} > /sys/fs/cgroup${cgroup}/cgroup.freeze`,
      ])
    freeze(true)
    const began = performance.now()
    expect(ids(await listed())).toEqual(expect.arrayContaining([c.id, quiet.id]))
    expect(performance.now() - began).toBeLessThan(1000)
    freeze(false)
    await s.client.call('RemoveContainer', { containerId: c.id })
  })

  it('a container whose reads hang costs a call 100 ms, once, and nobody his figures', async () => {
    const c = await kept(s, pod)
    const cgroup = `${s.workspace.cgroupParent}/pod${pod.podId}/${c.id}`
    const files = (await cgroupMounts()).map((mount) => `${mount}${cgroup}/memory.stat`)
    const file = files.find((f) => existsSync(f)) ?? ''
    const fifo = `${s.workspace.root}/hangs`
    expect(spawnSync('sh', ['-c', `mkfifo ${fifo} && mount --bind ${fifo} ${file}`]).status).toBe(0)
    const has = (all: readonly v1.ContainerStats.$Properties[], id: string) =>
      all.find((one) => one.attributes?.id === id)?.memory != null
    const threads = async () => (await readdir(`/proc/${s.daemon.pid}/task`)).length
    try {
      const began = performance.now()
      const first = await listed()
      const took = performance.now() - began
      expect([ids(first).includes(c.id), has(first, c.id), has(first, quiet.id)]).toEqual([true, false, true])
      expect(took).toBeGreaterThan(90)
      expect(took).toBeLessThan(1000)
      const before = await threads()
      const times: number[] = []
      for (let i = 0; i < 20; i++) {
        const at = performance.now()
        const next = await listed()
        times.push(performance.now() - at)
        expect([has(next, c.id), has(next, quiet.id)]).toEqual([false, true])
      }
      // Not one of them waits the 100 ms again, and none leaves a thread behind.
      expect(times.toSorted((a, b) => a - b)[10]).toBeLessThan(50)
      expect(await threads()).toBeLessThanOrEqual(before + 1)
      expect(has([await containerStats(s.client, quiet.id)], quiet.id)).toBe(true)
    } finally {
      spawnSync('umount', ['--lazy', file]) // the hung read holds it
      closeSync(openSync(fifo, 'r+'))
    }
    await waitUntil('it has figures again', async () => has(await listed(), c.id), { withinMs: 5000 })
    await s.client.call('RemoveContainer', { containerId: c.id })
  })

  it('a container that goes while lists are made is left out, and the rest is whole', async () => {
    const going = await Promise.all([1, 2, 3, 4].map(() => kept(s, pod)))
    let over = false
    const lists = (async () => {
      while (!over) {
        for (const one of await listed()) {
          expect(one.attributes?.id).toBeTypeOf('string')
          expect(value(one.memory?.usageBytes)).toBeGreaterThanOrEqual(0n)
        }
        await s.client.call('ListPodSandboxMetrics', {})
      }
    })()
    for (const c of going) await s.client.call('RemoveContainer', { containerId: c.id })
    over = true
    await lists
    expect(ids(await listed())).toEqual([quiet.id])
  })

  it('a cgroup that somebody took away is left out', async () => {
    const c = await kept(s, pod)
    const pid = await c.pid()
    process.kill(pid, 'SIGSTOP')
    for (const mount of await cgroupMounts()) {
      spawnSync('sh', ['-c', `echo ${pid} > ${mount}/cgroup.procs`])
      await rmdir(`${mount}${s.workspace.cgroupParent}/pod${pod.podId}/${c.id}`).catch(() => {})
    }
    expect(ids(await listed())).toEqual([quiet.id])
    process.kill(pid, 'SIGCONT')
    await s.client.call('RemoveContainer', { containerId: c.id })
  })
})
