// SPDX-License-Identifier: Apache-2.0
/**
 * Reads folders of hook files (`*.json`). They are looked at with each container of a handler that has such folders,
 * and a file is read again when it has changed. A file that cannot be used is an error for whoever asks: a hook that
 * does not run may be one that protects.
 */
import { constants } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { errnoCode, Fault } from '../base/fault.ts'
import { clip } from '../model/ids.ts'
import { LIMITS } from '../model/limits.ts'
import { type HookFile, parseHookFile } from '../model/plan/spec/hooks.ts'

/**
 * The hooks of the folders in the order of their names; of two with one name that of the later folder counts. A folder
 * that is not there is empty. Throws `invalid`, naming the file.
 */
export type Hooks = (dirs: readonly string[]) => Promise<readonly HookFile[]>

/** Has read nothing yet. */
export function hooks(): Hooks {
  const known = new Map<string, { readonly stamp: string; readonly file: HookFile }>()

  async function read(path: string): Promise<HookFile> {
    // What is no file is told by its kind, and never waited for.
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stats = await handle.stat({ bigint: true })
    const { mtimeNs, size, ino } = stats
    if (!stats.isFile()) throw new Fault('invalid', `hook file ${path}: is not a file`)
    if (size > BigInt(LIMITS.hookFileBytes))
      throw new Fault('invalid', `hook file ${path}: more than ${LIMITS.hookFileBytes} bytes`)
    const stamp = `${mtimeNs}/${size}/${ino}`
    const before = known.get(path)
    if (before?.stamp === stamp) return before.file
    const file = parseHookFile(await handle.readFile('utf8'), path)
    known.set(path, { stamp, file })
    return file
  }

  return async (dirs) => {
    const paths = new Map<string, string>()
    for (const dir of dirs) for (const name of await namesIn(dir)) paths.set(name, `${dir}/${name}`)
    if (paths.size > LIMITS.hookFiles)
      throw new Fault('invalid', `hooks_dirs: more than ${LIMITS.hookFiles} hook files`)
    const all: HookFile[] = []
    for (const path of known.keys())
      if (dirs.includes(dirname(path)) && paths.get(basename(path)) !== path) known.delete(path)
    for (const name of [...paths.keys()].sort()) {
      const path = paths.get(name) ?? ''
      all.push(await read(path).catch((e: unknown) => unusable(path, e)))
    }
    return all
  }
}

function unusable(path: string, e: unknown): never {
  if (e instanceof Fault) throw e
  throw new Fault('invalid', `hook file ${clip(path)}: cannot be read (${errnoCode(e) ?? 'unknown'})`)
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter((name) => name.endsWith('.json'))
  } catch (e) {
    if (errnoCode(e) === 'ENOENT') return []
    throw new Fault('invalid', `hooks_dirs: ${dir} cannot be read (${errnoCode(e) ?? 'unknown'})`)
  }
}
