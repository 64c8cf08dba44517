// SPDX-License-Identifier: Apache-2.0
/**
 * lock-complete: adds to package-lock.json what `npm ci` wants to see there and a partial mirror did not give
 * when the lock was written: the optional packages of other platforms. Such an entry has name, version and
 * platform, and is never installed here. With `--check` it changes nothing and exits 1 when one is missing.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

interface Entry {
  readonly version?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
  readonly libc?: readonly string[]
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

interface Lock {
  readonly packages: Readonly<Record<string, Entry>>
}

const systems = [
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
  'aix',
]
const processors = ['x64', 'arm64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el']

/** Where node finds `name` from the package at `path`, if the lock has it. */
function has(lock: Lock, path: string, name: string): boolean {
  for (let at = path; ; at = at.slice(0, at.lastIndexOf('/node_modules/'))) {
    if (lock.packages[`${at}/node_modules/${name}`] !== undefined) return true
    if (!at.includes('/node_modules/')) return lock.packages[`node_modules/${name}`] !== undefined
  }
}

/** The platform that a package of one is named after; undefined when the name says none. */
export function platformOf(name: string): Pick<Entry, 'os' | 'cpu' | 'libc'> | undefined {
  const parts = name.slice(name.indexOf('/') + 1).split(/[-_.]/)
  const os = systems.find((s) => parts.includes(s))
  const cpu = processors.find((c) => parts.includes(c))
  if (os === undefined || cpu === undefined) return undefined
  const last = parts.at(-1) ?? ''
  const libc = last.startsWith('musl') ? ['musl'] : last.startsWith('gnu') ? ['glibc'] : undefined
  return { os: [os], cpu: [cpu], ...(libc === undefined ? {} : { libc }) }
}

/** The entries to add, by path. Throws for one that is no package of another platform: it must be locked truly. */
export function absent(text: string): Record<string, Entry> {
  const lock = JSON.parse(text) as Lock
  const added: Record<string, Entry> = {}
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '') continue
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (has(lock, path, name)) continue
      const platform = platformOf(name)
      const exact = /^\d+\.\d+\.\d+[\w.+-]*$/.test(version)
      const here = platform?.os?.[0] === 'linux' && /^(?:x64|arm64)$/.test(platform.cpu?.[0] ?? '')
      if (platform === undefined || !exact || (here && platform.libc?.[0] !== 'musl'))
        throw new Error(
          `package-lock.json has no ${name}@${version}, which ${path} may need: lock it with npm`,
        )
      const dev = entry.dev === true ? { dev: true } : {}
      added[`node_modules/${name}`] = { version, ...platform, ...dev, optional: true }
    }
  }
  return added
}

/** The lock with those entries, in the order in which npm writes them. */
export function complete(text: string): string {
  const lock = JSON.parse(text) as Lock
  const all = Object.entries({ ...lock.packages, ...absent(text) })
  const packages = Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, 'en')))
  return `${JSON.stringify({ ...lock, packages }, null, 2)}\n`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = join(dirname(dirname(fileURLToPath(import.meta.url))), 'package-lock.json')
  try {
    const text = readFileSync(file, 'utf8')
    const names = Object.keys(absent(text))
    if (names.length > 0 && process.argv.includes('--check')) {
      console.error(`npm ci would refuse package-lock.json: it lacks ${names.join(', ')}; run 'npm run lock'`)
      process.exitCode = 1
    } else if (names.length > 0) {
      writeFileSync(file, complete(text))
      console.log(`package-lock.json: added ${names.length} packages of other platforms`)
    }
  } catch (error) {
    console.error(`lock-complete: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
  }
}
