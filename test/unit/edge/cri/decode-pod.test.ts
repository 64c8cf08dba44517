// SPDX-License-Identifier: Apache-2.0
/** RunPodSandbox on the wire: the whole message is carried over, every bad field is named, nothing is ignored. */
import { describe, expect, test } from 'vitest'
import { decodeRunPod } from '../../../../src/edge/cri/decode/pod.ts'
import type { v1 } from '../../../../src/edge/cri/gen/api.js'

type Config = v1.PodSandboxConfig.$Properties
type Security = v1.LinuxSandboxSecurityContext.$Properties

const metadata = { name: 'web', uid: 'u', namespace: 'default', attempt: 3 }
const decode = (config: Config) => decodeRunPod({ config: { metadata, ...config } })
const linux = (l: v1.LinuxPodSandboxConfig.$Properties) => decode({ linux: l })
const security = (s: Security) => linux({ securityContext: s })
const resources = (r: v1.LinuxContainerResources.$Properties) => linux({ resources: r })

test('the least that is valid', () => {
  expect(decodeRunPod({ config: { metadata } })).toMatchObject({
    handler: '',
    config: {
      metadata,
      hostname: '',
      dns: undefined,
      namespaces: { network: 'pod', pid: 'pod', ipc: 'pod' },
      privileged: false,
      seccomp: { type: 'unset' },
      resources: undefined,
    },
  })
})

