// SPDX-License-Identifier: Apache-2.0
/**
 * The dependency graph, as lines one can read: builds Host, then Engine, then the image half. Constructs, and
 * does nothing else; what needs order in time (locks, recovery, sockets) is `daemon.ts`.
 */
import { createHash, randomBytes } from 'node:crypto'
import { access } from 'node:fs/promises'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Fault } from './base/fault.ts'
import { formatJson, readJson } from './base/json-file.ts'
import { KeyedLock } from './base/keyed-lock.ts'
import type { Scope } from './base/scope.ts'
import { SharedTasks } from './base/shared-task.ts'
import type { Config } from './config/schema.ts'
import type { Context } from './engine/context.ts'
import { createImages, type Images } from './engine/images/images.ts'
import { imageSource } from './engine/images/resolve.ts'
import { type Catalog, catalog } from './engine/state/catalog.ts'
import { store } from './engine/state/store.ts'
import { cgroups } from './host/cgroup/cgroups.ts'
import { createNetwork } from './host/cni/network.ts'
import { probeFacts } from './host/facts.ts'
import { files } from './host/files.ts'
import { layerStore } from './host/images/layers.ts'
import { localLayers } from './host/images/local.ts'
import { imagePuller } from './host/images/puller.ts'
import { imageRecords } from './host/images/records.ts'
import type { ExitFile, Host, OciRuntime } from './host/index.ts'
import { monitors } from './host/monitor/monitors.ts'
import { rootfs } from './host/mounts/overlay.ts'
import { namespaces } from './host/namespaces.ts'
import { ADDON, loadNative, type Native } from './host/native.ts'
import { probeRuntime } from './host/oci-runtime/features.ts'
import { ociRuntime } from './host/oci-runtime/runtime.ts'
import { processes } from './host/processes.ts'
import { userInLayers } from './host/rootfs-users.ts'
import type { HostFacts, RuntimeProgram } from './model/facts.ts'
import { clip, unixNanos } from './model/ids.ts'
import { type ContainerPaths, folders, type Roots } from './model/names.ts'

