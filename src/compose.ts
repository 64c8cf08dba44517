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
import { type Config, options } from './config/schema.ts'
import type { Context } from './engine/context.ts'
import { createImages, type Images } from './engine/images/images.ts'
import { imageSource } from './engine/images/resolve.ts'
import type { VerifyLayer } from './engine/images/verify.ts'
import { type Catalog, catalog } from './engine/state/catalog.ts'
import { store } from './engine/state/store.ts'
import { cdi } from './host/cdi.ts'
import { cgroups } from './host/cgroup/cgroups.ts'
import { readings } from './host/cgroup/readings.ts'
import { createNetwork } from './host/cni/network.ts'
import { probeFacts } from './host/facts.ts'
import { files } from './host/files.ts'
import { hooks } from './host/hooks.ts'
import { hostports } from './host/hostports/hostports.ts'
import { keptBlobs } from './host/images/kept-blobs.ts'
import { type LayerStore, layerStore } from './host/images/layers.ts'
import { localLayers } from './host/images/local.ts'
import { powerMarker } from './host/images/power-marker.ts'
import { imagePuller, type PullerOptions } from './host/images/puller.ts'
import { imageRecords } from './host/images/records.ts'
import { spool } from './host/images/spool.ts'
import { imageTransfers } from './host/images/transfers.ts'
import { warmWorkers } from './host/images/warm-workers.ts'
import type { ExitFile, Host } from './host/index.ts'
import { monitors } from './host/monitor/monitors.ts'
import { idmaps, whyNoUserNamespaces } from './host/mounts/idmap.ts'
import { rootfs } from './host/mounts/overlay.ts'
import { imageVolumes } from './host/mounts/volumes.ts'
import { namespaces } from './host/namespaces.ts'
import { ADDON, loadNative, type Native } from './host/native.ts'
import { probeRuntime } from './host/oci-runtime/features.ts'
import { processes } from './host/processes.ts'
import { readRegistriesConf } from './host/registry/registries-conf.ts'
import { smallLoaders } from './host/rootfs/layers.ts'
import { userInLayers } from './host/rootfs/users.ts'
import { security } from './host/security/security.ts'
import { probeSelinux } from './host/security/selinux.ts'
import { type Streams, streams } from './host/streaming/streams.ts'
import { choosePolicy } from './host/trust/choice.ts'
import { verifyLayer } from './host/unpack/verify.ts'
import { imagesOf } from './model/container.ts'
import type { HostFacts, RuntimeProgram } from './model/facts.ts'
import { clip, unixNanos } from './model/ids.ts'
import { pinnedBy } from './model/image.ts'
import { type ContainerPaths, containerPaths, folders, type Roots } from './model/names.ts'
import { PULL } from './model/pull-policy.ts'
import { STREAM_WORKER } from './model/streaming.ts'
import type { TrustFiles } from './model/trust-settings.ts'
import { ociRuntimes, operatorSpecs, ownDevices, runtimePrograms } from './runtimes.ts'
import { tlsOf } from './watching.ts'
import { type Written, writableLayers } from './writable-layers.ts'