test('everything that can be said', () => {
  const { config, handler } = decodeRunPod({
    runtimeHandler: 'crun',
    config: {
      metadata,
      hostname: 'web-1',
      logDirectory: '/var/log//pods/./x/',
      dnsConfig: { servers: ['1.1.1.1', 'fe80::1%eth0'], searches: ['a.b'], options: ['ndots:5'] },
      portMappings: [{ protocol: 1, containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' }],
      labels: { a: 'b' },
      annotations: { c: 'd' },
      linux: {
        cgroupParent: '/kubepods/pod1',
        sysctls: { 'net.ipv4.ip_forward': '1' },
        securityContext: {
          namespaceOptions: { network: 2, pid: 1, ipc: 2 },
          privileged: true,
          seccomp: { profileType: 0 },
        },
        resources: { cpuShares: 5n, hugepageLimits: [{ pageSize: '2MB', limit: 7n }] },
      },
    },
  })
  expect(handler).toBe('crun')
  expect(config).toMatchObject({
    hostname: 'web-1',
    logDirectory: '/var/log/pods/x',
    dns: { servers: ['1.1.1.1', 'fe80::1%eth0'], searches: ['a.b'], options: ['ndots:5'] },
    portMappings: [{ protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' }],
    labels: { a: 'b' },
    annotations: { c: 'd' },
    cgroupParent: '/kubepods/pod1',
    sysctls: { 'net.ipv4.ip_forward': '1' },
    namespaces: { network: 'node', pid: 'container', ipc: 'node' },
    privileged: true,
    seccomp: { type: 'runtime-default' },
    resources: { cpuShares: 5n, cpuQuota: 0n, hugepages: [{ pageSize: '2MB', limitBytes: 7n }] },
  })
})

const long = 'x'.repeat(300)
/** A value of an enum that the proto does not know: the wire carries any. */
const stranger = (value: number) => value as never
const many = <T>(n: number, value: T) => Array.from({ length: n }, () => value)
const big = { huge: 'x'.repeat(10 * 1024 * 1024) }
const meta = (m: v1.PodSandboxMetadata.$Properties) => () => decode({ metadata: { ...metadata, ...m } })

describe('every bad field is named', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['no configuration', () => decodeRunPod({}), /config: is required/],
    ['no metadata', () => decodeRunPod({ config: {} }), /config\.metadata: is required/],
    ['no name', meta({ name: '' }), /config\.metadata\.name: is required/],
    ['no namespace', meta({ namespace: '' }), /config\.metadata\.namespace: is required/],
    ['no uid', meta({ uid: '' }), /config\.metadata\.uid: is required/],
    ['a long name', meta({ name: long }), /config\.metadata\.name: is longer than 253 bytes/],
    ['a name with a slash', meta({ name: 'a/b' }), /metadata\.name: has a slash/],
    ['a uid with a line break', meta({ uid: 'a\nb' }), /metadata\.uid: has control characters/],
    ['a namespace with a NUL', meta({ namespace: 'a\0' }), /metadata\.namespace: has control/],
    [
      'a handler with a slash',
      () => decodeRunPod({ config: { metadata }, runtimeHandler: '../x' }),
      /runtime_handler: /,
    ],
    ['a long host name', () => decode({ hostname: 'h'.repeat(65) }), /config\.hostname: is longer than 64/],
    [
      'a host name with a space',
      () => decode({ hostname: 'a b' }),
      /config\.hostname: "a b" is not a host name/,
    ],
    [
      'a relative log folder',
      () => decode({ logDirectory: 'logs' }),
      /config\.log_directory: "logs" is not an abs/,
    ],
    [
      'a log folder that climbs',
      () => decode({ logDirectory: '/a/../b' }),
      /config\.log_directory: .*"\.\."/,
    ],
    ['a log folder with a NUL', () => decode({ logDirectory: '/a\0b' }), /config\.log_directory: has a NUL/],
    [
      'a name server by name',
      () => decode({ dnsConfig: { servers: ['dns.test'] } }),
      /dns_config\.servers: "dns\.test"/,
    ],
    [
      'a search that breaks out',
      () => decode({ dnsConfig: { searches: ['a\nnameserver 6.6.6.6'] } }),
      /searches: .*one word/,
    ],
    ['an option with a space', () => decode({ dnsConfig: { options: ['a b'] } }), /dns_config\.options/],
    [
      'too many name servers',
      () => decode({ dnsConfig: { servers: many(65, '1.1.1.1') } }),
      /servers: has more than 64/,
    ],
    [
      'a port beyond 65535',
      () => decode({ portMappings: [{ hostPort: 65536 }] }),
      /port_mappings\[0\]\.host_port: 65536/,
    ],
    [
      'a negative port',
      () => decode({ portMappings: [{}, { containerPort: -1 }] }),
      /port_mappings\[1\]\.container_port/,
    ],
    [
      'an unknown protocol',
      () => decode({ portMappings: [{ protocol: stranger(9) }] }),
      /port_mappings\[0\]\.protocol: 9 is not/,
    ],
    [
      'a host address by name',
      () => decode({ portMappings: [{ hostIp: 'lo' }] }),
      /host_ip: "lo" is not an address/,
    ],
    [
      'a host address in a form for IPv4 inside of IPv6',
      () => decode({ portMappings: [{ hostIp: '::ffff:1.2.3.4' }] }),
      /host_ip: "::ffff:1\.2\.3\.4" is not an address/,
    ],
    [
      'a host port without a port of the container',
      () => decode({ portMappings: [{ hostPort: 80 }] }),
      /port_mappings\[0\]\.container_port: is required with host_port 80/,
    ],
    [
      'a host port that leads to two ports',
      () =>
        decode({
          portMappings: [
            { hostPort: 80, containerPort: 80, hostIp: 'fd00::1' },
            { hostPort: 80, containerPort: 81, hostIp: 'FD00:0::1' },
          ],
        }),
      /port_mappings\[1\]: \[fd00::1\]:80\/tcp leads to 81, but by port_mappings\[0\] elsewhere/,
    ],
    [
      'too many ports',
      () => decode({ portMappings: many(1025, {}) }),
      /config\.port_mappings: has more than 1024/,
    ],
    [
      '10 MB of annotations',
      () => decode({ annotations: big }),
      /config\.annotations: is larger than 1048576 bytes/,
    ],
    ['10 MB of labels', () => decode({ labels: big }), /config\.labels: is larger than/],
    ['a cgroup that climbs', () => linux({ cgroupParent: '/a/../..' }), /cgroup_parent: .*"\.\."/],
    [
      'a cgroup that is no path',
      () => linux({ cgroupParent: 'abc' }),
      /cgroup_parent: "abc" is not an absolute/,
    ],
    ['a slice with a slash', () => linux({ cgroupParent: '../a.slice' }), /cgroup_parent/],
    [
      'a sysctl with a line break',
      () => linux({ sysctls: { 'net.a': '1\n2' } }),
      /sysctls\["net\.a"\]: has control/,
    ],
    [
      'too many sysctls',
      () => linux({ sysctls: Object.fromEntries(many(257, 0).map((_, i) => [`net.a${i}`, '1'])) }),
      /config\.linux\.sysctls: has more than 256/,
    ],
    [
      'a network namespace of a container',
      () => security({ namespaceOptions: { network: 1 } }),
      /network: 1 is not allowed/,
    ],
    [
      'a PID namespace of another container',
      () => security({ namespaceOptions: { pid: 3 } }),
      /pid: 3 is not allowed/,
    ],
    [
      'an IPC namespace of a container',
      () => security({ namespaceOptions: { ipc: 1 } }),
      /ipc: 1 is not allowed/,
    ],
    [
      'a namespace that is none',
      () => security({ namespaceOptions: { network: stranger(-1) } }),
      /network: -1 is not allowed/,
    ],
    [
      'a group without a user',
      () => security({ runAsGroup: { value: 5n } }),
      /run_as_group: needs run_as_user/,
    ],
    [
      'an unknown kind of profile',
      () => security({ seccomp: { profileType: stranger(7) } }),
      /seccomp\.profile_type: 7/,
    ],
    [
      'a profile without a path',
      () => security({ seccomp: { profileType: 2 } }),
      /seccomp\.localhost_ref: is required/,
    ],
    [
      'a profile that climbs',
      () => security({ seccomp: { profileType: 2, localhostRef: '/a/../b' } }),
      /localhost_ref/,
    ],
    [
      'an old profile that is none',
      () => security({ seccompProfilePath: 'x' }),
      /seccomp: "x" is not runtime\/default/,
    ],
    [
      'a mapping without a user namespace',
      () => security({ namespaceOptions: { usernsOptions: { mode: 2, uids: [{}] } } }),
      /takes no map/,
    ],
    ['a quota below -1', () => resources({ cpuQuota: -2n }), /resources\.cpu_quota: -2 is not within/],
    ['a negative period', () => resources({ cpuPeriod: -1n }), /resources\.cpu_period: -1/],
    ['too many shares', () => resources({ cpuShares: 262_145n }), /resources\.cpu_shares/],
    ['a limit below -1', () => resources({ memoryLimitInBytes: -5n }), /memory_limit_in_bytes: -5/],
    ['an oom score beyond 1000', () => resources({ oomScoreAdj: 1001n }), /oom_score_adj: 1001/],
    ['cpus that are no list', () => resources({ cpusetCpus: '0;1' }), /cpuset_cpus: "0;1"/],
    [
      'a huge page size with a slash',
      () => resources({ hugepageLimits: [{ pageSize: '../x' }] }),
      /page_size: has a slash/,
    ],
    [
      'huge pages without a size',
      () => resources({ hugepageLimits: [{ limit: 1n }] }),
      /page_size: is required/,
    ],
    [
      'too many sizes',
      () => resources({ hugepageLimits: many(17, { pageSize: '2MB' }) }),
      /hugepage_limits: has more/,
    ],
  ])('%s', (_what, call, why) => {
    expect(call).toThrow(why)
    expect(call).toThrow(/^invalid pod sandbox: /)
    expect(call).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })

  test('all of them at once, up to a limit', () => {
    const wrong = () =>
      decode({
        metadata: { name: 'a/b', uid: '', namespace: '' },
        hostname: 'a b',
        logDirectory: 'x',
        portMappings: many(100, { hostPort: 70_000 }),
      })
    expect(wrong).toThrow(/name: .*namespace: .*uid: .*hostname: .*log_directory: .*host_port/)
    const message = String(
      (() => {
        try {
          return wrong()
        } catch (e) {
          return e
        }
      })(),
    )
    expect(message.length).toBeLessThan(3000)
    expect(message.split('; ')).toHaveLength(20)
  })
})

test('the old spellings of a profile', () => {
  const of = (seccompProfilePath: string) => security({ seccompProfilePath }).config.seccomp
  expect(['', 'unconfined', 'runtime/default', 'docker/default', 'localhost//p/q'].map(of)).toEqual([
    { type: 'unset' },
    { type: 'unconfined' },
    { type: 'runtime-default' },
    { type: 'runtime-default' },
    { type: 'localhost', ref: '/p/q' },
  ])
  // The new field wins.
  expect(security({ seccompProfilePath: 'x', seccomp: { profileType: 1 } }).config.seccomp).toEqual({
    type: 'unconfined',
  })
})

test.each(['a.slice', 'kubepods-burstable-pod1_2.slice', '/', '/kubepods/besteffort'])(
  'the cgroup parent %s is taken as it is',
  (cgroupParent) => {
    expect(linux({ cgroupParent }).config.cgroupParent).toBe(cgroupParent)
  },
)

describe('a user namespace', () => {
  const ids = (more: object = {}) => [{ hostId: 1000, containerId: 0, length: 65_536, ...more }]
  const of = (more: object) => () =>
    security({ namespaceOptions: { usernsOptions: { mode: 0, uids: ids(), gids: ids(), ...more } } })

  test('is two ranges from 0 on', () => {
    expect(of({ gids: ids({ hostId: 2000, length: 1 }) })().config.namespaces.user).toEqual({
      uids: { hostId: 1000, length: 65_536 },
      gids: { hostId: 2000, length: 1 },
    })
  })

  test.each<[string, object]>([
    ['nothing is said', {}],
    ['it is the node’s', { usernsOptions: { mode: 2 } }],
  ])('is none where %s', (_what, namespaceOptions) => {
    expect(security({ namespaceOptions }).config.namespaces).not.toHaveProperty('user')
  })

  test.each<[string, object, RegExp]>([
    ['no mappings of users', { uids: [] }, /userns_options\.uids: has 0 mappings/],
    ['two of groups', { gids: [...ids(), ...ids()] }, /userns_options\.gids: has 2 mappings/],
    ['one that begins elsewhere', { uids: ids({ containerId: 1 }) }, /uids\[0\]\.container_id: is 1/],
    ['one of nothing', { gids: ids({ length: 0 }) }, /gids\[0\]\.length: is 0/],
    [
      'ids that are none',
      { uids: ids({ hostId: 4_294_967_295, length: 1 }) },
      /uids\[0\]\.host_id: 4294967295/,
    ],
    ['a mode of a container', { mode: 1 }, /userns_options\.mode: 1/],
    ['a mode with a target', { mode: 3 }, /userns_options\.mode: 3/],
  ])('with %s is a mistake', (_what, change, why) => {
    expect(of(change)).toThrow(why)
    expect(of(change)).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})
