// SPDX-License-Identifier: Apache-2.0
/**
 * workspace: everything that one integration suite calls its own: a short root under /tmp with the folders of a
 * daemon, a network with a bridge and a subnet, cgroup names, a configuration file. `remove` takes all of it
 * off the host again, by force if it must, so that one failed suite does not spoil the next; the leak check
 * comes before it. Needs root.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import * as host from './host-view.ts'
import type { LeakScope } from './leak-check.ts'
import { ownedDir, staleDirs } from './owned-dir.ts'

const run = promisify(execFile)
const rootPrefix = '/tmp/gt-'

interface Names {
  /** `/tmp/gt-XXXXXX` */
  readonly root: string
  /** `gt-XXXXXX`: name of the network, and first part of other names. */
  readonly name: string
  readonly state: string
  readonly run: string
  readonly socket: string
  readonly certs: string
  readonly cniConf: string
  readonly logs: string
  readonly configFile: string
  readonly bridge: string
  /** `10.88.7.0/24` and the like. */
  readonly subnet: string
  /** For pods without a parent of their own, and to make parents below. */
  readonly cgroupParent: string
}

export interface Workspace extends Names {
  /** Writes the network configuration again, which `withoutNetwork` or a test took away. */
  writeNetwork(): Promise<void>
  removeNetwork(): Promise<void>
  /**
   * The scope for `snapshot`: all of the above, and the files that hold a pod, a container or a leased address.
   * The bridge may stay.
   */
  leakScope(more?: Partial<LeakScope>): LeakScope
  /** Idempotent. Whatever of the suite still runs is killed, by pid. */
  remove(): Promise<void>
}

export interface WorkspaceOptions {
  /** Leave the folder of the network configuration empty. */
  readonly withoutNetwork?: boolean
  /** A bridge alone, without masquerading and mapped ports: for kernels that have no NAT. */
  readonly withoutNat?: boolean
  /** No plugin maps ports: the daemon has to. */
  readonly withoutPortmap?: boolean
  /** More of the configuration: top-level keys as `key`, others as `table.key`; values as TOML writes them. */
  readonly config?: Readonly<Record<string, string>>
}

/** For suites that look for cgroups where the cgroupfs driver makes them; the others run with either. */
export const cgroupfs = { 'cgroup.driver': '"cgroupfs"' } as const

/** Folders of the daemon and of host-local that are empty when there is no pod. */
const recordDirs = [
  'state/pods',
  'state/containers',
  'state/trash',
  'run/pods',
  'run/containers',
  'run/image-volumes',
  'run/oci',
  'ipam',
]

/** What may be in them all the same: a folder per network and per runtime, host-local's notes. */
const stayingFiles = /\/ipam\/[^/]+$|\/run\/oci\/[^/]+$|\/(?:last_reserved_ip\.\d+|lock)$/

/** A /24 of 10.88 to 10.99 that no interface and no route of this host has; the name decides where to begin. */
async function pickSubnet(name: string): Promise<string> {
  const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((a) => a.address))
  const routes = (await readFile('/proc/net/route', 'utf8')).split('\n').slice(1)
  const routed = routes.map((line) => {
    const hex = line.split('\t')[1] ?? ''
    return [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.')
  })
  const start = createHash('sha256').update(name).digest().readUInt16BE(0)
  for (let i = 0; i < 12 * 256; i++) {
    const n = (start + i) % (12 * 256)
    const prefix = `10.${88 + (n >> 8)}.${n & 255}.`
    if (![...own, ...routed].some((a) => a.startsWith(prefix))) return `${prefix}0/24`
  }
  throw new Error('no free /24 in 10.88.0.0 to 10.99.255.255')
}

