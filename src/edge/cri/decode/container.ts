// SPDX-License-Identifier: Apache-2.0
/** CreateContainer on the wire → CreateContainer command, or one Fault that lists every bad field. */
import type { CreateContainer } from '../../../engine/containers/create.ts'
import { parseCdiName } from '../../../model/cdi.ts'
import type {
  ContainerConfig,
  ContainerSecurity,
  DeviceRequest,
  EnvVar,
  MountOption,
  MountRequest,
  PidMode,
  VolumeRequest,
} from '../../../model/container.ts'
import { MOUNT_OPTIONS } from '../../../model/container.ts'
import { clip } from '../../../model/ids.ts'
import { LIMITS } from '../../../model/limits.ts'
import { noResources } from '../../../model/resources.ts'
import type { RequestedUser } from '../../../model/security.ts'
import { signalFromCri } from '../../../model/signals.ts'
import type { v1 } from '../gen/api.js'
import { Fields } from './fields.ts'
import { profile, resources, selinux } from './shared.ts'
import { mountMapping, userns } from './userns.ts'

const IDS = { min: 0n, max: 0xffff_fffen } as const
const SECURITY = 'config.linux.security_context'

export function decodeCreateContainer(request: v1.CreateContainerRequest.$Properties): CreateContainer {
  const f = new Fields()
  const pod = f.name('pod_sandbox_id', request.podSandboxId, { required: true })
  const config = containerConfig(f, request.config ?? undefined)
  f.done('invalid container')
  return { pod, config }
}

function containerConfig(f: Fields, c: v1.ContainerConfig.$Properties | undefined): ContainerConfig {
  if (!c) f.bad('config', 'is required')
  if (c && !c.metadata) f.bad('config.metadata', 'is required')
  const image = f.text('config.image.image', c?.image?.image, LIMITS.referenceBytes)
  if (image === '') f.bad('config.image.image', 'is required')
  if (c?.windows) f.unsupported('config.windows', 'this is a Linux node')
  const cdi = cdiDevices(f, c)
  const words = (field: string, list: readonly string[] | null | undefined) => {
    const v = list ?? []
    if (v.some((w) => w.includes('\0'))) f.bad(field, 'has a NUL in it')
    if (v.reduce((n, w) => n + Buffer.byteLength(w) + 1, 0) > LIMITS.argsBytes)
      f.bad(field, `is larger than ${LIMITS.argsBytes} bytes`)
    return v
  }
  return {
    metadata: {
      name: f.name('config.metadata.name', c?.metadata?.name, { required: true }),
      attempt: c?.metadata?.attempt ?? 0,
    },
    image,
    userSpecifiedImage: f.text(
      'config.image.user_specified_image',
      c?.image?.userSpecifiedImage,
      LIMITS.referenceBytes,
    ),
    command: words('config.command', c?.command),
    args: words('config.args', c?.args),
    workingDir: f.path('config.working_dir', c?.workingDir),
    env: env(f, c?.envs),
    mounts: f.list('config.mounts', c?.mounts, LIMITS.mounts).map((m, i) => mount(f, i, m)),
    devices: f.list('config.devices', c?.devices, LIMITS.devices).map((d, i) => device(f, i, d)),
    ...(cdi.length > 0 ? { cdiDevices: cdi } : {}),
    labels: f.map('config.labels', c?.labels),
    annotations: f.map('config.annotations', c?.annotations),
    logPath: f.relative('config.log_path', c?.logPath),
    stdin: c?.stdin ?? false,
    stdinOnce: c?.stdinOnce ?? false,
    tty: c?.tty ?? false,
    resources: resources(f, 'config.linux.resources', c?.linux?.resources) ?? noResources,
    security: security(f, c?.linux?.securityContext),
    stopSignal: stopSignal(f, c?.stopSignal),
  }
}

function stopSignal(f: Fields, value: number | null | undefined): number | undefined {
  if (!value) return undefined
  const number = signalFromCri(value)
  if (number === undefined) f.bad('config.stop_signal', `${value} is not a signal`)
  return number
}

