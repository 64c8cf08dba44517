// SPDX-License-Identifier: Apache-2.0
/** The plan of a pod: namespaces, sysctls that may and may not be set, its files, and the pause process. */
import { describe, expect, test } from 'vitest'
import { absPath, podId, unixNanos } from '../../../../src/model/ids.ts'
import { podCgroup, podPaths } from '../../../../src/model/names.ts'
import {
  hostsFile,
  pauseSpec,
  planNamespaces,
  planSysctls,
  resolvConf,
} from '../../../../src/model/plan/pod.ts'
import type { PodConfig, PodRecord } from '../../../../src/model/pod.ts'
import { facts, handlerFacts, podConfig } from '../../../support/fake-host-requests.ts'

const id = podId('ab'.repeat(32))
const paths = podPaths({ root: absPath('/lib'), run: absPath('/run') }, id)
const config = (change: Partial<PodConfig>): PodConfig => ({ ...podConfig, sysctls: {}, ...change })
const sysctl = (name: string, namespaces: Partial<PodConfig['namespaces']> = {}) =>
  planSysctls(config({ sysctls: { [name]: '1' }, namespaces: { ...podConfig.namespaces, ...namespaces } }))

describe('sysctls', () => {
  test.each([
    ['net.ipv4.ip_forward', '/proc/sys/net/ipv4/ip_forward'],
    ['net/ipv4/conf/eth0.1/forwarding', '/proc/sys/net/ipv4/conf/eth0.1/forwarding'],
    ['kernel.shmmax', '/proc/sys/kernel/shmmax'],
    ['kernel.shm_rmid_forced', '/proc/sys/kernel/shm_rmid_forced'],
    ['kernel.msgmax', '/proc/sys/kernel/msgmax'],
    ['kernel.sem', '/proc/sys/kernel/sem'],
    ['fs.mqueue.msg_max', '/proc/sys/fs/mqueue/msg_max'],
  ])('%s is written to %s', (name, path) => {
    expect(sysctl(name)).toEqual([[path, '1']])
  })

  test.each([
    'kernel.core_pattern',
    'kernel.shm',
    'kernel.semx',
    'vm.overcommit_memory',
    'fs.file-max',
    'user.max_user_namespaces',
    'kernel/../net/ipv4',
    'net..ipv4',
    'net.ipv4.x y',
    'net.ipv4.\n',
    '',
    'net',
    '../net.ipv4',
  ])('"%s" is refused by name', (name) => {
    expect(() => sysctl(name)).toThrow(/^linux\.sysctls\[/)
  })

  test.each([
    ['net.ipv4.ip_forward', { network: 'node' as const }, /shares the host's network/],
    ['kernel.shmmax', { ipc: 'node' as const }, /shares the host's ipc/],
  ])('%s of the host is not changed', (name, namespaces, why) => {
    expect(() => sysctl(name, namespaces)).toThrow(why)
  })
})

describe('namespaces', () => {
  test('a pod has its own network, host name, IPC', () => {
    expect(planNamespaces(config({}), paths)).toEqual({
      net: paths.netns,
      uts: paths.utsns,
      ipc: paths.ipcns,
      loopback: true,
      hostname: 'web',
      sysctls: [],
    })
  })

  test('on the host’s network it has neither network nor host name of its own', () => {
    const plan = planNamespaces(config({ namespaces: { network: 'node', pid: 'pod', ipc: 'node' } }), paths)
    expect(plan).toEqual({ sysctls: [] })
  })

  test('without a host name none is set', () => {
    expect(planNamespaces(config({ hostname: '' }), paths)).not.toHaveProperty('hostname')
  })
})

describe('files', () => {
  test.each([
    [undefined, undefined],
    [{ servers: [], searches: [], options: [] }, undefined],
    [{ servers: ['1.1.1.1', '::1'], searches: [], options: [] }, 'nameserver 1.1.1.1\nnameserver ::1\n'],
    [
      { servers: ['1.1.1.1'], searches: ['a', 'b'], options: ['x:1', 'y'] },
      'search a b\nnameserver 1.1.1.1\noptions x:1 y\n',
    ],
  ])('resolv.conf of %o', (dns, text) => {
    expect(resolvConf(dns)).toBe(text)
  })

  test('hosts has every address with the name of the pod', () => {
    expect(hostsFile('web', ['10.0.0.2', 'fd00::2']).split('\n').slice(2)).toEqual([
      '10.0.0.2\tweb',
      'fd00::2\tweb',
      '',
    ])
    expect(hostsFile('', ['10.0.0.2'])).not.toContain('10.0.0.2')
  })
})

describe('the pause process', () => {
  const record = (namespaces: PodConfig['namespaces']): PodRecord => ({
    id,
    handler: 'runc',
    config: config({ namespaces }),
    cgroup: podCgroup('cgroupfs', { parent: '/kubepods/pod1', fallback: absPath('/g') }, id),
    createdAt: unixNanos(1n),
    requestHash: '',
    bootId: 'b',
  })
  const spec = (namespaces: PodConfig['namespaces']) =>
    pauseSpec(record(namespaces), paths, { facts, handler: handlerFacts })

  test('has the seccomp profile that the pod asks for, and none when it is privileged', () => {
    const localSeccomp = { defaultAction: 'SCMP_ACT_LOG', syscalls: [] }
    const action = (change: Partial<PodConfig>) => {
      const of = { ...record(podConfig.namespaces), config: config(change) }
      return pauseSpec(of, paths, { facts, handler: handlerFacts, localSeccomp }).linux.seccomp?.defaultAction
    }
    expect(action({ seccomp: { type: 'runtime-default' } })).toBe('SCMP_ACT_ERRNO')
    expect(action({ seccomp: { type: 'localhost', ref: '/p' } })).toBe('SCMP_ACT_LOG')
    expect(action({ seccomp: { type: 'unset' } })).toBeUndefined()
    expect(action({ seccomp: { type: 'runtime-default' }, privileged: true })).toBeUndefined()
  })

  test('has the labels of its pod where the machine has SELinux', () => {
    const selinux = { processContext: 'u:r:container_t:s0', fileContext: 'u:r:container_file_t:s0' }
    const of = { ...record(podConfig.namespaces), selinuxLevel: 's0:c1,c2' }
    const labelled = pauseSpec(of, paths, { facts: { ...facts, selinux }, handler: handlerFacts })
    expect(labelled.process.selinuxLabel).toBe('u:r:container_t:s0:c1,c2')
    expect(labelled.linux.mountLabel).toBe('u:r:container_file_t:s0:c1,c2')
    expect(pauseSpec(of, paths, { facts, handler: handlerFacts }).process.selinuxLabel).toBeUndefined()
  })

  test('joins what the pod has of its own, and makes the PID namespace', () => {
    expect(spec(podConfig.namespaces).linux.namespaces).toEqual([
      { type: 'mount' },
      { type: 'pid' },
      { type: 'network', path: paths.netns },
      { type: 'uts', path: paths.utsns },
      { type: 'ipc', path: paths.ipcns },
    ])
    expect(spec({ network: 'node', pid: 'pod', ipc: 'node' }).linux.namespaces).toHaveLength(2)
  })

  test('has no capabilities, no devices, nothing writable, and lives in the pod’s cgroup', () => {
    const { process, root, linux } = spec(podConfig.namespaces)
    expect(Object.values(process.capabilities ?? {}).flat()).toEqual([])
    expect(process.noNewPrivileges).toBe(true)
    expect(root.readonly).toBe(true)
    expect(linux.resources.devices).toEqual([{ allow: false, access: 'rwm' }])
    expect(linux.cgroupsPath).toBe(`/kubepods/pod1/pause-${id}`)
  })

  test('its oom_score_adj is as low as the daemon may go', () => {
    expect(spec(podConfig.namespaces).process.oomScoreAdj).toBe(-998)
    const weak = { facts: { ...facts, minOomScoreAdj: 0 }, handler: handlerFacts }
    expect(pauseSpec(record(podConfig.namespaces), paths, weak).process.oomScoreAdj).toBe(0)
  })
})
