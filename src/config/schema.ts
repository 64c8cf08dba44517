// SPDX-License-Identifier: Apache-2.0
/**
 * The one list of options: key, type, default, rule, sentence of help. The type of the configuration, the
 * flags, the variables of the environment, `gantry config default` and docs/config.md all follow from it.
 * Reading files and reporting problems is load.ts; nothing but `main`, `cli` and `compose` reads the result.
 */
import type { AbsPath } from '../model/ids.ts'
import { LIMITS } from '../model/limits.ts'
import { PULL } from '../model/pull-policy.ts'
import { bytes, integer, millis, type Option, oneOf, onOff, path, paths, text } from './option.ts'

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
  'registry.config_path': paths(['/etc/gantry/certs.d', '/etc/containerd/certs.d'], {
    help: 'Where `<host>/hosts.toml` is looked for (mirrors, certificates, plain HTTP). The first folder that has the host decides; it is read at each pull.',
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
