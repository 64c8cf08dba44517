// SPDX-License-Identifier: Apache-2.0
/**
 * CDI, the Container Device Interface (specification 1.1.0): names of devices, and the content of a spec file as a
 * checked value. A key that is unknown fails the whole spec, as the specification asks, and so do `intelRdt` and
 * `netDevices`, which are not carried out here. Pure: the files are read by `host/cdi.ts`, the edits are made in
 * the plan by `plan/spec/cdi.ts`.
 */
import { Fault } from '../base/fault.ts'
import { absPath, clip } from './ids.ts'
import { HOOK_STAGES } from './plan/spec/hooks.ts'

const NODE_TYPES = ['b', 'c', 'u', 'p'] as const

export interface CdiDeviceNode {
  readonly path: string
  readonly hostPath: string
  readonly type?: (typeof NODE_TYPES)[number]
  readonly major?: number
  readonly minor?: number
  readonly fileMode?: number
  readonly permissions: string
  readonly uid?: number
  readonly gid?: number
}

export interface CdiMount {
  readonly hostPath: string
  readonly containerPath: string
  readonly type: string
  readonly options: readonly string[]
}

export interface CdiHook {
  readonly hookName: (typeof HOOK_STAGES)[number]
  readonly path: string
  readonly args?: readonly string[]
  readonly env?: readonly string[]
  readonly timeout?: number
}

export interface CdiEdits {
  readonly env: readonly string[]
  readonly deviceNodes: readonly CdiDeviceNode[]
  readonly mounts: readonly CdiMount[]
  readonly hooks: readonly CdiHook[]
  readonly additionalGids: readonly number[]
}

/** What one file says. `edits` are for every container that gets one of its devices. */
export interface CdiSpec {
  readonly kind: string
  readonly edits: CdiEdits
  readonly devices: ReadonlyMap<string, CdiEdits>
}

