// SPDX-License-Identifier: Apache-2.0
/**
 * Recovery at start: read all, look at the host, let `model/reconcile.ts` decide, act with the same releases as
 * everything else, then sweep what no record owns. Nothing here may keep the daemon from starting: what fails
 * is reported and stays as a leftover for Remove. Slow releases go on after the socket is open.
 */
import { asFault } from '../../base/fault.ts'
import { cleanupScope, type Scope, sleep } from '../../base/scope.ts'
import { RELEASE_MS } from '../../base/undo.ts'
import type { MonitorLink } from '../../host/index.ts'
import { type Container, type ContainerState, containerLeftover, running } from '../../model/container.ts'
import { containerKey, containerPaths, folders } from '../../model/names.ts'
import { keyOfPod, type Pod, type PodState, podLeftover, stopped } from '../../model/pod.ts'
import { type ContainerDecision, decideContainer, decidePod } from '../../model/reconcile.ts'
import { settleExit, watchExit } from '../containers/exit.ts'
import { leftoverReleases } from '../containers/release.ts'
import { type Context, NETWORK_LOCK } from '../context.ts'
import { adoptHostPorts } from '../pods/host-ports.ts'
import { releaseLost, watchPause } from '../pods/lost.ts'
import { leftoverFault, allReleases as podReleases, releaseAll } from '../pods/release.ts'
import { type LoadedContainer, type LoadedPod, loadAll } from './load.ts'
import { sweepUnowned } from './sweep.ts'

const CONNECT_TRIES = 3
const CONNECT_WAIT_MS = 100

export interface Recovery {
  readonly problems: readonly string[]
  /** How many records are in quarantine. */
  readonly quarantined: number
  /** Releases that go on after the daemon is ready. Never rejects. */
  readonly background: Promise<void>
}

/** Fills the catalog. Resolves when every object that survives is known and watched. @abort finishes */
export async function recover(ctx: Context): Promise<Recovery> {
  const loaded = await loadAll(ctx.options.roots, ctx.host)
  const later: (() => Promise<void>)[] = []
  const problems = [...loaded.problems]
  for (const pod of loaded.pods) recoverPod(ctx, pod, later)
  await adoptHostPorts(ctx)
  await Promise.all(loaded.containers.map((c) => recoverContainer(ctx, c, later)))
  return { problems, quarantined: await countQuarantined(ctx, problems), background: finish(ctx, later) }
}

async function countQuarantined(ctx: Context, problems: string[]): Promise<number> {
  try {
    return (await ctx.host.files.names(folders(ctx.options.roots).quarantine)).length
  } catch (e) {
    problems.push(`quarantine: ${asFault(e).message}`)
    return 0
  }
}

function recoverPod(ctx: Context, found: LoadedPod, later: (() => Promise<void>)[]): void {
  const { record, resources } = found
  const rest = resources ? { resources } : {}
  const state: PodState = found.state ?? { phase: 'creating' }
  const pauseGone =
    state.phase === 'ready' && state.pause !== undefined && !ctx.host.processes.alive(state.pause)
  const decision = decidePod(found.state, { sameBoot: record.bootId === ctx.host.facts.bootId, pauseGone })
  ctx.daemon.log.debug('recover-pod', { pod: record.id, ...decision })
  // What is to be forgotten is a leftover from now on: a retry of the same request finishes it by itself.
  const shown: Pod = {
    record,
    state: decision.do === 'forget' ? podLeftover(decision.why, []) : state,
    ...rest,
  }
  ctx.catalog.pods.put(record.id, shown)
  if (decision.do === 'keep') watchPause(ctx, shown)
  if (decision.do === 'forget') later.push(() => forgetPod(ctx, shown, decision.why))
  if (decision.do === 'stop') {
    const next: Pod = { record, state: stopped(ctx.host.clock.now()), ...rest }
    ctx.catalog.pods.put(record.id, next)
    later.push(async () => {
      using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
      using _ = await ctx.locks.exclusive(scope, record.id)
      if (ctx.catalog.pods.byId.get(record.id) === next) await releaseLost(ctx, next)
    })
  }
}

async function forgetPod(ctx: Context, pod: Pod, why: string): Promise<void> {
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  using _ = await ctx.locks.exclusive(scope, `name/${keyOfPod(pod.record)}`)
  using __ = await ctx.locks.exclusive(scope, pod.record.id)
  if (ctx.catalog.pods.byId.get(pod.record.id) !== pod) return
  const left = await releaseAll(ctx, podReleases(ctx, pod.record), scope)
  if (left.length === 0) {
    await ctx.store.dropPod(pod.record.id)
    ctx.catalog.pods.drop(pod.record.id)
    ctx.daemon.log.info('pod-forgotten', { pod: pod.record.id, why })
    return
  }
  const names = left.map((l) => l.name)
  const next: Pod = {
    record: pod.record,
    state: podLeftover(leftoverFault(pod.record.id, left).message, names),
  }
  ctx.catalog.pods.put(pod.record.id, next)
  await ctx.store.putPod(next)
}

