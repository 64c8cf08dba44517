// SPDX-License-Identifier: Apache-2.0
/**
 * Versioned JSON files: written whole or not at all (temporary file, fsync, rename, fsync of the folder), read
 * as `value | absent | corrupt`. Owns the envelope `{ "v": 1, … }` and bigints (written as `"123n"` strings).
 * Does not know what is inside: callers parse the value they get.
 */
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoCode } from './fault.ts'

export type JsonRead =
  | { readonly is: 'value'; readonly value: Record<string, unknown> }
  | { readonly is: 'absent' }
  | { readonly is: 'corrupt'; readonly why: string }

export const JSON_VERSION = 1
let counter = 0

/** Text that looks like a bigint of ours gets `=` in front, so that a label `5n` comes back as text. */
const LOOKS_LIKE_BIGINT = /^=*-?\d{1,20}n$/

function encodeBigint(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`
  return typeof value === 'string' && LOOKS_LIKE_BIGINT.test(value) ? `=${value}` : value
}

function decodeBigint(_key: string, value: unknown): unknown {
  if (typeof value !== 'string' || !LOOKS_LIKE_BIGINT.test(value)) return value
  return value.startsWith('=') ? value.slice(1) : BigInt(value.slice(0, -1))
}

/** JSON text with bigints as `"123n"`; `parseJson` reads it back. */
export function formatJson(value: object): string {
  return JSON.stringify(value, encodeBigint)
}

export function parseJson(text: string): unknown {
  return JSON.parse(text, decodeBigint)
}

/**
 * Replaces the file at `path` by `value`. After it returns the value survives a crash and, unless `sync` is false,
 * a power cut; before, the old one is still there. Two writers of one file do not mix, the later rename wins. @abort finishes
 */
export async function writeJson(
  path: string,
  value: object,
  { mode = 0o600, sync = true }: Partial<FileOptions> = {},
): Promise<void> {
  await replaceFile(path, `${formatJson({ v: JSON_VERSION, ...value })}\n`, { mode, sync })
}

interface FileOptions {
  readonly mode: number
  /** False: somebody else syncs it later; until then a power cut may leave it empty. */
  readonly sync?: boolean
  /** Becomes its owner. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

/** Replaces the file at `path` as `writeJson` does, by bytes. @abort finishes */
export async function replaceFile(
  path: string,
  bytes: string | Uint8Array,
  options: FileOptions,
): Promise<void> {
  await placeFile(path, bytes, options)
  if (options.sync ?? true) await syncFolder(dirname(path))
}

/** The same for a file whose folder is synced later: until then the old one may be back. @abort finishes */
export async function placeFile(
  path: string,
  bytes: string | Uint8Array,
  options: FileOptions,
): Promise<void> {
  const temp = `${path}.${process.pid}-${++counter}.tmp`
  try {
    const file = await open(temp, 'wx', options.mode)
    try {
      if (options.owner) await file.chown(options.owner.uid, options.owner.gid)
      await file.writeFile(bytes)
      if (options.sync ?? true) await file.datasync()
    } finally {
      await file.close()
    }
    await rename(temp, path)
  } catch (e) {
    await rm(temp, { force: true })
    throw e
  }
}

/** fsync of a folder: makes the names in it durable. @abort finishes */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Reads a file of `writeJson`. Never throws for what the file holds; throws for I/O errors other than ENOENT. */
export async function readJson(path: string, maxBytes = 64 * 1024 * 1024): Promise<JsonRead> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (e) {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return { is: 'absent' }
    throw e
  }
  if (text.length > maxBytes) return { is: 'corrupt', why: `larger than ${maxBytes} bytes` }
  try {
    const value = parseJson(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return { is: 'corrupt', why: 'not an object' }
    }
    const v: unknown = Reflect.get(value, 'v')
    if (v !== JSON_VERSION) return { is: 'corrupt', why: `version ${String(v)}, expected ${JSON_VERSION}` }
    return { is: 'value', value: Object.fromEntries(Object.entries(value)) }
  } catch (e) {
    return { is: 'corrupt', why: e instanceof Error ? e.message : String(e) }
  }
}
