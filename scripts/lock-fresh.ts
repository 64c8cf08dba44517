// SPDX-License-Identifier: Apache-2.0
/**
 * lock-fresh: exits 0 when node_modules is what package-lock.json says, 1 when `npm ci` has to run. Compares
 * the lock with the copy that npm leaves inside node_modules when it has finished, by version and hash, so a
 * touched file means nothing and an interrupted install is noticed. Changes nothing.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

interface Entry {
  readonly version?: string
  readonly integrity?: string
  readonly optional?: boolean
}

/** Whether `installed` (node_modules/.package-lock.json) fulfils `lock`. Optional packages may be absent. */
export function fulfils(lock: string, installed: string): boolean {
  const wanted = packages(lock)
  const have = packages(installed)
  for (const [path, entry] of have) {
    const want = wanted.get(path)
    if (want?.version !== entry.version || want?.integrity !== entry.integrity) return false
  }
  return [...wanted].every(([path, entry]) => path === '' || entry.optional === true || have.has(path))
}

function packages(text: string): Map<string, Entry> {
  const parsed = JSON.parse(text) as { packages?: Record<string, Entry> }
  return new Map(Object.entries(parsed.packages ?? {}))
}

function main(): boolean {
  const repo = dirname(dirname(fileURLToPath(import.meta.url)))
  try {
    const lock = readFileSync(join(repo, 'package-lock.json'), 'utf8')
    return fulfils(lock, readFileSync(join(repo, 'node_modules/.package-lock.json'), 'utf8'))
  } catch {
    return false // no such file, or not JSON: npm ci puts both right
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main() ? 0 : 1