const VERSIONS = /^(?:0\.[1-8]\.0|1\.[01]\.0)$/
const KIND = /^[A-Za-z](?:[\w.-]*[A-Za-z0-9])?\/[A-Za-z](?:[\w.-]*[A-Za-z0-9])?$/
const NAME = /^[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/

/** Kind and device of a qualified name, `vendor.com/class=name`; undefined if it is none. */
export function parseCdiName(text: string): { readonly kind: string; readonly device: string } | undefined {
  const at = text.indexOf('=')
  const [kind, device] = [text.slice(0, at), text.slice(at + 1)]
  return at > 0 && KIND.test(kind) && NAME.test(device) ? { kind, device } : undefined
}

/** Is everything of the node said that the host would otherwise be asked for? */
export function isWhole({ type, major }: CdiDeviceNode): boolean {
  return type === 'p' || (type !== undefined && major !== undefined && major > 0)
}

/** Edits one after another as one. */
export function joinEdits(all: readonly CdiEdits[]): CdiEdits {
  return {
    env: all.flatMap((e) => e.env),
    deviceNodes: all.flatMap((e) => e.deviceNodes),
    mounts: all.flatMap((e) => e.mounts),
    hooks: all.flatMap((e) => e.hooks),
    additionalGids: all.flatMap((e) => e.additionalGids),
  }
}

/** The spec that a parsed file holds. Throws `invalid`, naming the first field that does not fit. */
export function parseCdiSpec(value: unknown): CdiSpec {
  const spec = table(value, 'the spec', ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits'])
  text(spec.cdiVersion, 'cdiVersion', (v) => VERSIONS.test(v) || 'is not a version up to 1.1.0')
  const kind = text(spec.kind, 'kind', (v) => KIND.test(v) || 'is not "vendor/class"')
  const devices = new Map<string, CdiEdits>()
  for (const [i, raw] of list(spec.devices, 'devices').entries()) {
    const where = `devices[${i}]`
    const device = table(raw, where, ['name', 'annotations', 'containerEdits'])
    const name = text(device.name, `${where}.name`, (v) => NAME.test(v) || 'is not the name of a device')
    if (devices.has(name)) throw bad(`${where}.name`, `"${clip(name)}" is there twice`)
    devices.set(name, edits(device.containerEdits, `${where}.containerEdits`))
  }
  return { kind, edits: edits(spec.containerEdits, 'containerEdits'), devices }
}

function edits(value: unknown, at: string): CdiEdits {
  const raw = table(value ?? {}, at, [
    'env',
    'deviceNodes',
    'mounts',
    'hooks',
    'additionalGids',
    'intelRdt',
    'netDevices',
  ])
  for (const key of ['intelRdt', 'netDevices'] as const)
    if (raw[key] != null) throw bad(`${at}.${key}`, 'is not carried out by this runtime')
  const each = <T>(key: string, read: (v: unknown, where: string) => T): readonly T[] =>
    list(raw[key], `${at}.${key}`).map((v, i) => read(v, `${at}.${key}[${i}]`))
  return {
    env: each('env', variable),
    deviceNodes: each('deviceNodes', deviceNode),
    mounts: each('mounts', mount),
    hooks: each('hooks', hook),
    additionalGids: each('additionalGids', (v, where) => count(v, where)),
  }
}

function deviceNode(value: unknown, at: string): CdiDeviceNode {
  const raw = table(value, at, [
    'path',
    'hostPath',
    'type',
    'major',
    'minor',
    'fileMode',
    'permissions',
    'uid',
    'gid',
  ])
  const path = filePath(raw.path, `${at}.path`)
  const numbers = (['major', 'minor', 'fileMode', 'uid', 'gid'] as const).flatMap((key) =>
    raw[key] == null ? [] : [[key, count(raw[key], `${at}.${key}`)] as const],
  )
  const rights = (v: string) => /^[rwm]{0,3}$/.test(v) || 'is not made of r, w and m'
  return {
    path,
    hostPath: raw.hostPath == null ? path : filePath(raw.hostPath, `${at}.hostPath`),
    ...(raw.type == null ? {} : { type: oneOf(raw.type, `${at}.type`, NODE_TYPES) }),
    ...Object.fromEntries(numbers),
    permissions: text(raw.permissions ?? '', `${at}.permissions`, rights),
  }
}

function mount(value: unknown, at: string): CdiMount {
  const raw = table(value, at, ['hostPath', 'containerPath', 'type', 'options'])
  const type = text(raw.type ?? 'bind', `${at}.type`)
  const options = list(raw.options, `${at}.options`).map((o, i) => text(o, `${at}.options[${i}]`))
  const isBind = type === 'bind' || options.includes('bind') || options.includes('rbind')
  return {
    hostPath: isBind ? filePath(raw.hostPath, `${at}.hostPath`) : text(raw.hostPath, `${at}.hostPath`),
    containerPath: filePath(raw.containerPath, `${at}.containerPath`),
    type: isBind ? 'bind' : type,
    // Without one of them a runtime takes `bind` for the name of a file system.
    options: isBind && !options.some((o) => /^r?bind$/.test(o)) ? ['rbind', ...options] : options,
  }
}

function hook(value: unknown, at: string): CdiHook {
  const raw = table(value, at, ['hookName', 'path', 'args', 'env', 'timeout'])
  const timeout = raw.timeout == null ? undefined : count(raw.timeout, `${at}.timeout`)
  if (timeout === 0) throw bad(`${at}.timeout`, 'has to be above 0')
  const args = list(raw.args, `${at}.args`).map((a, i) => text(a, `${at}.args[${i}]`))
  const env = list(raw.env, `${at}.env`).map((e, i) => variable(e, `${at}.env[${i}]`))
  return {
    hookName: oneOf(raw.hookName, `${at}.hookName`, HOOK_STAGES),
    path: filePath(raw.path, `${at}.path`),
    ...(args.length > 0 ? { args } : {}),
    ...(env.length > 0 ? { env } : {}),
    ...(timeout === undefined ? {} : { timeout }),
  }
}

const bad = (at: string, why: string) => new Fault('invalid', `${at} ${why}`)

function table(value: unknown, at: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(at, 'is not a table of keys')
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) throw bad(at, `has the unknown key "${clip(unknown)}"`)
  return Object.fromEntries(Object.entries(value))
}

function list(value: unknown, at: string): readonly unknown[] {
  if (value == null) return []
  if (!Array.isArray(value)) throw bad(at, 'is not a list')
  return value
}

/** `rule` gives true, or what is wrong. */
function text(value: unknown, at: string, rule?: (v: string) => true | string): string {
  if (typeof value !== 'string') throw bad(at, value == null ? 'is missing' : 'is not a string')
  const wrong = value.includes('\0') ? 'has a NUL in it' : rule?.(value)
  if (typeof wrong === 'string') throw bad(at, `${wrong}: "${clip(value)}"`)
  return value
}

function oneOf<const W extends string>(value: unknown, at: string, words: readonly W[]): W {
  const found = words.find((w) => w === value)
  if (found === undefined) throw bad(at, `is not one of ${words.join(', ')}`)
  return found
}

const variable = (value: unknown, at: string) =>
  text(value, at, (v) => v.indexOf('=') > 0 || 'is not NAME=VALUE')

function filePath(value: unknown, at: string): string {
  const path = text(value, at)
  try {
    return absPath(path)
  } catch {
    throw bad(at, `is not an absolute path without "..": "${clip(path)}"`)
  }
}

function count(value: unknown, at: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value
  throw bad(at, 'is not a whole number from 0 to 4294967295')
}
