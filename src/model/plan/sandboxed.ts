// SPDX-License-Identifier: Apache-2.0
/**
 * Pods of a handler whose containers run in a kernel of the pod's own (gVisor): what their specs say beyond others,
 * and what such a kernel cannot do, refused with the field's name. Pure.
 */
import { Fault } from '../../base/fault.ts'
import type { ContainerConfig } from '../container.ts'
import type { HandlerFacts } from '../facts.ts'
import type { PodConfig } from '../pod.ts'
import type { OciSpec } from './spec/oci.ts'

type Handler = Pick<HandlerFacts, 'name' | 'sandboxed'>

/** Does the pod have a pause process? Unknown handlers may have given it one. */
export function hasPause(config: PodConfig, handler: Handler | undefined): boolean {
  return config.namespaces.pid === 'pod' || handler === undefined || handler.sandboxed === true
}

const refuse = (where: string, handler: Handler, why: string): never => {
  throw new Fault('unsupported', `${where}: runtime handler ${handler.name} ${why}`)
}

/** Throws `unsupported` for what the pod asks and its kernel does not have. */
export function checkSandboxedPod(config: PodConfig, handler: Handler): void {
  if (!handler.sandboxed) return
  const { pid, ipc } = config.namespaces
  const where = 'linux.security_context.namespace_options'
  const own = "has processes in a kernel of the pod's own, not in the node's"
  if (pid === 'node') refuse(`${where}.pid: NODE`, handler, own)
  if (ipc === 'node') refuse(`${where}.ipc: NODE`, handler, own)
  if (Object.keys(config.sysctls).length > 0)
    refuse('linux.sysctls', handler, "has a kernel of the pod's own, which the node's sysctls do not reach")
}

/** The same for a container. */
export function checkSandboxed({ devices, security: s, mounts }: ContainerConfig, handler: Handler): void {
  if (!handler.sandboxed) return
  if (s.pid.mode === 'target' || s.pid.mode === 'node')
    refuse(
      `linux.security_context.namespace_options.pid: ${s.pid.mode.toUpperCase()}`,
      handler,
      'has processes of one container or of the whole pod in a namespace, no others',
    )
  if (devices.length > 0) refuse('devices', handler, "shows none of the node's devices")
  if (!s.privileged && s.seccomp.type === 'localhost')
    refuse('linux.security_context.seccomp', handler, 'loads no profiles: its own filter is always on')
  if (!s.privileged && s.apparmor.type === 'localhost')
    refuse('linux.security_context.apparmor', handler, 'confines no processes of containers with AppArmor')
  const shared = mounts.findIndex((m) => m.propagation === 'bidirectional')
  if (shared >= 0) refuse(`mounts[${shared}].propagation`, handler, 'brings no mounts back to the node')
}

/** As containerd writes them, by which the runtime tells the pod's sandbox from the containers that join it. */
const TYPE = 'io.kubernetes.cri.container-type'
const SANDBOX = 'io.kubernetes.cri.sandbox-id'

/**
 * The spec of the sandbox, or of a container in it (`sandboxId`). A kernel that is not the node's takes its hostname
 * from the spec, not from the pod's UTS namespace; and all of its processes are seen together where none is asked for.
 */
export function inSandbox(
  spec: OciSpec,
  of: { readonly hostname: string; readonly sandboxId?: string; readonly sharedPids?: boolean },
): OciSpec {
  const { hostname, sandboxId } = of
  const kind = sandboxId === undefined ? { [TYPE]: 'sandbox' } : { [TYPE]: 'container', [SANDBOX]: sandboxId }
  const namespaces = spec.linux.namespaces.filter((n) => !(of.sharedPids && n.type === 'pid'))
  const { apparmorProfile: _, ...process } = spec.process
  return {
    ...spec,
    process,
    hostname,
    annotations: { ...spec.annotations, ...kind },
    linux: { ...spec.linux, namespaces },
  }
}
