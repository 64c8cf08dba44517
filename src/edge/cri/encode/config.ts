// SPDX-License-Identifier: Apache-2.0
/**
 * The configurations of pods and containers as JSON, for verbose answers: by the field names of api.proto, enums as
 * numbers, and what is empty left out, as peers show them and scripts read them.
 */
import type { Container } from '../../../model/container.ts'
import type { Pod } from '../../../model/pod.ts'
import { podResources } from '../../../model/pod.ts'
import type { SecurityProfile } from '../../../model/security.ts'
import { signalToCri } from '../../../model/signals.ts'
import { containerStatus, resources } from './container.ts'
import { podStatus } from './pod.ts'

/** Their keys are data. */
const MAPS = new Set(['labels', 'annotations', 'sysctls', 'unified'])

/** `hostPath` as `host_path`, empty values left out; not those of wrapped numbers and of variables. */
function byProtoName(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(byProtoName)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, v]) => {
      const shown = MAPS.has(key) ? v : byProtoName(v)
      return isEmpty(shown) && key !== 'value'
        ? []
        : [[key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), shown]]
    }),
  )
}

function isEmpty(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0
  return !value
}

const PROFILES = { 'runtime-default': 0, unset: 0, unconfined: 1, localhost: 2 } as const
const profile = (p: SecurityProfile) =>
  p.type === 'unset'
    ? undefined
    : { profileType: PROFILES[p.type], localhostRef: p.type === 'localhost' ? p.ref : '' }

/** A pod's request, with its present resources, by the names of the proto's fields. */
export function podConfigJson(pod: Pod): unknown {
  const { config } = pod.record
  const now = podResources(pod)
  return byProtoName({
    metadata: config.metadata,
    hostname: config.hostname,
    logDirectory: config.logDirectory,
    dnsConfig: config.dns,
    portMappings: config.portMappings.map((p) => ({
      ...p,
      protocol: ['tcp', 'udp', 'sctp'].indexOf(p.protocol),
    })),
    labels: config.labels,
    annotations: config.annotations,
    linux: {
      cgroupParent: config.cgroupParent,
      sysctls: config.sysctls,
      securityContext: {
        namespaceOptions: podStatus(pod).linux?.namespaces?.options,
        privileged: config.privileged,
        selinuxOptions: config.selinux,
        seccomp: profile(config.seccomp),
      },
      overhead: now.overhead && resources(now.overhead),
      resources: now.resources && resources(now.resources),
    },
  })
}

/** The same of a container. */
export function containerConfigJson(c: Container): unknown {
  const { config } = c.record
  const { security: s } = config
  const { image, mounts, labels, annotations } = containerStatus(c)
  return byProtoName({
    metadata: config.metadata,
    image,
    command: config.command,
    args: config.args,
    workingDir: config.workingDir,
    envs: config.env.map(({ name, value }) => ({ key: name, value })),
    mounts,
    devices: config.devices,
    labels,
    annotations,
    logPath: config.logPath,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    tty: config.tty,
    stopSignal: config.stopSignal === undefined ? 0 : signalToCri(config.stopSignal),
    linux: {
      resources: resources(c.resources),
      securityContext: {
        capabilities: {
          addCapabilities: s.capabilities.add,
          dropCapabilities: s.capabilities.drop,
          addAmbientCapabilities: s.capabilities.addAmbient,
        },
        privileged: s.privileged,
        namespaceOptions: {
          pid: ['pod', 'container', 'node', 'target'].indexOf(s.pid.mode),
          targetId: s.pid.mode === 'target' ? s.pid.target : '',
        },
        selinuxOptions: s.selinux,
        runAsUser: s.user.uid === undefined ? undefined : { value: s.user.uid },
        runAsGroup: s.user.gid === undefined ? undefined : { value: s.user.gid },
        runAsUsername: s.user.name,
        readonlyRootfs: s.readonlyRootfs,
        supplementalGroups: s.user.supplementalGroups,
        noNewPrivs: s.noNewPrivs,
        maskedPaths: s.maskedPaths,
        readonlyPaths: s.readonlyPaths,
        seccomp: profile(s.seccomp),
        apparmor: profile(s.apparmor),
      },
    },
  })
}
