// SPDX-License-Identifier: Apache-2.0
/**
 * tree: the files of the repository, seen twice: by walking the folders, which is what the checks read, and by
 * asking git. `missed` is how a check proves that its walk left nothing out. Read-only.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Path from the root of the repository → text. */
export type Files = ReadonlyMap<string, string>

const ignored = new Set(['node_modules', 'dist', '.git', '.cache', 'gen', 'out', 'build', 'bin'])

/** The text of every file under `folders` whose name `wanted` accepts. Ignored folders hold what is built. */
export function readTree(repo: string, folders: readonly string[], wanted: (path: string) => boolean): Files {
  const files = new Map<string, string>()
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(repo, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.isDirectory() && !ignored.has(entry.name)) walk(path)
      else if (entry.isFile() && wanted(path)) files.set(path, readFileSync(join(repo, path), 'utf8'))
    }
  }
  for (const folder of folders) if (existsSync(join(repo, folder))) walk(folder)
  return files
}

/** What git lists: committed files and new ones that are not ignored, as far as they are on disk. */
export function gitFiles(repo: string): string[] {
  // The checkout may belong to another user than root: say for this one command that it is trusted.
  const args = ['-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const text = execFileSync('git', args, { cwd: repo, encoding: 'utf8', maxBuffer: 64 << 20 })
  return text
    .split('\0')
    .filter((path) => path !== '' && statSync(join(repo, path), { throwIfNoEntry: false })?.isFile())
}

/** The files that git lists and `wanted` accepts, but that a walk did not see. */
export function missed(seen: Files, listed: readonly string[], wanted: (path: string) => boolean): string[] {
  return listed.filter((path) => wanted(path) && !seen.has(path))
}
