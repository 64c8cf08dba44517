// SPDX-License-Identifier: Apache-2.0
/**
 * The life of the daemon, in order: locks, recovery, the socket, signals, a bounded drain. What can be refused
 * is refused before anything is started. Containers are not its children in spirit: they outlive it.
 */
import { Fault } from './base/fault.ts'
import { hookFromEnvironment, setFaultHook } from './base/fault-point.ts'
import type { Log } from './base/log.ts'
import { childScope, cleanupScope, type OwnedScope } from './base/scope.ts'
import { checkMachine, checkSocket, dropRuntimeLogs, makeFolders, takeLocks } from './claim.ts'
import { compose, type Parts } from './compose.ts'
import type { Config } from './config/schema.ts'
import { isChatty } from './edge/cri/call.ts'
import { type CriServer, serveCri } from './edge/cri/server.ts'
import { keepLimits } from './engine/containers/keep-limits.ts'
import type { Context } from './engine/context.ts'
import { engine as buildEngine } from './engine/engine.ts'
import type { Engine } from './engine/index.ts'
import { recover } from './engine/state/recover.ts'
import { idlePass } from './idle.ts'
import { type Notify, systemdNotify } from './notify.ts'
import { allowPeer, groupId } from './peers.ts'
import { loadAddon } from './places.ts'
import { reload } from './reload.ts'
import { runtimePrograms } from './runtimes.ts'
import { openLog } from './sink.ts'
import { dump } from './snapshot.ts'
import { VERSION } from './version.ts'
import { startWatching, type Watching } from './watching.ts'

export interface Daemon {
  readonly engine: Engine
  readonly parts: Parts
  readonly scope: OwnedScope
  readonly log: Log
  /** Stops accepting, drains, ends. Containers go on. Idempotent. @abort finishes */
  stop(): Promise<void>
}

/** People read a terminal, programs everything else. */
function logFormat({ log }: Config): 'json' | 'text' {
  if (log.format !== 'auto') return log.format
  return process.stderr.isTTY ? 'text' : 'json'
}

/** Where the monitor cuts a line of a container's log (`CRILOG_PIECE`). */
const LOG_LINE_BYTES = 16_384

/** The configuration, and under the names by which tools look for it what is there under others. */
function shownConfig(config: Config): Record<string, unknown> {
  const { binDirs, confDir } = config.cni
  return {
    ...config,
    rootDir: config.root,
    stateDir: config.runDir,
    maxContainerLogLineSize: LOG_LINE_BYTES,
    cni: { ...config.cni, binDir: binDirs[0], binDirs, confDir },
    containerd: {
      snapshotter: 'overlayfs',
      defaultRuntimeName: config.defaultRuntime,
      runtimes: config.runtimes,
    },
  }
}

/**
 * Starts everything; resolves when the socket answers. Throws a Fault with nothing left running. `read` gives the
 * configuration anew, for SIGHUP.
 */
export async function startDaemon(config: Config, read = () => config): Promise<Daemon> {
  checkMachine()
  process.title = 'gantryd'
  process.umask(0o022)
  installFaultHook()
  const sink = openLog({ level: config.log.level, format: logFormat(config) })
  const { log } = sink
  const native = loadAddon()
  const notify = systemdNotify(native, { env: process.env, log })
  await runtimePrograms(config)
  await checkSocket(config.socket)
  const gid = await groupId(config.socketGroup)
  makeFolders(config)
  takeLocks(config, native)
  dropRuntimeLogs(config)
  await checkSocket(config.socket)
  const scope = childScope({ signal: new AbortController().signal, log })
  const parts = await compose(config, scope, native)
  const { engine, recovery, all } = await takeUp(parts)
  for (const problem of engine.problems()) log.warn('problem', { problem })
  const idle = idlePass(native, { enabled: config.idleTrim, log })
  const server = await serveCri(scope, engine, {
    socket: config.socket,
    gid,
    maxMessageBytes: config.limits.maxMessageBytes,
    about: { version: VERSION, config: shownConfig(config), dump: () => dump(all), log: sink },
    allows: allowPeer(native, { gid, log }),
    onActivity: (rpc) => idle.touch({ work: !isChatty(rpc) }),
  }).catch((e: unknown) => {
    throw Fault.during(`cannot serve the socket ${config.socket}`, e)
  })
  void recovery.background.then(() => parts.images.collect()).then(() => parts.images.verify())
  keepLimits(parts.context)
  parts.context.host.network.onChange(() => log.info('network-config-changed', {}))
  process.on('SIGUSR2', async () => log.info('dump', await dump(all)))
  process.on('SIGHUP', () => reload({ sink, notify, config, read }))
  const { minOomScoreAdj: lowest } = engine.facts
  if (lowest > -1000) log.warn('oom-score-adj-clamped', { lowest, why: 'CAP_SYS_RESOURCE is missing' })
  const json = logFormat(config) === 'json'
  const watching = await startWatching(scope, { config, native, notify, json, all })
  notify.ready()
  log.info('ready', { socket: config.socket, version: VERSION, ms: Math.round(performance.now()) })
  return {
    engine,
    parts,
    scope,
    log,
    stop: stopper({
      server,
      scope,
      log,
      idle,
      watching,
      notify,
      context: parts.context,
      images: parts.images,
      drainMs: config.shutdown.drainMs,
    }),
  }
}

/** Reads all that is on record and takes up what survives. */
async function takeUp({ context, images }: Parts) {
  const problems = (await images.load()).map((p) => `${p.file}: ${p.why}`)
  const recovery = await recover(context)
  const engine = buildEngine(context, images, [
    ...Object.values(context.host.facts.leftOut),
    ...problems,
    ...recovery.problems,
  ])
  return { engine, recovery, all: { engine, context, quarantined: recovery.quarantined } }
}

interface Running {
  readonly server: CriServer
  readonly scope: OwnedScope
  readonly log: Log
  readonly idle: Disposable
  readonly watching: Watching
  readonly notify: Notify
  readonly context: Context
  readonly images: Parts['images']
  readonly drainMs: number
}

function stopper(r: Running): () => Promise<void> {
  let stopping: Promise<void> | undefined
  const stop = async () => {
    r.log.info('stopping', {})
    r.notify.stopping()
    await r.server.close(r.drainMs)
    r.scope.abort(new Fault('unavailable', 'gantryd is stopping'))
    r.idle[Symbol.dispose]()
    // What was given up by the abort still cleans up behind itself: the next daemon should not have to.
    using cleanup = cleanupScope(r.log, Math.max(r.drainMs, 1000))
    await r.context.joins.idle(cleanup).catch(() => {})
    await r.context.host.files.emptyTrash()
    await r.images.close()
    await r.context.host.streams.close()
    await r.watching.close()
  }
  return () => {
    stopping ??= stop()
    return stopping
  }
}

/** The crash suites name fault points in the environment; without it there is no hook. */
function installFaultHook(): void {
  const text = process.env.GANTRY_FAULT
  if (text === undefined) return
  setFaultHook(
    hookFromEnvironment(text, {
      kill: () => process.kill(process.pid, 'SIGKILL'),
      fail: (name) => {
        throw new Fault('internal', `fault point ${name}`)
      },
    }),
  )
}

/** Resolves at the first SIGINT or SIGTERM. Call it early: without it a signal ends the process at once. */
export function signalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
}

/** Waits for SIGINT or SIGTERM, then stops. */
export async function untilSignalled(daemon: Daemon): Promise<void> {
  await signalled()
  await daemon.stop()
}
