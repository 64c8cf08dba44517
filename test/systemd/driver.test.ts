// SPDX-License-Identifier: Apache-2.0
/**
 * The systemd cgroup driver, in a guest whose first process is this machine's systemd, on cgroup v2, with runc and
 * with crun: slices as the kubelet makes and names them, a scope a container, limits that outlive a reload, the OOM
 * reason, exec, stop, a daemon that was killed, and that no unit is left.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { slicePath } from '../../src/model/names.ts'
import { waitUntil } from '../support/child.ts'
import { containerState, namespaceMode, type RunningPod, waitForExit } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import type { PodKind, Scenario } from '../support/scenario.ts'
import { busybox, kept, ran } from '../support/scenario-run.ts'
import { cgroupExists, cgroupFile, cgroupOf, handlers, startGuestScenario } from '../vm/guest/guest.ts'

const MiB = 1024n * 1024n
const run = promisify(execFile)
const systemctl = async (...words: string[]) => (await run('systemctl', words)).stdout.trim()
const unitsOf = (pattern: string) => systemctl('list-units', '--all', '--plain', '--no-legend', pattern)
const property = (unit: string, name: string) => systemctl('show', '--value', '--property', name, unit)

let s: Scenario

beforeAll(async () => {
  s = await startGuestScenario({ config: { 'cgroup.driver': '"systemd"' } })
})
afterAll(async () => {
  await s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 }))
  expect(await unitsOf('gantry-*.scope')).toBe('')
  expect(await systemctl('list-units', '--failed', '--plain', '--no-legend')).toBe('')
})

const status = async (containerId: string) => (await s.client.call('ContainerStatus', { containerId })).status

/** As the kubelet does: a transient slice a pod, whose parents come by themselves. */
async function makeSlice(slice: string): Promise<void> {
  const manager = [
    'org.freedesktop.systemd1',
    '/org/freedesktop/systemd1',
    'org.freedesktop.systemd1.Manager',
  ]
  await run('busctl', [
    ...['call', ...manager, 'StartTransientUnit', 'ssa(sv)a(sa(sv))', slice, 'replace'],
    ...['1', 'MemoryAccounting', 'b', 'true', '0'],
  ])
  await waitUntil(`${slice} is there`, () => cgroupExists(slicePath(slice)), { withinMs: 10_000 })
}

it('RuntimeConfig tells the kubelet the driver', async () => {
  // SYSTEMD is 0 in the proto.
  expect(await s.client.call('RuntimeConfig', {})).toEqual({ linux: { cgroupDriver: 0 } })
})

