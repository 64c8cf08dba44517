// SPDX-License-Identifier: Apache-2.0
/**
 * RunPodSandbox: from a decoded command to a pod that is ready, or to nothing. Equal requests join the one in
 * flight; a retry after a failure finds a clean start. Starts no process unless the PID namespace is shared.
 */
import { act } from '../../base/act.ts'
import { asFault, Fault } from '../../base/fault.ts'
import { cleanupScope, type Scope } from '../../base/scope.ts'
import { type Leftover, RELEASE_MS, Undo } from '../../base/undo.ts'
import { podId } from '../../model/ids.ts'
import { folders, podCgroup, podKey, podPaths } from '../../model/names.ts'
import { bandwidth } from '../../model/plan/bandwidth.ts'
import {
  checkUserNamespace,
  hostsFile,
  pausedId,
  pauseSpec,
  planNamespaces,
  resolvConf,
} from '../../model/plan/pod.ts'
import { checkSandboxedPod, hasPause } from '../../model/plan/sandboxed.ts'
import { isUnconfined, podLevel } from '../../model/plan/spec/selinux.ts'
import {
  type Pod,
  type PodConfig,
  type PodRecord,
  type ProcessId,
  podLabel,
  podLeftover,
  ready,
} from '../../model/pod.ts'
import { type Context, NETWORK_LOCK } from '../context.ts'
import { expectFreeHostPorts, ownHostPorts } from './host-ports.ts'
import { watchPause } from './lost.ts'
import * as release from './release.ts'
import { planPodLimits } from './update.ts'

const WORK = 'run-pod'

export interface RunPod {
  readonly config: PodConfig
  readonly handler: string
}

/** The id of a ready pod for this command. The abort of one caller ends the work only if nobody else waits. */
export async function runPod(ctx: Context, scope: Scope, command: RunPod): Promise<string> {
  const handler = ctx.host.runtime(command.handler).program.handler
  const key = podKey(command.config.metadata)
  const hash = ctx.hash({ ...command, handler })
  return await ctx.joins.run(scope, `pod/${key}/${hash}`, async (work) => {
    using _ = await ctx.locks.exclusive(work, `name/${key}`)
    const present = ctx.catalog.pods.named(key)
    if (present) {
      const same = await settlePresent(ctx, present, hash)
      if (same) return same
    }
    return await makePod(ctx, work, { ...command, handler, hash })
  })
}

/** A pod of this name: the same one if it is ready, cleaned away if it is a leftover, else a conflict. */
async function settlePresent(ctx: Context, present: Pod, hash: string): Promise<string | undefined> {
  const { record, state } = present
  if (state.phase === 'ready' && record.requestHash === hash) return record.id
  if (state.phase !== 'leftover') {
    const why = state.phase === 'ready' ? 'with another configuration' : `and is ${state.phase}`
    throw new Fault(
      'exists',
      `pod sandbox ${podLabel(record)} exists already ${why}: remove it, or raise metadata.attempt`,
    )
  }
  using scope = cleanupScope(ctx.daemon.log, RELEASE_MS)
  // A Remove of it may be under way.
  using _ = await ctx.locks.exclusive(scope, record.id)
  if (!ctx.catalog.pods.byId.has(record.id)) return undefined
  const left = await release.releaseAll(ctx, release.allReleases(ctx, record), scope)
  if (left.length > 0) throw release.leftoverFault(`leftover of pod ${podLabel(record)}`, left)
  await ctx.store.dropPod(record.id)
  ctx.catalog.pods.drop(record.id)
  return undefined
}

async function makePod(ctx: Context, scope: Scope, command: RunPod & { hash: string }): Promise<string> {
  const id = podId(ctx.newId())
  const { facts } = ctx.host
  const others = [...ctx.catalog.pods.byId.values()].map((p) => p.record)
  const selinuxLevel = podLevel({ id, config: command.config }, facts.selinux, others)
  const record: PodRecord = {
    id,
    handler: command.handler,
    config: command.config,
    cgroup: podCgroup(
      facts.cgroupDriver,
      { parent: command.config.cgroupParent, fallback: ctx.options.defaultCgroupParent },
      id,
    ),
    createdAt: ctx.host.clock.now(),
    requestHash: command.hash,
    bootId: facts.bootId,
    ...(selinuxLevel === undefined ? {} : { selinuxLevel }),
  }
  const paths = podPaths(ctx.options.roots, id)
  expectAble(ctx, record)
  const namespaces = planNamespaces(record.config, paths)
  const network = networkRequest(record, paths.netns)
  const planned = planPodLimits(ctx, record.config)
  const limits = record.cgroup.ownsParent ? planned : []
  if (record.config.namespaces.network === 'pod') await expectNetwork(ctx, scope)
  // Nothing is awaited from here to the moment at which the catalog has it: of two pods one comes first.
  expectFreeHostPorts(ctx, record)
  const creating: Pod = { record, state: { phase: 'creating' } }
  const undo = new Undo(scope.log)
  try {
    await using _ = undo
    ctx.catalog.pods.put(id, creating)
    await act(scope, { work: WORK, name: 'record' }, () => ctx.store.beginPod(creating))
    const { ips, pause } = await acts(ctx, scope, { record, undo, namespaces, network, limits })
    const pod: Pod = { record, state: ready(ips, pause) }
    await act(scope, { work: WORK, name: 'ready' }, () => ctx.store.putPod(pod))
    undo.disarm()
    ctx.catalog.pods.put(id, pod)
    watchPause(ctx, pod)
    return id
  } catch (e) {
    await forget(ctx, creating, undo)
    throw Fault.during(`run pod ${podLabel(record)}`, e)
  }
}

