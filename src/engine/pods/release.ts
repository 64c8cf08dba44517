// SPDX-License-Identifier: Apache-2.0
/**
 * Taking a pod apart: the one path for it, with five callers (a failed run, Stop, Remove, recovery, `lost.ts`). Each
 * release is idempotent and accepts "never was". The order is that of making, backwards.
 */
import { asFault, Fault } from '../../base/fault.ts'
import type { Release } from '../../base/undo.ts'
import { wantedHostPorts } from '../../model/host-ports.ts'
import { containerCgroup, podPaths } from '../../model/names.ts'
import { pausedId } from '../../model/plan/pod.ts'
import { hasPause } from '../../model/plan/sandboxed.ts'
import type { PodRecord } from '../../model/pod.ts'
import { isConfigured, releaseByHand } from '../containers/release.ts'
import type { Context } from '../context.ts'

const SIGKILL = 9

/** The pause process and its cgroup and bundle mounts. */
export function releasePause(ctx: Context, record: PodRecord): Release {
  return async (scope) => {
    if (!hasPause(record.config, ctx.host.facts.handlers[record.handler])) return
    if (!isConfigured(ctx, record.handler)) {
      const { path } = pauseCgroup(ctx, record)
      return await releaseByHand(ctx, scope, {
        handler: record.handler,
        id: pausedId(record.id),
        cgroup: path,
      })
    }
    const runtime = ctx.host.runtime(record.handler)
    const paths = podPaths(ctx.options.roots, record.id)
    const pid = Number((await ctx.host.files.read(paths.pausePidFile))?.trim())
    const process = Number.isInteger(pid) ? ctx.host.processes.identify(pid) : undefined
    // Of one that has ended the number may be somebody else's by now: the runtime compares the time of its start.
    const status = process && (await runtime.status(scope, pausedId(record.id)))
    if (process && status !== undefined && status !== 'stopped') {
      // Killed by pidfd and awaited first: `delete --force` would poll for 100 ms.
      ctx.host.processes.signal(process, SIGKILL)
      await ctx.host.processes.gone(scope, process)
    }
    await runtime.delete(scope, pausedId(record.id), { force: false })
  }
}

/** Where the pause process is, and with it the kernel of a sandboxed pod. */
export function pauseCgroup(ctx: Context, { id, cgroup, config }: PodRecord) {
  const pod = { cgroup, requestedParent: config.cgroupParent }
  return containerCgroup(ctx.host.facts.cgroupDriver, pod, pausedId(id))
}

export function releaseNetwork(ctx: Context, record: PodRecord): Release {
  return async (scope) => {
    if (record.config.namespaces.network !== 'pod') return
    await ctx.host.network.detach(scope, podPaths(ctx.options.roots, record.id).state)
  }
}

/** Nothing to be done where a plugin of the network has mapped the ports. */
export function releaseHostPorts(ctx: Context, record: PodRecord): Release {
  return (scope) => ctx.host.hostports.remove(scope, record.id)
}

export function releaseNamespaces(ctx: Context, record: PodRecord): Release {
  return (scope) => {
    const paths = podPaths(ctx.options.roots, record.id)
    ctx.host.readings.forget(paths.netns)
    return ctx.host.namespaces.release(scope, paths)
  }
}

/** The layers of images as the pod's containers have them; those that run keep what they have mounted. */
export function releaseLayers(ctx: Context, record: PodRecord): Release {
  return (scope) => ctx.host.rootfs.unmount(scope, podPaths(ctx.options.roots, record.id).layers)
}

export function releaseShm(ctx: Context, record: PodRecord): Release {
  return (scope) => ctx.host.namespaces.releaseShm(scope, podPaths(ctx.options.roots, record.id).shm)
}

export function releaseCgroup(ctx: Context, record: PodRecord): Release {
  return (scope) => {
    const { parent, sandbox, ownsParent } = record.cgroup
    return ctx.host.cgroups.remove(scope, ownsParent ? parent : sandbox)
  }
}

export function releaseRunFolder(ctx: Context, record: PodRecord): Release {
  return () => ctx.host.files.removeTree(podPaths(ctx.options.roots, record.id).run)
}

/** What Stop takes: the processes, the network and the namespaces. Files, cgroup and record stay for Remove. */
export function stopReleases(ctx: Context, record: PodRecord): readonly (readonly [string, Release])[] {
  return [
    ['pause process', releasePause(ctx, record)],
    ...hostPortReleases(ctx, record),
    ['pod network', releaseNetwork(ctx, record)],
    ...layerReleases(ctx, record),
    ['namespaces', releaseNamespaces(ctx, record)],
    ['shared memory', releaseShm(ctx, record)],
  ]
}

function hostPortReleases(ctx: Context, record: PodRecord): readonly (readonly [string, Release])[] {
  return wantedHostPorts(record.config).length > 0 ? [['host ports', releaseHostPorts(ctx, record)]] : []
}

function layerReleases(ctx: Context, record: PodRecord): readonly (readonly [string, Release])[] {
  return record.config.namespaces.user ? [['mapped layers', releaseLayers(ctx, record)]] : []
}

/** Everything of a pod but its record. */
export function allReleases(ctx: Context, record: PodRecord): readonly (readonly [string, Release])[] {
  return [
    ...stopReleases(ctx, record),
    ['cgroup', releaseCgroup(ctx, record)],
    ['run folder', releaseRunFolder(ctx, record)],
  ]
}

/**
 * Runs releases in order; one that fails does not stop the rest. Resolves with what is left over, by name.
 * @abort finishes
 */
export async function releaseAll(
  ctx: Context,
  releases: readonly (readonly [string, Release])[],
  scope: Parameters<Release>[0],
): Promise<readonly { readonly name: string; readonly fault: Fault }[]> {
  const left: { name: string; fault: Fault }[] = []
  for (const [name, release] of releases) {
    try {
      await release(scope)
    } catch (e) {
      left.push({ name, fault: asFault(e) })
      ctx.daemon.log.warn('release-failed', { what: name, error: asFault(e).message })
    }
  }
  return left
}

/** One Fault of several leftovers, with the kind of the first. */
export function leftoverFault(what: string, left: readonly { name: string; fault: Fault }[]): Fault {
  const [first] = left
  const text = left.map((l) => `${l.name}: ${l.fault.message}`).join('; ')
  return new Fault(
    first?.fault.kind ?? 'internal',
    `${what}: not everything could be released: ${text}; call again`,
  )
}