describe.each(handlers)('with %s', (handler) => {
  /** Where crun keeps a container and its limits. */
  const below = handler === 'crun' ? '/container' : ''
  let count = 0
  const pod = async (more: PodKind = {}) => {
    const cgroupParent = `${s.workspace.name}-burstable-pod${handler}${++count}.slice`
    await makeSlice(cgroupParent)
    const p = await s.pod(`${handler}-${count}`, { handler, linux: { cgroupParent }, ...more })
    return { ...p, cgroupParent, slice: slicePath(cgroupParent) }
  }
  afterEach(() => s.removePods())

  /** The pod goes, then its slice, which must hold nothing by then. */
  async function removed(p: Awaited<ReturnType<typeof pod>>): Promise<void> {
    await p.remove()
    expect((await cgroupFile(p.slice, 'cgroup.stat')).split('\n')[0]).toBe('nr_descendants 0')
    await systemctl('stop', p.cgroupParent)
    expect(await cgroupExists(p.slice)).toBe(false)
  }

  it('a container is a scope in the slice of its pod, with its limits, and a reload changes none of them', async () => {
    const p = await pod()
    expect(await cgroupFile(`${p.slice}/gantry-${p.podId}`, 'cgroup.procs')).toBe('')
    const resources = {
      memoryLimitInBytes: 64n * MiB,
      cpuPeriod: 100_000n,
      cpuQuota: 50_000n,
      cpuShares: 512n,
      unified: { 'memory.high': String(48n * MiB), 'memory.oom.group': '1', 'pids.max': '77' },
    }
    const c = await kept(s, p, { linux: { resources } })
    const scope = `gantry-${c.id}.scope`
    const cgroup = await cgroupOf(await c.pid())
    expect(cgroup).toBe(`${p.slice}/${scope}${below}`)
    expect(await property(scope, 'ActiveState')).toBe('active')
    const files = ['memory.max', 'memory.high', 'memory.oom.group', 'memory.swap.max', 'cpu.max', 'pids.max']
    const held = async () =>
      Object.fromEntries(await Promise.all(files.map(async (f) => [f, await cgroupFile(cgroup, f)] as const)))
    const becomes = async (wanted: Record<string, string>) => {
      const same = async () => JSON.stringify(await held()) === JSON.stringify(wanted)
      await waitUntil('the limits are as asked', same, { withinMs: 20_000 }).catch(() => undefined)
      expect(await held()).toEqual(wanted)
    }
    const asked = {
      'memory.max': String(64n * MiB),
      'memory.high': String(48n * MiB),
      'memory.oom.group': '1',
      'memory.swap.max': '0',
      'cpu.max': '50000 100000',
      'pids.max': '77',
    }
    expect(await held()).toEqual(asked)
    await systemctl('daemon-reload')
    await becomes(asked)
    const linux = {
      memoryLimitInBytes: 96n * MiB,
      cpuQuota: 70_000n,
      unified: { 'memory.high': String(80n * MiB), 'pids.max': '99' },
    }
    await s.client.call('UpdateContainerResources', { containerId: c.id, linux })
    const updated = {
      ...asked,
      'memory.max': String(96n * MiB),
      'memory.high': String(80n * MiB),
      'cpu.max': '70000 100000',
      'pids.max': '99',
    }
    expect(await held()).toEqual(updated)
    // Also while the daemon is down; and a new neighbour has systemd go over the whole slice.
    await s.daemon.kill9()
    await systemctl('daemon-reload')
    await s.daemon.restart()
    await ran(s, p, 'true')
    await becomes(updated)
    expect(await c.sh('cat /proc/self/cgroup; cat /sys/fs/cgroup/memory.max')).toBe(`0::/\n${96n * MiB}\n`)
    await removed(p)
  })

  it('more memory than the limit is OOMKilled, every time, though systemd removes the cgroup at once', async () => {
    const pods: Awaited<ReturnType<typeof pod>>[] = []
    for (let i = 0; i < 4; i++) pods.push(await pod())
    const eat = async (p: RunningPod) => {
      const config = busybox({
        command: ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M', 'count=1'],
        linux: { resources: { memoryLimitInBytes: 15n * MiB } },
      })
      const { exitCode, reason } = await waitForExit(s.client, await p.start(config), 60_000)
      return `${exitCode} ${reason}`
    }
    const got: string[] = []
    for (let round = 0; round < 3; round++) got.push(...(await Promise.all(pods.map(eat))))
    expect(got).toEqual(Array.from({ length: 12 }, () => '137 OOMKilled'))
    for (const p of pods) await removed(p)
  })

  it('StopContainer leaves no process and no scope', async () => {
    const p = await pod()
    const c = await kept(s, p, {
      command: [
        'sh',
        '-c',
        "for i in 1 2; do setsid sleep 304 & done; trap '' TERM; while :; do sleep 0.1; done",
      ],
    })
    const cgroup = await cgroupOf(await c.pid())
    expect(await c.sh('echo still here')).toBe('still here\n')
    await s.client.call('StopContainer', { containerId: c.id, timeout: 1n }, { deadlineMs: 60_000 })
    expect(await status(c.id)).toMatchObject({ state: containerState.exited, exitCode: 137, reason: 'Error' })
    await waitUntil('the scope is gone', async () => (await unitsOf(`gantry-${c.id}.scope`)) === '', {
      withinMs: 10_000,
    })
    expect(await cgroupExists(cgroup)).toBe(false)
    await removed(p)
  })

  it('a pod without a parent and with a shared PID namespace, over a killed daemon', async () => {
    const p = await s.pod(`${handler}-shared`, { handler, pid: namespaceMode.pod })
    const inPod = { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } }
    const c = await kept(s, p, { linux: inPod })
    expect(await cgroupOf(await c.pid())).toBe(`/gantry.slice/gantry-${c.id}.scope${below}`)
    await s.daemon.kill9()
    await s.daemon.restart()
    expect((await status(c.id))?.state).toBe(containerState.running)
    expect(await c.sh('cat /proc/1/comm')).toBe('gantry-pause\n')
    await p.remove()
    expect(await unitsOf('gantry-*.scope')).toBe('')
    expect(await cgroupFile('/gantry.slice', 'cgroup.stat')).toMatch(/^nr_descendants 0$/m)
  })
})
