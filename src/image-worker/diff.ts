// SPDX-License-Identifier: Apache-2.0
/**
 * The job `diff`: what a layer changes of what is below it, as overlayfs understands the two: a 0:0 character
 * device hides, an opaque folder hides all that is below it. Looks at names and types only, so a file that was
 * opened for writing and not changed counts as changed. Follows no links.
 */
import type { Stats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { errnoCode } from '../base/fault.ts'
import { abortFault } from '../base/scope.ts'
import type { DiffEntry, DiffJob } from '../host/images/protocol.ts'
import { loadNative, type Native } from '../host/native.ts'
import type { JobContext } from './job.ts'
import { reporting } from './progress.ts'

/** Entries that are told; looking ends there. */
const MAX_ENTRIES = 20_000

export interface Diff {
  readonly entries: readonly DiffEntry[]
  readonly truncated: boolean
}

interface Walk {
  readonly native: Pick<Native, 'isOpaque'>
  readonly signal: AbortSignal
  readonly entries: DiffEntry[]
  looked: number
}

/** A folder on the way, and the folders of lower layers that show through at it, topmost first. */
interface At {
  readonly upper: Buffer
  readonly lower: readonly Buffer[]
  readonly path: string
}

/** Sorted by path. @abort stops */
export async function diffJob(context: JobContext, job: DiffJob): Promise<Diff> {
  const walk: Walk = {
    native: loadNative(job.addon),
    signal: context.scope.signal,
    entries: [],
    looked: 0,
  }
  using _ = reporting(context, () => ({ layers: [], archiveBytes: walk.looked }))
  const lower = job.lower.map((folder) => Buffer.from(folder))
  const whole = await descend(walk, { upper: Buffer.from(job.upper), lower, path: '' })
  const entries = walk.entries.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  return { entries, truncated: !whole }
}

/** False: there were more entries than are told. */
async function descend(walk: Walk, at: At): Promise<boolean> {
  for (const name of (await names(at.upper)).sort(Buffer.compare)) {
    if (walk.signal.aborted) throw abortFault(walk.signal)
    walk.looked++
    const upper = inside(at.upper, name)
    const path = `${at.path}/${name.toString('utf8')}`
    const stats = await look(upper)
    if (stats === undefined) continue
    const below = await showing(walk, at.lower, name)
    const is = isWhiteout(stats) ? 'deleted' : below === undefined ? 'added' : 'changed'
    if (is !== 'deleted' || below !== undefined) {
      if (walk.entries.length >= MAX_ENTRIES) return false
      walk.entries.push({ kind: is, path })
    }
    if (!stats.isDirectory()) continue
    const opaque = walk.native.isOpaque(upper)
    if (opaque && below && !(await hiddenBy(walk, { upper, lower: below, path }))) return false
    if (!(await descend(walk, { upper, lower: opaque ? [] : (below ?? []), path }))) return false
  }
  return true
}

/** What an opaque folder hides of the folders below and has not anew. */
async function hiddenBy(walk: Walk, at: At): Promise<boolean> {
  const own = new Set((await names(at.upper)).map((name) => name.toString('latin1')))
  const seen = new Map<string, Buffer>()
  for (const folder of at.lower)
    for (const name of await names(folder)) seen.set(name.toString('latin1'), name)
  for (const [key, name] of seen) {
    walk.looked++
    if (own.has(key) || (await showing(walk, at.lower, name)) === undefined) continue
    if (walk.entries.length >= MAX_ENTRIES) return false
    walk.entries.push({ kind: 'deleted', path: `${at.path}/${name.toString('utf8')}` })
  }
  return true
}

/**
 * What of the lower folders shows at `name`: undefined if nothing does, else the folders there (none for a file).
 * A whiteout or a file ends the look, and so does an opaque folder.
 */
async function showing(walk: Walk, lower: readonly Buffer[], name: Buffer): Promise<Buffer[] | undefined> {
  const folders: Buffer[] = []
  for (const folder of lower) {
    const place = inside(folder, name)
    const stats = await look(place)
    if (stats === undefined) continue
    if (!stats.isDirectory()) {
      if (folders.length === 0 && !isWhiteout(stats)) return []
      break
    }
    folders.push(place)
    if (walk.native.isOpaque(place)) break
  }
  return folders.length > 0 ? folders : undefined
}

const SLASH = Buffer.from('/')
const inside = (folder: Buffer, name: Buffer): Buffer => Buffer.concat([folder, SLASH, name])
const isWhiteout = (stats: Stats): boolean => stats.isCharacterDevice() && stats.rdev === 0

async function names(folder: Buffer): Promise<Buffer[]> {
  return readdir(folder, { encoding: 'buffer' }).catch(unlessGone([]))
}

async function look(path: Buffer): Promise<Stats | undefined> {
  return lstat(path).catch(unlessGone(undefined))
}

/** A running container removes things while they are looked at. */
function unlessGone<T>(instead: T) {
  return (e: unknown): T => {
    if (errnoCode(e) === 'ENOENT' || errnoCode(e) === 'ENOTDIR') return instead
    throw e
  }
}