function networkConf(w: Names, { withoutNat, withoutPortmap }: WorkspaceOptions): string {
  const nat = withoutNat !== true
  const ipam = {
    type: 'host-local',
    dataDir: join(w.root, 'ipam'),
    ranges: [[{ subnet: w.subnet }]],
    routes: [{ dst: '0.0.0.0/0' }],
  }
  const bridge = { type: 'bridge', bridge: w.bridge, isGateway: true, ipMasq: nat, hairpinMode: true, ipam }
  const portmap = { type: 'portmap', snat: true, capabilities: { portMappings: true } }
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: w.name,
    plugins: nat && withoutPortmap !== true ? [bridge, portmap] : [bridge],
  })
}

/** Keys to TOML: what has no table first, then each table. */
export function tomlOf(settings: Readonly<Record<string, string>>): string {
  const tables = new Map<string, string[]>([['', []]])
  for (const [key, value] of Object.entries(settings)) {
    const dot = key.lastIndexOf('.')
    const table = dot < 0 ? '' : key.slice(0, dot)
    const lines = tables.get(table) ?? []
    lines.push(`${key.slice(dot + 1)} = ${value}`)
    tables.set(table, lines)
  }
  return `${[...tables].map(([table, lines]) => [...(table === '' ? [] : ['', `[${table}]`]), ...lines].join('\n')).join('\n')}\n`
}

async function namesOf(root: string): Promise<Names> {
  const { name, bridge } = remainsOf(root)
  const at = (part: string): string => join(root, part)
  return {
    root,
    name,
    state: at('state'),
    run: at('run'),
    socket: at('run/gantry.sock'),
    certs: at('certs.d'),
    cniConf: at('cni'),
    logs: at('logs'),
    configFile: at('gantry.toml'),
    bridge,
    subnet: await pickSubnet(name),
    cgroupParent: `/${name}`,
  }
}

/** The daemon's configuration: TOML, all paths and cgroups those of the workspace. */
function configOf(n: Names, more: Readonly<Record<string, string>>): string {
  const quoted = (s: string): string => JSON.stringify(s)
  return tomlOf({
    root: quoted(n.state),
    run_dir: quoted(n.run),
    socket: quoted(n.socket),
    'log.level': quoted('debug'),
    'cgroup.driver': quoted(process.env.GANTRY_TEST_CGROUP_DRIVER ?? 'cgroupfs'),
    'cgroup.default_parent': quoted(n.cgroupParent),
    'cni.conf_dir': quoted(n.cniConf),
    'registry.config_path': JSON.stringify([n.certs]),
    'registry.registries_conf': quoted(`${n.certs}/registries.conf`),
    'registry.registries_conf_dir': quoted(`${n.certs}/registries.conf.d`),
    'registry.auth_files': '[]',
    ...more,
  })
}

/**
 * Makes one, after clearing up those whose test process was killed. The daemon is started on it by `daemon.ts`.
 */
export async function makeWorkspace(options: WorkspaceOptions = {}): Promise<Workspace> {
  if (process.getuid?.() !== 0) throw new Error('an integration workspace needs root')
  for (const root of await staleDirs(rootPrefix)) await removeAll(remainsOf(root))
  const n = await namesOf(await ownedDir(rootPrefix))
  await chmod(n.root, 0o711) // as /run is: pods with a user namespace get through
  for (const dir of [n.state, n.run, n.certs, n.cniConf, n.logs]) await mkdir(dir)
  await writeFile(n.configFile, configOf(n, options.config ?? {}))
  const conflist = join(n.cniConf, '10-test.conflist')
  const writeNetwork = (): Promise<void> => writeFile(conflist, networkConf(n, options))
  if (options.withoutNetwork !== true) await writeNetwork()
  const remains = remainsOf(n.root)
  return {
    ...n,
    writeNetwork,
    removeNetwork: () => rm(conflist, { force: true }),
    leakScope: (more = {}) => ({
      roots: [n.root],
      cgroups: remains.cgroups,
      ruleMarks: [n.name, n.bridge, remains.table],
      stayingLinks: [n.bridge],
      fileRoots: recordDirs.map((dir) => join(n.root, dir)),
      ignoreFiles: stayingFiles,
      ...more,
    }),
    remove: () => removeAll(remains),
  }
}