/**
 * After the releases: a clean failure leaves no trace, leftovers keep the record so that a retry finishes them.
 * Never throws: the caller has the first error to tell.
 */
async function forget(ctx: Context, pod: Pod, undo: Undo): Promise<void> {
  const { id } = pod.record
  let unfinished: readonly Leftover[] = undo.leftovers
  if (unfinished.length === 0) {
    try {
      await ctx.store.dropPod(id)
      ctx.catalog.pods.drop(id)
      return
    } catch (e) {
      unfinished = [{ name: 'record', fault: asFault(e) }]
    }
  }
  const left: Pod = {
    record: pod.record,
    state: podLeftover(
      unfinished.map((l) => l.fault.message).join('; '),
      unfinished.map((l) => l.name),
    ),
  }
  ctx.catalog.pods.put(id, left)
  await ctx.store
    .putPod(left)
    .catch((e: unknown) => ctx.daemon.log.warn('state-not-written', { pod: id, error: asFault(e).message }))
}

/** Before anything is made: a handler or a node that cannot do it. */
function expectAble({ host: { facts } }: Context, { handler: name, config }: PodRecord): void {
  const handler = facts.handlers[name]
  if (!handler) return
  checkUserNamespace(config, { facts, handler })
  checkSandboxedPod(config, handler)
}

async function expectNetwork(ctx: Context, scope: Scope): Promise<void> {
  const status = await ctx.host.network.status(scope)
  if (!status.ready) {
    throw new Fault('unavailable', `the pod network is not ready: ${status.reason}: ${status.message}`)
  }
}

interface Making {
  readonly record: PodRecord
  readonly undo: Undo
  readonly namespaces: ReturnType<typeof planNamespaces>
  readonly network: ReturnType<typeof networkRequest>
  /** Of the parent cgroup, where it is ours. */
  readonly limits: ReturnType<typeof planPodLimits>
}

async function acts(
  ctx: Context,
  scope: Scope,
  m: Making,
): Promise<{ ips: readonly string[]; pause?: ProcessId }> {
  const { record, undo } = m
  const { host } = ctx
  const paths = podPaths(ctx.options.roots, record.id)
  const ns = record.config.namespaces

  undo.arm('run folder', release.releaseRunFolder(ctx, record))
  await act(scope, { work: WORK, name: 'folders' }, async () => {
    await host.files.ensureFolders([paths.run])
    if (ns.user) await host.files.own([paths.run], { uid: 0, gid: ns.user.gids.hostId, mode: 0o710 })
  })

  undo.arm('namespaces', release.releaseNamespaces(ctx, record))
  await act(scope, { work: WORK, name: 'namespaces' }, () => host.namespaces.create(scope, m.namespaces))

  if (ns.user) {
    undo.arm('mapped layers', release.releaseLayers(ctx, record))
    const { layers: source } = folders(ctx.options.roots)
    const layers = { source, target: paths.layers, userns: paths.userns, readonly: true }
    await act(scope, { work: WORK, name: 'layers' }, () => host.idmaps.bind(scope, layers))
  }

  if (ns.ipc === 'pod') {
    undo.arm('shared memory', release.releaseShm(ctx, record))
    await act(scope, { work: WORK, name: 'shm' }, () => host.namespaces.createShm(scope, paths.shm, ns.user))
  }

  undo.arm('cgroup', release.releaseCgroup(ctx, record))
  await act(scope, { work: WORK, name: 'cgroup' }, async () => {
    await host.cgroups.create(scope, record.cgroup.sandbox)
    if (m.limits.length > 0) host.cgroups.limit(record.cgroup.parent, m.limits)
  })

  let ips: readonly string[] = []
  if (ns.network === 'pod') {
    undo.arm('pod network', release.releaseNetwork(ctx, record))
    using _ = await ctx.locks.shared(scope, NETWORK_LOCK)
    const result = await act(scope, { work: WORK, name: 'network' }, () =>
      host.network.attach(scope, m.network, paths.state),
    )
    ips = result.ips
    const ports = ownHostPorts(record, result)
    if (ports) {
      undo.arm('host ports', release.releaseHostPorts(ctx, record))
      await act(scope, { work: WORK, name: 'host-ports' }, () => host.hostports.add(scope, ports))
    }
  }

  await act(scope, { work: WORK, name: 'files' }, () => writePodFiles(ctx, record, ips))

  if (!hasPause(record.config, host.facts.handlers[record.handler])) return { ips }
  undo.arm('pause process', release.releasePause(ctx, record))
  const pause = await act(scope, { work: WORK, name: 'pause' }, () => startPause(ctx, scope, record))
  return { ips, pause }
}

