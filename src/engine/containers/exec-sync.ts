// SPDX-License-Identifier: Apache-2.0
/**
 * ExecSync: one more process in a running container, its output and exit code. The process document is the
 * container's own with other arguments; the monitor runs it, so that it is reaped and its tree killed in time.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { ExecResult } from '../../host/index.ts'
import { containerLabel, expectPhase } from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import type { Context } from '../context.ts'

export interface ExecSync {
  readonly id: string
  readonly args: readonly string[]
  /** 0 = no limit. */
  readonly timeoutMs: number
}

/** A failing program is a result, not an error. Fault `timeout` after the time is up and the tree is reaped. @abort kills */
export async function execSync(ctx: Context, scope: Scope, command: ExecSync): Promise<ExecResult> {
  const c = ctx.catalog.container(command.id)
  expectPhase(c, 'running')
  const paths = containerPaths(ctx.options.roots, c.record.id)
  const process = await execProcess(ctx, c.record.id, command.args)
  const result = await ctx.host.monitors.exec(scope, paths, {
    process,
    failure: ctx.host.runtime(c.record.handler).failure,
    timeoutMs: command.timeoutMs,
    maxOutputBytes: ctx.options.execOutputBytes,
  })
  if (result.timedOut) {
    throw new Fault(
      'timeout',
      `exec in container ${containerLabel(c.record)} took longer than ${command.timeoutMs} ms and was killed`,
    )
  }
  return result
}

/** The container's own process document with these arguments, without a terminal. */
export async function execProcess(ctx: Context, id: string, args: readonly string[]): Promise<object> {
  const c = ctx.catalog.container(id)
  const path = `${containerPaths(ctx.options.roots, c.record.id).bundle}/config.json`
  const text = await ctx.host.files.read(path)
  if (text === undefined)
    throw new Fault('corrupt', `container ${containerLabel(c.record)} has no bundle any more`)
  const spec: unknown = JSON.parse(text)
  const own: unknown = typeof spec === 'object' && spec !== null ? Reflect.get(spec, 'process') : undefined
  if (typeof own !== 'object' || own === null) {
    throw new Fault('corrupt', `the bundle of container ${containerLabel(c.record)} has no process`)
  }
  return { ...own, args, terminal: false }
}
