// SPDX-License-Identifier: Apache-2.0
/**
 * machine: reads what judge.ts judges. Each reading fails by itself and says so in the view; what is tried (an
 * overlay, a set of namespaces, the runtimes) is bounded in time and taken away again.
 */
import { constants } from 'node:fs'
import { access, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { release } from 'node:os'
import { dirname, join } from 'node:path'
import { asFault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { Config } from '../../config/schema.ts'
import { parseCapabilities, parseCgroupMounts } from '../../host/facts.ts'
import type { Native } from '../../host/native.ts'
import { probeRuntime } from '../../host/oci-runtime/features.ts'
import { RUNTIMES } from '../../host/oci-runtime/table.ts'
import { probeSelinux } from '../../host/security/selinux.ts'
import { programs } from '../../places.ts'
import { findProgram } from '../../runtimes.ts'
import type { MachineView, RuntimeView, SpaceView, Tried } from './view.ts'

export interface Subject {
  readonly config: Config
  readonly configProblems: readonly string[]
  /** Undefined, and why: the addon cannot be loaded. */
  readonly native: Native | undefined
  readonly addonTrouble: string | undefined
}

const text = async (path: string): Promise<string> => (await readFile(path, 'utf8').catch(() => '')).trim()

const may = (path: string, mode: number): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  )

/** Reads everything. Does not throw for what the machine lacks. @abort kills */
export async function readMachine(scope: Scope, subject: Subject): Promise<MachineView> {
  const { config, native } = subject
  const uid = process.getuid?.() ?? -1
  const [status, kinds, userns, seccomp, apparmor] = await Promise.all([
    text('/proc/self/status'),
    readdir('/proc/self/ns').catch(() => []),
    text('/proc/sys/user/max_user_namespaces'),
    may('/proc/sys/kernel/seccomp/actions_avail', constants.F_OK),
    text('/sys/module/apparmor/parameters/enabled'),
  ])
  const runtimes: RuntimeView[] = []
  const cgroup = await cgroupOf()
  const hybrid = cgroup.hybrid ?? []
  for (const handler of Object.keys(config.runtimes))
    runtimes.push(await runtimeOf(scope, subject, { handler, hybrid }))
  return {
    platform: process.platform,
    uid,
    kernel: release(),
    kernelCalls: native?.probe(),
    cgroup,
    ...(await trials(subject, uid)),
    namespaceKinds: kinds,
    maxUserNamespaces: Number(userns) || 0,
    seccomp,
    apparmor: apparmor === 'Y',
    apparmorParser: (await findProgram('apparmor_parser')) !== undefined,
    selinux: await selinux(),
    capabilities: parseCapabilities(status).bounding,
    runtimes,
    space: await spaces([config.root, config.runDir], native),
    inotify: {
      instances: Number(await text('/proc/sys/fs/inotify/max_user_instances')) || 0,
      watches: Number(await text('/proc/sys/fs/inotify/max_user_watches')) || 0,
    },
    parts: await partsOf(subject.addonTrouble),
    configProblems: subject.configProblems,
    configFiles: config.files,
    otherRuntimes: await otherRuntimes(config.socket),
  }
}

async function selinux(): Promise<MachineView['selinux']> {
  const enforce = await text('/sys/fs/selinux/enforce')
  if (enforce !== '1') return enforce === '' ? 'off' : 'permissive'
  return (await probeSelinux()) ? 'enforcing' : 'no-contexts'
}

async function cgroupOf(): Promise<MachineView['cgroup']> {
  const mountinfo = await text('/proc/self/mountinfo')
  const found = parseCgroupMounts(mountinfo)
  if (found === undefined) return { version: 0, controllers: [], writable: false, hybrid: undefined }
  const inTree = async (point: string): Promise<string[]> =>
    (await text(join(point, 'cgroup.controllers'))).split(' ').filter((c) => c !== '')
  if (found.version === 2) {
    const point = found.mounts.unified ?? ''
    return {
      version: 2,
      controllers: await inTree(point),
      writable: await may(point, constants.W_OK),
      hybrid: undefined,
    }
  }
  return {
    version: 1,
    controllers: Object.keys(found.mounts).filter((name) => name !== 'systemd' && name !== 'unified'),
    writable: await may(found.mounts.memory ?? found.mounts.pids ?? '', constants.W_OK),
    hybrid: found.mounts.unified === undefined ? undefined : await inTree(found.mounts.unified),
  }
}

/** The nearest folder of `path` that exists. */
async function existing(path: string): Promise<string> {
  let at = path
  while (at !== '/' && !(await may(at, constants.F_OK))) at = dirname(at)
  return at
}

/** Mounts an overlay and makes namespaces where the daemon would, in a temporary folder. */
async function trials(
  { config, native }: Subject,
  uid: number,
): Promise<Pick<MachineView, 'overlay' | 'namespaces'>> {
  const untried = (why: string) => ({
    overlay: { is: 'untried', why } as const,
    namespaces: { is: 'untried', why } as const,
  })
  if (uid !== 0) return untried('not root')
  if (native === undefined) return untried('the addon is not there')
  let folder: string
  try {
    folder = await mkdtemp(join(await existing(config.root), '.gantry-doctor-'))
  } catch (e) {
    const why = `no folder can be made at ${config.root}: ${asFault(e).message}`
    return { overlay: { is: 'fails', why }, namespaces: { is: 'untried', why } }
  }
  try {
    return { overlay: await tryOverlay(native, folder), namespaces: await tryNamespaces(native, folder) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function tried(work: () => Promise<void>): Promise<Tried> {
  try {
    await work()
    return { is: 'works' }
  } catch (e) {
    return { is: 'fails', why: asFault(e).message }
  }
}

function tryOverlay(native: Native, folder: string): Promise<Tried> {
  const at = (name: string): string => join(folder, name)
  return tried(async () => {
    for (const name of ['a', 'b', 'upper', 'work', 'target']) await mkdir(at(name))
    const target = at('target')
    try {
      await native.mountOverlay({ lower: [at('a'), at('b')], upper: at('upper'), work: at('work'), target })
    } finally {
      await native.umount(target, true)
    }
  })
}

function tryNamespaces(native: Native, folder: string): Promise<Tried> {
  const pins = { net: join(folder, 'net'), ipc: join(folder, 'ipc'), uts: join(folder, 'uts') }
  return tried(async () => {
    try {
      await native.createNamespaces({ ...pins, hostname: 'gantry-doctor', loopback: true })
    } finally {
      for (const pin of Object.values(pins)) await native.unpinNamespace(pin)
    }
  })
}

async function runtimeOf(
  scope: Scope,
  { config, native }: Subject,
  { handler, hybrid }: { handler: string; hybrid: readonly string[] },
): Promise<RuntimeView> {
  const wanted = config.runtimes[handler]
  const view = {
    handler,
    kind: wanted?.kind ?? '',
    isDefault: handler === config.defaultRuntime,
    explicit: wanted?.explicit === true,
    path: wanted === undefined ? undefined : await findProgram(wanted.path),
    version: undefined,
    failure: '',
    refusesMachine: wanted !== undefined && RUNTIMES[wanted.kind].refusesHybridCgroups && hybrid.length > 0,
    ociVersion: '',
    seccomp: false,
  }
  const { path } = view
  if (wanted === undefined || path === undefined) return view
  if (native === undefined) return { ...view, failure: 'not tried without the addon' }
  try {
    // Without the ground: that it refuses this machine is said beside what it is.
    const program = { handler, kind: wanted.kind, path }
    const facts = await probeRuntime(scope, { native }, { program, ground: { hybridControllers: [] } })
    return { ...view, version: facts.version, ociVersion: facts.ociVersion, seccomp: facts.seccomp }
  } catch (e) {
    return { ...view, failure: asFault(e).message }
  }
}

async function spaces(paths: readonly string[], native: Native | undefined): Promise<SpaceView[]> {
  if (native === undefined) return []
  const out: SpaceView[] = []
  for (const path of paths) {
    try {
      out.push({ path, ...native.statfs(await existing(path)) })
    } catch {
      // Not readable by this user: the check of the user says so.
    }
  }
  return out
}

async function partsOf(addonTrouble: string | undefined): Promise<MachineView['parts']> {
  const { addon: _, ...executables } = programs
  const list = Object.entries(executables).map(async ([name, path]) => ({
    name: `gantry-${name}`,
    trouble: (await may(path, constants.X_OK)) ? undefined : `is missing or not executable (${path})`,
  }))
  return [{ name: 'addon', trouble: addonTrouble }, ...(await Promise.all(list))]
}

/** Sockets that other runtimes serve by default. */
const KNOWN_SOCKETS: Readonly<Record<string, string>> = {
  containerd: '/run/containerd/containerd.sock',
  'CRI-O': '/run/crio/crio.sock',
  'cri-dockerd': '/run/cri-dockerd.sock',
}

async function otherRuntimes(own: string): Promise<MachineView['otherRuntimes']> {
  const out: { name: string; socket: string }[] = []
  for (const [name, socket] of Object.entries(KNOWN_SOCKETS))
    if (socket !== own && (await answers(socket))) out.push({ name, socket })
  return out
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket)
    const end = (served: boolean): void => {
      probe.destroy()
      resolve(served)
    }
    probe.setTimeout(1000, () => end(false))
    probe.once('connect', () => end(true))
    probe.once('error', () => end(false))
  })
}
