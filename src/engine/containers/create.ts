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
import { withCdi } from '../../model/plan/spec/cdi.ts'
import { withHooks } from '../../model/plan/spec/hooks.ts'
import { withSources } from '../../model/plan/spec/mounts.ts'
import type { OciSpec } from '../../model/plan/spec/oci.ts'
import { isUnconfined } from '../../model/plan/spec/selinux.ts'
import { expectReady, type Pod, type PodRecord, podLabel } from '../../model/pod.ts'
import { signalNumber } from '../../model/signals.ts'
import type { Context } from '../context.ts'
import { leftoverFault, pauseCgroup, releaseAll } from '../pods/release.ts'
import { watchExit } from './exit.ts'
import { lookAtHost } from './look.ts'
import { layersFor, type MappedMount, mountMapped, releaseMapped, splitMapped } from './mapped.ts'
import * as release from './release.ts'
import {
  checkDeclared,
  declaredMounts,
  type FoundVolume,
  findVolumes,
  mountVolumes,
  releaseVolumes,
} from './volumes.ts'

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
    using holds = new DisposableStack()
    const image = ctx.images.resolve(command.config.image)
    if (image.isArtifact) {
      throw new Fault(
        'invalid',
        `image "${clip(command.config.image)}" is an artifact, which has no root file system: it can be mounted as an image volume, not run`,
      )
    }
    holds.use(image.hold())
    await image.whole()
    const volumes = await findVolumes(ctx, command.config, holds)
    return await make(ctx, work, { pod: now, config: command.config, hash, image, volumes })
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
  readonly volumes: readonly FoundVolume[]
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
  const { image, volumes } = wanted
  const seen = await lookAtHost(ctx, scope, { pod, config, image, volumes })
  const paths = containerPaths(options.roots, id)
  const { mounts, mapped } = splitMapped(pod.record, paths, seen.mounts)
  const inputs = {
    ...seen,
    mounts,
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
    ...(volumes.length > 0 ? { volumes: volumes.map(({ mount, imageId }) => ({ mount, imageId })) } : {}),
    logPath: logPath(pod, config),
    cgroup: cgroupOf(inputs).path,
    user: seen.user,
    stopSignal: config.stopSignal ?? signalNumber(image.stopSignal) ?? 15,
    createdAt: host.clock.now(),
    requestHash: wanted.hash,
    bootId: host.facts.bootId,
  }
  const lowerDirs = layersFor(ctx, pod.record, image.lowerDirs)
  const annotations = { ...pod.record.config.annotations, ...config.annotations }
  const about = { annotations, hasBindMounts: config.mounts.some((m) => !m.image) }
  const spec = withHooks(withCdi(planSpec(inputs), seen.cdi, seen.devices), seen.hooks, about)
  const declared = checkDeclared(image)
  return { record, pod: pod.record, spec, lowerDirs, volumes, declared, mapped }
}

function logPath(pod: Pod, config: ContainerConfig): ContainerRecord['logPath'] {
  const folder = pod.record.config.logDirectory
  if (folder === '' || config.logPath === '') return undefined
  return absPath(`${folder}/${config.logPath}`)
}

