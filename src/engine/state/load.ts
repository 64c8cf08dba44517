// SPDX-License-Identifier: Apache-2.0
/**
 * Reads every record and state back at start. A file that is corrupt or has not the shape of a record is moved
 * to the quarantine folder and reported: never believed, never fatal.
 */
import { readJson } from '../../base/json-file.ts'
import type { Host } from '../../host/index.ts'
import type { ContainerRecord, ContainerState } from '../../model/container.ts'
import { containerId, podId } from '../../model/ids.ts'
import { containerPaths, folders, podPaths, type Roots } from '../../model/names.ts'
import type { PodRecord, PodState } from '../../model/pod.ts'
import type { PodResources, Resources } from '../../model/resources.ts'
import {
  isContainerRecord,
  isContainerState,
  isPodRecord,
  isPodResources,
  isPodState,
  isResources,
} from './shapes.ts'

export interface LoadedPod {
  readonly record: PodRecord
  readonly state: PodState | undefined
  readonly resources?: PodResources | undefined
}

export interface Loaded {
  readonly pods: readonly LoadedPod[]
  readonly containers: readonly {
    readonly record: ContainerRecord
    readonly state: ContainerState | undefined
    readonly resources: Resources
  }[]
  readonly problems: readonly string[]
}

type Parse<T> = (value: Record<string, unknown>) => T | undefined

/** The value, undefined if there is none, or the reason why it cannot be believed. */
async function read<T>(path: string, parse: Parse<T>): Promise<{ value: T | undefined } | { bad: string }> {
  const got = await readJson(path)
  if (got.is === 'absent') return { value: undefined }
  if (got.is === 'corrupt') return { bad: `${path}: ${got.why}` }
  const value = parse(got.value)
  return value === undefined ? { bad: `${path}: not the shape of a record` } : { value }
}

/** Loads all. Ids whose folder is not an id are left alone and reported. @abort finishes */
export async function loadAll(roots: Roots, host: Pick<Host, 'files'>): Promise<Loaded> {
  const problems: string[] = []
  const pods: LoadedPod[] = []
  const containers: { record: ContainerRecord; state: ContainerState | undefined; resources: Resources }[] =
    []

  const setAside = async (folder: string, why: string) => {
    const to = await host.files.quarantine(folder)
    problems.push(`${why}; moved to ${to}`)
  }

  const loadPod = async (name: string) => {
    const folder = podPaths(roots, podId(name)).state
    const record = await read(`${folder}/record.json`, (v) => (isPodRecord(v.record) ? v.record : undefined))
    const state = await read(`${folder}/state.json`, (v) =>
      isPodState(v.state)
        ? { state: v.state, resources: isPodResources(v.resources) ? v.resources : undefined }
        : undefined,
    )
    if ('bad' in record) return setAside(folder, record.bad)
    if (record.value === undefined) return host.files.drop(folder)
    if ('bad' in state) problems.push(`${state.bad}; treated as unfinished`)
    pods.push({
      record: record.value,
      state: undefined,
      ...('bad' in state ? {} : state.value),
    })
  }

  const loadContainer = async (name: string) => {
    const folder = containerPaths(roots, containerId(name)).state
    const record = await read(`${folder}/record.json`, (v) =>
      isContainerRecord(v.record) ? v.record : undefined,
    )
    const state = await read(`${folder}/state.json`, (v) =>
      isContainerState(v.state) && isResources(v.resources)
        ? { state: v.state, resources: v.resources }
        : undefined,
    )
    if ('bad' in record) return setAside(folder, record.bad)
    if (record.value === undefined) return host.files.drop(folder)
    if ('bad' in state) problems.push(`${state.bad}; treated as unfinished`)
    const known = 'bad' in state ? undefined : state.value
    containers.push({
      record: record.value,
      state: known?.state,
      resources: known?.resources ?? record.value.config.resources,
    })
  }

  const each = async (folder: string, load: (name: string) => Promise<void>) => {
    for (const name of await host.files.names(folder)) {
      if (/^[0-9a-f]{64}$/.test(name)) await load(name)
      else problems.push(`${folder}/${name} is not ours: left alone`)
    }
  }
  const all = folders(roots)
  await Promise.all([each(all.pods, loadPod), each(all.containers, loadContainer)])
  return { pods, containers, problems }
}

export type LoadedContainer = Loaded['containers'][number]
