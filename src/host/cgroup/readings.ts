// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel's figures of many cgroups and network namespaces in one native read, off the event loop. What is stuck
 * delays a call by 100 ms at most, once, and nobody else's figures. Owns one rtnetlink socket for each pod network
 * that was asked about, so that no namespace is entered again; `forget` closes it.
 */
import { open, readFile } from 'node:fs/promises'
import { type CgroupFile, cgroupFiles, type Detail } from '../../model/stats/cgroup.ts'
import type { DiskUse } from '../../model/stats/usage.ts'
import type { Fd, GroupText, Native } from '../native.ts'

export interface ReadingRequest {
  /** Of the container or pod. */
  readonly id: string
  readonly cgroup?: string | undefined
  readonly detail: Detail
  /** Pin of the network namespace whose interfaces are wanted. */
  readonly netns?: string | undefined
  /** The first process, if its limits are wanted. */
  readonly pid?: number | undefined
}

export interface Reading {
  /** By file name; what could not be read is missing. */
  readonly texts: ReadonlyMap<string, string>
  readonly links?: string
  readonly processes?: string
  readonly limits?: string
}

export interface Readings {
  /**
   * One answer for each request: `gone` when there is no such cgroup any more, `stuck` when the kernel does not
   * answer. Never rejects for one of them. @abort finishes
   */
  read(requests: readonly ReadingRequest[]): Promise<readonly (Reading | 'gone' | 'stuck')[]>
  /** Lets go of the network namespace that is pinned at `netns`. */
  forget(netns: string): void
  /** Nanoseconds of a clock that never steps. */
  monotonicNs(): bigint
  /** The disk that holds `path`. */
  disk(path: string): Promise<DiskUse>
}

interface Ground {
  readonly version: 1 | 2
  readonly mounts: Readonly<Record<string, string>>
  readonly hugepageSizes: readonly string[]
}

/** A read that takes longer is stuck: the next container's begins beside it, and the call ends. Milliseconds. */
const LIMITS = { stallMs: 5, deadlineMs: 100 }

export function readings(native: Native, ground: Ground): Readings {
  const { version, mounts, hugepageSizes } = ground
  const filesOf = (detail: Detail): readonly CgroupFile[] =>
    cgroupFiles(version, detail, hugepageSizes).filter(([controller]) => mounts[controller] !== undefined)
  const files = { stats: filesOf('stats'), counted: filesOf('counted'), metrics: filesOf('metrics') }
  const procs = version === 2 ? mounts.unified : (mounts.pids ?? mounts.memory)
  const sockets = linkSockets(native)
  let turn: Promise<unknown> = Promise.resolve()

  async function readAll(
    requests: readonly ReadingRequest[],
  ): Promise<readonly (Reading | 'gone' | 'stuck')[]> {
    const links = await Promise.all(requests.map(({ netns }) => netns && sockets.get(netns)))
    const groups = requests.map(({ id, cgroup, detail, pid }, i) => ({
      key: `${id} ${detail}`,
      paths: [
        ...(cgroup === undefined
          ? []
          : files[detail].map(([controller, file]) => `${mounts[controller]}${cgroup}/${file}`)),
        ...(pid === undefined ? [] : [`/proc/${pid}/limits`]),
      ],
      ...(typeof links[i] === 'number' ? { link: links[i] } : {}),
      ...(detail === 'metrics' && cgroup !== undefined ? { procs: `${procs}${cgroup}/cgroup.procs` } : {}),
    }))
    const answers = await native.readGroups(groups, LIMITS)
    return answers.map((texts, i) => {
      const { cgroup, detail, pid } = requests[i] as ReadingRequest
      if (!isTexts(texts)) return 'stuck'
      const names = cgroup === undefined ? [] : files[detail].map(([, file]) => file)
      return reading(texts, { names, pid, group: groups[i] as (typeof groups)[number] })
    })
  }

  return {
    read(requests) {
      // One after the other: a socket that two ask at once would mix up their answers.
      const mine = turn.then(() => readAll(requests))
      turn = mine.catch(() => {})
      return mine
    },
    forget: sockets.forget,
    monotonicNs: () => process.hrtime.bigint(),
    async disk(path) {
      const { totalBytes, totalInodes, freeInodes } = native.statfs(path)
      return { device: await deviceOf(path), totalBytes, totalInodes, freeInodes }
    },
  }
}

const isTexts = (answer: readonly GroupText[] | { readonly code: string }): answer is readonly GroupText[] =>
  Array.isArray(answer)

interface Shape {
  readonly names: readonly string[]
  readonly pid: number | undefined
  readonly group: { readonly link?: Fd; readonly procs?: string }
}

function reading(all: readonly GroupText[], { names, pid, group }: Shape): Reading | 'gone' {
  const rest = [...all]
  const texts = new Map<string, string>()
  for (const name of names) {
    const text = rest.shift()
    if (typeof text === 'string') texts.set(name, text)
  }
  if (names.length > 0 && texts.size === 0) return 'gone'
  const next = <K extends string>(name: K, wanted: boolean) => {
    const text = wanted ? rest.shift() : undefined
    return (typeof text === 'string' ? { [name]: text } : {}) as { readonly [N in K]?: string }
  }
  const limits = next('limits', pid !== undefined)
  const links = next('links', group.link !== undefined)
  return { texts, ...limits, ...links, ...next('processes', group.procs !== undefined) }
}

/** One rtnetlink socket for each namespace, made when it is first asked for. A socket keeps its namespace alive. */
function linkSockets(native: Native) {
  const open = new Map<string, Promise<Fd | undefined>>()
  return {
    get(netns: string): Promise<Fd | undefined> {
      const before = open.get(netns)
      if (before) return before
      const made = native.socketInNetns(netns, 0).catch(() => undefined)
      open.set(netns, made)
      return made
    },
    forget(netns: string): void {
      const made = open.get(netns)
      open.delete(netns)
      void made?.then((fd) => fd !== undefined && native.close(fd))
    },
  }
}

/** `major:minor` where no mount of the disk is in sight. */
async function deviceOf(path: string): Promise<string> {
  const folder = await open(path)
  const { dev } = await folder.stat().finally(() => folder.close())
  const number = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
  const table = await readFile('/proc/self/mountinfo', 'latin1')
  const line = table.split('\n').find((l) => l.split(' ')[2] === number)
  return line?.split(' - ')[1]?.split(' ')[1] ?? number
}