function env(f: Fields, list: readonly v1.KeyValue.$Properties[] | null | undefined): readonly EnvVar[] {
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  let bytes = 0
  const out = (list ?? []).map((kv, i) => {
    const field = `config.envs[${i}]`
    const name = f.text(`${field}.key`, kv.key)
    if (name === '' || name.includes('='))
      f.bad(`${field}.key`, `"${clip(name)}" is not the name of a variable`)
    const raw = kv.value ?? new Uint8Array()
    bytes += name.length + raw.length + 2
    if (raw.includes(0)) f.bad(`${field}.value`, 'has a NUL in it')
    try {
      return { name, value: utf8.decode(raw) }
    } catch {
      f.unsupported(`${field}.value`, 'is not UTF-8, which the JSON of an OCI bundle cannot hold')
      return { name, value: '' }
    }
  })
  if (bytes > LIMITS.argsBytes) f.bad('config.envs', `is larger than ${LIMITS.argsBytes} bytes`)
  return out
}

function mount(f: Fields, index: number, m: v1.Mount.$Properties): MountRequest {
  const field = `config.mounts[${index}]`
  if (/^[/.]+$/.test(m.containerPath ?? '')) f.bad(`${field}.container_path`, 'is the root of the container')
  const image = imageVolume(f, field, m)
  const idmap = mountMapping(f, field, m)
  const options = mountOptions(f, `${field}.mount_options`, m.mountOptions)
  return {
    containerPath: f.path(`${field}.container_path`, m.containerPath, true),
    hostPath: f.path(`${field}.host_path`, m.hostPath, image === undefined),
    ...(image ? { image } : {}),
    ...(idmap ? { idmap } : {}),
    ...(options.length > 0 ? { options } : {}),
    readonly: m.readonly ?? false,
    recursiveReadOnly: m.recursiveReadOnly ?? false,
    selinuxRelabel: m.selinuxRelabel ?? false,
    propagation: f.oneOf(`${field}.propagation`, m.propagation, [
      'private',
      // Nothing is ever mounted in an image, so that nothing has to come through.
      image ? 'private' : 'host-to-container',
      image ? undefined : 'bidirectional',
    ] as const),
  }
}

/** Only what takes rights away: what else there is has a field of its own, or could give rights. */
function mountOptions(
  f: Fields,
  field: string,
  list: readonly string[] | null | undefined,
): readonly MountOption[] {
  return f.list(field, list, LIMITS.mountOptions).flatMap((said) => {
    const option = MOUNT_OPTIONS.find((known) => known === said)
    if (!option) f.bad(field, `"${clip(said)}" is not one of ${MOUNT_OPTIONS.join(', ')}`)
    return option ?? []
  })
}

function imageVolume(f: Fields, field: string, m: v1.Mount.$Properties): VolumeRequest | undefined {
  if (!m.image) {
    if (m.imageSubPath) f.bad(`${field}.image_sub_path`, 'needs image')
    return undefined
  }
  const { image, userSpecifiedImage } = m.image
  if (!image) f.bad(`${field}.image.image`, 'is required')
  if (m.hostPath) f.bad(`${field}.host_path`, 'has to be empty beside image')
  if (!m.readonly) f.bad(`${field}.readonly`, 'has to be set beside image: image volumes are read-only')
  return {
    image: f.text(`${field}.image.image`, image, LIMITS.referenceBytes),
    userSpecifiedImage: f.text(
      `${field}.image.user_specified_image`,
      userSpecifiedImage,
      LIMITS.referenceBytes,
    ),
    subPath: f.relative(`${field}.image_sub_path`, m.imageSubPath),
  }
}

function device(f: Fields, index: number, d: v1.Device.$Properties): DeviceRequest {
  const field = `config.devices[${index}]`
  const permissions = d.permissions ?? ''
  if (!/^[rwm]{0,3}$/.test(permissions))
    f.bad(`${field}.permissions`, `"${clip(permissions)}" is not made of r, w and m`)
  const hostPath = f.path(`${field}.host_path`, d.hostPath, true)
  return {
    hostPath,
    containerPath: f.path(`${field}.container_path`, d.containerPath) || hostPath,
    permissions,
  }
}

