// SPDX-License-Identifier: Apache-2.0
/**
 * The one list of options: key, type, default, rule, sentence of help. The type of the configuration, the
 * flags, the variables of the environment, `gantry config default` and docs/config.md all follow from it.
 * Reading files and reporting problems is load.ts; nothing but `main`, `cli` and `compose` reads the result.
 */
import { isIP } from 'node:net'
import type { AbsPath } from '../model/ids.ts'
import { pinPatternProblem } from '../model/image.ts'
import { ARCHIVE_LIMITS, LIMITS, UNPACK_LIMITS } from '../model/limits.ts'
import { PULL } from '../model/pull-policy.ts'
import { observing } from './observing.ts'
import {
  bytes,
  fileProblem,
  integer,
  millis,
  type Option,
  oneOf,
  onOff,
  path,
  paths,
  text,
  texts,
} from './option.ts'

const MIB = 1024 * 1024
const MINUTE_MS = 60_000

export const options = {
  root: path(
    '/var/lib/gantry',
    {
      help: 'Where images, writable layers and the records of pods and containers are kept. One daemon per root.',
    },
    1024,
  ),
  run_dir: path('/run/gantry', {
    help: 'Where sockets, namespaces and bundles are kept; empty after a reboot. It has to be short, because the path of a socket in it ends at 107 bytes.',
  }),
  socket: path(undefined, {
    help: 'The socket on which the CRI is served. Default: `gantry.sock` in `run_dir`.',
  }),
  socket_group: text(
    'root',
    {
      help: 'Group, by name or number, that may use the socket beside root.',
    },
    (s) =>
      /^(?:[a-z_][a-z0-9_-]{0,31}|\d{1,9})$/.test(s)
        ? undefined
        : `${JSON.stringify(s)} is not the name or number of a group`,
  ),
  default_runtime: text('runc', {
    help: 'The runtime of pods that ask for no handler: one of the names under `runtimes`.',
  }),
  cdi_spec_dirs: paths(['/etc/cdi', '/var/run/cdi'], {
    help: 'Where the specs of CDI devices are looked for (`*.json`, `*.yaml`), with each request that names such a device; of two folders that have it the later one counts. Empty: no CDI devices.',
  }),
  image_volumes: oneOf(['copy', 'ignore'], 'copy', {
    help: "What the `VOLUME`s of an image mean. `copy`: each is a folder of the container's own, with what the image has there; made where the image has nothing, writable on a read-only rootfs too, and gone with the container. It is a part of the writable layer, so that nothing is copied and it counts as such. What the request mounts there, or above, hides it. `ignore`: they mean nothing.",
  }),
  idle_trim: onOff(true, {
    help: 'Give memory back to the system after a minute without requests.',
  }),
  'log.level': oneOf(['debug', 'info', 'warn', 'error'], 'info', {
    help: 'The least important lines that are written: `info` is one line per request, `debug` one per change of the host.',
    reloadable: true,
  }),
  'log.format': oneOf(['auto', 'json', 'text'], 'auto', {
    help: 'One JSON object per line, or text for people. `auto` is text on a terminal and JSON elsewhere.',
  }),
  'cgroup.driver': oneOf(['auto', 'cgroupfs', 'systemd'], 'auto', {
    help: 'Who makes the cgroups of containers. `auto` is `systemd` where it runs the machine. The kubelet must use the same one; it asks through RuntimeConfig.',
  }),
  'cgroup.default_parent': path('/gantry', {
    help: 'The cgroup above pods that name no parent.',
  }),
  'cni.conf_dir': path('/etc/cni/net.d', {
    help: 'Where the CNI configuration is looked for; the first file in lexical order is used. It is watched.',
  }),
  'cni.bin_dirs': paths(['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'], {
    help: 'Where CNI plugins are looked for, in this order.',
  }),
  'cni.default_network': onOff(false, {
    help: 'Bring along a bridge network, used while `cni.conf_dir` has no configuration. `npm start` sets it.',
  }),
  'cni.default_subnet': text(
    '10.213.0.0/16',
    {
      help: 'The IPv4 subnet of that bridge network.',
    },
    subnetProblem,
  ),
  'cni.default_bridge': text(
    'gantry0',
    {
      help: 'The bridge interface of that network; it is made with the first pod and stays.',
    },
    (s) =>
      /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(s)
        ? undefined
        : `${JSON.stringify(s)} is not the name of an interface, at most 15 letters, digits, "_", "." and "-"`,
  ),
  'cni.timeout_ms': millis(
    2 * MINUTE_MS,
    { min: 1000, max: 60 * MINUTE_MS },
    {
      help: 'Longest run of one CNI plugin; then it is killed and the pod fails.',
    },
  ),
  'security.seccomp_profile_root': path('/var/lib/kubelet/seccomp', {
    help: 'Where the seccomp profiles are that a request names by a relative path. The kubelet names its own by absolute ones.',
  }),
  'security.selinux': onOff(true, {
    help: "Label containers where SELinux is on and its policy has contexts for them (`lxc_contexts`). Off: containers run with the daemon's own label.",
  }),
  'registry.config_path': paths(
    ['/etc/gantry/certs.d', '/etc/containerd/certs.d', '/etc/containers/certs.d', '/etc/docker/certs.d'],
    {
      help: "Where `<host>/hosts.toml`, or certificates in Docker's layout, are looked for. The first folder that has the host counts; it is read at each pull. See docs/registries.md.",
    },
  ),
  'registry.registries_conf': path('/etc/containers/registries.conf', {
    help: 'The registries.conf (version 2) that decides for registries without a `hosts.toml`, and what short names mean. It may be missing; it is read at each pull.',
  }),
  'registry.registries_conf_dir': path('/etc/containers/registries.conf.d', {
    help: 'Folder of `*.conf` files that are added to it in the order of their names.',
  }),
  'registry.auth_files': paths(
    [
      '/etc/gantry/auth.json',
      '/run/containers/0/auth.json',
      '/root/.config/containers/auth.json',
      '/root/.docker/config.json',
      '/var/lib/kubelet/config.json',
    ],
    {
      help: "Where credentials are looked for when a request has none for the host that asks: `auth.json` or Docker's `config.json`, in this order; missing ones are passed over. Read at each pull; see docs/credentials.md.",
    },
  ),
  'registry.helper_dirs': paths(['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/opt/bin'], {
    help: 'Where the programs `docker-credential-NAME` are looked for that those files name, in this order. Their PATH begins with it.',
  }),
  'images.max_concurrent_layers': integer(
    PULL.parallelLayers,
    { min: 1, max: 64 },
    {
      help: 'How many layers of one image are fetched and unpacked at once.',
    },
  ),
  'images.pull_progress_timeout_ms': millis(
    5 * MINUTE_MS,
    { min: 1000, max: 24 * 60 * MINUTE_MS },
    {
      help: 'A pull that receives nothing for so long fails.',
    },
  ),
  'images.max_layer_bytes': bytes(
    UNPACK_LIMITS.layerBytes,
    { min: MIB, max: 16 * 1024 ** 4 },
    {
      help: 'Largest layer, uncompressed, and largest file in one; a layer that goes on beyond fails the pull.',
    },
  ),
  'images.max_layer_ratio': integer(
    UNPACK_LIMITS.ratio,
    { min: 0, max: 1_000_000 },
    {
      help: 'How many times its compressed size a layer may expand to, counted beyond the first GiB. More is refused as a bomb; 0 takes any.',
    },
  ),
  'images.max_layer_entries': integer(
    UNPACK_LIMITS.entries,
    { min: 1, max: 1_000_000_000 },
    {
      help: 'How many entries a layer may have: files, folders, links and extended headers.',
    },
  ),
  'images.layer_devices': oneOf(['keep', 'refuse'], UNPACK_LIMITS.devices, {
    help: 'Device nodes in layers: made, as other runtimes do (containers still open only what their cgroup allows), or a reason to refuse the layer. Whiteouts are no device nodes.',
  }),
  'images.pinned': texts(
    [],
    {
      help: "Images that the kubelet's garbage collection and `gantry prune` leave alone: names as `pause:3.10` (without a tag, `latest` is meant), or patterns with `*` for any characters, compared with the whole name as `docker.io/library/busybox:*`. Removing one by its name still works.",
    },
    pinPatternProblem,
  ),
  'images.keep_blobs': onOff(false, {
    help: 'Keep the compressed blobs of layers after unpacking, below `<root>/blobs`: save and push then send the very bytes that were pulled, at the price of the space.',
  }),
  'images.max_archive_bytes': bytes(
    ARCHIVE_LIMITS.bytes,
    { min: MIB, max: 16 * 1024 ** 4 },
    {
      help: 'Largest image archive that `gantry load` takes, once inflated. While it is read it lies in a temporary file below `<root>/layers`.',
    },
  ),
  'images.keep_unused_ms': millis(
    PULL.keepUnusedMs,
    { min: 0, max: 7 * 24 * 60 * MINUTE_MS },
    {
      help: 'How long the layers and parts of blobs of a pull that failed are kept for the next attempt. Nothing is kept when less than a tenth of the disk is free.',
    },
  ),
  'images.signature_policy': path('/etc/containers/policy.json', {
    help: 'Who must have signed the images that are pulled (containers-policy.json(5)); read at each pull. While the default file is not there every image is accepted; another file must be there. See [trust.md](trust.md).',
  }),
  'images.signature_policy_dir': path('/etc/gantry/policies', {
    help: 'Policies of namespaces: `<namespace>.json`, if it is there, counts instead of `images.signature_policy` for what the pods of that namespace pull.',
  }),
  'images.signature_lookup_dir': path('/etc/containers/registries.d', {
    help: 'Where signatures are looked for: `*.yaml` of containers-registries.d(5), read at each pull whose policy asks for a signature.',
  }),
  'streaming.address': text(
    '127.0.0.1',
    {
      help: 'The address, as a number, on which exec, attach and port-forward are served. The kubelet connects to it, so it stays on the node unless the kubelet is elsewhere.',
    },
    (s) => (isIP(s) === 0 ? `${JSON.stringify(s)} is not an IPv4 or IPv6 address` : undefined),
  ),
  'streaming.port': integer(
    0,
    { min: 0, max: 65_535 },
    {
      help: 'The port of that; 0 takes any free one. It is opened by the first request and closed when nobody has used it for a minute.',
    },
  ),
  'streaming.tls_cert_file': text(
    '',
    {
      help: 'Certificate (PEM) for it, with `streaming.tls_key_file`; empty: no TLS. Changed files are taken without a restart.',
    },
    fileProblem,
  ),
  'streaming.tls_key_file': text('', { help: 'The private key of that certificate (PEM).' }, fileProblem),
  'streaming.tls_client_ca_file': text(
    '',
    {
      help: 'Authorities (PEM) of which a client must show a certificate; empty: the token in the URL is enough.',
    },
    fileProblem,
  ),
  ...observing,
  'limits.max_message_bytes': bytes(
    LIMITS.messageBytes,
    { min: 4 * MIB, max: 512 * MIB },
    {
      help: 'Largest request or reply; more is RESOURCE_EXHAUSTED.',
    },
  ),
  'limits.max_exec_output_bytes': bytes(
    LIMITS.execOutputBytes,
    { min: 64 * 1024, max: 64 * MIB },
    {
      help: 'How much of each of stdout and stderr ExecSync returns; the rest is discarded.',
    },
  ),
  'shutdown.drain_ms': millis(
    10_000,
    { min: 0, max: 10 * MINUTE_MS },
    {
      help: 'How long requests in flight may take to end when the daemon is told to stop. Containers go on in any case.',
    },
  ),
} as const

