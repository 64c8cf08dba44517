// SPDX-License-Identifier: Apache-2.0
/**
 * The pod network by CNI: attach, detach, check, collect garbage, and say whether it is ready. Owns the record
 * in the pod's state folder: the intent is on disk before the first plugin is told to do anything, and goes
 * only after every plugin's DEL has succeeded, so that no crash leaks an address. Its caller holds the pod's
 * lock, and releases a failed attach by detach. Loopback is not its business (`namespaces.ts`).
 */
import { asFault, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { checkpoint, type Scope } from '../../base/scope.ts'
import { type Run, run as runProgram } from '../exec.ts'
import type { Native } from '../native.ts'
import { changes } from './changes.ts'
import { type DefaultNetworkOptions, formatList, type NetworkList, type PluginConf } from './conf.ts'
import {
  IF_NAME,
  type Invocation,
  type PodNetworkRequest,
  pluginInput,
  toInvocation,
  unserved,
} from './invocation.ts'
import type { JsonObject } from './json.ts'
import { noteProcess, sweepProcess } from './leftover.ts'
import { type CniCommand, callPlugin, type PluginDeps } from './plugin.ts'
import { examine, missingPrograms, type NetworkStatus, statusCache } from './readiness.ts'
import { type AttachmentRecord, readRecord, removeRecord, writeRecord } from './record.ts'
import { addresses, convertResult, type ResultInterface } from './result.ts'
import { type ConfReading, createSource } from './source.ts'
import { atLeast } from './versions.ts'

export type { NetworkStatus, PodNetworkRequest }

export interface NetworkDeps {
  readonly native: Native
  readonly log: Log
  /** In place of the real thing, for tests. */
  readonly run?: Run
}

export interface NetworkOptions {
  readonly confDir: string
  /** Folders with plugins, in order; default `DEFAULT_BIN_DIRS`. */
  readonly binDirs?: readonly string[]
  /** Used as long as the conf folder holds no configuration. */
  readonly defaultNetwork?: DefaultNetworkOptions | undefined
  /** For one call of one plugin. */
  readonly pluginDeadlineMs?: number
  /** PATH for the plugins. */
  readonly searchPath?: string
  readonly pollMs?: number
}

export interface PodNetworkResult {
  readonly networkName: string
  readonly ifName: string
  /** Primary first. */
  readonly ips: readonly string[]
  /** `10.88.0.2/16`: those of them of which the length of the prefix is known. */
  readonly subnets: readonly string[]
  readonly interfaces: readonly ResultInterface[]
  /** Asked for by the pod, declared by no plugin: `portMappings`, `bandwidth`, `ipRanges`. */
  readonly unserved: readonly string[]
  /** The last plugin's result, in the version of the list. */
  readonly result: JsonObject
}

export interface Network {
  /**
   * ADD of the whole list. Not idempotent: Fault('wrong-state') if the folder holds a record already. After a
   * failure the record is there; `detach` undoes what was done. Fault('unavailable') if no network is ready.
   * @abort kills
   */
  attach(scope: Scope, request: PodNetworkRequest, stateDir: string): Promise<PodNetworkResult>
  /**
   * DEL in reverse order with the recorded list and result, also when the namespace is gone or ADD failed half
   * way. Idempotent; success without a record. Stops at the first plugin that fails, keeps the record, and
   * throws: call again. Call it while the namespace still exists where that can be had: `bridge` of every
   * release so far leaves its masquerading rules behind when it is gone (the address it does free). @abort kills
   */
  detach(scope: Scope, stateDir: string): Promise<void>
  /** CHECK of the whole list; returns at once where the list forbids or does not know it. @abort kills */
  check(scope: Scope, stateDir: string): Promise<void>
  /** The result of an earlier attach, from disk; undefined if it is not attached. @abort finishes */
  recall(stateDir: string): Promise<PodNetworkResult | undefined>
  /**
   * GC of the present network with the container ids that are still valid: best effort, failures are logged.
   * Does nothing below CNI 1.1. @abort kills
   */
  gc(scope: Scope, validPodIds: readonly string[]): Promise<void>
  /** At most a few seconds old. Never throws because of the network. @abort stops */
  status(scope: Scope): Promise<NetworkStatus>
  /** Calls back soon, and again whenever the configuration files have changed, until disposed. @abort finishes */
  onChange(callback: () => void): Disposable
}

export const DEFAULT_BIN_DIRS: readonly string[] = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni']
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const DEFAULT_DEADLINE_MS = 120_000
const DEFAULT_POLL_MS = 5_000
const NSFS_MAGIC = 0x6e736673

interface Parts {
  readonly deps: NetworkDeps
  readonly plugins: PluginDeps & { readonly confDir: string }
  readonly current: () => Promise<ConfReading>
}

/** The network over one conf folder. Starts nothing; watching begins with the first `onChange`. */
export function createNetwork(deps: NetworkDeps, options: NetworkOptions): Network {
  const source = createSource({ confDir: options.confDir, defaultNetwork: options.defaultNetwork })
  const parts: Parts = {
    deps,
    plugins: {
      native: deps.native,
      run: deps.run ?? runProgram,
      binDirs: options.binDirs ?? DEFAULT_BIN_DIRS,
      searchPath: options.searchPath ?? DEFAULT_PATH,
      deadlineMs: options.pluginDeadlineMs ?? DEFAULT_DEADLINE_MS,
      confDir: options.confDir,
    },
    current: source.current,
  }
  return Object.freeze({
    attach: (scope, request, stateDir) => attach(scope, parts, { request, stateDir }),
    detach: (scope, stateDir) => detach(scope, parts, stateDir),
    check: (scope, stateDir) => check(scope, parts, stateDir),
    recall: async (stateDir) => {
      const record = await readRecord(stateDir)
      return record?.result ? summarize(record, record.result) : undefined
    },
    gc: (scope, validPodIds) => gc(scope, parts, validPodIds),
    status: statusCache(parts.plugins, { current: parts.current, log: deps.log }),
    onChange: changes({
      dir: options.confDir,
      pollMs: options.pollMs ?? DEFAULT_POLL_MS,
      current: parts.current,
      log: deps.log,
    }),
  } satisfies Network)
}

async function attach(
  scope: Scope,
  parts: Parts,
  { request, stateDir }: { request: PodNetworkRequest; stateDir: string },
): Promise<PodNetworkResult> {
  checkpoint(scope)
  const invocation = toInvocation(request)
  const reading = await parts.current()
  const { list } = reading
  if (!list) {
    throw new Fault('unavailable', (await examine(scope, parts.plugins, reading)).message)
  }
  const missing = await missingPrograms(parts.plugins.binDirs, list)
  if (missing.length > 0)
    throw new Fault('unavailable', (await examine(scope, parts.plugins, reading)).message)
  if (await readRecord(stateDir)) {
    throw new Fault('wrong-state', `pod ${request.podId} has a network record already: detach it first`)
  }
  // Ports can do without a plugin: the caller maps them.
  const left = unserved(list, invocation).filter((name) => name !== 'portMappings')
  if (left.length > 0) {
    scope.log.warn('cni-capability-unserved', {
      network: list.name,
      podId: request.podId,
      capabilities: left,
    })
  }
  await writeRecord(stateDir, { list, invocation, result: undefined })
  try {
    let result: JsonObject | undefined
    for (const plugin of list.plugins) {
      const printed = await call(scope, parts, {
        command: 'ADD',
        list,
        plugin,
        invocation,
        prevResult: result,
        stateDir,
      })
      result = convertResult(printed, list.cniVersion)
    }
    const record = { list, invocation, result: result ?? {} }
    const summary = summarize(record, record.result)
    await writeRecord(stateDir, record)
    return summary
  } catch (e) {
    throw Fault.during(`attach pod ${request.podId} to network ${list.name}`, e)
  }
}

async function detach(scope: Scope, parts: Parts, stateDir: string): Promise<void> {
  const record = await readRecord(stateDir)
  if (!record) return await removeRecord(stateDir)
  const doing = `detach pod ${record.invocation.containerId} from network ${record.list.name}`
  try {
    await sweepProcess(scope, parts.deps.native, stateDir)
    await deleteAll(scope, parts, { record, list: record.list, stateDir }).catch(async (e: unknown) => {
      const list = await replacement(scope, parts, record)
      if (!list) throw e
      scope.log.warn('cni-detach-by-present-list', { network: list.name, error: asFault(e).message })
      await deleteAll(scope, parts, { record, list, stateDir })
    })
  } catch (e) {
    throw Fault.during(doing, e)
  }
  await removeRecord(stateDir)
}

/**
 * A list whose ADD never worked may be one that no plugin can read, then DEL fails with it for ever, also after
 * the administrator has mended the file: the mended list of the same network does the same work.
 */
async function replacement(
  scope: Scope,
  parts: Parts,
  record: AttachmentRecord,
): Promise<NetworkList | undefined> {
  if (record.result || scope.signal.aborted) return undefined
  const { list } = await parts.current()
  const mended = list?.name === record.list.name && formatList(list) !== formatList(record.list)
  return mended ? list : undefined
}

async function deleteAll(
  scope: Scope,
  parts: Parts,
  { record, list, stateDir }: { record: AttachmentRecord; list: NetworkList; stateDir: string },
): Promise<void> {
  const alive = isNamespace(parts.deps.native, record.invocation.netns)
  const invocation = alive ? record.invocation : { ...record.invocation, netns: '' }
  const prevResult = atLeast(list.cniVersion, '0.4.0') ? record.result : undefined
  for (const plugin of list.plugins.toReversed()) {
    await call(scope, parts, { command: 'DEL', list, plugin, invocation, prevResult, stateDir })
  }
}

async function check(scope: Scope, parts: Parts, stateDir: string): Promise<void> {
  const record = await readRecord(stateDir)
  if (!record?.result) throw new Fault('wrong-state', `the pod of ${stateDir} is not attached to a network`)
  const { list, invocation, result } = record
  if (list.disableCheck || !atLeast(list.cniVersion, '0.4.0')) return
  try {
    for (const plugin of list.plugins) {
      await call(scope, parts, { command: 'CHECK', list, plugin, invocation, prevResult: result, stateDir })
    }
  } catch (e) {
    throw Fault.during(`check pod ${invocation.containerId} in network ${list.name}`, e)
  }
}

async function gc(scope: Scope, parts: Parts, validPodIds: readonly string[]): Promise<void> {
  const { list } = await parts.current()
  if (!list || list.disableGc || !atLeast(list.cniVersion, '1.1.0')) return
  const valid = validPodIds.map((containerID) => ({ containerID, ifname: IF_NAME }))
  for (const plugin of list.plugins) {
    checkpoint(scope)
    // The second name is what plugins built before the specification settled on the first look for.
    const fields = { 'cni.dev/valid-attachments': valid, 'cni.dev/attachments': valid }
    try {
      const input = pluginInput(list, plugin, { fields })
      await callPlugin(scope, parts.plugins, { command: 'GC', type: plugin.type, input })
    } catch (e) {
      scope.log.warn('cni-gc-failed', { network: list.name, error: asFault(e).message })
    }
  }
}

interface ListCall {
  readonly command: CniCommand
  readonly list: NetworkList
  readonly plugin: PluginConf
  readonly invocation: Invocation
  readonly prevResult: JsonObject | undefined
  readonly stateDir: string
}

/** One plugin of the list for one attachment. @abort kills */
async function call(scope: Scope, parts: Parts, c: ListCall): Promise<JsonObject> {
  const { capabilityArgs, ...attachment } = c.invocation
  return await callPlugin(scope, parts.plugins, {
    command: c.command,
    type: c.plugin.type,
    input: pluginInput(c.list, c.plugin, { capabilityArgs, prevResult: c.prevResult }),
    attachment,
    onPid: (pid) => noteProcess(parts.deps.native, c.stateDir, pid),
  })
}

function summarize({ list, invocation }: AttachmentRecord, result: JsonObject): PodNetworkResult {
  return {
    networkName: list.name,
    ifName: invocation.ifName,
    ...addresses(result, invocation.ifName),
    unserved: unserved(list, invocation),
    result,
  }
}

/** A pin whose mount is gone is an ordinary empty file: a plugin would fail on it, instead of cleaning up. */
function isNamespace(native: Native, path: string): boolean {
  try {
    return native.statfs(path).type === NSFS_MAGIC
  } catch {
    return false
  }
}
