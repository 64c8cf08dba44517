// SPDX-License-Identifier: Apache-2.0
/**
 * Host ports of pods: none is given to two at once, and where no plugin of the network maps them the runtime does.
 * Which of both it is follows from the record of the attachment, which keeps the list of plugins: a later daemon
 * learns it from there.
 */
import { asFault, Fault } from '../../base/fault.ts'
import {
  clash,
  hostPortLabel,
  type PodHostPorts,
  planHostPorts,
  wantedHostPorts,
} from '../../model/host-ports.ts'
import { podPaths } from '../../model/names.ts'
import { type PodRecord, podLabel } from '../../model/pod.ts'
import type { Context } from '../context.ts'

/** Throws `wrong-state` that names the pod which has a port already: rules would only hide one behind the other. */
export function expectFreeHostPorts(ctx: Context, record: PodRecord): void {
  const wanted = wantedHostPorts(record.config)
  if (wanted.length === 0) return
  for (const { record: other, state } of ctx.catalog.pods.byId.values()) {
    if (state.phase !== 'ready' && state.phase !== 'creating') continue
    for (const theirs of wantedHostPorts(other.config)) {
      const taken = wanted.find((ours) => clash(ours, theirs))
      if (taken)
        throw new Fault(
          'wrong-state',
          `config.port_mappings: ${hostPortLabel(taken)} of the node is taken by pod ${podLabel(other)}: stop that pod, or ask for another host_port or host_ip`,
        )
    }
  }
}

type Attached = Awaited<ReturnType<Context['host']['network']['attach']>>

/** What the runtime has to map for the pod; undefined: nothing, or a plugin has. */
export function ownHostPorts({ id, config }: PodRecord, attached: Attached): PodHostPorts | undefined {
  if (!attached.unserved.includes('portMappings')) return undefined
  return planHostPorts(id, wantedHostPorts(config), attached)
}

/** At start: the ports of all pods that this boot has seen attached. What cannot be read is logged. Never rejects. */
export async function adoptHostPorts(ctx: Context): Promise<void> {
  const { bootId } = ctx.host.facts
  const found: PodHostPorts[] = []
  for (const { record } of ctx.catalog.pods.byId.values()) {
    if (record.bootId !== bootId || wantedHostPorts(record.config).length === 0) continue
    try {
      const attached = await ctx.host.network.recall(podPaths(ctx.options.roots, record.id).state)
      const ours = attached && ownHostPorts(record, attached)
      if (ours) found.push(ours)
    } catch (e) {
      ctx.daemon.log.warn('not-seen', { pod: record.id, what: 'host ports', error: asFault(e).message })
    }
  }
  ctx.host.hostports.adopt(found)
}
