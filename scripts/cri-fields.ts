// SPDX-License-Identifier: Apache-2.0
/**
 * cri-fields: every field of the CRI's pod and container configurations, what becomes of it, and the test that
 * proves it; and the page docs/cri-fields.md from it. The fields themselves are read from api.proto, so a new one
 * without a row, and a row without its field, fail the check.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'

const proto = join(dirname(dirname(fileURLToPath(import.meta.url))), 'proto/runtime/v1/api.proto')
const TOPS = ['PodSandboxConfig', 'ContainerConfig', 'LinuxContainerResources'] as const

/** `honoured`: it has its effect. `refused`: setting it is an error that names it. `recorded`: taken, checked,
 * and given back where the CRI has a place for it; nothing here obeys it. */
export type Fate = 'honoured' | 'refused' | 'recorded'

export interface Row {
  readonly fate: Fate
  /** What it does here, where its name does not say all. */
  readonly note: string
  /** The file of the test that proves it. */
  readonly proof: string
}

const row =
  (fate: Fate, proof: string) =>
  (note = ''): Row => ({ fate, note, proof })

const DECODE = 'test/unit/edge/cri/fields-table.test.ts'
const it = (file: string) => row('honoured', `test/integration/${file}.test.ts`)
const pods = it('pods')
const hostports = it('hostports')
const containers = it('containers')
const security = it('containers-security')
const limits = it('resources')
const mounts = it('containers-mounts')
const images = it('images-run')
const cdi = it('cdi')
const state = it('state')
const userns = it('user-namespaces')
const streaming = it('streaming')
const planned = (file: string) => row('honoured', `test/unit/model/plan/${file}.test.ts`)
const selinux = planned('selinux')
const vm = (file: string) => row('honoured', `test/vm/guest/${file}.test.ts`)
const refused = row('refused', DECODE)
const recorded = row('recorded', DECODE)
const shown = row('recorded', 'test/integration/state.test.ts')

const PROFILE = { profile_type: security(), localhost_ref: security() }
const METADATA = 'part of the identity and of the name that the log and errors show'