/** Where the build put the native pieces, beside `dist/` or `src/`. */
const built = (name: string) => fileURLToPath(new URL(`../native/build/${name}`, import.meta.url))
const worker = () =>
  fileURLToPath(new URL(`./pull-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url))

export interface Parts {
  readonly native: Native
  readonly context: Context
  readonly images: Images
}

export function roots(config: Config): Roots {
  return { root: config.root, run: config.runDir }
}

export function loadAddon(): Native {
  return loadNative(built(ADDON))
}

/** The pieces that the build made. */
export const programs = {
  addon: built(ADDON),
  monitor: built('gantry-monitor'),
  pause: built('gantry-pause'),
  unpack: built('gantry-unpack'),
  hello: built('gantry-hello'),
}

/** Absolute paths of the configured runtimes; a default one that is not installed is left out. */
export async function runtimePrograms(config: Config): Promise<readonly RuntimeProgram[]> {
  const out: RuntimeProgram[] = []
  for (const [handler, r] of Object.entries(config.runtimes)) {
    const path = await findProgram(r.path)
    if (path) out.push({ handler, kind: r.kind, path })
    else if (r.explicit || handler === config.defaultRuntime) {
      throw new Fault(
        'unavailable',
        `runtime handler ${handler}: ${r.path} is not installed; install it, or set runtimes.${handler}.path`,
      )
    }
  }
  return out
}

/** Where a program is, by its absolute path or by a name that is looked for where systems keep programs. */
export async function findProgram(name: string): Promise<string | undefined> {
  const places = name.startsWith('/')
    ? [name]
    : ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'].map(
        (d) => `${d}/${name}`,
      )
  for (const place of places) {
    if (
      await access(place).then(
        () => true,
        () => false,
      )
    )
      return place
  }
  return undefined
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n)
}

/** A monitor whose disk was full wrote into the run folder instead (PROTOCOL.md). */
async function readExit(paths: ContainerPaths): Promise<ExitFile | undefined> {
  for (const path of [paths.exitFile, `${paths.run}/exit.json`]) {
    const read = await readJson(path)
    if (read.is !== 'value') continue
    const { code, oomKilled, exitedAtNs } = read.value
    if (typeof code !== 'number' || typeof exitedAtNs !== 'bigint') continue
    return { code, oomKilled: oomKilled === true, exitedAtNs }
  }
  return undefined
}

interface HostParts {
  readonly config: Config
  readonly daemon: Scope
  readonly native: Native
  readonly facts: HostFacts
  readonly programs: readonly RuntimeProgram[]
}

function buildHost({ config, daemon, native, facts, programs: found }: HostParts): Host {
  const all = folders(roots(config))
  const procs = processes(native, facts.bootId)
  const runtimes = new Map<string, OciRuntime>()
  for (const program of found) {
    if (!facts.handlers[program.handler]) continue
    const stateRoot = config.runtimes[program.handler]?.root ?? all.runtime(program.handler)
    runtimes.set(
      program.handler,
      ociRuntime(program, { native, stateRoot, systemdCgroup: facts.cgroupDriver === 'systemd' }),
    )
  }
  return {
    facts,
    clock: { now: () => unixNanos(nowNs()) },
    nodeName: hostname(),
    files: files({ native, log: daemon.log, trash: all.trash, quarantine: all.quarantine }),
    namespaces: namespaces(native),
    cgroups: cgroups(native, facts.cgroupVersion, facts.cgroupMounts),
    rootfs: rootfs(native),
    network: createNetwork(
      { native, log: daemon.log },
      {
        confDir: config.cni.confDir,
        binDirs: config.cni.binDirs,
        pluginDeadlineMs: config.cni.timeoutMs,
        ...(config.cni.defaultNetwork
          ? {
              defaultNetwork: {
                bridge: config.cni.defaultBridge,
                subnets: [config.cni.defaultSubnet],
                dataDir: `${config.runDir}/cni`,
              },
            }
          : {}),
      },
    ),
    processes: procs,
    monitors: monitors({
      native,
      paths: { monitor: built('gantry-monitor') },
      processes: procs,
      runRoot: config.runDir,
      runtimes: found.map((p) => p.path),
    }),
    runtime(handler) {
      const runtime = runtimes.get(handler === '' ? config.defaultRuntime : handler)
      if (runtime) return runtime
      const why = facts.leftOut[handler]
      if (why !== undefined) throw new Fault('wrong-state', `runtime_handler: ${why}`)
      throw new Fault(
        'invalid',
        `runtime_handler: "${clip(handler)}" is not configured here (there is ${[...runtimes.keys()].join(', ')})`,
      )
    },
    exitFile: readExit,
    user: (lowerDirs, requested, imageUser) => userInLayers(native, lowerDirs, requested, imageUser),
    pauseProgram: built('gantry-pause'),
  }
}

function buildImages(
  config: Config,
  from: { daemon: Scope; native: Native; facts: HostFacts; catalog: Catalog },
): Images {
  const { daemon, native, facts } = from
  const layers = layerStore(`${config.root}/layers`, native)
  return createImages({
    records: imageRecords(`${config.root}/images`),
    layers,
    puller: imagePuller({
      native,
      layers,
      node: process.execPath,
      worker: worker(),
      unpackProgram: built('gantry-unpack'),
      addon: built(ADDON),
      certsDirs: config.registry.configPath,
      platform: { os: 'linux', architecture: facts.architecture },
      parallelLayers: config.images.maxConcurrentLayers,
      noProgressMs: config.images.pullProgressTimeoutMs,
    }),
    localLayers: localLayers(layers, native),
    daemon,
    nowNs,
    usedBy(id) {
      const user = [...from.catalog.containers.byId.values()].find((c) => c.record.imageId === id)
      return user
        ? `container ${user.record.config.metadata.name} (${user.record.id.slice(0, 13)})`
        : undefined
    },
  })
}

/** Everything that can be built before recovery. Throws `unavailable` when pods cannot run on this machine. */
export async function compose(config: Config, daemon: Scope, native: Native): Promise<Parts> {
  const found = await runtimePrograms(config)
  const facts = await probeFacts(daemon, {
    cgroupDriver: config.cgroup.driver,
    runtimes: found,
    probe: (scope, program, ground) => probeRuntime(scope, { native }, { program, ground }),
    defaultRuntime: config.defaultRuntime,
  })
  const host = buildHost({ config, daemon, native, facts, programs: found })
  const known = catalog()
  const images = buildImages(config, { daemon, native, facts, catalog: known })
  const context: Context = {
    host,
    options: {
      roots: roots(config),
      defaultCgroupParent: config.cgroup.defaultParent,
      defaultHandler: config.defaultRuntime,
      execOutputBytes: config.limits.maxExecOutputBytes,
    },
    catalog: known,
    store: store(roots(config), host),
    images: imageSource(images),
    locks: new KeyedLock(),
    joins: new SharedTasks<string>(daemon),
    daemon,
    newId: () => randomBytes(32).toString('hex'),
    hash: (request) => createHash('sha256').update(formatJson(request)).digest('hex'),
  }
  return { native, context, images }
}
