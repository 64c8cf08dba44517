// SPDX-License-Identifier: Apache-2.0
/**
 * leak-check: what a suite left on the host. `snapshot` before, `expectNoLeaks` after: mounts, pinned
 * namespaces, links, firewall rules, cgroups, processes, descriptors of the daemon, files. It reports what is
 * new by name; what is gone is not its business, and neither is what lies in the folder of another test or
 * hangs on its bridge, so that suites can run beside each other. It changes nothing: clearing up is
 * `workspace.ts`.
 */
import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ProcessView } from './host-view.ts'
import * as host from './host-view.ts'

const nativeDir = join(dirname(fileURLToPath(import.meta.url)), '../../native/build')

/** Programs of which no process may be left, wherever they were started. */
export const watchedPrograms: readonly string[] = [
  ...['gantry-monitor', 'gantry-keeper', 'gantry-pause', 'gantry-unpack'].map((name) =>
    join(nativeDir, name),
  ),
  '/usr/sbin/runc',
  '/usr/bin/runc',
  '/usr/bin/crun',
  '/usr/bin/runsc',
]

export interface LeakScope {
  /** Folders of the test: mounts below them, and processes that name them, are its own. */
  readonly roots: readonly string[]
  /** cgroup subtrees, as `/gt-abc`: what is below them counts; they themselves may stay. */
  readonly cgroups?: readonly string[]
  /** Words in firewall rules that mark them as the test's: its network, its bridge. */
  readonly ruleMarks?: readonly string[]
  /** Links of these prefixes only; without it every new link counts that is not at another's bridge. */
  readonly linkPrefixes?: readonly string[]
  /** Links that may stay, such as a bridge, which the plugin that makes it never takes away. */
  readonly stayingLinks?: readonly string[]
  /** Executables that must not be left running; `watchedPrograms` when absent. */
  readonly programs?: readonly string[]
  /** The daemon, whose descriptors and unreaped children are counted. */
  readonly daemonPid?: number
  /** How many more descriptors of one kind it may have than before; 0. */
  readonly fdSlack?: number
  /** Folders whose files are compared. */
  readonly fileRoots?: readonly string[]
  /** Files that may appear, such as pulled blobs. */
  readonly ignoreFiles?: RegExp
}

export type LeakKind = 'mount' | 'namespace' | 'link' | 'rule' | 'cgroup' | 'process' | 'fd' | 'file'

export interface Leak {
  readonly kind: LeakKind
  readonly name: string
}

export interface Snapshot {
  readonly scope: LeakScope
  /** What was there, as `kind name`; for descriptors of the daemon, how many of each kind. */
  readonly seen: ReadonlySet<string>
  readonly fds: ReadonlyMap<string, number>
}

/** True for a text that names folders of tests, `/tmp/gt…`, `/run/gt…` or `/dev/shm/gt…`, none of ours. */
function elsewhere(text: string, scope: LeakScope): boolean {
  const named = /\/(?:tmp|run|dev\/shm)\/gt|:\/gt/.test(text)
  return named && !scope.roots.some((r) => text.includes(r))
}

/** True for a link with the first letters of a test, but of none of ours. */
function othersLink(name: string, scope: LeakScope): boolean {
  return name.startsWith('gt') && !scope.roots.some((r) => name.includes(basename(r)))
}

async function mountsNow(scope: LeakScope): Promise<Leak[]> {
  const all = await host.mounts()
  return all.flatMap((m): Leak[] => {
    const name = `${m.mountPoint} (${m.fsType} ${m.root} from ${m.source})`
    const text = [m.mountPoint, m.root, m.source, m.superOptions].join('\n')
    if (elsewhere(text, scope)) return []
    if (m.fsType === 'nsfs') return [{ kind: 'namespace', name }]
    const ours = text.includes('gantry') || scope.roots.some((r) => text.includes(r))
    return ours ? [{ kind: 'mount', name }] : []
  })
}

async function linksNow(scope: LeakScope): Promise<Leak[]> {
  const { linkPrefixes, stayingLinks = [] } = scope
  const all = await host.links()
  const counts = (l: host.Link): boolean => {
    if (stayingLinks.includes(l.name)) return false
    if (linkPrefixes !== undefined) return linkPrefixes.some((p) => l.name.startsWith(p))
    const others = l.master !== '' && !stayingLinks.includes(l.master)
    return !others && !othersLink(l.name, scope)
  }
  return all.filter(counts).map((l) => ({ kind: 'link', name: l.name }))
}

