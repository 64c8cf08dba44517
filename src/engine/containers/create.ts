// SPDX-License-Identifier: Apache-2.0
/**
 * CreateContainer: from a decoded command to a container whose process waits at the start gate, or to nothing.
 * Everything that can fail by thinking fails before the record is written. A program that cannot be executed is
 * not a failure here: as the kubelet expects, Start tells of it, with code 128.
 */
import { act } from '../../base/act.ts'
import { asFault, Fault, isFault } from '../../base/fault.ts'
import { cleanupScope, type Scope } from '../../base/scope.ts'
import { type Leftover, RELEASE_MS, Undo } from '../../base/undo.ts'
import type { MonitorLink } from '../../host/index.ts'
import {
  type Container,
  type ContainerConfig,
  type ContainerRecord,
  containerLabel,
  containerLeftover,
  created,
} from '../../model/container.ts'
import { absPath, clip, containerId } from '../../model/ids.ts'
import { containerKey, containerPaths, podPaths } from '../../model/names.ts'
import { cgroupOf, planSpec } from '../../model/plan/container.ts'
import type { OciSpec } from '../../model/plan/spec/oci.ts'
import { expectReady, type Pod, podLabel } from '../../model/pod.ts'
import { signalNumber } from '../../model/signals.ts'
import type { Context } from '../context.ts'
import { leftoverFault, releaseAll } from '../pods/release.ts'
import { watchExit } from './exit.ts'
import { lookAtHost } from './look.ts'
import * as release from './release.ts'

const WORK = 'create-container'

export interface CreateContainer {
  readonly pod: string
  readonly config: ContainerConfig
}

/** The id of the created container. An equal request joins, or gets the id of the one that is there. */
export async function createContainer(ctx: Context, scope: Scope, command: CreateContainer): Promise<string> {
  const pod = ctx.catalog.pod(command.pod)
  const key = containerKey(pod.record.id, command.config.metadata)
  const hash = ctx.hash(command.config)
  return await ctx.joins.run(scope, `container/${key}/${hash}`, async (work) => {
    using _ = await ctx.locks.shared(work, pod.record.id)
    using __ = await ctx.locks.exclusive(work, `name/${key}`)
    const now = ctx.catalog.pod(pod.record.id)
    expectReady(now)
    const present = ctx.catalog.containers.named(key)
    if (present) {
      const same = await settlePresent(ctx, present, hash)
      if (same) return same
    }
    const image = ctx.images.resolve(command.config.image)
    using ___ = image.hold(`the creation of container ${clip(command.config.metadata.name)}`)
    return await make(ctx, work, { pod: now, config: command.config, hash, image })
  })
}

async function settlePresent(ctx: Context, present: Container, hash: string): Promise<string | undefined> {
  const { record, state } = present
  if (state.phase === 'created' && record.requestHash === hash) return record.id
  if (state.phase !== 'leftover') {
    throw new Fault(
      'exists',
      `container ${containerLabel(record)} exists already in this pod and is ${state.phase}: remove it, or raise metadata.attempt`,
    )
  }
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  // A Remove of it may be under way.
  using _ = await ctx.locks.exclusive(scope, record.id)
  if (!ctx.catalog.containers.byId.has(record.id)) return undefined
  const left = await releaseAll(ctx, release.leftoverReleases(ctx, record), scope)
  if (left.length > 0) throw leftoverFault(`leftover of container ${containerLabel(record)}`, left)
  await ctx.store.dropContainer(record.id)
  ctx.catalog.containers.drop(record.id)
  return undefined
}

interface Wanted {
  readonly image: ReturnType<Context['images']['resolve']>
  readonly pod: Pod
  readonly config: ContainerConfig
  readonly hash: string
}

/** Look and plan: nothing is changed here. */
async function plan(ctx: Context, scope: Scope, wanted: Wanted) {
  const { host, options } = ctx
  const { pod, config } = wanted
  const id = containerId(ctx.newId())
  const handler = host.facts.handlers[pod.record.handler]
  if (!handler)
    throw new Fault(
      'unsupported',
      `runtime handler ${pod.record.handler} of pod ${podLabel(pod.record)} is not there any more`,
    )
  const { image } = wanted
  const seen = await lookAtHost(ctx, scope, { pod, config, image })
  const paths = containerPaths(options.roots, id)
  const inputs = {
    ...seen,
    id,
    pod: pod.record,
    podPaths: podPaths(options.roots, pod.record.id),
    paths,
    config,
    image: image.process,
    facts: host.facts,
    handler,
    nodeName: host.nodeName,
  }
  const record: ContainerRecord = {
    id,
    pod: pod.record.id,
    handler: pod.record.handler,
    config,
    imageId: image.id,
    imageRef: image.ref,
    logPath: logPath(pod, config),
    cgroup: cgroupOf(inputs).path,
    user: seen.user,
    stopSignal: config.stopSignal ?? signalNumber(image.stopSignal) ?? 15,
    createdAt: host.clock.now(),
    requestHash: wanted.hash,
    bootId: host.facts.bootId,
  }
  return { record, spec: planSpec(inputs), lowerDirs: image.lowerDirs }
}

