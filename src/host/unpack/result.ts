// SPDX-License-Identifier: Apache-2.0
/**
 * What `gantry-unpack` says in its one JSON line: the parsers, and the Faults its errors become. Pure. The line
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
   * in a lower layer. At most 1000 and 1 MiB of names; a warning says so when there were more.
   */
  readonly implied: readonly string[]
  /** All of those, named or not: at most this many. */
  readonly impliedCount: number
  /** Extended attributes left out: overlay's own, and those the file system does not take. */
  readonly xattrsSkipped: number
  /** Real 0:0 character devices: overlayfs takes them for whiteouts. */
  readonly zeroDevices: number
  /** The size of the record; 0 without one. */
  readonly recordBytes: number
  /** Why `packLayer` will not be able to give this layer back; empty: it will. */
  readonly lost: string
  /** Sandbox steps that this kernel refused, and what else is worth a log line. */
  readonly warnings: readonly string[]
}

export interface PackResult {
  readonly diffId: string
  /** Of the tar stream. */
  readonly bytes: number
}

export interface VerifyResult {
  /** The layer is what its record says. */
  readonly whole: boolean
  /** Entries that were compared. */
  readonly entries: number
  /** The first difference: a path in the layer ('' is its root or the record) and a sentence; empty when whole. */
  readonly path: string
  readonly problem: string
}

/** How a run ended, its answer line, and what else it said. */
export interface ProgramExit {
  readonly code: number
  readonly signal: number
  readonly answer: string
  readonly stderr: string
}

const KINDS: readonly FaultKind[] = ['corrupt', 'unsupported', 'exhausted', 'internal']
const MAX_TEXT = 1_000

/** The result of an unpacking that ended by itself. Throws the Fault of what it reported, led by `what`. */
export function readResult(what: string, exit: ProgramExit): UnpackResult {
  const of = fieldsOf(what, exit)
  return {
    blobDigest: of.text('blobDigest'),
    blobSize: of.count('blobSize'),
    diffId: of.text('diffId'),
    entries: of.count('entries'),
    bytes: of.count('bytes'),
    inodes: of.count('inodes'),
    implied: of.texts('implied'),
    impliedCount: of.count('impliedCount'),
    xattrsSkipped: of.count('xattrsSkipped'),
    zeroDevices: of.count('zeroDevices'),
    recordBytes: of.count('recordBytes'),
    lost: of.text('lost'),
    warnings: of.texts('warnings'),
  }
}

export function readPackResult(what: string, exit: ProgramExit): PackResult {
  const of = fieldsOf(what, exit)
  return { diffId: of.text('diffId'), bytes: of.count('bytes') }
}

export function readVerifyResult(what: string, exit: ProgramExit): VerifyResult {
  const of = fieldsOf(what, exit)
  const problem = of.text('problem')
  return { whole: problem === '', entries: of.count('entries'), path: of.text('path'), problem }
}

interface Fields {
  text(key: string): string
  texts(key: string): readonly string[]
  count(key: string): number
}

/** The answer of a run that went well, field by field; throws when it did not go well. */
function fieldsOf(what: string, exit: ProgramExit): Fields {
  const value = parseLine(exit.answer)
  const error = value === undefined ? undefined : member(value, 'error')
  if (error !== undefined) throw reported(what, error)
  if (exit.code !== 0 || value === undefined) throw silent(what, exit)
  const get = <T>(key: string, is: (v: unknown) => v is T): T => {
    const v = member(value, key)
    if (!is(v)) throw new Fault('internal', `${what}: the result of gantry-unpack has no usable '${key}'`)
    return v
  }
  return {
    text: (key) => get(key, isText),
    texts: (key) => get(key, isTexts),
    count: (key) => get(key, isCount),
  }
}

function parseLine(line: string): object | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function member(value: object, key: string): unknown {
  return Reflect.get(value, key)
}

function isText(v: unknown): v is string {
  return typeof v === 'string'
}

function isTexts(v: unknown): v is readonly string[] {
  return Array.isArray(v) && v.every(isText)
}

function isCount(v: unknown): v is number {
  return typeof v === 'number' && Number.isSafeInteger(v) && v >= 0
}

function reported(what: string, error: unknown): Fault {
  const of = (key: string): string => {
    const v = typeof error === 'object' && error !== null ? member(error, key) : undefined
    return typeof v === 'string' ? v.slice(0, MAX_TEXT) : ''
  }
  const kind = KINDS.find((k) => k === of('kind')) ?? 'internal'
  const path = of('path')
  const place = path === '' ? of('stage') : `${of('stage')} of '${path}'`
  return new Fault(kind, `${what}: ${place}: ${of('message')}`)
}

function silent(what: string, exit: ProgramExit): Fault {
  const how = exit.signal === 0 ? `exit code ${exit.code}` : `signal ${exit.signal}`
  const said = exit.stderr.trim() === '' ? '' : `: ${exit.stderr.trim().slice(0, MAX_TEXT)}`
  return new Fault('internal', `${what}: gantry-unpack ended with ${how} and no result${said}`)
}
