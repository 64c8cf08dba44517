// SPDX-License-Identifier: Apache-2.0
/**
 * What CreateContainer reads of the host before it plans: mount sources, devices, the user, a seccomp file, the
 * process whose PID namespace is joined. The one thing it may change: a missing host_path becomes a folder, as
 * the kubelet expects of a runtime.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { ContainerConfig } from '../../model/container.ts'
import { clip } from '../../model/ids.ts'
import type { HostDevice } from '../../model/plan/spec/devices.ts'
import type { ResolvedMount } from '../../model/plan/spec/mounts.ts'
import type { OciSeccomp } from '../../model/plan/spec/oci.ts'
import { expectReady, type Pod } from '../../model/pod.ts'
import type { ProcessUser } from '../../model/security.ts'
import type { Context, ImageSource } from '../context.ts'

export interface Seen {
  readonly user: ProcessUser
  readonly mounts: readonly ResolvedMount[]
  readonly devices: ReadonlyMap<string, readonly HostDevice[]>
  readonly hostDevices: readonly HostDevice[]
  readonly localSeccomp: OciSeccomp | undefined
  readonly pidOf: number | undefined
}

export interface LookAt {
  readonly pod: Pod
  readonly config: ContainerConfig
  readonly image: ReturnType<ImageSource['resolve']>
}

/** Throws `invalid`, `not-found` or `wrong-state`, naming the field. */
export async function lookAtHost(ctx: Context, _scope: Scope, at: LookAt): Promise<Seen> {
  const { host } = ctx
  const { config, image } = at
  await checkApparmor(ctx, config)
  const mounts: ResolvedMount[] = []
  for (const request of config.mounts)
    mounts.push({ request, source: await host.files.mountSource(request.hostPath, request.propagation) })
  const devices = new Map<string, readonly HostDevice[]>()
  for (const d of config.devices) devices.set(d.hostPath, await host.files.devices(d.hostPath))
  return {
    user: host.user(image.lowerDirs, config.security.user, image.user),
    mounts,
    devices,
    hostDevices: config.security.privileged ? await host.files.devices('/dev') : [],
    localSeccomp: await readSeccomp(ctx, config),
    pidOf: joinedPid(ctx, at),
  }
}

const APPARMOR_PROFILES = '/sys/kernel/security/apparmor/profiles'

/** A runtime's words for a profile that is not loaded name neither it nor AppArmor. */
async function checkApparmor(ctx: Context, config: ContainerConfig): Promise<void> {
  const profile = config.security.apparmor
  if (profile.type !== 'localhost' || config.security.privileged || !ctx.host.facts.apparmor) return
  // `name (mode)` a line; where securityfs is not mounted or not for us, the runtime finds out.
  const loaded = await ctx.host.files.read(APPARMOR_PROFILES).catch(() => undefined)
  if (!loaded || loaded.split('\n').some((line) => line.replace(/ \([a-z]+\)$/, '') === profile.ref)) return
  throw new Fault(
    'invalid',
    `linux.security_context.apparmor: profile ${clip(profile.ref)} is not loaded on this node`,
  )
}

async function readSeccomp(ctx: Context, config: ContainerConfig): Promise<OciSeccomp | undefined> {
  const profile = config.security.seccomp
  if (profile.type !== 'localhost' || config.security.privileged) return undefined
  const text = await ctx.host.files.read(profile.ref)
  if (text === undefined)
    throw new Fault('invalid', `seccomp profile ${clip(profile.ref)} does not exist on this node`)
  try {
    const json: unknown = JSON.parse(text)
    if (isSeccomp(json)) return json
  } catch {
    // Falls through to the one message.
  }
  throw new Fault(
    'invalid',
    `seccomp profile ${clip(profile.ref)} is not a JSON profile with a defaultAction`,
  )
}

function isSeccomp(json: unknown): json is OciSeccomp {
  return typeof json === 'object' && json !== null && typeof Reflect.get(json, 'defaultAction') === 'string'
}

function joinedPid(ctx: Context, { pod, config }: LookAt): number | undefined {
  const pid = config.security.pid
  if (pid.mode === 'pod') {
    const { pause } = expectReady(pod)
    if (!pause) {
      throw new Fault(
        'invalid',
        'linux.security_context.namespace_options.pid: POD, but the pod sandbox was run without a shared PID namespace',
      )
    }
    if (!ctx.host.processes.alive(pause))
      throw new Fault('wrong-state', 'the pause process of the pod has ended: stop and remove the pod')
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
