// SPDX-License-Identifier: Apache-2.0
/**
 * Resources on cgroup v2, with runc and with crun: what a container asks for is in its cgroup's files, an update
 * changes them, the limits hold, and the cgroups of a pod come and go with it.
 */
import { readFile, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { refusalOf } from '../../support/scenario-refusal.ts'
import { kept, ran } from '../../support/scenario-run.ts'
import {
  cgroupCount,
  cgroupExists,
  cgroupFile,
  cgroupOf,
  cgroupRoot,
  handlers,
  startGuestScenario,
} from './guest.ts'

const MiB = 1024n * 1024n
/** 512 shares, by the conversion of runtimes until 2025 and by the later one. */
const weight = /^(20|59)$/
let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status

describe.each(handlers)('with %s', (handler) => {
  let count = 0
  const pod = (more = {}) => s.pod(`${handler}-res-${++count}`, { handler, ...more })
  afterEach(() => s.removePods())

  it('a container’s resources are in its cgroup, and in its status', async () => {
    const resources = {
      memoryLimitInBytes: 64n * MiB,
      cpuPeriod: 100_000n,
      cpuQuota: 50_000n,
      cpuShares: 512n,
      unified: { 'memory.high': String(48n * MiB), 'memory.oom.group': '1', 'pids.max': '77' },
    }
    const c = await kept(s, await pod(), { linux: { resources } })
    const cgroup = await cgroupOf(await c.pid())
    const files = [
      'memory.max',
      'memory.swap.max',
      'memory.high',
      'memory.oom.group',
      'cpu.max',
      'cpu.weight',
      'pids.max',
    ]
    const values = await Promise.all(files.map((f) => cgroupFile(cgroup, f)))
    expect(Object.fromEntries(files.map((f, i) => [f, values[i]]))).toEqual({
      'memory.max': String(64n * MiB),
      'memory.swap.max': '0',
      'memory.high': String(48n * MiB),
      'memory.oom.group': '1',
      'cpu.max': '50000 100000',
      'cpu.weight': expect.stringMatching(weight),
      'pids.max': '77',
    })
    expect((await status(c.id))?.resources?.linux).toMatchObject(resources)
  })

  it('an update changes what it names and keeps the rest; what cannot be done changes nothing', async () => {
    const resources = {
      memoryLimitInBytes: 64n * MiB,
      cpuPeriod: 100_000n,
      cpuQuota: 50_000n,
      cpuShares: 512n,
      unified: { 'pids.max': '77' },
    }
    const c = await kept(s, await pod(), { linux: { resources } })
    const cgroup = await cgroupOf(await c.pid())
    const linux = { memoryLimitInBytes: 96n * MiB, cpuQuota: 70_000n, unified: { 'memory.high': '67108864' } }
    await s.client.call('UpdateContainerResources', { containerId: c.id, linux })
    expect(await cgroupFile(cgroup, 'memory.max')).toBe(String(96n * MiB))
    expect(await cgroupFile(cgroup, 'memory.high')).toBe('67108864')
    expect(await cgroupFile(cgroup, 'cpu.max')).toBe('70000 100000')
    expect(await cgroupFile(cgroup, 'cpu.weight')).toMatch(weight)
    expect(await cgroupFile(cgroup, 'pids.max')).toBe('77')
    const now = { ...resources, ...linux, unified: { ...resources.unified, ...linux.unified } }
    expect((await status(c.id))?.resources?.linux).toMatchObject(now)
    const wrong = s.client.call('UpdateContainerResources', {
      containerId: c.id,
      linux: { unified: { 'memory.no-such-file': '1' } },
    })
    expect((await refusalOf(wrong)).details).toMatch(/memory\.no-such-file/)
    expect((await status(c.id))?.resources?.linux).toMatchObject(now)
  })

  it('more memory than the limit is the end: 137, OOMKilled', async () => {
    const { status: ended } = await ran(s, await pod(), '', {
      command: ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M', 'count=1'],
      linux: { resources: { memoryLimitInBytes: 15n * MiB } },
    })
    expect(ended).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
  })

  it('a child that is killed for memory is counted in memory.events and is not the container’s end', async () => {
    const c = await kept(s, await pod(), { linux: { resources: { memoryLimitInBytes: 24n * MiB } } })
    const cgroup = await cgroupOf(await c.pid())
    expect(await cgroupCount(cgroup, 'memory.events', 'oom_kill')).toBe(0)
    const { stdout } = await s.client
      .call('ExecSync', {
        containerId: c.id,
        cmd: ['sh', '-c', 'dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?'],
        timeout: 30n,
      })
      .then((r) => ({ stdout: Buffer.from(r.stdout).toString() }))
    expect(stdout).toBe('137\n')
    expect(await cgroupCount(cgroup, 'memory.events', 'oom_kill')).toBeGreaterThan(0)
    expect(await c.sh('echo alive')).toBe('alive\n')
  })

  it('15 MiB are enough to start in: the runtime does not count', async () => {
    const { stdout, status: ended } = await ran(s, await pod(), 'echo small', {
      linux: { resources: { memoryLimitInBytes: 15n * MiB } },
    })
    expect([stdout, ended.exitCode]).toEqual(['small\n', 0])
  })

  it('a limit of processes holds', async () => {
    const { stdout, stderr } = await ran(
      s,
      await pod(),
      'i=0; while [ $i -lt 20 ]; do sleep 20 & i=$((i+1)); done; echo unlimited',
      { linux: { resources: { unified: { 'pids.max': '8' } } } },
    )
    expect(stdout).toBe('')
    expect(stderr).toMatch(/can't fork/)
  })

  it('oom_score_adj may be lower than the daemon’s own', async () => {
    const own = Number(await readFile(`/proc/${s.daemon.pid}/oom_score_adj`, 'utf8'))
    const wanted = -998n
    expect(own).toBeGreaterThan(Number(wanted))
    const c = await kept(s, await pod(), { linux: { resources: { oomScoreAdj: wanted } } })
    expect(await c.sh('cat /proc/1/oom_score_adj')).toBe(`${wanted}\n`)
    expect(Number(await readFile(`/proc/${await c.pid()}/oom_score_adj`, 'utf8'))).toBe(Number(wanted))
  })

  it('the container sees its own cgroup as the root, and may not write there', async () => {
    const c = await kept(s, await pod(), { linux: { resources: { memoryLimitInBytes: 64n * MiB } } })
    expect(await c.sh('cat /proc/1/cgroup /sys/fs/cgroup/memory.max')).toBe(`0::/\n${64n * MiB}\n`)
    await expect(c.sh('echo max >/sys/fs/cgroup/memory.max')).rejects.toThrow(/Read-only file system/)
  })

  it('the pod’s cgroup is there without a process, with all controllers, and goes with the pod', async () => {
    const parent = `${s.workspace.cgroupParent}/kubepods/burstable/pod-${handler}`
    const p = await pod({ linux: { cgroupParent: parent } })
    const sandbox = join(parent, `gantry-${p.podId}`)
    expect(await cgroupFile(sandbox, 'cgroup.procs')).toBe('')
    const controllers = ['cpu', 'io', 'memory', 'pids']
    expect((await cgroupFile(sandbox, 'cgroup.controllers')).split(' ').sort()).toEqual(controllers)
    const c = await kept(s, p)
    const cgroup = await cgroupOf(await c.pid())
    expect(cgroup).toBe(join(parent, c.id))
    expect((await cgroupFile(cgroup, 'cgroup.controllers')).split(' ').sort()).toEqual(controllers)
    await p.remove()
    for (const gone of [sandbox, cgroup]) expect(await cgroupExists(gone), gone).toBe(false)
    // The parents are the kubelet's to remove: rmdir fails if there is none, or one is not empty.
    for (let dir = parent; dir !== s.workspace.cgroupParent; dir = dirname(dir))
      await rmdir(join(cgroupRoot, dir))
  })

  it('a pod without a parent of its own gets one, which goes with it', async () => {
    const p = await pod()
    const parent = `${s.workspace.cgroupParent}/pod${p.podId}`
    const c = await kept(s, p)
    expect(await cgroupOf(await c.pid())).toBe(join(parent, c.id))
    await p.remove()
    expect(await cgroupExists(parent)).toBe(false)
  })
})
