// SPDX-License-Identifier: Apache-2.0
/**
 * Whether mounts spread from a path: read from /proc/self/mountinfo (proc_pid_mountinfo(5)). The kernel takes a
 * bind mount of a private source for shared without a word, and nothing would spread; here it is said.
 */
import { readFile } from 'node:fs/promises'
import { Fault } from '../base/fault.ts'
import type { MountPropagation } from '../model/container.ts'
import { clip } from '../model/ids.ts'

interface MountPoint {
  readonly path: string
  readonly shared: boolean
  readonly slave: boolean
}

const unescaped = (field: string) =>
  field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

/** The mount that `path` (links followed) lies on: the deepest, and of several on one place the last. */
export function mountPointOf(mountinfo: string, path: string): MountPoint | undefined {
  let best: MountPoint | undefined
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' - ')[0]?.split(' ') ?? []
    if (fields[4] === undefined) continue
    const at = unescaped(fields[4])
    if (path !== at && !path.startsWith(at === '/' ? '/' : `${at}/`)) continue
    if (best && best.path.length > at.length) continue
    const tags = fields.slice(6)
    best = {
      path: at,
      shared: tags.some((t) => t.startsWith('shared:')),
      slave: tags.some((t) => t.startsWith('master:')),
    }
  }
  return best
}

/** Throws `invalid` when the source cannot give the propagation that was asked for. @abort finishes */
export async function expectPropagation(source: string, wanted: MountPropagation): Promise<void> {
  if (wanted === 'private') return
  const point = mountPointOf(await readFile('/proc/self/mountinfo', 'utf8'), source)
  if (point?.shared || (wanted === 'host-to-container' && point?.slave)) return
  const kind = wanted === 'bidirectional' ? 'a shared mount' : 'a shared or slave mount'
  throw new Fault(
    'invalid',
    `host_path ${clip(source)}: propagation ${wanted} needs ${kind}, but ${point?.path ?? '/'} is private: mount --make-rshared ${point?.path ?? '/'}`,
  )
}