interface Remains {
  readonly root: string
  readonly name: string
  readonly bridge: string
  readonly cgroups: readonly string[]
  /** The nftables table of the daemon. */
  readonly table: string
}

/** What there may be of a workspace: all its names follow from its root. */
function remainsOf(root: string): Remains {
  const name = basename(root)
  const owner = createHash('sha256').update(join(root, 'state')).digest('hex').slice(0, 8)
  return { root, name, bridge: `${name}b`, cgroups: [`/${name}`], table: `gantry_${owner}` }
}

/** Kills what names the root or lies in its cgroups, until nothing of it is left or 5 s have passed. */
async function killAll(w: Remains): Promise<void> {
  for (let round = 0; round < 50; round++) {
    const named = (await host.processes())
      .filter((p) => !p.zombie && p.text.includes(w.name))
      .map((p) => p.pid)
    const dirs = (await Promise.all(w.cgroups.map((c) => host.cgroupDirs(c)))).flat()
    const pids = new Set([...named, ...(await host.pidsIn(dirs))])
    pids.delete(process.pid)
    if (pids.size === 0) return
    for (const pid of pids)
      try {
        if (pid > 1) process.kill(pid, 'SIGKILL')
      } catch {
        // ended meanwhile
      }
    await sleep(100)
  }
}

async function unmountAll(root: string): Promise<void> {
  const points = (await host.mounts()).map((m) => m.mountPoint).filter((p) => host.under(p, [root]))
  for (const point of points.reverse()) await run('umount', ['-l', point]).catch(() => undefined)
}

/** Rules that name the network, then the chains they led to, in both families. */
async function removeRules(w: Remains): Promise<void> {
  await run('nft', ['delete', 'table', 'inet', w.table]).catch(() => undefined)
  const rules = (await host.firewallRules()).filter((r) => r.includes(w.name))
  const chains = new Set<string>()
  for (const rule of rules) {
    const [program = '', , table = '', ...words] = splitWords(rule)
    if (words[0] !== '-A') continue
    await run(program, ['-w', '-t', table, '-D', ...words.slice(1)]).catch(() => undefined)
    const target = words[words.indexOf('-j') + 1] ?? ''
    if (target.startsWith('CNI-')) chains.add(`${program} ${table} ${target}`)
    if (words[1]?.startsWith('CNI-') === true && !/^CNI-HOSTPORT/.test(words[1]))
      chains.add(`${program} ${table} ${words[1]}`)
  }
  for (const chain of chains) {
    const [program = '', table = '', name = ''] = chain.split(' ')
    if (/^CNI-HOSTPORT/.test(name)) continue // shared by all networks
    await run(program, ['-w', '-t', table, '-F', name]).catch(() => undefined)
    await run(program, ['-w', '-t', table, '-X', name]).catch(() => undefined)
  }
}

/** Words of a rule as iptables-save writes them: quoted ones may hold spaces and escaped quotes. */
export function splitWords(rule: string): string[] {
  return [...rule.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map((m) =>
    m[1] === undefined ? (m[2] ?? '') : m[1].replace(/\\(.)/g, '$1'),
  )
}

async function removeAll(w: Remains): Promise<void> {
  await killAll(w)
  await unmountAll(w.root)
  for (const link of (await host.links()).filter((l) => l.name === w.bridge || l.master === w.bridge))
    await run('ip', ['link', 'delete', link.name]).catch(() => undefined)
  await removeRules(w)
  for (const subtree of w.cgroups)
    for (const dir of await host.cgroupDirs(subtree)) await rmdir(dir).catch(() => undefined)
  await rm(w.root, { recursive: true, force: true, maxRetries: 3 })
}
