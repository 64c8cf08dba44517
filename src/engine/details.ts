// SPDX-License-Identifier: Apache-2.0
/**
 * What the host knows of a pod or a container beyond its record, for verbose answers: the OCI document, the network
 * attachment, the runtime. Reads small files; what is not there (any more) is undefined, never an error.
 */
import type { Container } from '../model/container.ts'
import type { ContainerPaths } from '../model/names.ts'
import { containerPaths, podPaths } from '../model/names.ts'
import { planNamespaces } from '../model/plan/pod.ts'
import type { Pod } from '../model/pod.ts'
import type { Context } from './context.ts'

export interface RuntimeDetails {
  readonly kind: string
  readonly path: string
  /** Where it keeps its state. */
  readonly root: string
}

export interface PodDetails {
  /** Of the pause process where there is one; else the parts of it that are true of the pod. */
  readonly spec: object
  /** Path of the pinned network namespace; '' on the node's network. */
  readonly netns: string
  /** The last CNI plugin's result; undefined on the node's network and after Stop. */
  readonly cni: Readonly<Record<string, unknown>> | undefined
  readonly runtime: RuntimeDetails | undefined
}

export interface ContainerDetails {
  /** As the runtime was given it; undefined after a reboot. */
  readonly spec: object | undefined
  readonly rootfs: ContainerPaths['rootfs']
  readonly runtime: RuntimeDetails | undefined
}

/** @abort finishes */
export async function containerDetails(ctx: Context, { record }: Container): Promise<ContainerDetails> {
  const { bundle, rootfs } = containerPaths(ctx.options.roots, record.id)
  return { spec: await bundleOf(ctx, bundle), rootfs, runtime: runtimeOf(ctx, record.handler) }
}

/** @abort finishes */
export async function podDetails(ctx: Context, pod: Pod): Promise<PodDetails> {
  const { record } = pod
  const paths = podPaths(ctx.options.roots, record.id)
  const attached = await ctx.host.network.recall(paths.state).catch(() => undefined)
  return {
    spec: (await bundleOf(ctx, paths.pauseBundle)) ?? sandboxSpec(ctx, pod),
    netns: record.config.namespaces.network === 'pod' ? paths.netns : '',
    cni: attached?.result,
    runtime: runtimeOf(ctx, record.handler),
  }
}

async function bundleOf(ctx: Context, bundle: string): Promise<object | undefined> {
  try {
    const text = await ctx.host.files.read(`${bundle}/config.json`)
    return text === undefined ? undefined : (JSON.parse(text) as object)
  } catch {
    return undefined
  }
}

/** A handler that is configured no more has none. */
function runtimeOf(ctx: Context, handler: string): RuntimeDetails | undefined {
  try {
    const { program, command } = ctx.host.runtime(handler)
    return {
      kind: program.kind,
      path: program.path,
      root: command[command.indexOf('--root') + 1] ?? '',
    }
  } catch {
    return undefined
  }
}

/** A pod without a process of its own has namespaces and a cgroup all the same, which is what scripts look for. */
function sandboxSpec(ctx: Context, { record }: Pod): object {
  const { config } = record
  const made = planNamespaces(config, podPaths(ctx.options.roots, record.id))
  const pinned = { network: made.net, uts: made.uts, ipc: made.ipc, user: made.user }
  return {
    ociVersion: ctx.host.facts.handlers[record.handler]?.ociVersion ?? '',
    ...(config.hostname === '' ? {} : { hostname: config.hostname }),
    annotations: config.annotations,
    linux: {
      cgroupsPath: record.cgroup.sandbox,
      namespaces: Object.entries(pinned).flatMap(([type, path]) =>
        path === undefined ? [] : [{ type, path }],
      ),
      sysctl: config.sysctls,
    },
  }
}