async function recoverContainer(
  ctx: Context,
  found: LoadedContainer,
  later: (() => Promise<void>)[],
): Promise<void> {
  const { record, resources } = found
  const state: ContainerState = found.state ?? { phase: 'creating' }
  const c: Container = { record, state, resources }
  ctx.catalog.containers.put(record.id, c)
  const { decision, link } = await look(ctx, c, found.state)
  ctx.daemon.log.debug('recover-container', { container: record.id, ...decision })
  switch (decision.do) {
    case 'keep':
      return
    case 'forget': {
      const shown: Container = { ...c, state: containerLeftover(decision.why, []) }
      ctx.catalog.containers.put(record.id, shown)
      later.push(() => forgetContainer(ctx, shown, decision.why))
      return
    }
    case 'settle-exit':
      return settleExit(ctx, record, { mayHaveRun: true })
    case 'adopt':
    case 'adopt-running':
      if (!link) return settleExit(ctx, record, { mayHaveRun: true })
      if (decision.do === 'adopt-running') await becomeRunning(ctx, c, link)
      watchExit(ctx, record, link)
      return
    default:
      return decision satisfies never
  }
}

async function becomeRunning(ctx: Context, c: Container, link: MonitorLink): Promise<void> {
  const next: Container = { ...c, state: running(link.process, ctx.host.clock.now()) }
  ctx.catalog.containers.put(c.record.id, next)
  await ctx.store
    .putContainer(next)
    .catch((e: unknown) =>
      ctx.daemon.log.warn('state-not-written', { container: c.record.id, error: asFault(e).message }),
    )
}

async function look(
  ctx: Context,
  c: Container,
  state: ContainerState | undefined,
): Promise<{ decision: ContainerDecision; link: MonitorLink | undefined }> {
  const paths = containerPaths(ctx.options.roots, c.record.id)
  const alive = state?.phase === 'created' || state?.phase === 'running'
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  const link = alive ? await connect(ctx, scope, c) : undefined
  const seen = {
    sameBoot: c.record.bootId === ctx.host.facts.bootId,
    monitor: link !== undefined,
    exitFile: alive
      ? (await ctx.host.exitFile(paths).catch(unseen(ctx, c, 'exit file'))) !== undefined
      : false,
    runtime:
      state?.phase === 'created' && link
        ? await runtimeStatus(ctx, c, scope).catch(unseen(ctx, c, 'runtime state'))
        : undefined,
  }
  return { decision: decideContainer(state, seen), link }
}

/** Rejects also for a handler that is not configured any more. */
async function runtimeStatus(ctx: Context, c: Container, scope: Scope): Promise<string | undefined> {
  return await ctx.host.runtime(c.record.handler).status(scope, c.record.id)
}

/** What could not be looked at was not seen: it must not keep the daemon from starting. */
function unseen(ctx: Context, c: Container, what: string): (e: unknown) => undefined {
  return (e) => {
    ctx.daemon.log.warn('not-seen', { container: c.record.id, what, error: asFault(e).message })
    return undefined
  }
}

/** A monitor that does not answer is asked again: a container whose monitor counts as gone is killed. */
async function connect(ctx: Context, scope: Scope, c: Container): Promise<MonitorLink | undefined> {
  const paths = containerPaths(ctx.options.roots, c.record.id)
  for (let left = CONNECT_TRIES - 1; ; left--) {
    try {
      return await ctx.host.monitors.connect(scope, paths)
    } catch (e) {
      unseen(ctx, c, 'monitor')(e)
      if (left === 0) return undefined
      await sleep(scope, CONNECT_WAIT_MS).catch(() => {})
    }
  }
}

async function forgetContainer(ctx: Context, c: Container, why: string): Promise<void> {
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  using _ = await ctx.locks.exclusive(scope, `name/${containerKey(c.record.pod, c.record.config.metadata)}`)
  using __ = await ctx.locks.exclusive(scope, c.record.id)
  if (ctx.catalog.containers.byId.get(c.record.id) !== c) return
  const left = await releaseAll(ctx, leftoverReleases(ctx, c.record), scope)
  if (left.length === 0) {
    await ctx.store.dropContainer(c.record.id)
    ctx.catalog.containers.drop(c.record.id)
    ctx.daemon.log.info('container-forgotten', { container: c.record.id, why })
    return
  }
  const next: Container = {
    ...c,
    state: containerLeftover(
      leftoverFault(c.record.id, left).message,
      left.map((l) => l.name),
    ),
  }
  ctx.catalog.containers.put(c.record.id, next)
  await ctx.store.putContainer(next)
}

/**
 * Monitors that nobody owns first (they may be at work on what is about to be released), then the rest. Calls are
 * answered meanwhile: what they make is known at the moment at which it is asked for. One that fails does not
 * stop the others.
 */
async function finish(ctx: Context, later: readonly (() => Promise<void>)[]): Promise<void> {
  const all: ReadonlyMap<string, Container> = ctx.catalog.containers.byId
  const owned = (id: string) => {
    const phase = all.get(id)?.state.phase
    return phase === 'creating' || phase === 'created' || phase === 'running'
  }
  const scoped = (work: (scope: Scope) => Promise<void>) => async () => {
    using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
    await work(scope)
  }
  const stages = [
    scoped((scope) => ctx.host.hostports.apply(scope)),
    scoped((scope) => ctx.host.monitors.sweep(scope, { has: owned })),
    ...later,
    scoped((scope) => sweepUnowned(ctx, scope)),
    scoped((scope) => collectNetwork(ctx, scope)),
    () => ctx.host.files.emptyTrash(),
  ]
  for (const stage of stages) {
    await stage().catch((e: unknown) =>
      ctx.daemon.log.warn('recovery-left-over', { error: asFault(e).message }),
    )
  }
}

/** No pod is attached between the list of valid ones and the end of the plugins' work: it would lose its address. */
async function collectNetwork(ctx: Context, scope: Scope): Promise<void> {
  using _ = await ctx.locks.exclusive(scope, NETWORK_LOCK)
  await ctx.host.network.gc(scope, [...ctx.catalog.pods.byId.keys()])
}