async function rulesNow(scope: LeakScope): Promise<Leak[]> {
  const marks = scope.ruleMarks ?? []
  if (marks.length === 0) return []
  const rules = await host.firewallRules()
  return rules.filter((r) => marks.some((m) => r.includes(m))).map((name) => ({ kind: 'rule', name }))
}

async function cgroupsNow(scope: LeakScope): Promise<Leak[]> {
  const subtrees = scope.cgroups ?? []
  const dirs = await Promise.all(subtrees.map((c) => host.cgroupDirs(c)))
  const tops = (await host.cgroupMounts()).flatMap((m) => subtrees.map((c) => join(m, c)))
  return dirs
    .flat()
    .filter((dir) => !tops.includes(dir))
    .map((name) => ({ kind: 'cgroup', name }))
}

function isOurs(p: ProcessView, scope: LeakScope): boolean {
  if (p.pid === scope.daemonPid) return false
  if (p.zombie && p.ppid === scope.daemonPid) return true
  if ([...scope.roots, ...(scope.cgroups ?? [])].some((word) => p.text.includes(word))) return true
  // Without arguments it is just ending, and nobody can say whose it was.
  if (p.argv.length === 0) return false
  return (scope.programs ?? watchedPrograms).includes(p.exe) && !elsewhere(p.text, scope)
}

async function processesNow(scope: LeakScope): Promise<Leak[]> {
  const all = await host.processes()
  return all
    .filter((p) => isOurs(p, scope))
    .map((p) => ({
      kind: 'process',
      name: `${p.pid} (${p.comm}${p.zombie ? ', zombie' : ''}, started at tick ${p.startTicks}) ${p.argv.join(' ').slice(0, 200)}`,
    }))
}

async function filesNow(scope: LeakScope): Promise<Leak[]> {
  const mountPoints = new Set((await host.mounts()).map((m) => m.mountPoint))
  const lists = await Promise.all((scope.fileRoots ?? []).map((r) => host.filesUnder(r, mountPoints)))
  return lists
    .flat()
    .filter((path) => scope.ignoreFiles === undefined || !scope.ignoreFiles.test(path))
    .map((name) => ({ kind: 'file', name }))
}

async function everything(scope: LeakScope): Promise<Leak[]> {
  const looks = [mountsNow, linksNow, rulesNow, cgroupsNow, processesNow, filesNow]
  return (await Promise.all(looks.map((look) => look(scope)))).flat()
}

async function fdsNow(scope: LeakScope): Promise<ReadonlyMap<string, number>> {
  return scope.daemonPid === undefined ? new Map() : host.openFiles(scope.daemonPid)
}

/** What is there now, to compare with later. Take it when the daemon is up and has served one of each request. */
export async function snapshot(scope: LeakScope): Promise<Snapshot> {
  if (scope.ignoreFiles?.global === true)
    throw new Error('ignoreFiles must not be a global regular expression')
  if (scope.daemonPid !== undefined) await readFile(`/proc/${scope.daemonPid}/stat`)
  const [all, fds] = await Promise.all([everything(scope), fdsNow(scope)])
  return { scope, seen: new Set(all.map((l) => `${l.kind} ${l.name}`)), fds }
}

/**
 * The same snapshot for a daemon that was started again: its descriptors are not compared, for the new process
 * has no past; everything else is.
 */
export function withoutDaemon(before: Snapshot): Snapshot {
  const { daemonPid: _, ...scope } = before.scope
  return { ...before, scope, fds: new Map() }
}

/** What is there now and was not then, once. */
export async function leaksSince(before: Snapshot): Promise<Leak[]> {
  const { scope } = before
  const [all, fds] = await Promise.all([everything(scope), fdsNow(scope)])
  const leaks = all.filter((l) => !before.seen.has(`${l.kind} ${l.name}`))
  for (const [target, count] of fds) {
    const was = before.fds.get(target) ?? 0
    if (count > was + (scope.fdSlack ?? 0))
      leaks.push({ kind: 'fd', name: `${target}: ${count} open, ${was} before` })
  }
  return leaks
}

/**
 * Rejects with the names of all that is new, if it does not go away within `withinMs`: things that are just
 * ending get that long.
 */
export async function expectNoLeaks(
  before: Snapshot,
  options: { readonly withinMs?: number } = {},
): Promise<void> {
  const endMs = performance.now() + (options.withinMs ?? 5000)
  for (;;) {
    const leaks = await leaksSince(before)
    if (leaks.length === 0) return
    if (performance.now() > endMs) {
      const lines = leaks.slice(0, 60).map((l) => `  ${l.kind}: ${l.name}`)
      throw new Error(`left behind on the host (${leaks.length}):\n${lines.join('\n')}`)
    }
    await sleep(100)
  }
}
