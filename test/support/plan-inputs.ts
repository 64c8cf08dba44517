// SPDX-License-Identifier: Apache-2.0
/** plan-inputs: a plain, complete input of the container plan, to change one thing at a time. */
import type { ContainerConfig, ContainerSecurity } from '../../src/model/container.ts'
import type { HandlerFacts, HostFacts } from '../../src/model/facts.ts'
import { absPath, containerId, podId, unixNanos } from '../../src/model/ids.ts'
import { containerPaths, podCgroup, podPaths } from '../../src/model/names.ts'
import type { ContainerInputs } from '../../src/model/plan/container.ts'
import type { PodConfig, PodRecord } from '../../src/model/pod.ts'
import { containerConfig, facts, handlerFacts, podConfig, security } from './fake-host-requests.ts'

const roots = { root: absPath('/lib'), run: absPath('/run') }
const pod = podId('ab'.repeat(32))
const id = containerId('cd'.repeat(32))

export interface PlanChange {
  readonly config?: Partial<ContainerConfig>
  readonly security?: Partial<ContainerSecurity>
  readonly pod?: Partial<PodConfig>
  readonly facts?: Partial<HostFacts>
  readonly handler?: Partial<HandlerFacts>
  readonly inputs?: Partial<ContainerInputs>
}

const parents = { cgroupfs: '/kubepods/pod1', systemd: 'kubepods-pod1.slice' }

export function planInputs(change: PlanChange = {}): ContainerInputs & { readonly nodeName: string } {
  const host: HostFacts = { ...facts, ...change.facts }
  const record: PodRecord = {
    id: pod,
    handler: 'runc',
    config: { ...podConfig, ...change.pod },
    cgroup: podCgroup(
      host.cgroupDriver,
      { parent: parents[host.cgroupDriver], fallback: absPath('/g') },
      pod,
    ),
    createdAt: unixNanos(1n),
    requestHash: '',
    bootId: 'b',
  }
  const config: ContainerConfig = {
    ...containerConfig,
    ...change.config,
    security: { ...security, pid: { mode: 'container' }, ...change.security },
  }
  return {
    id,
    pod: record,
    podPaths: podPaths(roots, pod),
    paths: containerPaths(roots, id),
    config,
    image: { env: ['IMAGE=1'], entrypoint: ['/entry'], cmd: ['cmd'], workingDir: '/work' },
    user: { uid: 0, gid: 0, additionalGids: [0], home: '/root' },
    mounts: config.mounts.map((request) => ({ request, source: request.hostPath })),
    devices: new Map(),
    hostDevices: [],
    localSeccomp: undefined,
    smallPrograms: false,
    apparmorProfile: undefined,
    pidOf: undefined,
    facts: host,
    handler: { ...handlerFacts, ...change.handler },
    nodeName: 'node-1',
    ...change.inputs,
  }
}
