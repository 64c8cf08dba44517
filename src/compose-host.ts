// SPDX-License-Identifier: Apache-2.0
/**
 * Host, built from the configuration and what was found out about the machine: each member of the interface bound to
 * the code that carries it out. Constructs, and does nothing else.
 */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { Fault } from './base/fault.ts'
import { readJson } from './base/json-file.ts'
import type { Scope } from './base/scope.ts'
import type { Config } from './config/schema.ts'
import { cdi } from './host/cdi.ts'
import { cgroups } from './host/cgroup/cgroups.ts'
import { readings } from './host/cgroup/readings.ts'
import { createNetwork } from './host/cni/network.ts'
import { files } from './host/files.ts'
import { hooks } from './host/hooks.ts'
import { hostports } from './host/hostports/hostports.ts'
import type { ExitFile, Host, OciRuntime } from './host/index.ts'
import { monitors } from './host/monitor/monitors.ts'
import { idmaps } from './host/mounts/idmap.ts'
import { rootfs } from './host/mounts/overlay.ts'
import { imageVolumes } from './host/mounts/volumes.ts'
import { namespaces } from './host/namespaces.ts'
import type { Native } from './host/native.ts'
import { processes } from './host/processes.ts'
import { smallLoaders } from './host/rootfs/layers.ts'
import { userInLayers } from './host/rootfs/users.ts'
import { security } from './host/security/security.ts'
import { type Streams, streams } from './host/streaming/streams.ts'
import type { HostFacts, RuntimeProgram } from './model/facts.ts'
import { clip, unixNanos } from './model/ids.ts'
import { type ContainerPaths, folders } from './model/names.ts'
import { STREAM_WORKER } from './model/streaming.ts'
import { programs, roots, workerFile } from './places.ts'
import { ociRuntimes } from './runtimes.ts'
import { tlsOf } from './watching.ts'

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

function buildStreams({ streaming, runDir }: Config, daemon: Scope, native: Native): Streams {
  const { address: host, port } = streaming
  return streams(daemon, {
    native,
    node: process.execPath,
    worker: workerFile('stream-worker'),
    cwd: runDir,
    settings: { host, port, ...tlsOf(streaming), addon: programs.addon, idleMs: STREAM_WORKER.idleMs },
  })
}

/** There is one daemon per root: its root tells its rules from those of others on the node. */
const rulesOwner = ({ root }: Config) => createHash('sha256').update(root).digest('hex').slice(0, 8)

function buildNetwork({ cni, runDir }: Config, daemon: Scope, native: Native): Host['network'] {
  const { confDir, binDirs, timeoutMs: pluginDeadlineMs, defaultBridge: bridge, defaultSubnet } = cni
  const own = { bridge, subnets: [defaultSubnet], dataDir: `${runDir}/cni` }
  return createNetwork(
    { native, log: daemon.log },
    { confDir, binDirs, pluginDeadlineMs, ...(cni.defaultNetwork ? { defaultNetwork: own } : {}) },
  )
}

/** The runtime of a handler; the empty name is the default one. */
function runtimeOf(runtimes: ReadonlyMap<string, OciRuntime>, facts: HostFacts, defaultRuntime: string) {
  return (handler: string): OciRuntime => {
    const runtime = runtimes.get(handler === '' ? defaultRuntime : handler)
    if (runtime) return runtime
    const why = facts.leftOut[handler]
    if (why !== undefined) throw new Fault('wrong-state', `runtime_handler: ${why}`)
    throw new Fault(
      'invalid',
      `runtime_handler: "${clip(handler)}" is not configured here (there is ${[...runtimes.keys()].join(', ')})`,
    )
  }
}

interface HostParts {
  readonly config: Config
  readonly daemon: Scope
  readonly native: Native
  readonly facts: HostFacts
  /** The configured runtimes that are installed. */
  readonly found: readonly RuntimeProgram[]
}

/** Touches nothing of the machine yet. */
export function buildHost({ config, daemon, native, facts, found }: HostParts): Host {
  const all = folders(roots(config))
  const procs = processes(native, facts.bootId)
  const runtimes = ociRuntimes(config, { native, facts, keeper: programs.keeper, found })
  return {
    facts,
    clock: { now: () => unixNanos(nowNs()) },
    nodeName: hostname(),
    files: files({ native, log: daemon.log, trash: all.trash, quarantine: all.quarantine }),
    namespaces: namespaces(native),
    cgroups: cgroups(native, facts.cgroupVersion, facts.cgroupMounts),
    readings: readings(native, {
      version: facts.cgroupVersion,
      mounts: facts.cgroupMounts,
      hugepageSizes: facts.hugepageSizes,
    }),
    rootfs: rootfs(native),
    imageVolumes: imageVolumes(native),
    idmaps: idmaps(native),
    network: buildNetwork(config, daemon, native),
    hostports: hostports({ native, owner: rulesOwner(config) }),
    processes: procs,
    monitors: monitors({
      native,
      paths: { monitor: programs.monitor },
      processes: procs,
      runRoot: config.runDir,
      runtimes: [programs.keeper, ...found.map((p) => p.path)],
    }),
    runtime: runtimeOf(runtimes, facts, config.defaultRuntime),
    streams: buildStreams(config, daemon, native),
    exitFile: readExit,
    user: (lowerDirs, asked) => userInLayers(native, lowerDirs, asked),
    smallPrograms: smallLoaders(native, facts.architecture),
    cdi: cdi(config.cdiSpecDirs),
    hooks: hooks(),
    security: security(native, { facts, seccompDir: config.security.seccompProfileRoot }),
    pauseProgram: programs.pause,
  }
}
