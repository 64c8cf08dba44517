// SPDX-License-Identifier: Apache-2.0
/**
 * runtimes: the part of the configuration whose keys the operator chooses, `[runtimes.<name>]`. A name that is
 * written in several files is merged field by field. Whether the program exists is not asked here. Pure.
 */
import { type AbsPath, absPath, clip } from '../model/ids.ts'
import { nearest } from './nearest.ts'
import {
  defaultRuntimes,
  type RuntimeConfig,
  type RuntimeKind,
  runtimeFields,
  runtimeKinds,
} from './schema.ts'

/** The fields that were written, and where the last of them stood. */
export type WrittenRuntime = Partial<Omit<RuntimeConfig, 'explicit'>> & { readonly place?: string }

const handlerName = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/
const asKind = (value: unknown): RuntimeKind | undefined => runtimeKinds.find((k) => k === value)

/** Reads one table. Problems start with the key. `table` is undefined when it was no table. */
export function readRuntime(
  name: string,
  table: Readonly<Record<string, unknown>> | undefined,
): { readonly written: WrittenRuntime; readonly problems: readonly string[] } {
  const key = `runtimes.${clip(name)}`
  if (!handlerName.test(name))
    return { written: {}, problems: [`${key}: a handler is named like a DNS label: a-z, 0-9, "-" and "."`] }
  if (table === undefined) return { written: {}, problems: [`${key}: this is a table: write [${key}]`] }
  const problems: string[] = []
  let written: WrittenRuntime = {}
  for (const [field, raw] of Object.entries(table)) {
    const got = readField(field, raw)
    if (typeof got === 'string') problems.push(`${key}.${clip(field)}: ${got}`)
    else written = { ...written, ...got }
  }
  return { written, problems }
}

/** The field, or what is wrong with it. */
function readField(field: string, raw: unknown): WrittenRuntime | string {
  if (field === 'kind') {
    const kind = asKind(raw)
    return kind === undefined ? `not one of ${runtimeKinds.join(', ')}` : { kind }
  }
  if (field === 'path') {
    const plain = typeof raw === 'string' && /^[\w.+-]+$/.test(raw)
    if (plain) return { path: raw }
    const path = asPath(raw)
    return path === undefined ? 'neither an absolute path nor the bare name of a program' : { path }
  }
  if (field === 'root' || field === 'base_spec') {
    const file = asPath(raw)
    if (file === undefined) return 'not an absolute path'
    return field === 'root' ? { root: file } : { baseSpec: file }
  }
  if (field === 'hooks_dirs') {
    const dirs = asTexts(raw)?.map(asPath) ?? [undefined]
    const hooksDirs = dirs.filter((d) => d !== undefined)
    return hooksDirs.length === dirs.length ? { hooksDirs } : 'not a list of absolute paths'
  }
  const name = lists[field]
  if (name !== undefined) {
    const list = asTexts(raw)
    return list === undefined ? 'not a list of strings' : { [name]: list }
  }
  if (field === 'annotations') {
    const good = typeof raw === 'object' && raw !== null && asTexts(Object.values(raw)) !== undefined
    return good ? { annotations: Object.fromEntries(Object.entries(raw)) } : 'not a table of strings'
  }
  if (field === 'privileged_without_host_devices')
    return typeof raw === 'boolean' ? { privilegedWithoutHostDevices: raw } : 'not true or false'
  if (field === 'privileged_without_host_devices_all_devices_allowed')
    return typeof raw === 'boolean'
      ? { privilegedWithoutHostDevicesAllDevicesAllowed: raw }
      : 'not true or false'
  const near = nearest(field, Object.keys(runtimeFields))
  return `there is no such option${near === undefined ? '' : `; did you mean ${near}?`}`
}

/** Fields that are lists of strings. */
const lists: Readonly<Partial<Record<string, 'args' | 'podAnnotations' | 'containerAnnotations'>>> = {
  args: 'args',
  pod_annotations: 'podAnnotations',
  container_annotations: 'containerAnnotations',
}

function asTexts(raw: unknown): readonly string[] | undefined {
  const good = Array.isArray(raw) && raw.every((a): a is string => typeof a === 'string' && !a.includes('\0'))
  return good ? [...raw] : undefined
}

function asPath(raw: unknown): AbsPath | undefined {
  if (typeof raw !== 'string') return undefined
  try {
    return absPath(raw)
  } catch {
    return undefined
  }
}

/** The default runtimes and the written ones, complete. Adds to `problems` where the kind cannot be known. */
export function resolveRuntimes(
  written: ReadonlyMap<string, WrittenRuntime>,
  problems: string[],
): Readonly<Record<string, RuntimeConfig>> {
  const all: Record<string, RuntimeConfig> = {}
  for (const name of new Set([...defaultRuntimes, ...written.keys()])) {
    const w = written.get(name)
    const kind = w?.kind ?? asKind(name)
    if (kind === undefined) {
      // A name that was refused has said so already.
      if (handlerName.test(name))
        problems.push(`${w?.place}.kind: missing; it is one of ${runtimeKinds.join(', ')}`)
      continue
    }
    const { place, ...own } = w ?? {}
    if (own.privilegedWithoutHostDevicesAllDevicesAllowed && !own.privilegedWithoutHostDevices)
      problems.push(
        `${place}.privileged_without_host_devices_all_devices_allowed: needs privileged_without_host_devices`,
      )
    all[name] = { path: kind, root: undefined, args: [], ...own, kind, explicit: w !== undefined }
  }
  return all
}
