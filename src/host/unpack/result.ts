// SPDX-License-Identifier: Apache-2.0
/**
 * What `gantry-unpack` says in its one JSON line: the parser, and the Faults its errors become. Pure. The line
 * comes from a process that has read hostile input, so it is checked field by field, and its text is cut.
 */
import { Fault, type FaultKind } from '../../base/fault.ts'

export interface UnpackResult {
  readonly blobDigest: string
  readonly blobSize: number
  readonly diffId: string
  /** Headers in the archive. */
  readonly entries: number
  /** Allocated bytes, as st_blocks has them right after writing; directories at their first size. */
  readonly bytes: number
  /** Files of any kind, hard links once, the layer's own directory not counted. */
  readonly inodes: number
  /**
   * Directories that the archive uses but does not describe, made 0755 root:root: their real owner and mode are
   * in a lower layer. At most 4096 and 1 MiB of names; a warning says so when there were more.
   */
  readonly implied: readonly string[]
  /** All of those, named or not: at most this many. */
  readonly impliedCount: number
  /** Extended attributes left out: overlay's own, and those the file system does not take. */
  readonly xattrsSkipped: number
  /** Real 0:0 character devices: overlayfs takes them for whiteouts. */
  readonly zeroDevices: number
  /** Sandbox steps that this kernel refused, and what else is worth a log line. */
  readonly warnings: readonly string[]
}

export interface UnpackExit {
  readonly code: number
  readonly signal: number
  readonly stdout: string
  readonly stderr: string
}

const KINDS: readonly FaultKind[] = ['corrupt', 'unsupported', 'exhausted', 'internal']
const MAX_TEXT = 1_000

/** The result of a program that ended by itself. Throws the Fault of what it reported; names the layer. */
export function readResult(digest: string, exit: UnpackExit): UnpackResult {
  const value = parseLine(exit.stdout)
  const error = value === undefined ? undefined : member(value, 'error')
  if (error !== undefined) throw reported(digest, error)
  if (exit.code !== 0 || value === undefined) throw silent(digest, exit)
  return {
    blobDigest: text(digest, value, 'blobDigest'),
    blobSize: count(digest, value, 'blobSize'),
    diffId: text(digest, value, 'diffId'),
    entries: count(digest, value, 'entries'),
    bytes: count(digest, value, 'bytes'),
    inodes: count(digest, value, 'inodes'),
    implied: texts(digest, value, 'implied'),
    impliedCount: count(digest, value, 'impliedCount'),
    xattrsSkipped: count(digest, value, 'xattrsSkipped'),
    zeroDevices: count(digest, value, 'zeroDevices'),
    warnings: texts(digest, value, 'warnings'),
  }
}

function parseLine(stdout: string): object | undefined {
  try {
    const value: unknown = JSON.parse(stdout)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function member(value: object, key: string): unknown {
  return Reflect.get(value, key)
}

function reported(digest: string, error: unknown): Fault {
  const of = (key: string): string => {
    const v = typeof error === 'object' && error !== null ? member(error, key) : undefined
    return typeof v === 'string' ? v.slice(0, MAX_TEXT) : ''
  }
  const kind = KINDS.find((k) => k === of('kind')) ?? 'internal'
  const path = of('path')
  const place = path === '' ? of('stage') : `${of('stage')} of '${path}'`
  return new Fault(kind, `unpack layer ${digest}: ${place}: ${of('message')}`)
}

function silent(digest: string, exit: UnpackExit): Fault {
  const how = exit.signal === 0 ? `exit code ${exit.code}` : `signal ${exit.signal}`
  const said = exit.stderr.trim() === '' ? '' : `: ${exit.stderr.trim().slice(0, MAX_TEXT)}`
  return new Fault('internal', `unpack layer ${digest}: gantry-unpack ended with ${how} and no result${said}`)
}

function unexpected(digest: string, key: string): Fault {
  return new Fault('internal', `unpack layer ${digest}: the result of gantry-unpack has no usable '${key}'`)
}

function text(digest: string, value: object, key: string): string {
  const v = member(value, key)
  if (typeof v !== 'string') throw unexpected(digest, key)
  return v
}

function texts(digest: string, value: object, key: string): readonly string[] {
  const v = member(value, key)
  if (!Array.isArray(v) || !v.every((one) => typeof one === 'string')) throw unexpected(digest, key)
  return v
}

function count(digest: string, value: object, key: string): number {
  const v = member(value, key)
  if (typeof v !== 'number' || !Number.isSafeInteger(v) || v < 0) throw unexpected(digest, key)
  return v
}
