// SPDX-License-Identifier: Apache-2.0
/**
 * Ground for the addon's tests: the built addon, a temporary root of each test that is unmounted and removed
 * whatever happened, and running a program through the addon with its output. Needs root.
 */
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Fd, loadNative, type SpawnOptions } from '../../src/host/native.ts'

export const ADDON_PATH =
  process.env.GANTRY_TEST_ADDON ?? fileURLToPath(new URL('../../native/build/gantry.node', import.meta.url))

export const native = loadNative(ADDON_PATH)

export interface Exit {
  readonly code: number
  readonly signal: number
}

export interface Finished extends Exit {
  readonly out: string
}

/** Starts a program; `exit` settles when the addon reports it. */
export function start(
  argv: readonly [string, ...string[]],
  options: Partial<SpawnOptions> = {},
): { pid: number; exit: Promise<Exit> } {
  const { promise: exit, resolve } = Promise.withResolvers<Exit>()
  const pid = native.spawn(
    { file: argv[0], argv, env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], fds: [-1, -1, 2], ...options },
    (code, signal) => resolve({ code, signal }),
  )
  return { pid, exit }
}

/** Runs a program to its end; stdout and stderr go to a file, so no pipe can fill up. */
export async function run(
  root: string,
  argv: readonly [string, ...string[]],
  options: Partial<SpawnOptions> & { more?: readonly Fd[] } = {},
): Promise<Finished> {
  const { more = [], ...rest } = options
  const path = join(mkdtempSync(join(root, 'out-')), 'out')
  const out = openSync(path, 'w')
  try {
    const ended = await start(argv, { fds: [-1, out, out, ...more], ...rest }).exit
    return { ...ended, out: readFileSync(path, 'utf8') }
  } finally {
    closeSync(out)
  }
}

export interface MountLine {
  readonly target: string
  readonly options: readonly string[]
  readonly tags: readonly string[]
  readonly type: string
  readonly superOptions: string
}

/** The mounts at or below a folder, in the order of the kernel's list. */
export function mountsBelow(root: string): MountLine[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trimEnd().split('\n')
  return lines.flatMap((line) => {
    const [left = '', right = ''] = line.split(' - ')
    const fields = left.split(' ')
    const target = fields[4] ?? ''
    if (target !== root && !target.startsWith(`${root}/`)) return []
    const [type = '', , superOptions = ''] = right.split(' ')
    return [{ target, options: (fields[5] ?? '').split(','), tags: fields.slice(6), type, superOptions }]
  })
}

export function mountAt(target: string): MountLine | undefined {
  return mountsBelow(target).findLast((m) => m.target === target)
}

/** A temporary folder for one test; `remove` leaves no mount and no file of it. */
export function makeRoot(): { path: string; remove: () => Promise<void> } {
  const path = mkdtempSync(join(tmpdir(), 'gt-addon-'))
  const remove = async () => {
    for (const m of mountsBelow(path).reverse()) await native.umount(m.target, true)
    rmSync(path, { recursive: true, force: true })
    if (existsSync(path) || mountsBelow(path).length > 0) throw new Error(`${path} is still there`)
  }
  return { path, remove }
}

/** How many descriptors this process has open, once the event loop has closed what was on its way. */
export async function openFdCount(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 20))
  return readdirSync('/proc/self/fd').length
}