/** By the field, then by annotations `cdi.k8s.io/…` with names separated by commas, each once. */
function cdiDevices(f: Fields, c: v1.ContainerConfig.$Properties | undefined): readonly string[] {
  const listed = (c?.CDIDevices ?? []).map(
    ({ name }, i) => [`config.CDI_devices[${i}].name`, name ?? ''] as const,
  )
  const annotated = Object.entries(c?.annotations ?? {})
    .filter(([key]) => key.startsWith('cdi.k8s.io/'))
    .flatMap(([key, names]) =>
      names.split(',').map((n) => [`config.annotations["${clip(key)}"]`, n] as const),
    )
  const all = f.list('config.CDI_devices', [...listed, ...annotated], LIMITS.devices)
  for (const [field, name] of all)
    if (!parseCdiName(name))
      f.bad(field, `"${clip(name)}" is not VENDOR/CLASS=DEVICE, the name of a CDI device`)
  return [...new Set(all.map(([, name]) => name))]
}

function security(
  f: Fields,
  s: v1.LinuxContainerSecurityContext.$Properties | null | undefined,
): ContainerSecurity {
  const paths = (field: string, list: readonly string[] | null | undefined) =>
    f.list(field, list, LIMITS.mounts).map((p) => f.path(field, p, true))
  const caps = (field: string, list: readonly string[] | null | undefined) =>
    f.list(field, list, 128).map((c) => f.name(field, c, { required: true, max: 64 }))
  const labels = selinux(f, `${SECURITY}.selinux_options`, s?.selinuxOptions)
  const mapped = userns(f, `${SECURITY}.namespace_options.userns_options`, s?.namespaceOptions?.usernsOptions)
  return {
    privileged: s?.privileged ?? false,
    capabilities: {
      add: caps(`${SECURITY}.capabilities.add_capabilities`, s?.capabilities?.addCapabilities),
      drop: caps(`${SECURITY}.capabilities.drop_capabilities`, s?.capabilities?.dropCapabilities),
      addAmbient: caps(
        `${SECURITY}.capabilities.add_ambient_capabilities`,
        s?.capabilities?.addAmbientCapabilities,
      ),
    },
    user: user(f, s),
    readonlyRootfs: s?.readonlyRootfs ?? false,
    noNewPrivs: s?.noNewPrivs ?? false,
    maskedPaths: paths(`${SECURITY}.masked_paths`, s?.maskedPaths),
    readonlyPaths: paths(`${SECURITY}.readonly_paths`, s?.readonlyPaths),
    seccomp: profile(f, `${SECURITY}.seccomp`, {
      now: s?.seccomp,
      old: s?.seccompProfilePath,
      kind: 'seccomp',
    }),
    apparmor: profile(f, `${SECURITY}.apparmor`, {
      now: s?.apparmor,
      old: s?.apparmorProfile,
      kind: 'apparmor',
    }),
    ...(labels ? { selinux: labels } : {}),
    pid: pidMode(f, s?.namespaceOptions),
    ...(mapped === undefined ? {} : { userns: mapped }),
  }
}

function user(f: Fields, s: v1.LinuxContainerSecurityContext.$Properties | null | undefined): RequestedUser {
  const name = f.name(`${SECURITY}.run_as_username`, s?.runAsUsername, { max: LIMITS.userNameBytes })
  if (s?.runAsGroup && !s.runAsUser && name === '')
    f.bad(`${SECURITY}.run_as_group`, 'needs run_as_user or run_as_username')
  if (s?.runAsUser && name !== '') f.bad(`${SECURITY}.run_as_username`, 'excludes run_as_user')
  return {
    uid: s?.runAsUser ? f.int(`${SECURITY}.run_as_user`, s.runAsUser.value, IDS) : undefined,
    gid: s?.runAsGroup ? f.int(`${SECURITY}.run_as_group`, s.runAsGroup.value, IDS) : undefined,
    name,
    supplementalGroups: f
      .list(`${SECURITY}.supplemental_groups`, s?.supplementalGroups, 65_536)
      .map((g) => f.int(`${SECURITY}.supplemental_groups`, g, IDS)),
    groupsPolicy: f.oneOf(`${SECURITY}.supplemental_groups_policy`, s?.supplementalGroupsPolicy, [
      'merge',
      'strict',
    ] as const),
  }
}

function pidMode(f: Fields, n: v1.NamespaceOption.$Properties | null | undefined): PidMode {
  const field = `${SECURITY}.namespace_options`
  const mode = f.oneOf(`${field}.pid`, n?.pid, ['pod', 'container', 'node', 'target'] as const)
  if (mode !== 'target') return { mode }
  return { mode, target: f.name(`${field}.target_id`, n?.targetId, { required: true }) }
}
