// SPDX-License-Identifier: Apache-2.0
/**
 * What an attachment leaves on disk in the pod's state folder: `cni.json`, the intent before the first ADD and
 * the result after the last; and `cni-plugin.json`, which plugin process is at work. The record keeps the list
 * as it was, because DEL must use the configuration of ADD, whatever the conf folder says by then. One writer:
 * the network of this daemon, under the pod's lock that its caller holds.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { readJson, writeJson } from '../../base/json-file.ts'
import { formatList, type NetworkList, parseConf } from './conf.ts'
import type { Invocation } from './invocation.ts'
import { asObject, asString, type JsonObject, parseObject } from './json.ts'

export interface AttachmentRecord {
  readonly list: NetworkList
  readonly invocation: Invocation
  /** The result of the whole list; undefined as long as ADD has not succeeded. */
  readonly result: JsonObject | undefined
}

/** A process that cannot be mistaken for another: not after pid reuse, not after a reboot. */
export interface PluginProcess {
  readonly bootId: string
  readonly pid: number
  readonly startTicks: string
}

const RECORD = 'cni.json'
const PROCESS = 'cni-plugin.json'

/**
 * Replaces the record, durably. Foreign JSON is kept as text: the record's own notation for big integers must
 * not touch it. @abort finishes
 */
export async function writeRecord(stateDir: string, record: AttachmentRecord): Promise<void> {
  const { capabilityArgs, ...invocation } = record.invocation
  await writeJson(join(stateDir, RECORD), {
    attached: record.result !== undefined,
    ...invocation,
    capabilityArgs: JSON.stringify(capabilityArgs),
    conflist: formatList(record.list),
    ...(record.result === undefined ? {} : { result: JSON.stringify(record.result) }),
  })
}

/** The record, or undefined if there is none. Throws Fault('corrupt') for one that cannot be understood. */
export async function readRecord(stateDir: string): Promise<AttachmentRecord | undefined> {
  const path = join(stateDir, RECORD)
  const read = await readJson(path)
  if (read.is === 'absent') return undefined
  try {
    if (read.is === 'corrupt') throw new Fault('corrupt', read.why)
    return parseRecord(read.value)
  } catch (e) {
    const why = e instanceof Error ? e.message : String(e)
    throw new Fault(
      'corrupt',
      `the network record ${path} cannot be understood (${why}); free the pod's address by hand, then remove it`,
      { cause: e },
    )
  }
}

function parseRecord(value: JsonObject): AttachmentRecord {
  const text = (key: string): string => {
    const s = asString(value[key])
    if (s === undefined) throw new Fault('corrupt', `"${key}" is missing`)
    return s
  }
  const object = (key: string): JsonObject => {
    const parsed = parseObject(text(key))
    if (!parsed.ok) throw new Fault('corrupt', `"${key}": ${parsed.why}`)
    return parsed.value
  }
  return {
    list: parseConf('recorded.conflist', text('conflist')),
    invocation: {
      containerId: text('containerId'),
      netns: text('netns'),
      ifName: text('ifName'),
      args: text('args'),
      capabilityArgs: object('capabilityArgs'),
    },
    result: value.attached === true ? object('result') : undefined,
  }
}

/** Forgets the attachment; success if there was none. @abort finishes */
export async function removeRecord(stateDir: string): Promise<void> {
  await rm(join(stateDir, PROCESS), { force: true })
  await rm(join(stateDir, RECORD), { force: true })
}

/**
 * Notes the plugin process. Not synced: it is of use only as long as the kernel that runs the process is up,
 * and a daemon that dies during this write has not given the plugin its input yet.
 */
export async function writeProcess(stateDir: string, process: PluginProcess): Promise<void> {
  await writeFile(join(stateDir, PROCESS), JSON.stringify(process), { mode: 0o600 })
}

/** The noted process; undefined if there is none or the note is unusable. */
export async function readProcess(stateDir: string): Promise<PluginProcess | undefined> {
  let text: string
  try {
    text = await readFile(join(stateDir, PROCESS), 'utf8')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return undefined
    throw e
  }
  const parsed = parseObject(text)
  const o = parsed.ok ? asObject(parsed.value) : undefined
  const pid = o?.pid
  const bootId = asString(o?.bootId)
  const startTicks = asString(o?.startTicks)
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 1 || !bootId || !startTicks) {
    return undefined
  }
  return { pid, bootId, startTicks }
}