/** Where the build put the native pieces, beside `dist/` or `src/`. */
const built = (name: string) => fileURLToPath(new URL(`../native/build/${name}`, import.meta.url))
const worker = (name: string) =>
  fileURLToPath(new URL(`./${name}.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url))

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
  keeper: built('gantry-keeper'),
  pause: built('gantry-pause'),
  unpack: built('gantry-unpack'),
  hello: built('gantry-hello'),
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

function buildStreams({ streaming, runDir }: Config, daemon: Scope, native: Native): Streams {
  const { address: host, port } = streaming
  return streams(daemon, {
    native,
    node: process.execPath,
    worker: worker('stream-worker'),
    cwd: runDir,
    settings: { host, port, ...tlsOf(streaming), addon: built(ADDON), idleMs: STREAM_WORKER.idleMs },
  })
}

/** There is one daemon per root: its root tells its rules from those of others on the node. */
const rulesOwner = ({ root }: Config) => createHash('sha256').update(root).digest('hex').slice(0, 8)

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
    hostports: hostports({ native, owner: rulesOwner(config) }),
    processes: procs,
    monitors: monitors({
      native,
      paths: { monitor: built('gantry-monitor') },
      processes: procs,
      runRoot: config.runDir,
      runtimes: [programs.keeper, ...found.map((p) => p.path)],
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
    streams: buildStreams(config, daemon, native),
    exitFile: readExit,
    user: (lowerDirs, asked) => userInLayers(native, lowerDirs, asked),
    smallPrograms: smallLoaders(native, facts.architecture),
    cdi: cdi(config.cdiSpecDirs),
    hooks: hooks(),
    security: security(native, { facts, seccompDir: config.security.seccompProfileRoot }),
    pauseProgram: built('gantry-pause'),
  }
}

function buildImages(
  config: Config,
  from: {
    daemon: Scope
    native: Native
    facts: HostFacts
    catalog: Catalog
    written: Written
  },
): Images {
  const { daemon, native, facts } = from
  const layers = layerStore(`${config.root}/layers`, native)
  const { registriesConf: file, registriesConfDir: folder } = config.registry
  const registriesConf = { file, folder }
  const puller: PullerOptions = {
    native,
    layers,
    node: process.execPath,
    worker: worker('image-worker'),
    unpackProgram: built('gantry-unpack'),
    addon: built(ADDON),
    warm: warmWorkers(),
    keepBlobs: config.images.keepBlobs ? `${config.root}/blobs` : undefined,
    certsDirs: config.registry.configPath,
    registriesConf,
    authFiles: config.registry.authFiles,
    helperDirs: config.registry.helperDirs,
    platform: { os: 'linux', architecture: facts.architecture },
    parallelLayers: config.images.maxConcurrentLayers,
    unpackLimits: {
      layerBytes: config.images.maxLayerBytes,
      entries: config.images.maxLayerEntries,
      ratio: config.images.maxLayerRatio,
      devices: config.images.layerDevices,
    },
    noProgressMs: config.images.pullProgressTimeoutMs,
  }
  return createImages({
    records: imageRecords(`${config.root}/images`),
    layers,
    puller: imagePuller(puller),
    transfers: imageTransfers({
      ...puller,
      blobsRoot: `${config.root}/blobs`,
      maxArchiveBytes: config.images.maxArchiveBytes,
    }),
    writableOf(id) {
      const found = [...from.catalog.containers.byId.values()].find((c) => c.record.id === id)
      return (
        found && {
          upper: containerPaths(roots(config), found.record.id).upper,
          imageId: found.record.imageId,
        }
      )
    },
    localLayers: localLayers(layers, native),
    shortNames: () => readRegistriesConf(registriesConf),
    policyFor: (namespace) => choosePolicy(trustFiles(config), namespace),
    blobs: { parts: spool(layers.root, native), kept: keptBlobs(`${config.root}/blobs`) },
    daemon,
    nowNs,
    usedBy: (id) => from.catalog.usesImage(id),
    usedImages: () => [...from.catalog.containers.byId.values()].flatMap((c) => imagesOf(c.record)),
    isPinned: pinnedBy(config.images.pinned),
    keepMs: config.images.keepUnusedMs,
    nearlyFull() {
      const { totalBytes, freeBytes } = native.statfs(config.root)
      return freeBytes * BigInt(PULL.keepFreeShare) < totalBytes
    },
    marker: powerMarker(`${config.root}/running.json`, facts.bootId),
    verifyLayer: layerVerifier(native, layers),
    measureWritable: from.written.measure,
  })
}

/** The default policy may be missing, as most nodes have none; one that was chosen may not. */
function trustFiles({ images }: Config): TrustFiles {
  return {
    policyFile: images.signaturePolicy,
    required: images.signaturePolicy !== options['images.signature_policy'].fallback,
    namespaceDir: images.signaturePolicyDir,
    registriesDir: images.signatureLookupDir,
  }
}

/** A layer without a record of its tree is looked at as far as it goes: that it is there, and what it is. */
function layerVerifier(native: Native, layers: LayerStore): VerifyLayer {
  const deps = { native, program: built('gantry-unpack') }
  return async (scope, chainId) => {
    if ((await layers.read(chainId)) === undefined) return 'it is not complete'
    const record = layers.recordOf(chainId)
    const there = await access(record).then(
      () => true,
      () => false,
    )
    if (!there) return undefined
    const { whole, path, problem } = await verifyLayer(scope, deps, { fs: layers.fsOf(chainId), record })
    return whole ? undefined : `${path}: ${problem}`
  }
}

/** Everything that can be built before recovery. Throws `unavailable` when pods cannot run on this machine. */
export async function compose(config: Config, daemon: Scope, native: Native): Promise<Parts> {
  const found = await runtimePrograms(config)
  const selinux = config.security.selinux ? await probeSelinux() : undefined
  const operators = await operatorSpecs(config)
  const probed = await probeFacts(daemon, {
    cgroupDriver: config.cgroup.driver,
    runtimes: found,
    probe: async (scope, program, ground) => {
      const handler = await probeRuntime(scope, { native }, { program, ground })
      // A runtime says what it was built for; before Linux 5.12 the kernel cannot do it.
      const { mountSetattr } = native.probe()
      const privilegedDevices = ownDevices(config.runtimes[program.handler])
      const recursiveReadOnlyMounts = handler.recursiveReadOnlyMounts && mountSetattr
      return {
        ...handler,
        recursiveReadOnlyMounts,
        operator: operators.get(program.handler),
        ...(privilegedDevices ? { privilegedDevices } : {}),
      }
    },
    defaultRuntime: config.defaultRuntime,
  })
  const noUserNamespaces = await whyNoUserNamespaces(native, roots(config))
  const facts: HostFacts = Object.freeze({
    ...probed,
    ...(selinux ? { selinux } : {}),
    ...(noUserNamespaces === undefined ? {} : { noUserNamespaces }),
  })
  const host = buildHost({ config, daemon, native, facts, programs: found })
  const known = catalog()
  const written = writableLayers(roots(config), native, known)
  const images = buildImages(config, { daemon, native, facts, catalog: known, written })
  known.containers.onDrop = ({ record }) => {
    for (const id of imagesOf(record)) images.released(id)
  }
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
    images: imageSource(images, { ignoreVolumes: config.imageVolumes === 'ignore' }),
    writable: () => ({ mountpoint: images.fsInfo().writable.mountpoint, of: written.of }),
    locks: new KeyedLock(),
    joins: new SharedTasks<string>(daemon),
    daemon,
    newId: () => randomBytes(32).toString('hex'),
    hash: (request) => createHash('sha256').update(formatJson(request)).digest('hex'),
  }
  return { native, context, images }
}
