// SPDX-License-Identifier: Apache-2.0
/**
 * Pod config: the requests of one best-effort pod with one container, with the fields that a kubelet fills in
 * for it. Pure; the folders and files that it names are made by the workload.
 */
import { join } from 'node:path'

export type Network = 'host' | 'pod'
export const RUN_LABEL = 'gantry.bench/run'
/** The container's log, relative to the pod's log directory. */
export const LOG_PATH = 'hold/0.log'
/** Files of the pod's folder that the container gets as bind mounts, as the kubelet gives them. */
export const MOUNTED_FILES = ['hosts', 'termination-log'] as const

const MASKED = [
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
]
const READONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
const NAMESPACE_MODE = { pod: 0, container: 1, node: 2 } as const
/** As the kubelet gives them out: 65536 ids a pod. */
const IDS = [{ hostId: 1_048_576, containerId: 0, length: 65_536 }]
const PROFILE_TYPE = { RuntimeDefault: 0, Unconfined: 1 } as const

export interface PodWish {
  run: string
  number: number
  podFolder: string
  cgroupParent: string
  network: Network
  seccomp: keyof typeof PROFILE_TYPE
  userNamespace: boolean
}

export interface PodConfig {
  uid: string
  logFile: string
  /** PodSandboxConfig. */
  sandbox: object
  /** ContainerConfig, but for the image. */
  container: object
}

/** The two configs of pod `number` of a run. */
export function podConfig(wish: PodWish): PodConfig {
  const { run, number, podFolder, network } = wish
  const uid = `${run}-${number}`
  const name = `bench-${number}`
  const namespaceOptions = {
    network: network === 'host' ? NAMESPACE_MODE.node : NAMESPACE_MODE.pod,
    pid: NAMESPACE_MODE.container,
    ipc: NAMESPACE_MODE.pod,
    ...(wish.userNamespace ? { usernsOptions: { mode: NAMESPACE_MODE.pod, uids: IDS, gids: IDS } } : {}),
  }
  const mapped = wish.userNamespace ? { uidMappings: IDS, gidMappings: IDS } : {}
  const labels = {
    'io.kubernetes.pod.name': name,
    'io.kubernetes.pod.namespace': 'gantry-bench',
    'io.kubernetes.pod.uid': uid,
    [RUN_LABEL]: run,
  }
  const sandbox = {
    metadata: { name, uid, namespace: 'gantry-bench', attempt: 0 },
    hostname: network === 'pod' ? name : '',
    logDirectory: join(podFolder, 'logs'),
    dnsConfig: { servers: ['127.0.0.1'], searches: ['cluster.local'], options: ['ndots:5'] },
    labels,
    annotations: { 'kubernetes.io/config.source': 'api' },
    linux: {
      cgroupParent: wish.cgroupParent,
      securityContext: { namespaceOptions, seccomp: { profileType: PROFILE_TYPE.RuntimeDefault } },
      resources: { cpuShares: 2, cpuPeriod: 100_000 },
      overhead: {},
    },
  }
  const container = {
    metadata: { name: 'hold', attempt: 0 },
    command: ['/bin/hold'],
    envs: [{ key: 'KUBERNETES_SERVICE_HOST', value: Buffer.from('10.96.0.1') }],
    mounts: [
      { containerPath: '/etc/hosts', hostPath: join(podFolder, 'hosts'), ...mapped },
      { containerPath: '/dev/termination-log', hostPath: join(podFolder, 'termination-log'), ...mapped },
    ],
    labels: { ...labels, 'io.kubernetes.container.name': 'hold' },
    annotations: { 'io.kubernetes.container.restartCount': '0' },
    logPath: LOG_PATH,
    linux: {
      resources: { cpuShares: 2, cpuPeriod: 100_000, oomScoreAdj: 1000 },
      securityContext: {
        namespaceOptions,
        seccomp: { profileType: PROFILE_TYPE[wish.seccomp] },
        maskedPaths: MASKED,
        readonlyPaths: READONLY,
      },
    },
  }
  return { uid, logFile: join(podFolder, 'logs', LOG_PATH), sandbox, container }
}
