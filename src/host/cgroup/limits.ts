// SPDX-License-Identifier: Apache-2.0
/**
 * The limit files of one cgroup: set all or none, looked at before a change and put back after a failed one.
 * Owns the order that the kernel accepts: a file that is refused is tried again after the others, since a sum
 * (memory and swap) has to grow before its part and to shrink after it. Decides no limit.
 */
import { asFault, errnoCode, Fault } from '../../base/fault.ts'
import type { LimitFile } from '../../model/plan/limit-files.ts'
import type { Native } from '../native.ts'

type Kernel = Pick<Native, 'readMany' | 'writeFile'>

/** What files held; `undefined` where there was no such file. */
export type SavedLimits = readonly { readonly path: string; readonly value: string | undefined }[]

/** On v1 by controller, on v2 in the one tree; undefined where the controller is not mounted. */
export type PlaceOf = (limit: LimitFile) => string | undefined

const text = (native: Kernel, path: string): string | undefined => {
  const [got] = native.readMany([path])
  return got instanceof Buffer ? got.toString('latin1').trim() : undefined
}

export function saveLimits(native: Kernel, place: PlaceOf, limits: readonly LimitFile[]): SavedLimits {
  const paths = limits.flatMap((l) => place(l) ?? [])
  return paths.map((path) => ({ path, value: text(native, path) }))
}

interface Refused {
  readonly path: string
  readonly value: string
  readonly error: unknown
}

/** Writes what differs; what is refused comes again as long as anything else succeeds. */
function writeAll(native: Kernel, files: readonly { path: string; value: string }[]): readonly Refused[] {
  let left = files
  for (;;) {
    const refused: Refused[] = []
    for (const { path, value } of left) {
      try {
        if (text(native, path) !== value) native.writeFile(path, value)
      } catch (error) {
        refused.push({ path, value, error })
      }
    }
    if (refused.length === 0 || refused.length === left.length) return refused
    left = refused
  }
}

/** Best effort: a file that takes its old value no more keeps the new one. The last word of files like io.max. */
export function restoreLimits(native: Kernel, saved: SavedLimits): void {
  writeAll(
    native,
    saved.flatMap(({ path, value }) => (value === undefined ? [] : [{ path, value }])),
  )
}

/** Sets all, or throws with what was there before. The Fault names the file, the value and the kernel's reason. */
export function setLimits(native: Kernel, place: PlaceOf, limits: readonly LimitFile[]): void {
  const files = limits.map((l) => {
    const path = place(l)
    if (path === undefined)
      throw new Fault('unsupported', `${l.file}: the cgroup controller ${l.controller} is not mounted here`)
    return { path, value: l.value }
  })
  const saved = saveLimits(native, place, limits)
  const [first] = writeAll(native, files)
  if (!first) return
  restoreLimits(native, saved)
  const code = errnoCode(first.error)
  const why =
    code === 'ENOENT'
      ? 'this cgroup has no such file: the kernel or the parent does not offer the controller'
      : asFault(first.error).message
  const kind = code === 'ENOENT' ? 'unsupported' : code === 'EBUSY' ? 'wrong-state' : 'invalid'
  throw new Fault(kind, `cannot write "${first.value}" to ${first.path}: ${why}`)
}

/** v2: the bytes of memory.stat that reclaim cannot give back without swap. */
export function heldMemory(current: string, stat: string): number | undefined {
  const of = (key: string) => Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0)
  const all = Number(current)
  if (!Number.isFinite(all) || current === '') return undefined
  const reclaimable = of('inactive_file') + of('active_file') + of('slab_reclaimable')
  return Math.max(0, all - reclaimable)
}
