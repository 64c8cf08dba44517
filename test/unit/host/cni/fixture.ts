// SPDX-License-Identifier: Apache-2.0
/**
 * What the network's unit tests share: a temporary folder, a log that remembers, and a runner that plays the
 * plugins from a table and keeps the calls. No program is started and no root is needed.
 */
import { readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Log, LogFields } from '../../../../src/base/log.ts'
import type { Scope } from '../../../../src/base/scope.ts'
import type { Run, RunOptions, RunResult } from '../../../../src/host/exec.ts'
import type { Native } from '../../../../src/host/native.ts'

export async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'gt-cni-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

export interface Line {
  readonly event: string
  readonly fields: LogFields
}

export function memoryLog(): Log & { readonly lines: Line[] } {
  const lines: Line[] = []
  const add = (event: string, fields: LogFields = {}) => void lines.push({ event, fields })
  const log = { lines, debug: add, info: add, warn: add, error: add, with: () => log }
  return log
}

export function scopeOf(log: Log, signal: AbortSignal = new AbortController().signal): Scope {
  return { signal, log }
}

/** The few members of the addon that the network uses apart from running programs. */
export function fakeNative(isNetns: (path: string) => boolean = () => true): Native {
  const members = {
    readMany: (paths: readonly string[]) =>
      paths.map((p) => {
        try {
          return readFileSync(p)
        } catch {
          return { code: 'ENOENT' }
        }
      }),
    statfs: (path: string) => {
      if (path === '/gone') throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' })
      return { type: isNetns(path) ? 0x6e736673 : 0x1021994 }
    },
    pidfdOpen: () => {
      throw Object.assign(new Error('ESRCH'), { code: 'ESRCH' })
    },
  }
  return new Proxy({} as Native, {
    get: (_, name) => {
      const member: unknown = Reflect.get(members, name)
      if (member === undefined) throw new Error(`the fake addon has no ${String(name)}`)
      return member
    },
  })
}

export interface Call {
  readonly plugin: string
  readonly command: string
  readonly env: Readonly<Record<string, string>>
  readonly input: Record<string, unknown>
}

export interface Answer {
  readonly code?: number
  readonly signal?: number
  readonly stdout?: string | object
  readonly stderr?: string
  readonly reason?: RunResult['reason']
}

/** Plays plugins: `answer` decides, default success with no output. Every call is kept in `calls`. */
export function fakeRun(answer: (call: Call) => Answer = () => ({})): { run: Run; calls: Call[] } {
  const calls: Call[] = []
  const run: Run = async (_scope, _deps, options: RunOptions) => {
    await options.onPid?.(process.pid)
    const env = Object.fromEntries(
      options.env.map((e) => [e.split('=')[0] ?? '', e.slice(e.indexOf('=') + 1)]),
    )
    const call: Call = {
      plugin: basename(options.file),
      command: env.CNI_COMMAND ?? '',
      env,
      input: JSON.parse(options.stdin?.toString() ?? '{}'),
    }
    calls.push(call)
    const { code = 0, signal = 0, stdout = '', stderr = '', reason = 'exited' } = answer(call)
    return {
      code,
      signal,
      reason,
      durationMs: 1,
      stdout: Buffer.from(typeof stdout === 'string' ? stdout : JSON.stringify(stdout)),
      stderr: Buffer.from(stderr),
    }
  }
  return { run, calls }
}

/** Conf, plugin and state folders, with an executable file for each plugin and the list written. */
export async function cniDirs(
  plugins: readonly string[],
  conf?: object,
): Promise<{ confDir: string; binDir: string; stateDir: string }> {
  const root = await tempDir()
  const dirs = { confDir: join(root, 'conf'), binDir: join(root, 'bin'), stateDir: join(root, 'state') }
  for (const dir of Object.values(dirs)) await mkdir(dir)
  for (const name of plugins) {
    await writeFile(join(dirs.binDir, name), '')
    await chmod(join(dirs.binDir, name), 0o755)
  }
  if (conf) await writeFile(join(dirs.confDir, '10-test.conflist'), JSON.stringify(conf))
  return dirs
}

export async function faultOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (e: unknown) => e,
  )
}