/** Message → field → row. Messages of the same kind that are used in several places are listed once. */
export const fates: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  PodSandboxConfig: {
    metadata: pods(),
    hostname: pods('the pod name when empty; the name of the node on the host network'),
    log_directory: containers('logs are written below it'),
    dns_config: pods("the resolv.conf of every container; the copy of the node's without it"),
    port_mappings: hostports('by the network where a plugin of it can, else by gantry'),
    labels: shown('given back and filtered by'),
    annotations: shown('given back; kubernetes.io/…-bandwidth reaches the network'),
    linux: pods(),
    windows: refused('this is a runtime for Linux'),
  },
  PodSandboxMetadata: {
    name: state(METADATA),
    uid: state(METADATA),
    namespace: state(METADATA),
    attempt: state(METADATA),
  },
  DNSConfig: { servers: pods(), searches: pods(), options: pods() },
  PortMapping: {
    protocol: hostports(),
    container_port: hostports('required with host_port'),
    host_port: hostports('0: not forwarded; refused where another pod has it'),
    host_ip: hostports('every address of the node when empty; ::1 is refused'),
  },
  LinuxPodSandboxConfig: {
    cgroup_parent: vm('resources')('a path, or a slice for the systemd driver'),
    security_context: pods(),
    sysctls: pods('in the namespace they belong to; refused where the pod shares it with the node'),
    overhead: limits('added to resources'),
    resources: limits(
      "with overhead the limits of the pod's cgroup where gantry made it; below a cgroup_parent recorded only, whose limits are the client's",
    ),
  },
  LinuxSandboxSecurityContext: {
    namespace_options: pods(),
    selinux_options: selinux(
      'where SELinux is on: what containers do not say themselves, and their common level',
    ),
    run_as_user: recorded('no process of ours runs in a pod but the init of a shared PID namespace'),
    run_as_group: recorded('as run_as_user'),
    readonly_rootfs: recorded('as run_as_user'),
    supplemental_groups: recorded('as run_as_user'),
    supplemental_groups_policy: recorded('as run_as_user'),
    privileged: security('containers of the pod may be privileged'),
    seccomp: planned('pod')('the profile of the init of a shared PID namespace'),
    apparmor: recorded('as run_as_user'),
    seccomp_profile_path: planned('pod')('when seccomp is absent'),
  },
  NamespaceOption: {
    network: pods('of the pod; the same field of a container is that of its pod'),
    pid: pods('POD, CONTAINER, NODE, TARGET'),
    ipc: pods('of the pod; the same field of a container is that of its pod'),
    target_id: pods('with TARGET'),
    userns_options: userns('of the pod; in a container it has to say the same'),
  },
  UserNamespace: {
    mode: userns('POD or NODE; POD is refused beside PID or IPC of the node'),
    uids: userns('exactly one mapping with POD, none with NODE'),
    gids: userns('as uids'),
  },
  IDMapping: {
    host_id: userns(),
    container_id: refused('anything but 0'),
    length: userns(),
  },
  SELinuxOption: { user: selinux(), role: selinux(), type: selinux(), level: selinux() },
  Int64Value: { value: security() },
  SecurityProfile: PROFILE,
  LinuxContainerResources: {
    cpu_period: limits(),
    cpu_quota: limits(),
    cpu_shares: limits(),
    memory_limit_in_bytes: limits('on v2 refused in an update below what is in use and cannot be reclaimed'),
    oom_score_adj: limits(
      'raised to the lowest value that the daemon itself may set, with one warning at its start; 0 in an update: as it is',
    ),
    cpuset_cpus: limits(),
    cpuset_mems: limits(),
    hugepage_limits: row(
      'honoured',
      'test/unit/engine/verbs.test.ts',
    )('a limit above 0 is refused where the machine cannot limit that size'),
    unified: vm('updates')('cgroup v2 only; names of limit files, no paths, nothing that steers the cgroup'),
    memory_swap_limit_in_bytes: limits(
      'unset: no swap beyond the limit; not looked at where the kernel does not count swap',
    ),
  },
  HugepageLimit: { page_size: planned('resources')(), limit: planned('resources')() },
  WindowsPodSandboxConfig: {
    security_context: refused(),
  },
  WindowsSandboxSecurityContext: {
    run_as_username: refused(),
    credential_spec: refused(),
    host_process: refused(),
    namespace_options: refused(),
  },
  WindowsNamespaceOption: { network: refused() },
  ContainerConfig: {
    metadata: containers(),
    image: images(),
    command: containers("in place of the image's entrypoint"),
    args: containers("in place of the image's command"),
    working_dir: containers("in place of the image's; made if it is missing"),
    envs: containers("over the image's"),
    mounts: mounts(),
    devices: mounts('a folder stands for all devices below it'),
    labels: shown('given back and filtered by'),
    annotations: shown('given back; those of cdi.k8s.io/ name CDI devices'),
    log_path: containers('below the log directory of the pod'),
    stdin: streaming(),
    stdin_once: streaming(),
    tty: streaming(),
    linux: containers(),
    windows: refused('this is a runtime for Linux'),
    CDI_devices: cdi('read from cdi_spec_dirs with each request'),
    stop_signal: containers("before the image's; else TERM"),
  },
  ContainerMetadata: { name: state(METADATA), attempt: state(METADATA) },
  ImageSpec: {
    image: images('a name, a digest, or the beginning of an id'),
    annotations: recorded(),
    user_specified_image: recorded('given back in the status'),
    runtime_handler: recorded('images are the same for all handlers'),
    image_ref: recorded('what the kubelet resolved; image decides'),
  },
  KeyValue: { key: containers(), value: containers('bytes that are not UTF-8 are refused') },
  Mount: {
    container_path: mounts(),
    host_path: mounts('made as a folder when it is missing; links are followed on the node'),
    readonly: mounts(),
    selinux_relabel: row('honoured', 'test/unit/engine/relabel.test.ts')('where SELinux is on'),
    propagation: mounts(),
    uidMappings: userns("those of the pod's user namespace; refused where the file system takes none"),
    gidMappings: userns('as uidMappings'),
    recursive_read_only: mounts(),
    image: it('image-volumes')('read-only, mounted once for all that use it'),
    image_sub_path: it('image-volumes')(),
    mount_options: userns('noexec, nodev, nosuid; others are refused'),
  },
  Device: {
    container_path: mounts('host_path when empty'),
    host_path: mounts('a device, a link to one, or a folder of them; refused where there is none'),
    permissions: mounts('made of r, w and m; all of them when empty'),
  },
  LinuxContainerConfig: { resources: containers(), security_context: security() },
  LinuxContainerSecurityContext: {
    capabilities: security(),
    privileged: security(),
    namespace_options: pods(),
    selinux_options: selinux('where SELinux is on'),
    run_as_user: security(),
    run_as_group: security('refused without run_as_user or run_as_username'),
    run_as_username: security("looked up in the image's passwd"),
    readonly_rootfs: security(),
    supplemental_groups: security(),
    supplemental_groups_policy: security('Merge adds the groups of the image, Strict does not'),
    no_new_privs: security(),
    masked_paths: security(),
    readonly_paths: security(),
    seccomp: it('containers-seccomp')(),
    apparmor: row('honoured', 'test/vm/guest/apparmor.test.ts')('where the node has AppArmor'),
    apparmor_profile: row('honoured', 'test/vm/guest/apparmor.test.ts')('when apparmor is absent'),
    seccomp_profile_path: it('containers-seccomp')('when seccomp is absent'),
  },
  Capability: {
    add_capabilities: security(),
    drop_capabilities: security(),
    add_ambient_capabilities: security(),
  },
  WindowsContainerConfig: { resources: refused(), security_context: refused() },
  WindowsContainerResources: {
    cpu_shares: refused(),
    cpu_count: refused(),
    cpu_maximum: refused(),
    memory_limit_in_bytes: refused(),
    rootfs_size_in_bytes: refused(),
    affinity_cpus: refused(),
  },
  WindowsCpuGroupAffinity: { cpu_mask: refused(), cpu_group: refused() },
  WindowsContainerSecurityContext: {
    run_as_username: refused(),
    credential_spec: refused(),
    host_process: refused(),
  },
  CDIDevice: { name: cdi('vendor/class=device; one that no spec has is refused') },
}

