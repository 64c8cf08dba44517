// SPDX-License-Identifier: Apache-2.0
/**
 * Pods with a user namespace on cgroup v2, with runc and with crun, on a kernel where a file system in memory takes
 * no id mapping: ids, owners, cgroups and mounts from inside, a shared PID namespace, volumes, and the refusal.
 */
import { chown, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { namespaceMode } from '../../support/cri-requests.ts'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { PodKind, Scenario } from '../../support/scenario.ts'
import { refusalOf } from '../../support/scenario-refusal.ts'
import { kept, ran } from '../../support/scenario-run.ts'
import { cgroupOf, handlers, startGuestScenario } from './guest.ts'

const ids = [{ hostId: 200_000, containerId: 0, length: 65_536 }]
const userns = { mode: namespaceMode.pod, uids: ids, gids: ids }
const mapped = { uidMappings: ids, gidMappings: ids }

let s: Scenario
beforeAll(async () => {
  s = await startGuestScenario()
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

it('is offered for both handlers', async () => {
  const { runtimeHandlers } = await s.client.call('Status', {})
  expect(runtimeHandlers?.map((h) => h.features?.userNamespaces)).toEqual([true, true, true])
})

describe.each(handlers)('with %s', (handler) => {
  let count = 0
  const pod = (more: PodKind = {}) => s.pod(`user-${handler}-${++count}`, { handler, userns, ...more })
  afterEach(() => s.removePods())

  it('ids are mapped, the image is its root’s, and what is written belongs to the mapped ids', async () => {
    const c = await kept(s, await pod({ bridged: true }))
    expect((await c.sh('cat /proc/self/uid_map')).trim().split(/\s+/)).toEqual(['0', '200000', '65536'])
    const files = '/ /bin/busybox /etc/hosts /dev/shm'
    expect(await c.sh(`stat -c %u:%g ${files}`)).toBe('0:0\n'.repeat(4))
    await c.sh('mkdir /made; chown 7:8 /made; touch /bin/busybox; echo out >/dev/stdout; echo x >>/etc/hosts')
    const upper = join(s.workspace.state, 'containers', c.id, 'upper')
    expect(await stat(join(upper, 'made'))).toMatchObject({ uid: 200_007, gid: 200_008 })
    expect(await stat(join(upper, 'bin/busybox'))).toMatchObject({ uid: 200_000 })
    expect(
      await c.sh(
        'ip -4 addr show eth0 | grep -c inet; grep -cE " /(sys|dev/mqueue) (sysfs|mqueue) " /proc/mounts',
      ),
    ).toBe('1\n2\n')
  })

  it('the cgroup namespace is private, and its files are not the container’s to write', async () => {
    const c = await kept(s, await pod())
    expect(await c.sh('cat /proc/self/cgroup')).toBe('0::/\n')
    expect(
      await c.sh('ls /sys/fs/cgroup/cgroup.procs; echo 1 2>/dev/null >/sys/fs/cgroup/pids.max || echo no'),
    ).toBe('/sys/fs/cgroup/cgroup.procs\nno\n')
    expect(await cgroupOf(await c.pid())).toContain(c.id)
  })

  it('a shared PID namespace has its init in the same user namespace', async () => {
    const p = await pod({ pid: namespaceMode.pod })
    const c = await kept(s, p, {
      linux: { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } },
    })
    expect(await c.sh('stat -c %u /proc/1; cat /proc/1/comm')).toBe('0\ngantry-pause\n')
  })

  it('a volume with the mappings shows its owners; one in memory is refused by its path', async () => {
    const path = join(s.workspace.root, handler)
    await mkdir(path)
    await writeFile(join(path, 'file'), 'content\n', { mode: 0o600 })
    await chown(join(path, 'file'), 5, 6)
    const script = 'stat -c %u:%g /data/file /one; cat /one; touch /data/new'
    const one = { hostPath: join(path, 'file'), containerPath: '/one', readonly: true, ...mapped }
    const mounts = [{ hostPath: path, containerPath: '/data', ...mapped }, one]
    const p = await pod()
    expect((await ran(s, p, script, { mounts })).stdout).toBe('5:6\n5:6\ncontent\n')
    expect(await stat(join(path, 'new'))).toMatchObject({ uid: 0, gid: 0 })
    const inMemory = { mounts: [{ hostPath: '/dev/shm', containerPath: '/data', ...mapped }] }
    expect(await refusalOf(ran(s, p, 'true', inMemory))).toMatchObject({
      code: 'UNIMPLEMENTED',
      details: expect.stringContaining('mount at /data: the file system of /dev/shm takes no id mapping'),
    })
  })
})
