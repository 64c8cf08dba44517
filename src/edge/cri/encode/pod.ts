// SPDX-License-Identifier: Apache-2.0
/** Pods as the CRI shows them. A list is joined from encodings that are cached by value: a pod is encoded once. */
import type { Pod } from '../../../model/pod.ts'
import { v1 } from '../gen/api.js'
import { idMappings } from './userns.ts'

const READY = 0
const NOTREADY = 1
const NETWORK = { pod: 0, node: 2 } as const
const PID = { pod: 0, container: 1, node: 2 } as const

export function podState(pod: Pod): number {
  return pod.state.phase === 'ready' ? READY : NOTREADY
}

function common(pod: Pod) {
  const { record } = pod
  return {
    id: record.id,
    metadata: record.config.metadata,
    state: podState(pod),
    createdAt: record.createdAt,
    labels: record.config.labels,
    annotations: record.config.annotations,
    runtimeHandler: record.handler,
  }
}

export function podStatus(pod: Pod): v1.PodSandboxStatus.$Properties {
  const ns = pod.record.config.namespaces
  const [ip, ...more] = pod.state.phase === 'ready' ? pod.state.ips : []
  return {
    ...common(pod),
    network: { ip: ip ?? '', additionalIps: more.map((address) => ({ ip: address })) },
    linux: {
      namespaces: {
        options: {
          network: NETWORK[ns.network],
          pid: PID[ns.pid],
          ipc: NETWORK[ns.ipc],
          ...(ns.user
            ? {
                usernsOptions: {
                  mode: NETWORK.pod,
                  uids: idMappings(ns.user.uids),
                  gids: idMappings(ns.user.gids),
                },
              }
            : {}),
        },
      },
    },
  }
}

const cache = new WeakMap<Pod, Uint8Array>()

/** The bytes of one `PodSandbox` message. */
export function podBytes(pod: Pod): Uint8Array {
  const before = cache.get(pod)
  if (before) return before
  const bytes = v1.PodSandbox.encode(common(pod)).finish()
  cache.set(pod, bytes)
  return bytes
}
