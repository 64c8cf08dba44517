// SPDX-License-Identifier: Apache-2.0
/**
 * What both kinds of rules have in common: the mark of packets whose source must become the node's, and the
 * interfaces that are opened for 127.0.0.1. Such an interface takes packets for that network from its wire
 * (`route_localnet`), which the rules then drop as early as can be: what answers belong to has another address.
 */
import type { PodHostPorts } from '../../model/host-ports.ts'

export const LOOPBACK = '127.0.0.0/8'
/** The bit that the portmap plugin uses for the same: the two may be on one node. */
export const MASQUERADE_MARK = '0x2000'

export interface Opened {
  readonly interfaces: readonly string[]
  readonly subnets: readonly string[]
}

/** The interfaces of pods that are to be reached from 127.0.0.1, and the subnets of all. */
export function openedFor(pods: readonly PodHostPorts[]): Opened {
  const local = ({ ports }: PodHostPorts) =>
    ports.some((p) => p.family === 4 && (p.hostIp === undefined || p.hostIp.startsWith('127.')))
  return {
    interfaces: [...new Set(pods.filter(local).flatMap((pod) => pod.interfaces))],
    subnets: [...new Set(pods.flatMap((pod) => pod.subnets))],
  }
}