/** The messages that can be reached from the configurations, with their fields, in the order of the proto. */
export function fieldsOfProto(): ReadonlyMap<string, readonly protobuf.Field[]> {
  const { root } = protobuf.parse(readFileSync(proto, 'utf8'), { keepCase: true })
  root.resolveAll()
  const found = new Map<string, readonly protobuf.Field[]>()
  const visit = (type: protobuf.Type): void => {
    if (found.has(type.name)) return
    found.set(type.name, type.fieldsArray)
    for (const { resolvedType } of type.fieldsArray)
      if (resolvedType instanceof protobuf.Type) visit(resolvedType)
  }
  for (const name of TOPS) visit(root.lookupType(`runtime.v1.${name}`))
  return found
}

/** What the table and the proto disagree about, a sentence each. */
export function disagreements(): string[] {
  const found = fieldsOfProto()
  const missing = [...found].flatMap(([message, fields]) =>
    fields.flatMap((f) => (fates[message]?.[f.name] ? [] : [`${message}.${f.name} has no row`])),
  )
  const stale = Object.entries(fates).flatMap(([message, rows]) =>
    Object.keys(rows).flatMap((name) =>
      found.get(message)?.some((f) => f.name === name) ? [] : [`${message}.${name} is not in api.proto`],
    ),
  )
  return [...missing, ...stale]
}

/** docs/cri-fields.md. */
export function fieldsPage(): string {
  const wrong = disagreements()
  if (wrong.length > 0) throw new Error(`scripts/cri-fields.ts: ${wrong.join('; ')}`)
  const found = fieldsOfProto()
  const all = [...found].flatMap(([message, fields]) => fields.map((f) => fates[message]?.[f.name]?.fate))
  const count = (fate: Fate) => all.filter((one) => one === fate).length
  const lines = [...found].flatMap(([message, fields]) => [
    '',
    `## ${message}`,
    '',
    '| field | here | note | proof |',
    '|---|---|---|---|',
    ...fields.flatMap((f) => {
      const one = fates[message]?.[f.name]
      const name = f.options?.deprecated ? `${f.name} (deprecated)` : f.name
      return one ? [`| ${name} | ${one.fate} | ${one.note} | \`${one.proof.replace(/^test\//, '')}\` |`] : []
    }),
  ])
  return [
    '<!-- Written by scripts/gen-docs.ts from scripts/cri-fields.ts: change that, then run `npm run docs`. -->',
    '',
    '# Fields of the CRI',
    '',
    `Every field of the configurations of pods and containers, and what becomes of it: ${count('honoured')} are honoured, ${count('refused')} are refused by an error that names them, ${count('recorded')} are recorded only: taken, checked, and given back where the CRI has a place for them, as nothing here has a use for them. None is ignored without a word. The proof is a file below \`test/\`.`,
    ...lines,
    '',
  ].join('\n')
}