async function make(ctx: Context, scope: Scope, wanted: Wanted): Promise<string> {
  const planned = await plan(ctx, scope, wanted)
  const { record } = planned
  const creating: Container = { record, state: { phase: 'creating' }, resources: record.config.resources }
  const undo = new Undo(scope.log)
  try {
    await using _ = undo
    ctx.catalog.containers.put(record.id, creating)
    await act(scope, { work: WORK, name: 'record' }, () => ctx.store.beginContainer(creating))
    const made = await acts(ctx, scope, { ...planned, undo })
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
  readonly pod: PodRecord
  readonly mapped: readonly MappedMount[]
  readonly spec: OciSpec
  readonly lowerDirs: readonly string[]
  readonly volumes: readonly FoundVolume[]
  readonly declared: readonly string[]
  readonly undo: Undo
}

/** Mounts the image volumes, if there are any. The mounts of the spec, with where the volumes' files really are. */
async function volumeMounts(ctx: Context, scope: Scope, m: Making): Promise<OciSpec['mounts']> {
  if (m.volumes.length === 0) return m.spec.mounts
  m.undo.arm('image volumes', releaseVolumes(ctx, m.record))
  const of = { config: m.record.config, volumes: m.volumes }
  const sources = await act(scope, { work: WORK, name: 'image-volumes' }, () => mountVolumes(ctx, scope, of))
  return withSources(m.spec.mounts, sources)
}

/** In a pod with a user namespace: the volumes that show other owners. */
async function mappedMounts(ctx: Context, scope: Scope, m: Making): Promise<void> {
  if (m.mapped.length === 0) return
  m.undo.arm('mapped mounts', releaseMapped(ctx, m.record))
  const of = { pod: m.pod, id: m.record.id, mapped: m.mapped, volumes: m.volumes }
  await act(scope, { work: WORK, name: 'mapped-mounts' }, () => mountMapped(ctx, scope, of))
}

/** SELinux: gives the pod's files, and the mounts that ask for it, the label that the container may use. */
async function relabelMounts(ctx: Context, scope: Scope, { spec, record }: Making): Promise<void> {
  const { mountLabel: label } = spec.linux
  if (label === undefined || isUnconfined(spec.process.selinuxLabel)) return
  // An image volume is read-only for everybody, and other pods have it too: it keeps its label.
  const relabelled = record.config.mounts.filter((m) => m.selinuxRelabel && !m.image)
  const asked = new Set(relabelled.map((m) => m.containerPath))
  const own = podPaths(ctx.options.roots, record.pod)
  const ours: ReadonlySet<string> = new Set([own.shm, own.resolvConf, own.hostname, own.hosts])
  const paths = spec.mounts.flatMap((m) => {
    const wanted = m.type === 'bind' && (asked.has(m.destination) || ours.has(m.source ?? ''))
    return wanted && m.source !== undefined ? [m.source] : []
  })
  await act(scope, { work: WORK, name: 'relabel' }, async () => {
    for (const path of paths) await ctx.host.security.relabel(scope, { path, label })
  })
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
  const { user } = m.pod.config.namespaces
  const root = user && { uid: user.uids.hostId, gid: user.gids.hostId }
  await act(scope, { work: WORK, name: 'folders' }, async () => {
    await host.files.ensureFolders([paths.work, paths.run, paths.bundle])
    await host.files.ensureFolders([paths.upper, paths.rootfs], 0o755)
    if (!root) return
    await host.files.own([paths.upper], root)
    // The runtime opens the rootfs as the root of the user namespace.
    await host.files.own([paths.run, paths.bundle], { uid: 0, gid: root.gid, mode: 0o710 })
  })

  undo.arm('rootfs', release.releaseRootfs(ctx, record))
  const declared = await act(scope, { work: WORK, name: 'rootfs' }, async () => {
    await host.rootfs.mount(scope, paths, m.lowerDirs)
    return await declaredMounts(ctx, scope, { ...m, rootfs: paths.rootfs }, root ?? { uid: 0, gid: 0 })
  })

  const mounts = [...declared, ...(await volumeMounts(ctx, scope, m))]
  await mappedMounts(ctx, scope, m)
  await relabelMounts(ctx, scope, m)

  await act(scope, { work: WORK, name: 'bundle' }, async () => {
    await host.files.write(`${paths.bundle}/config.json`, JSON.stringify({ ...m.spec, mounts }))
    if (record.logPath) await host.files.prepareLog(record.logPath)
  })

  undo.arm('runtime container', release.releaseRuntime(ctx, record, true))
  const runtime = host.runtime(record.handler)
  try {
    const link = await act(scope, { work: WORK, name: 'monitor' }, () =>
      host.monitors.start(scope, {
        id: record.id,
        paths,
        runtime,
        logPath: record.logPath,
        tty: record.config.tty,
        stdin: record.config.stdin,
        stdinOnce: record.config.stdinOnce,
        ...(root ? { stdioOwner: root } : {}),
        oomFiles: host.cgroups.oomFiles(runtime.sandboxed ? pauseCgroup(ctx, m.pod).path : record.cgroup),
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
