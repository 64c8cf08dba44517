// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the seccomp profile that a request names: JSON in the form of the OCI spec. It is handed on as it is; only
 * what would make an OCI runtime fail with words that name nothing, or filter nothing, is refused here.
 */
import { open } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { asFault, errnoCode, Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import { LIMITS } from '../../model/limits.ts'
import type { OciSeccomp } from '../../model/plan/spec/oci.ts'

const isObject = (v: unknown): v is object => typeof v === 'object' && v !== null && !Array.isArray(v)
const isAction = (v: unknown) => typeof v === 'string' && /^SCMP_ACT_[A-Z_]+$/.test(v)
const isRule = (v: unknown) =>
  isObject(v) &&
  isAction(Reflect.get(v, 'action')) &&
  Array.isArray(Reflect.get(v, 'names')) &&
  Reflect.get(v, 'names').every((n: unknown) => typeof n === 'string')

function isProfile(json: unknown): json is OciSeccomp {
  if (!isObject(json) || !isAction(Reflect.get(json, 'defaultAction'))) return false
  const rules: unknown = Reflect.get(json, 'syscalls') ?? []
  return Array.isArray(rules) && rules.every(isRule)
}

/** A notifying action needs someone who listens: without, each such call of the container hangs for ever. */
function notifies(profile: OciSeccomp): boolean {
  const actions = [profile.defaultAction, ...(profile.syscalls ?? []).map((r) => r.action)]
  return actions.includes('SCMP_ACT_NOTIFY') && Reflect.get(profile, 'listenerPath') === undefined
}

/**
 * The profile at `ref`, an absolute path or one below `folder`. Throws `invalid` with the path for one that is not
 * there, cannot be read, is too large, or is no profile. @abort finishes
 */
export async function readSeccompFile(folder: string, ref: string): Promise<OciSeccomp> {
  const path = isAbsolute(ref) ? ref : join(folder, ref)
  const bad = (why: string) => new Fault('invalid', `seccomp profile ${clip(path)} ${why}`)
  let text: string
  try {
    text = await read(path)
  } catch (e) {
    if (errnoCode(e) === 'ENOENT') throw bad('does not exist on this node')
    throw bad(`cannot be read: ${asFault(e).message}`)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw bad('is not JSON')
  }
  if (!isProfile(json))
    throw bad('is not a profile: it needs a defaultAction, and names and an action in each of syscalls')
  if (notifies(json)) throw bad('has SCMP_ACT_NOTIFY without a listenerPath')
  return json
}

async function read(path: string): Promise<string> {
  await using file = await open(path, 'r')
  const { size } = await file.stat()
  if (size > LIMITS.smallFileBytes)
    throw new Fault('exhausted', `it is larger than ${LIMITS.smallFileBytes} bytes`)
  return await file.readFile('utf8')
}