export type OptionKey = keyof typeof options

/** What is in `[runtimes.<name>]`. Each name is a handler that a RuntimeClass may ask for. */
export interface RuntimeConfig {
  readonly kind: RuntimeKind
  /** Absolute, or a bare name that is looked for in PATH. */
  readonly path: string
  /** Where the runtime keeps its state; undefined: below `run_dir`. */
  readonly root: AbsPath | undefined
  /** Given to the runtime before its command. */
  readonly args: readonly string[]
  /** Privileged containers do not get the node's devices. */
  readonly privilegedWithoutHostDevices?: boolean
  /** But may make and use any. Needs the former. */
  readonly privilegedWithoutHostDevicesAllDevicesAllowed?: boolean
  /** Added to the spec of each container. */
  readonly annotations?: Readonly<Record<string, string>>
  /** Names of annotations of the pod, and of the container, that go into the spec; `*` is any text. */
  readonly podAnnotations?: readonly string[]
  readonly containerAnnotations?: readonly string[]
  /** The JSON file of an OCI spec that planned ones are laid over. */
  readonly baseSpec?: AbsPath
  readonly hooksDirs?: readonly AbsPath[]
  /** An operator wrote it, so a missing program is an error; a default that is missing is left out. */
  readonly explicit: boolean
}