function logPath(pod: Pod, config: ContainerConfig): ContainerRecord['logPath'] {
  const folder = pod.record.config.logDirectory
  if (folder === '' || config.logPath === '') return undefined
  return absPath(`${folder}/${config.logPath}`)
}

async function make(ctx: Context, scope: Scope, wanted: Wanted): Promise<string> {
  const { record, spec, lowerDirs } = await plan(ctx, scope, wanted)
  const creating: Container = { record, state: { phase: 'creating' }, resources: record.config.resources }
  const undo = new Undo(scope.log)
  try {
    await using _ = undo
    ctx.catalog.containers.put(record.id, creating)
    await act(scope, { work: WORK, name: 'record' }, () => ctx.store.beginContainer(creating))
    const made = await acts(ctx, scope, { record, spec, lowerDirs, undo })
    const state = 'startError' in made ? created(undefined, made.startError) : created(made.link.process)
    const container: Container = { ...creating, state }
    await act(scope, { work: WORK, name: 'created' }, () => ctx.store.putContainer(container))
    undo.disarm()
    ctx.catalog.containers.put(record.id, container)
    if ('link' in made) watchExit(ctx, record, made.link)
    return record.id
  } catch (e) {
    await forget(ctx, creating, undo)
    throw Fault.during(
      `create container ${clip(record.config.metadata.name)} in pod ${podLabel(wanted.pod.record)}`,
      e,
    )
  }
}

/** As in `pods/run.ts`. Never throws: the caller has the first error to tell. */
async function forget(ctx: Context, c: Container, undo: Undo): Promise<void> {
  const { id } = c.record
  let unfinished: readonly Leftover[] = undo.leftovers
  if (unfinished.length === 0) {
    try {
      await ctx.store.dropContainer(id)
      ctx.catalog.containers.drop(id)
      return
    } catch (e) {
      unfinished = [{ name: 'record', fault: asFault(e) }]
    }
  }
  const names = unfinished.map((l) => l.name)
  const left: Container = {
    ...c,
    state: containerLeftover(unfinished.map((l) => l.fault.message).join('; '), names),
  }
  ctx.catalog.containers.put(id, left)
  await ctx.store
    .putContainer(left)
    .catch((e: unknown) =>
      ctx.daemon.log.warn('state-not-written', { container: id, error: asFault(e).message }),
    )
}

interface Making {
  readonly record: ContainerRecord
  readonly spec: OciSpec
  readonly lowerDirs: readonly string[]
  readonly undo: Undo
}

async function acts(
  ctx: Context,
  scope: Scope,
  m: Making,
): Promise<{ link: MonitorLink } | { startError: string }> {
  const { host, options } = ctx
  const { record, undo } = m
  const paths = containerPaths(options.roots, record.id)

  undo.arm('run folder', release.releaseRunFolder(ctx, record))
  await act(scope, { work: WORK, name: 'folders' }, () =>
    host.files
      .ensureFolders([paths.work, paths.run, paths.bundle])
      .then(() => host.files.ensureFolders([paths.upper, paths.rootfs], 0o755)),
  )

  undo.arm('rootfs', release.releaseRootfs(ctx, record))
  await act(scope, { work: WORK, name: 'rootfs' }, () => host.rootfs.mount(scope, paths, m.lowerDirs))

  await act(scope, { work: WORK, name: 'bundle' }, async () => {
    await host.files.write(`${paths.bundle}/config.json`, JSON.stringify(m.spec))
    if (record.logPath) await host.files.prepareLog(record.logPath)
  })

  undo.arm('runtime container', release.releaseRuntime(ctx, record, true))
  try {
    const link = await act(scope, { work: WORK, name: 'monitor' }, () =>
      host.monitors.start(scope, {
        id: record.id,
        paths,
        runtime: host.runtime(record.handler),
        logPath: record.logPath,
        tty: record.config.tty,
        stdin: record.config.stdin,
        stdinOnce: record.config.stdinOnce,
        oomFiles: host.cgroups.oomFiles(record.cgroup),
      }),
    )
    return { link }
  } catch (e) {
    if (!isFault(e) || e.reason !== 'bad-command') throw e
    const [program = ''] = m.spec.process.args
    // crun says what went wrong, but not always with which file.
    return { startError: e.message.includes(program) ? e.message : `${program}: ${e.message}` }
  }
}
