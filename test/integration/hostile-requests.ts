// SPDX-License-Identifier: Apache-2.0
/**
 * hostile-requests: the table of what is wrong in requests for pods and containers: a title, the fields that go
 * over a good request, and what the refusal has to name. Data only; `hostile.test.ts` sends it.
 */

export const big = (bytes: number) => 'x'.repeat(bytes)
export const MiB = 1024 * 1024
const annotations = { blob: big(10 * MiB) }

/** A title, what is wrong, the field that the answer has to name, and the code if it is another. */
export type Row = readonly [title: string, wrong: object, field: string, code?: string]

export const badPods: readonly Row[] = [
  ['no metadata', { metadata: null }, 'config.metadata'],
  ['an empty name', { metadata: { name: '', uid: 'u', namespace: 'n' } }, 'config.metadata.name'],
  ['an empty uid', { metadata: { name: 'a', uid: '', namespace: 'n' } }, 'config.metadata.uid'],
  ['an empty namespace', { metadata: { name: 'a', uid: 'u' } }, 'config.metadata.namespace'],
  ['a NUL in the name', { metadata: { name: 'a\0b', uid: 'u', namespace: 'n' } }, 'config.metadata.name'],
  [
    'a newline in the namespace',
    { metadata: { name: 'a', uid: 'u', namespace: 'n\nn' } },
    'config.metadata.namespace',
  ],
  ['a slash in the uid', { metadata: { name: 'a', uid: '../u', namespace: 'n' } }, 'config.metadata.uid'],
  ['a name without end', { metadata: { name: big(254), uid: 'u', namespace: 'n' } }, 'config.metadata.name'],
  ['a host name that is too long', { hostname: big(65) }, 'config.hostname'],
  ['a host name of another form', { hostname: '-rf /' }, 'config.hostname'],
  ['a log folder that is not absolute', { logDirectory: 'var/log' }, 'config.log_directory'],
  ['a log folder with a way up', { logDirectory: '/var/log/../../etc' }, 'config.log_directory'],
  ['a NUL in the log folder', { logDirectory: '/tmp/a\0' }, 'config.log_directory'],
  ['10 MB of annotations', { annotations }, 'config.annotations'],
  ['10 MB of labels', { labels: annotations }, 'config.labels'],
  [
    'a cgroup parent with a way up',
    { linux: { cgroupParent: '/../../escape' } },
    'config.linux.cgroup_parent',
  ],
  ['a relative cgroup parent', { linux: { cgroupParent: 'escape/../..' } }, 'config.linux.cgroup_parent'],
  [
    'a port that is none',
    { portMappings: [{ hostPort: 70_000, containerPort: 1 }] },
    'config.port_mappings[0].host_port',
  ],
  ['a negative port', { portMappings: [{ containerPort: -1 }] }, 'config.port_mappings[0].container_port'],
  [
    'an unknown protocol',
    { portMappings: [{ protocol: 9, hostPort: 1 }] },
    'config.port_mappings[0].protocol',
  ],
  [
    'a host IP that is none',
    { portMappings: [{ hostIp: '1.2.3', hostPort: 1 }] },
    'config.port_mappings[0].host_ip',
  ],
  [
    'too many ports',
    { portMappings: Array.from({ length: 1025 }, () => ({ hostPort: 1 })) },
    'config.port_mappings',
  ],
  [
    'a name server that is none',
    { dnsConfig: { servers: ['evil\nnameserver'] } },
    'config.dns_config.servers',
  ],
  ['a search with a newline', { dnsConfig: { searches: ['a\nb'] } }, 'config.dns_config.searches'],
  ['an option that is empty', { dnsConfig: { options: [''] } }, 'config.dns_config.options'],
  [
    'a sysctl with a newline',
    { linux: { sysctls: { 'net.core.somaxconn': '1\n2' } } },
    'config.linux.sysctls',
  ],
  ['a sysctl of the node', { linux: { sysctls: { 'kernel.panic': '1' } } }, 'linux.sysctls["kernel.panic"]'],
  [
    'a sysctl that is a path',
    { linux: { sysctls: { 'net.../../../etc/x': '1' } } },
    'linux.sysctls["net.../../../etc/x"]',
  ],
  [
    'a group without a user',
    { linux: { securityContext: { runAsGroup: { value: 5n } } } },
    'config.linux.security_context.run_as_group',
  ],
  [
    'negative memory',
    { linux: { resources: { memoryLimitInBytes: -5n } } },
    'config.linux.resources.memory_limit_in_bytes',
  ],
  [
    'a seccomp profile of no kind',
    { linux: { securityContext: { seccomp: { profileType: 9 } } } },
    'config.linux.security_context.seccomp.profile_type',
  ],
  [
    'a seccomp file with a way up',
    { linux: { securityContext: { seccomp: { profileType: 2, localhostRef: '/a/../../b' } } } },
    'config.linux.security_context.seccomp.localhost_ref',
  ],
]

/** Namespaces, which the scenario sets by itself: these replace the whole of `linux`. */
export const badNamespaces: readonly Row[] = [
  ['a network mode that a pod cannot have', { network: 1 }, 'namespace_options.network'],
  ['an IPC mode that a pod cannot have', { ipc: 3 }, 'namespace_options.ipc'],
  ['the PID of a target', { pid: 3 }, 'namespace_options.pid'],
  ['a mode of no name', { network: 99 }, 'namespace_options.network'],
  [
    'a user namespace without mappings',
    { usernsOptions: { mode: 0 } },
    'namespace_options.userns_options.uids',
  ],
]

const security = (securityContext: object): object => ({ linux: { securityContext } })

