// SPDX-License-Identifier: Apache-2.0
/** fake-host-requests: decoded requests and machine facts for tests of the engine and the model, complete and plain. */
import type { CreateContainer, RunPod } from '../../src/engine/index.ts'
import type { ContainerConfig, ContainerSecurity } from '../../src/model/container.ts'
import type { HandlerFacts, HostFacts } from '../../src/model/facts.ts'
import type { PodConfig } from '../../src/model/pod.ts'
import { noResources } from '../../src/model/resources.ts'

export const handlerFacts: HandlerFacts = {
  name: 'runc',
  ociVersion: '1.2.0',
  version: '1.2.3',
  recursiveReadOnlyMounts: true,
  idmapMounts: true,
  userNamespaces: true,
  seccomp: true,
  apparmor: false,
}

export const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_KILL',
  'CAP_NET_ADMIN',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SYS_ADMIN',
  'CAP_SYS_TIME',
] as const

export const facts: HostFacts = {
  bootId: 'boot-1',
  kernel: '6.1.0',
  architecture: 'amd64',
  cgroupVersion: 2,
  cgroupDriver: 'cgroupfs',
  cgroupMounts: { unified: '/sys/fs/cgroup' },
  swapAccounting: true,
  hugepageSizes: ['2MB', '1GB'],
  maxOpenFiles: 524_288,
  apparmor: false,
  seccomp: true,
  minOomScoreAdj: -1000,
  capabilities: CAPABILITIES,
  handlers: { runc: handlerFacts, other: { ...handlerFacts, name: 'other' } },
  leftOut: {},
}

export const podConfig: PodConfig = {
  metadata: { name: 'web', namespace: 'default', uid: 'uid-1', attempt: 0 },
  hostname: 'web',
  logDirectory: '',
  dns: { servers: ['10.0.0.1'], searches: ['cluster.local'], options: ['ndots:5'] },
  portMappings: [],
  labels: { app: 'web' },
  annotations: { note: '5n' },
  cgroupParent: '/kubepods/pod1',
  sysctls: { 'net.ipv4.ip_unprivileged_port_start': '0' },
  namespaces: { network: 'pod', pid: 'pod', ipc: 'pod' },
  privileged: false,
  seccomp: { type: 'unset' },
  overhead: undefined,
  resources: undefined,
}

export const security: ContainerSecurity = {
  privileged: false,
  capabilities: { add: [], drop: [], addAmbient: [] },
  user: { uid: undefined, gid: undefined, name: '', supplementalGroups: [], groupsPolicy: 'merge' },
  readonlyRootfs: false,
  noNewPrivs: true,
  maskedPaths: ['/proc/kcore'],
  readonlyPaths: ['/proc/sys'],
  seccomp: { type: 'runtime-default' },
  apparmor: { type: 'unset' },
  pid: { mode: 'pod' },
}

export const containerConfig: ContainerConfig = {
  metadata: { name: 'app', attempt: 0 },
  image: 'registry.test/app:1',
  userSpecifiedImage: 'app:1',
  command: ['/bin/app'],
  args: ['--serve'],
  workingDir: '',
  env: [{ name: 'A', value: 'b' }],
  mounts: [],
  devices: [],
  labels: { app: 'web' },
  annotations: {},
  logPath: 'app/0.log',
  stdin: false,
  stdinOnce: false,
  tty: false,
  resources: { ...noResources, cpuShares: 512n, memoryLimitBytes: 1n << 26n },
  security,
  stopSignal: undefined,
}

export function runPod(change: Partial<PodConfig> = {}): RunPod {
  return { config: { ...podConfig, ...change }, handler: '' }
}

export function createContainer(pod: string, change: Partial<ContainerConfig> = {}): CreateContainer {
  return { pod, config: { ...containerConfig, ...change } }
}