export const runtimeKinds = ['runc', 'crun', 'runsc'] as const
export type RuntimeKind = (typeof runtimeKinds)[number]

/** The fields of a runtime, for the documents and for naming the nearest known key. */
export const runtimeFields = {
  kind: {
    type: '`runc`, `crun`, `runsc`',
    help: 'What its command line is like. Default: the name, if it is one of these.',
  },
  path: { type: 'path or name', help: 'The program. A bare name is looked for in PATH. Default: the kind.' },
  root: { type: 'path', help: 'Where the runtime keeps its state. Default: below `run_dir`.' },
  args: { type: 'list of strings', help: 'Arguments in front of its command.' },
  annotations: {
    type: 'table of strings',
    help: 'Annotations that the spec of each of its containers has.',
  },
  pod_annotations: {
    type: 'list of strings',
    help: 'Annotations of pods that the specs of their containers have too: names, in which `*` is any text, as `io.example.*`. Default: none.',
  },
  container_annotations: {
    type: 'list of strings',
    help: 'The same for annotations of containers. Of one name the container’s counts, then the pod’s.',
  },
  base_spec: {
    type: 'path',
    help: 'A JSON file with an OCI spec, read at start, that each of its containers is laid over: what is planned for a container wins, its `mounts` and `hooks` are added, its rlimits win. What only a request decides (user, capabilities, namespaces, security profiles, devices) is left out of it.',
  },
  hooks_dirs: {
    type: 'list of paths',
    help: 'Folders with hook files (`*.json`, version 1.0.0 of oci-hooks(5)), looked at with each of its containers; of two files with one name that of the later folder counts. A file that cannot be used fails the container. Default: none.',
  },
  privileged_without_host_devices: {
    type: 'true or false',
    help: 'Privileged containers have, and may use, no other devices than containers without privileges: those that they ask for. Default: false.',
  },
  privileged_without_host_devices_all_devices_allowed: {
    type: 'true or false',
    help: 'With the former: there are no nodes of other devices, but privileged containers may make and use any. Default: false.',
  },
} as const

