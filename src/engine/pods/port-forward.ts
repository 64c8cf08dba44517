// SPDX-License-Identifier: Apache-2.0
/** PortForward: the URL at which a client may open TCP connections to localhost inside a pod. */
import type { Scope } from '../../base/scope.ts'
import { podPaths } from '../../model/names.ts'
import { expectReady } from '../../model/pod.ts'
import type { Context } from '../context.ts'

export interface PortForward {
  readonly id: string
  /** What the client may ask for; anything if empty. */
  readonly ports: readonly number[]
}

/** Faults: `not-found`, `wrong-state` when the pod is not ready. @abort stops */
export async function portForward(ctx: Context, scope: Scope, command: PortForward): Promise<string> {
  const pod = ctx.catalog.pod(command.id)
  expectReady(pod)
  const { id, config } = pod.record
  const netns = config.namespaces.network === 'pod' ? podPaths(ctx.options.roots, id).netns : undefined
  return ctx.host.streams.offer(scope, {
    kind: 'portforward',
    ...{ stdin: false, stdout: false, stderr: false, tty: false },
    ports: command.ports,
    plan: { is: 'forward', pod: id, netns },
  })
}