export const badContainers: readonly Row[] = [
  ['no metadata', { metadata: null }, 'config.metadata'],
  ['an empty name', { metadata: { name: '' } }, 'config.metadata.name'],
  ['a name with a way up', { metadata: { name: '../x' } }, 'config.metadata.name'],
  ['no image', { image: null }, 'config.image.image'],
  ['an image that is not there', { image: { image: 'no.such/image:1' } }, 'no.such/image:1', 'NOT_FOUND'],
  ['an image name without end', { image: { image: big(5000) } }, 'config.image.image'],
  ['a log path that is absolute', { logPath: '/etc/cron.d/x' }, 'config.log_path'],
  ['a log path with a way up', { logPath: '../../../etc/cron.d/x' }, 'config.log_path'],
  ['a NUL in the log path', { logPath: 'a\0.log' }, 'config.log_path'],
  ['a NUL in the command', { command: ['sh\0', '-c'] }, 'config.command'],
  ['3 MiB of arguments', { args: [big(3 * MiB)] }, 'config.args'],
  ['a working folder that is not absolute', { workingDir: 'tmp' }, 'config.working_dir'],
  ['a variable without a name', { envs: [{ key: '', value: Buffer.from('x') }] }, 'config.envs[0].key'],
  [
    'a variable whose name has a value',
    { envs: [{ key: 'A=B', value: Buffer.from('') }] },
    'config.envs[0].key',
  ],
  ['a NUL in a variable', { envs: [{ key: 'A', value: Buffer.from('a\0b') }] }, 'config.envs[0].value'],
  [
    'a variable that is not text',
    { envs: [{ key: 'A', value: Buffer.from([0xff, 0xfe]) }] },
    'config.envs[0].value',
    'UNIMPLEMENTED',
  ],
  ['3 MiB of environment', { envs: [{ key: 'A', value: Buffer.from(big(3 * MiB)) }] }, 'config.envs'],
  ['10 MB of annotations', { annotations }, 'config.annotations'],
  ['a mount to nowhere', { mounts: [{ hostPath: '/tmp' }] }, 'config.mounts[0].container_path'],
  ['a mount from nowhere', { mounts: [{ containerPath: '/x' }] }, 'config.mounts[0].host_path'],
  [
    'a mount with a way up',
    { mounts: [{ hostPath: '/tmp/../../etc', containerPath: '/x' }] },
    'config.mounts[0].host_path',
  ],
  [
    'a mount onto a way up',
    { mounts: [{ hostPath: '/tmp', containerPath: '/a/../../b' }] },
    'config.mounts[0].container_path',
  ],
  [
    'a propagation of no name',
    { mounts: [{ hostPath: '/tmp', containerPath: '/x', propagation: 7 }] },
    'config.mounts[0].propagation',
  ],
  [
    'too many mounts',
    { mounts: Array.from({ length: 1025 }, () => ({ hostPath: '/', containerPath: '/x' })) },
    'config.mounts',
  ],
  [
    'an image volume to write to',
    { mounts: [{ containerPath: '/x', image: { image: 'a/b:1' } }] },
    'config.mounts[0].readonly',
  ],
  [
    'an image volume that leaves its image',
    { mounts: [{ containerPath: '/x', image: { image: 'a' }, readonly: true, imageSubPath: '../a' }] },
    'config.mounts[0].image_sub_path',
  ],
  ['a device from nowhere', { devices: [{ permissions: 'r' }] }, 'config.devices[0].host_path'],
  [
    'a device with strange rights',
    { devices: [{ hostPath: '/dev/null', permissions: 'rx' }] },
    'config.devices[0].permissions',
  ],
  ['a device that is a folder with none', { devices: [{ hostPath: '/etc', permissions: 'r' }] }, '/etc'],
  ['a CDI device', { CDIDevices: [{ name: 'vendor.com/../gpu=0' }] }, 'config.CDI_devices'],
  ['a stop signal that is none', { stopSignal: 999 }, 'config.stop_signal'],
  ['a uid out of range', security({ runAsUser: { value: 2n ** 40n } }), 'security_context.run_as_user'],
  ['a group out of range', security({ supplementalGroups: [-4n] }), 'security_context.supplemental_groups'],
  ['a newline in the user', security({ runAsUsername: 'a\nroot' }), 'security_context.run_as_username'],
  [
    'a capability of two lines',
    security({ capabilities: { addCapabilities: ['A\nB'] } }),
    'add_capabilities',
  ],
  ['a capability of no name', security({ capabilities: { addCapabilities: ['FLY'] } }), 'CAP_FLY'],
  ['a masked path that is none', security({ maskedPaths: ['proc'] }), 'security_context.masked_paths'],
  ['privileges that the pod has not', security({ privileged: true }), 'security_context.privileged'],
  ['a target that is not named', security({ namespaceOptions: { pid: 3 } }), 'namespace_options.target_id'],
  ['a PID mode of no name', security({ namespaceOptions: { pid: 44 } }), 'namespace_options.pid'],
  [
    'a PID namespace that the pod does not share',
    security({ namespaceOptions: { pid: 0 } }),
    'namespace_options.pid',
  ],
  [
    'a CPU list that is none',
    { linux: { resources: { cpusetCpus: '0; rm' } } },
    'config.linux.resources.cpuset_cpus',
  ],
  [
    'an oom_score_adj out of range',
    { linux: { resources: { oomScoreAdj: 2000n } } },
    'config.linux.resources.oom_score_adj',
  ],
  [
    'a huge page size that is none',
    { linux: { resources: { hugepageLimits: [{ pageSize: '../x', limit: 1n }] } } },
    'config.linux.resources.hugepage_limits',
  ],
]
