// SPDX-License-Identifier: Apache-2.0
/**
 * Exec and Attach: a plan for the stream worker and the URL at which its client finds it. What can be refused is
 * refused here; whether the container still runs when the client comes is for its monitor to say.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { type Container, containerLabel, expectPhase } from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import type { StreamFlags } from '../../model/streaming.ts'
import type { Context } from '../context.ts'
import { execProcess } from './exec-sync.ts'

export interface Exec {
  readonly id: string
  readonly args: readonly string[]
  readonly streams: StreamFlags
}

export interface Attach {
  readonly id: string
  readonly streams: StreamFlags
}

/** The URL for one exec. Faults: `not-found`, `wrong-state` when the container does not run. @abort stops */
export async function exec(ctx: Context, scope: Scope, command: Exec): Promise<string> {
  const c = ctx.catalog.container(command.id)
  expectPhase(c, 'running')
  const { tty } = command.streams
  const plan = {
    is: 'exec',
    ...monitorOf(ctx, c),
    process: await execProcess(ctx, c.record.id, { args: command.args, tty }),
    runtime: ctx.host.runtime(c.record.handler).program.kind,
  } as const
  return ctx.host.streams.offer(scope, { kind: 'exec', ...command.streams, ports: [], plan })
}

/**
 * The URL for one attachment. Faults as of exec; `invalid` for a terminal where the container has none. A client
 * that wants stdin of a container without one is let in: tools ask for it without looking. @abort stops
 */
export async function attach(ctx: Context, scope: Scope, command: Attach): Promise<string> {
  const c = ctx.catalog.container(command.id)
  expectPhase(c, 'running')
  if (command.streams.tty && !c.record.config.tty) {
    const why = 'was created without a terminal: attach without one'
    throw new Fault('invalid', `tty: container ${containerLabel(c.record)} ${why}`)
  }
  const plan = { is: 'attach', ...monitorOf(ctx, c) } as const
  return ctx.host.streams.offer(scope, { kind: 'attach', ...command.streams, ports: [], plan })
}

const monitorOf = (ctx: Context, { record }: Container) => ({
  label: containerLabel(record),
  control: containerPaths(ctx.options.roots, record.id).control,
})
