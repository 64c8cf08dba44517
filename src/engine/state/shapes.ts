// SPDX-License-Identifier: Apache-2.0
/**
 * Are parsed JSON values the records that gantry wrote? The parsers of what comes back from disk: they check
 * what later code relies on without asking again (ids, phases, the fields that name host things).
 */
import type { ContainerRecord, ContainerState } from '../../model/container.ts'
import type { PodRecord, PodState } from '../../model/pod.ts'
import type { PodResources, Resources } from '../../model/resources.ts'

type Check = (value: unknown) => boolean

const text: Check = (v) => typeof v === 'string'
const number: Check = (v) => Number.isSafeInteger(v)
const nanos: Check = (v) => typeof v === 'bigint'
const hexId: Check = (v) => typeof v === 'string' && /^[0-9a-f]{64}$/.test(v)
const path: Check = (v) => typeof v === 'string' && v.startsWith('/') && !v.split('/').includes('..')
const flag: Check = (v) => typeof v === 'boolean'
const list: Check = (v) => Array.isArray(v)
const listOf =
  (item: Check): Check =>
  (v) =>
    Array.isArray(v) && v.every(item)
const optional =
  (check: Check): Check =>
  (v) =>
    v === undefined || check(v)
const oneOf =
  (...values: string[]): Check =>
  (v) =>
    typeof v === 'string' && values.includes(v)

function shape(fields: Readonly<Record<string, Check>>): Check {
  return (v) =>
    typeof v === 'object' &&
    v !== null &&
    Object.entries(fields).every(([name, check]) => check(Reflect.get(v, name)))
}
const map = (item: Check): Check => {
  return (v) => typeof v === 'object' && v !== null && Object.values(v).every(item)
}

const process = shape({
  bootId: text,
  pid: (v) => typeof v === 'number' && Number.isInteger(v) && v > 1,
  startTicks: nanos,
})

const resources = shape({
  cpuPeriod: nanos,
  cpuQuota: nanos,
  cpuShares: nanos,
  memoryLimitBytes: nanos,
  memorySwapLimitBytes: nanos,
  oomScoreAdj: number,
  cpusetCpus: text,
  cpusetMems: text,
  hugepages: listOf(shape({ pageSize: text, limitBytes: nanos })),
  unified: map(text),
})

const range = shape({ hostId: number, length: number })
const mapping = shape({ uids: range, gids: range })

const podConfig = shape({
  metadata: shape({ name: text, namespace: text, uid: text, attempt: number }),
  hostname: text,
  logDirectory: text,
  labels: map(text),
  annotations: map(text),
  cgroupParent: text,
  namespaces: shape({
    network: oneOf('pod', 'node'),
    pid: oneOf('pod', 'container', 'node'),
    ipc: oneOf('pod', 'node'),
    user: optional(mapping),
  }),
  privileged: flag,
  portMappings: list,
})

const podRecord = shape({
  id: hexId,
  handler: text,
  config: podConfig,
  cgroup: shape({ parent: path, sandbox: path, ownsParent: flag }),
  createdAt: nanos,
  requestHash: text,
  bootId: text,
  selinuxLevel: optional(text),
})

const mount = shape({
  containerPath: text,
  hostPath: text,
  image: optional(shape({ image: text, userSpecifiedImage: text, subPath: text })),
  readonly: flag,
  recursiveReadOnly: flag,
  selinuxRelabel: flag,
  propagation: oneOf('private', 'host-to-container', 'bidirectional'),
  idmap: optional(mapping),
  options: optional(listOf(text)),
})

const containerConfig = shape({
  metadata: shape({ name: text, attempt: number }),
  image: text,
  userSpecifiedImage: text,
  labels: map(text),
  annotations: map(text),
  mounts: listOf(mount),
  resources,
  security: shape({ privileged: flag, pid: shape({ mode: text }) }),
  tty: flag,
})

const containerRecord = shape({
  id: hexId,
  pod: hexId,
  handler: text,
  config: containerConfig,
  imageId: text,
  imageRef: text,
  volumes: optional(
    listOf(
      shape({ mount: number, imageId: (v) => typeof v === 'string' && /^sha256:[0-9a-f]{64}$/.test(v) }),
    ),
  ),
  logPath: optional(path),
  cgroup: path,
  user: shape({ uid: number, gid: number, additionalGids: listOf(number) }),
  stopSignal: number,
  createdAt: nanos,
  requestHash: text,
  bootId: text,
})

const exit = shape({ code: number, at: nanos, reason: text, message: text })

const phases = (table: Readonly<Record<string, Check>>): Check => {
  return (v) => {
    const phase: unknown = typeof v === 'object' && v !== null ? Reflect.get(v, 'phase') : undefined
    return typeof phase === 'string' && Object.hasOwn(table, phase) && (table[phase]?.(v) ?? false)
  }
}
const leftover = shape({ why: text, unfinished: listOf(text) })

const podState = phases({
  creating: shape({}),
  ready: shape({ ips: listOf(text), pause: optional(process) }),
  stopped: shape({ at: nanos }),
  leftover,
})

const containerState = phases({
  creating: shape({}),
  created: shape({ process: optional(process), startError: optional(text) }),
  running: shape({ startedAt: nanos, process }),
  exited: shape({ startedAt: optional(nanos), exit }),
  leftover,
})

export const isPodRecord = (v: unknown): v is PodRecord => podRecord(v)
export const isPodState = (v: unknown): v is PodState => podState(v)
export const isContainerRecord = (v: unknown): v is ContainerRecord => containerRecord(v)
export const isContainerState = (v: unknown): v is ContainerState => containerState(v)
export const isResources = (v: unknown): v is Resources => resources(v)
const podResources = shape({ overhead: optional(resources), resources: optional(resources) })
export const isPodResources = (v: unknown): v is PodResources => podResources(v)