/** Throws `invalid` for a bandwidth annotation that is no quantity: before anything is made. */
function networkRequest(record: PodRecord, netns: string) {
  const { metadata: m, portMappings, annotations, dns } = record.config
  const limits = bandwidth(annotations)
  return {
    podId: record.id,
    netns,
    podName: m.name,
    podNamespace: m.namespace,
    podUid: m.uid,
    portMappings: portMappings.filter((p) => p.hostPort > 0),
    annotations,
    cgroupPath: record.cgroup.parent,
    ...(dns ? { dns } : {}),
    ...(limits ? { bandwidth: limits } : {}),
  }
}

/** resolv.conf, hostname and hosts, which every container of the pod sees read-only or not as its rootfs is. */
async function writePodFiles(ctx: Context, record: PodRecord, ips: readonly string[]): Promise<void> {
  const { host } = ctx
  const paths = podPaths(ctx.options.roots, record.id)
  const node = record.config.namespaces.network === 'node'
  const hostname = node || record.config.hostname === '' ? host.nodeName : record.config.hostname
  const own = (path: string) => host.files.read(path).then((text) => text ?? '')
  const resolv = resolvConf(record.config.dns) ?? (await own('/etc/resolv.conf'))
  const hosts = node ? await own('/etc/hosts') : hostsFile(hostname, ips)
  await Promise.all([
    host.files.write(paths.resolvConf, resolv, 0o644),
    host.files.write(paths.hostname, `${hostname}\n`, 0o644),
    host.files.write(paths.hosts, hosts, 0o644),
  ])
  const { user } = record.config.namespaces
  const owner = user && { uid: user.uids.hostId, gid: user.gids.hostId }
  if (owner) await host.files.own([paths.resolvConf, paths.hostname, paths.hosts], owner)
}

/** `gantry-pause` as PID 1 of the pod, in a rootfs that holds nothing else. */
async function startPause(ctx: Context, scope: Scope, record: PodRecord): Promise<ProcessId> {
  const { host } = ctx
  const paths = podPaths(ctx.options.roots, record.id)
  const runtime = host.runtime(record.handler)
  const handler = host.facts.handlers[record.handler]
  if (!handler) throw new Fault('unsupported', `runtime handler ${record.handler} is not there any more`)
  // crun opens /dev of a rootfs whether or not anything is to be made in it.
  const inside = [`${paths.pauseRootfs}/proc`, `${paths.pauseRootfs}/dev`]
  await host.files.ensureFolders(inside, 0o755)
  const { user } = record.config.namespaces
  // Devices are not made in a user namespace but bound, on files that the runtime makes as its root.
  if (user) await host.files.own(inside, { uid: user.uids.hostId, gid: user.gids.hostId })
  await host.files.copyProgram(host.pauseProgram, `${paths.pauseRootfs}/gantry-pause`)
  const { seccomp, privileged } = record.config
  const localSeccomp =
    seccomp.type === 'localhost' && !privileged ? await host.security.seccompFile(seccomp.ref) : undefined
  const spec = pauseSpec(record, paths, { facts: host.facts, handler, localSeccomp })
  const { mountLabel: label } = spec.linux
  if (label !== undefined && !isUnconfined(spec.process.selinuxLabel))
    await host.security.relabel(scope, { path: paths.pauseRootfs, label })
  await host.files.write(`${paths.pauseBundle}/config.json`, JSON.stringify(spec))
  const pid = await runtime.runDetached(scope, pausedId(record.id), paths.pauseBundle)
  const process = host.processes.identify(pid)
  if (!process) throw new Fault('internal', 'the pause process ended at once')
  return process
}
