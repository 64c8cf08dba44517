// SPDX-License-Identifier: Apache-2.0
/**
 * Pods with a user namespace of their own: whose ids are whose, in the container and on the node; the rootfs, the
 * pod's files, volumes, execs and streams seen from inside; a shared PID namespace and the node's network; what is
 * refused, and that nothing is left of it.
 */
import { execFile } from 'node:child_process'
import { chown, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { v1 } from '../../src/edge/cri/gen/api.js'
import { names } from '../images/catalog.ts'
import { namespaceMode } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type PodKind, type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { busybox, kept, ran } from '../support/scenario-run.ts'

const run = promisify(execFile)
const HOST_ID = 100_000
const LENGTH = 65_536
const map = (hostId: number, length = LENGTH) => [{ hostId, containerId: 0, length }]
const userns = { mode: namespaceMode.pod, uids: map(HOST_ID), gids: map(HOST_ID) }
const mapped = { uidMappings: userns.uids, gidMappings: userns.gids }

let s: Scenario
let count = 0
const pod = (more: PodKind & v1.PodSandboxConfig.$Properties = {}) =>
  s.pod(`user-${++count}`, { userns, ...more })

beforeAll(async () => {
  s = await startScenario()
})
afterEach(() => s.removePods())
afterAll(() => s?.end((before) => expectNoLeaks(before)))

it('is offered for the handler, and beside the network of the node', async () => {
  const { runtimeHandlers, features } = await s.client.call('Status', {})
  expect(runtimeHandlers?.find((h) => h.name === 'runc')?.features?.userNamespaces).toBe(true)
  expect(features).toMatchObject({ userNamespacesHostNetwork: true, mountOptions: true })
})

describe('in such a pod', () => {
  it('ids are mapped, files of the image keep their owners, and on disk they belong to the mapped ones', async () => {
    const c = await kept(s, await pod({ bridged: true }))
    expect((await c.sh('cat /proc/self/uid_map /proc/self/gid_map')).split(/\s+/).filter(Boolean)).toEqual([
      '0',
      `${HOST_ID}`,
      `${LENGTH}`,
      '0',
      `${HOST_ID}`,
      `${LENGTH}`,
    ])
    expect(
      await c.sh('stat -c %u:%g / /bin /bin/busybox /etc /etc/hosts /etc/resolv.conf /etc/hostname'),
    ).toBe('0:0\n'.repeat(7))
    await c.sh('mkdir -p /made/deep && echo x >/made/deep/file && chown 7:8 /made/deep/file')
    expect(await c.sh('stat -c %u:%g /made /made/deep/file')).toBe('0:0\n7:8\n')
    const upper = join(s.workspace.state, 'containers', c.id, 'upper')
    expect(await stat(join(upper, 'made/deep/file'))).toMatchObject({ uid: HOST_ID + 7, gid: HOST_ID + 8 })
    expect(await stat(`/proc/${await c.pid()}`)).toMatchObject({ uid: HOST_ID, gid: HOST_ID })
    // A file of a layer, changed: copied up with its owner.
    await c.sh('touch /bin/busybox && stat -c %u /bin/busybox')
    expect(await stat(join(upper, 'bin/busybox'))).toMatchObject({ uid: HOST_ID })
  })

  it('the pod has its network, host name, sysctls, message queues and shared memory', async () => {
    const p = await pod({
      bridged: true,
      linux: {
        sysctls: {
          'net.ipv4.ip_unprivileged_port_start': '0',
          'kernel.shmmax': '1234567',
          'net.ipv4.ping_group_range': '0 9',
        },
      },
    })
    const c = await kept(s, p)
    expect(
      await c.sh('hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax'),
    ).toBe(`${p.config.hostname}\n0\n1234567\n`)
    expect(await c.sh('cat /proc/sys/net/ipv4/ping_group_range')).toBe('0\t9\n')
    expect(await c.sh('ip -4 addr show eth0 | grep -c inet')).toBe('1\n')
    expect(
      await c.sh('grep -E " /(proc|sys|dev/mqueue|dev/shm) " /proc/mounts | sort | cut -d" " -f1-3'),
    ).toBe('mqueue /dev/mqueue mqueue\nproc /proc proc\nshm /dev/shm tmpfs\nsysfs /sys sysfs\n')
    expect(
      await c.sh(
        'stat -c %u:%a /dev/shm; echo x >/dev/shm/x; echo y >>/etc/hosts; df -k /dev/shm | tail -1 | tr -s " " | cut -d" " -f2',
      ),
    ).toBe('0:1777\n65536\n')
    // The namespaces belong to the user namespace: its root may change them.
    const admin = { capabilities: { addCapabilities: ['NET_ADMIN', 'SYS_ADMIN'] } }
    const root = await ran(s, p, 'ip link set lo mtu 1400 && hostname other && hostname', {
      linux: { securityContext: admin },
    })
    expect(root.stdout).toBe('other\n')
  })

  it('output may be opened again as /dev/stdout, by root and by others, in execs too', async () => {
    const p = await pod()
    const script = 'echo one >/dev/stdout; echo two >/dev/stderr'
    expect(await ran(s, p, script)).toMatchObject({ stdout: 'one\n', stderr: 'two\n' })
    const user = { securityContext: { runAsUser: { value: 1000n }, runAsGroup: { value: 1001n } } }
    const other = await ran(s, p, `${script}; id -u`, { linux: user })
    expect(other).toMatchObject({ stdout: 'one\n1000\n', stderr: 'two\n' })
    const c = await kept(s, p, { linux: user })
    expect(await c.sh('id -u; echo three >/dev/stdout')).toBe('1000\nthree\n')
    expect(await stat(`/proc/${await c.pid()}`)).toMatchObject({ uid: HOST_ID + 1000, gid: HOST_ID + 1001 })
  })

  it('a shared PID namespace has its init in the same user namespace', async () => {
    const p = await pod({ bridged: true, pid: namespaceMode.pod })
    const pid = { securityContext: { namespaceOptions: { pid: namespaceMode.pod } } }
    const c = await kept(s, p, { linux: pid })
    expect(await c.sh('ps -o pid,user,args | grep -v "ps\\|grep\\|sh -c" | tr -s " "')).toContain(
      ' 1 root /gantry-pause',
    )
    expect(await c.sh('stat -c %u /proc/1')).toBe('0\n')
  })

  it('the network of the node is seen, and cannot be changed', async () => {
    const c = await kept(s, await pod(), {
      linux: { securityContext: { capabilities: { addCapabilities: ['NET_ADMIN'] } } },
    })
    expect(await c.sh('readlink /proc/self/ns/net')).toBe(
      `${(await run('readlink', ['/proc/self/ns/net'])).stdout}`,
    )
    expect(
      await c.sh('ls /sys/class/net | grep -c lo; ip link set lo mtu 1400 2>/dev/null || echo refused'),
    ).toBe('1\nrefused\n')
  })

  it('a terminal is the container’s, of its user', async () => {
    const user = { securityContext: { runAsUser: { value: 1000n } } }
    const { stdout } = await ran(
      s,
      await pod(),
      'tty; stat -c %u:%g $(tty); echo x >/dev/tty; ls -ln /dev/null /dev/pts/ptmx | cut -c1-10',
      { tty: true, linux: user },
    )
    expect(stdout.replaceAll('\r', '')).toBe('/dev/pts/0\n1000:5\nx\ncrw-rw-rw-\ncrw-rw-rw-\n')
  })

  it('the mapped layers can be read by nobody of the node, and not be written', async () => {
    const p = await pod()
    const folder = join(s.workspace.run, 'pods', p.podId, 'private')
    expect(await stat(folder)).toMatchObject({ uid: 0, gid: 0 })
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    await expect(writeFile(join(folder, 'layers', 'x'), '')).rejects.toMatchObject({ code: 'EROFS' })
    const { info } = await s.client.call('Status', { verbose: true })
    expect(JSON.parse(info.host ?? '')).toMatchObject({ userNamespaces: 'yes' })
  })

  it('a privileged container is root of its own namespace alone', async () => {
    const p = await pod({ privileged: true, bridged: true })
    const c = await kept(s, p, { linux: { securityContext: { privileged: true } } })
    expect(await c.sh('ip link set lo mtu 1400; echo $?')).toBe('0\n')
    expect(await c.sh('echo 1 2>/dev/null >/proc/sys/vm/drop_caches || echo refused')).toBe('refused\n')
  })
})

describe('a volume', () => {
  const volume = async (name: string) => {
    const path = join(s.workspace.root, 'src', name)
    await mkdir(join(path, 'sub'), { recursive: true })
    await writeFile(join(path, 'file'), 'content\n', { mode: 0o600 })
    await chown(join(path, 'file'), 5, 6)
    return path
  }

  it('with the mappings of the pod shows its owners, and keeps them on disk', async () => {
    const path = await volume('mapped')
    const mounts = [
      { hostPath: path, containerPath: '/data', ...mapped },
      { hostPath: join(path, 'file'), containerPath: '/one', readonly: true, ...mapped },
    ]
    const script =
      'stat -c %u:%g /data /data/file /one; cat /one; echo more >>/data/file; touch /data/new; chown 9:9 /data/new; echo no >/one'
    const { stdout, stderr, status } = await ran(s, await pod(), script, { mounts })
    expect(stdout).toBe('0:0\n5:6\n5:6\ncontent\n')
    expect(stderr).toContain('Read-only file system')
    expect(await stat(join(path, 'new'))).toMatchObject({ uid: 9, gid: 9 })
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('content\nmore\n')
    expect(status.mounts?.[0]).toMatchObject({ hostPath: path, containerPath: '/data', ...mapped })
  })

  it('without them belongs to nobody there, and can be read as others can', async () => {
    const path = await volume('plain')
    const { stdout } = await ran(s, await pod(), 'stat -c %u /data; cat /data/file || echo closed', {
      mounts: [{ hostPath: path, containerPath: '/data' }],
    })
    expect(stdout).toBe('65534\nclosed\n')
  })

  it('follows later mounts of the node where that was asked for', async () => {
    const shared = join(s.workspace.root, 'shared')
    await mkdir(shared)
    await run('mount', ['-t', 'tmpfs', 'gt-shared', shared])
    try {
      await run('mount', ['--make-shared', shared])
      await mkdir(join(shared, 'sub'))
      const mounts = [{ hostPath: shared, containerPath: '/data', propagation: 1, ...mapped }]
      const c = await kept(s, await pod(), { mounts })
      await run('mount', ['-t', 'tmpfs', 'gt-later', join(shared, 'sub')])
      expect(await c.sh('grep -c gt-later /proc/mounts')).toBe('1\n')
      const config = busybox({ mounts: [{ ...mounts[0], propagation: 2 }] })
      const p = await pod()
      expect(
        await refusalOf(
          s.client.call('CreateContainer', { podSandboxId: p.podId, config, sandboxConfig: p.config }),
        ),
      ).toMatchObject({ code: 'INVALID_ARGUMENT', details: expect.stringContaining('user namespace') })
    } finally {
      await s.removePods()
      await run('umount', ['-R', shared])
    }
  })

  it('of an image has the owners of the image, also below it', async () => {
    const image = { image: { image: names.busybox }, readonly: true }
    const mounts = [
      { containerPath: '/image', ...image, ...mapped },
      { containerPath: '/bins', ...image, imageSubPath: 'bin' },
    ]
    const { stdout } = await ran(
      s,
      await pod(),
      'stat -c %u:%g /image /image/bin/busybox /bins/busybox; touch /bins/x 2>/dev/null || echo no',
      { mounts },
    )
    expect(stdout).toBe('0:0\n0:0\n0:0\nno\n')
  })
})

describe('refused, with nothing left:', () => {
  const u = (more: object) => ({ ...userns, ...more })
  it.each<[string, PodKind, string]>([
    [
      'two mappings',
      { userns: u({ uids: [...map(1000, 10), { hostId: 5000, containerId: 10, length: 10 }] }) },
      'uids: has 2 mappings',
    ],
    ['no mapping of groups', { userns: u({ gids: [] }) }, 'gids: has 0 mappings'],
    [
      'a mapping without the id 0',
      { userns: u({ uids: [{ hostId: 1000, containerId: 1, length: 10 }] }) },
      'begin at 0',
    ],
    ['a mapping of nothing', { userns: u({ uids: map(1000, 0) }) }, 'length'],
    ['a mapping beyond the last id', { userns: u({ gids: map(4_294_967_290, 10) }) }, 'beyond the last id'],
    ['mode CONTAINER', { userns: u({ mode: 1 }) }, 'userns_options.mode'],
    ['mode TARGET', { userns: u({ mode: 3 }) }, 'userns_options.mode'],
    ['mode NODE with mappings', { userns: u({ mode: 2 }) }, 'takes no mappings'],
    ['the PID namespace of the node', { userns, pid: namespaceMode.node }, 'pid NODE'],
    ['the IPC namespace of the node', { userns, ipc: namespaceMode.node }, 'ipc NODE'],
  ])('a pod with %s', async (_, kind, words) => {
    const refusal = await refusalOf(
      s.client.call('RunPodSandbox', { config: s.podConfig('refused', kind), runtimeHandler: '' }),
    )
    expect(refusal).toMatchObject({ code: 'INVALID_ARGUMENT', details: expect.stringContaining(words) })
    expect((await s.client.call('ListPodSandbox', {})).items).toEqual([])
    expect(await readdir(join(s.workspace.run, 'pods'))).toEqual([])
  })

  it('a container of it that says otherwise, or is somebody who is not mapped', async () => {
    const p = await pod()
    const create = (fields: object) =>
      refusalOf(
        s.client.call('CreateContainer', {
          podSandboxId: p.podId,
          config: busybox(fields),
          sandboxConfig: p.config,
        }),
      )
    const security = (securityContext: object) => ({ linux: { securityContext } })
    const options = { mode: namespaceMode.pod, uids: map(7000), gids: map(7000) }
    const mount = { hostPath: '/tmp', containerPath: '/data', uidMappings: map(7000), gidMappings: map(7000) }
    for (const [fields, words] of [
      [security({ namespaceOptions: { pid: 1, usernsOptions: options } }), 'userns_options'],
      [security({ namespaceOptions: { pid: 1, usernsOptions: { mode: 2 } } }), 'userns_options'],
      [security({ runAsUser: { value: BigInt(LENGTH) } }), 'not mapped'],
      [{ mounts: [mount] }, 'uidMappings'],
    ] as const)
      expect(await create(fields)).toMatchObject({
        code: 'INVALID_ARGUMENT',
        details: expect.stringContaining(words),
      })
    const none = await s.pod('no-user')
    const config = busybox({ mounts: [{ ...mount, ...mapped }] })
    expect(
      await refusalOf(
        s.client.call('CreateContainer', { podSandboxId: none.podId, config, sandboxConfig: none.config }),
      ),
    ).toMatchObject({ details: expect.stringContaining('it has none') })
  })
})

it('mount options take rights away; others are refused by name', async () => {
  const path = join(s.workspace.root, 'src', 'options')
  await mkdir(path, { recursive: true })
  await writeFile(join(path, 'run'), '#!/bin/sh\necho ran\n', { mode: 0o755 })
  const p = await s.pod('options')
  const with_ = (mountOptions: string[]) => ({
    mounts: [{ hostPath: path, containerPath: '/data', mountOptions }],
  })
  const script = 'grep " /data " /proc/mounts | cut -d" " -f4; /data/run; echo $?'
  expect((await ran(s, p, script, with_([]))).stdout).toMatch(/^rw,relatime.*\nran\n0\n$/)
  const { stdout, status } = await ran(s, p, script, with_(['noexec', 'nosuid', 'nodev']))
  expect(stdout).toMatch(/^rw,nosuid,nodev,noexec,relatime.*\n126\n$/)
  expect(status.mounts?.[0]?.mountOptions).toEqual(['noexec', 'nosuid', 'nodev'])
  expect(await refusalOf(ran(s, p, script, with_(['suid'])))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    details: expect.stringContaining('mount_options: "suid" is not one of noexec, nodev, nosuid'),
  })
})
