// SPDX-License-Identifier: Apache-2.0
/**
 * ExecSync: one more process in a running container, its output and exit code. The process document is the
 * container's own with other arguments; the monitor runs it, so that it is reaped and its tree killed in time.
 */
import { Fault } from '../../base/fault.ts'
import { measured } from '../../base/observer.ts'
import type { Scope } from '../../base/scope.ts'
import type { ExecRequest, ExecResult } from '../../host/index.ts'
import { containerLabel, expectPhase } from '../../model/container.ts'
import { containerPaths } from '../../model/names.ts'
import { clampOomScoreAdj } from '../../model/plan/container.ts'
import type { Context } from '../context.ts'
import { isConfigured } from './release.ts'

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
  const process = await execProcess(ctx, c.record.id, { args: command.args, tty: false })
  const result = await measured(scope.task, { work: 'exec', name: 'run' }, () =>
    ctx.host.monitors.exec(scope, paths, {
      process,
      failure: failureOf(ctx, c.record.handler),
      timeoutMs: command.timeoutMs,
      maxOutputBytes: ctx.options.execOutputBytes,
    }),
  )
  if (result.timedOut) {
    throw new Fault(
      'timeout',
      `exec in container ${containerLabel(c.record)} took longer than ${command.timeoutMs} ms and was killed`,
    )
  }
  return result
}

/** Execs go on when their handler is configured no more: the monitor knows its runtime. */
function failureOf(ctx: Context, handler: string): ExecRequest['failure'] {
  if (isConfigured(ctx, handler)) return ctx.host.runtime(handler).failure
  return (doing, log) => new Fault('internal', `${doing}: ${log}`)
}

/** The container's own process document with these arguments, with a terminal or without. */
export async function execProcess(
  ctx: Context,
  id: string,
  { args, tty }: { readonly args: readonly string[]; readonly tty: boolean },
): Promise<object> {
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
  const oomScoreAdj = clampOomScoreAdj(c.resources.oomScoreAdj, ctx.host.facts)
  return {
    ...own,
    args,
    oomScoreAdj,
    terminal: tty,
    ...(tty ? { env: withTerm(Reflect.get(own, 'env')) } : {}),
  }
}

/** Programs on a terminal want to know what kind it is. */
function withTerm(env: unknown): readonly unknown[] {
  const entries: readonly unknown[] = Array.isArray(env) ? env : []
  const has = entries.some((entry) => typeof entry === 'string' && entry.startsWith('TERM='))
  return has ? entries : [...entries, 'TERM=xterm']
}