/** Runtimes that are there without any configuration, if the program is. */
export const defaultRuntimes: readonly RuntimeKind[] = ['runc', 'crun']

type Value<O> = O extends Option<infer T> ? T : never
type Camel<S extends string> = S extends `${infer A}_${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S
type Plain = {
  readonly [K in OptionKey as K extends `${string}.${string}` ? never : Camel<K>]: Value<(typeof options)[K]>
}
type GroupName = OptionKey extends infer K ? (K extends `${infer G}.${string}` ? G : never) : never
type Group<G extends string> = {
  readonly [K in OptionKey as K extends `${G}.${infer N}` ? Camel<N> : never]: Value<(typeof options)[K]>
}
type Groups = { readonly [G in GroupName]: Group<G> }

/** The whole configuration, frozen: `config.runDir`, `config.cni.confDir`, `config.runtimes.runc.path`. */
export type Config = Plain &
  Groups & {
    readonly runtimes: Readonly<Record<string, RuntimeConfig>>
    /** The files it was read from, in order. */
    readonly files: readonly string[]
  }

export const optionKeys = Object.keys(options) as OptionKey[]

/** `cni.conf_dir` → `cni-conf-dir`, without the dashes in front. */
export const flagOf = (key: string): string => key.replace(/[._]/g, '-')

/** `cni.conf_dir` → `GANTRY_CNI_CONF_DIR`. */
export const variableOf = (key: string): string => `GANTRY_${key.replace('.', '_').toUpperCase()}`

/** `cni.conf_dir` → `['cni', 'confDir']`. */
export const placeOf = (key: string): string[] =>
  key.split('.').map((part) => part.replace(/_(\w)/g, (_, c: string) => c.toUpperCase()))

function subnetProblem(s: string): string | undefined {
  const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(s)
  const parts = found?.slice(1).map(Number)
  const bits = parts?.pop() ?? 0
  if (parts === undefined || parts.some((p) => p > 255) || bits < 8 || bits > 28)
    return `${JSON.stringify(s)} is not an IPv4 subnet of 8 to 28 bits, as "10.213.0.0/16"`
  const address = parts.reduce((all, p) => all * 256 + p, 0)
  if (address % 2 ** (32 - bits) !== 0) return `${JSON.stringify(s)} has bits set behind its /${bits}`
  return undefined
}
