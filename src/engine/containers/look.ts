// SPDX-License-Identifier: Apache-2.0
/**
 * What CreateContainer reads of the host before it plans: mount sources, devices, the user, a seccomp file, the
 * process whose PID namespace is joined. The one thing it may change: a missing host_path becomes a folder, as
 * the kubelet expects of a runtime.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { type CdiEdits, isWhole } from '../../model/cdi.ts'
import type { ContainerConfig } from '../../model/container.ts'
import { clip } from '../../model/ids.ts'
import type { HostDevice } from '../../model/plan/spec/devices.ts'
import type { HookFile } from '../../model/plan/spec/hooks.ts'
import type { ResolvedMount } from '../../model/plan/spec/mounts.ts'
import type { OciSeccomp } from '../../model/plan/spec/oci.ts'
import { expectReady, type Pod } from '../../model/pod.ts'
import type { ProcessUser } from '../../model/security.ts'
import type { Context, ImageSource } from '../context.ts'
import { type FoundVolume, plannedSource } from './volumes.ts'

export interface Seen {
  readonly user: ProcessUser
  readonly mounts: readonly ResolvedMount[]
  readonly devices: ReadonlyMap<string, readonly HostDevice[]>
  readonly hostDevices: readonly HostDevice[]
  readonly cdi: CdiEdits | undefined
  readonly hooks: readonly HookFile[]
  readonly localSeccomp: OciSeccomp | undefined
  readonly smallPrograms: boolean
  readonly apparmorProfile: string | undefined
  readonly pidOf: number | undefined
}

export interface LookAt {
  readonly pod: Pod
  readonly config: ContainerConfig
  readonly image: ReturnType<ImageSource['resolve']>
  readonly volumes: readonly FoundVolume[]
}

/** Architectures of images whose programs are all 32-bit ones. */
const SMALL: ReadonlySet<string> = new Set(['386', 'arm'])

/** Throws `invalid`, `not-found` or `wrong-state`, naming the field. */
export async function lookAtHost(ctx: Context, scope: Scope, at: LookAt): Promise<Seen> {
  const { host } = ctx
  const { config, image } = at
  const s = config.security
  const mounts: ResolvedMount[] = []
  for (const [i, request] of config.mounts.entries()) {
    const volume = at.volumes.find((v) => v.mount === i)
    const source = volume
      ? plannedSource(ctx, volume.imageId, request)
      : await host.files.mountSource(request.hostPath, request.propagation)
    mounts.push({ request, source })
  }
  const cdi = config.cdiDevices && (await host.cdi(config.cdiDevices))
  const nodes = cdi?.deviceNodes.filter((n) => !isWhole(n)) ?? []
  const devices = new Map<string, readonly HostDevice[]>()
  for (const { hostPath } of [...config.devices, ...nodes])
    devices.set(hostPath, await host.files.devices(hostPath))
  const handler = host.facts.handlers[at.pod.record.handler]
  const ofNode = s.privileged && handler?.privilegedDevices === undefined
  const hooksDirs = handler?.operator?.hooksDirs ?? []
  return {
    user: await host.user(image.lowerDirs, { requested: s.user, imageUser: image.user }),
    mounts,
    devices,
    hostDevices: ofNode ? await host.files.devices('/dev') : [],
    cdi,
    hooks: hooksDirs.length > 0 ? await host.hooks(hooksDirs) : [],
    localSeccomp:
      s.seccomp.type === 'localhost' && !s.privileged
        ? await host.security.seccompFile(s.seccomp.ref)
        : undefined,
    smallPrograms:
      s.seccomp.type === 'runtime-default' &&
      !s.privileged &&
      (SMALL.has(image.architecture) || (await host.smallPrograms(image.lowerDirs))),
    apparmorProfile: s.privileged ? undefined : await host.security.apparmor(scope, s.apparmor),
    pidOf: joinedPid(ctx, at),
  }
}

function joinedPid(ctx: Context, { pod, config }: LookAt): number | undefined {
  const pid = config.security.pid
  const { pause } = expectReady(pod)
  if (pause && !ctx.host.processes.alive(pause))
    throw new Fault('wrong-state', 'the pause process of the pod has ended: stop and remove the pod')
  if (pid.mode === 'pod') {
    if (!pause) {
      throw new Fault(
        'invalid',
        'linux.security_context.namespace_options.pid: POD, but the pod sandbox was run without a shared PID namespace',
      )
    }
    return pause.pid
  }
  if (pid.mode !== 'target') return undefined
  const target = ctx.catalog.containers.find(pid.target)
  if (!target || target.record.pod !== pod.record.id) {
    throw new Fault(
      'not-found',
      `namespace_options.target_id: container "${clip(pid.target)}" is not in this pod`,
    )
  }
  if (target.state.phase !== 'running') {
    throw new Fault(
      'wrong-state',
      `namespace_options.target_id: container "${clip(pid.target)}" is ${target.state.phase}, not running`,
    )
  }
  return target.state.process.pid
}
