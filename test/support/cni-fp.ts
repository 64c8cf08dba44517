// SPDX-License-Identifier: Apache-2.0
/**
 * The stand-in plugin from the test's side: puts `cni-fp.sh` under the wanted names into a folder, tells it
 * what to do, reads its books. Also what the network's integration tests need of the machine.
 */
import { chmod, copyFile, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import { loadNative, type Native } from '../../src/host/native.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The addon of the build; throws if there is none, because then the build was forgotten. */
export function addon(): Native {
  return loadNative(here('../../native/build/gantry.node'))
}

export function openScope(signal: AbortSignal = new AbortController().signal): Scope {
  return { signal, log: silent }
}

export interface BookedCall {
  readonly plugin: string
  readonly command: string
  readonly pid: number
  readonly env: readonly string[]
  readonly stdin: string
}

export interface StandIn {
  /** Writes a rule for a plugin's command: see the head of `cni-fp.sh`. */
  rule(
    plugin: string,
    command: string,
    what: 'code' | 'out' | 'err' | 'hang' | 'ignore-term',
    text?: string,
  ): Promise<void>
  forget(plugin: string, command: string): Promise<void>
  calls(): Promise<BookedCall[]>
  /** Pid of the child of call `index`, once it hangs. */
  childOf(index: number): Promise<number | undefined>
}

/** Puts the stand-in into `binDir` under each name. */
export async function standIn(binDir: string, names: readonly string[]): Promise<StandIn> {
  await mkdir(binDir, { recursive: true })
  for (const name of names) {
    await copyFile(here('./cni-fp.sh'), join(binDir, name))
    await chmod(join(binDir, name), 0o755)
  }
  const books = join(binDir, 'calls')
  const pages = async (ending: string) =>
    (await readdir(books).catch(() => [])).filter((f) => f.endsWith(ending)).sort()
  return {
    rule: (plugin, command, what, text = '') => writeFile(join(binDir, `${plugin}.${command}.${what}`), text),
    forget: async (plugin, command) => {
      for (const f of await readdir(binDir)) {
        if (f.startsWith(`${plugin}.${command}.`)) await rm(join(binDir, f))
      }
    },
    calls: async () => {
      const calls: BookedCall[] = []
      for (const page of await pages('.pid')) {
        const base = join(books, page.slice(0, -'.pid'.length))
        const [, plugin = '', command = ''] = /^\d+-(.*)-([A-Z]+)\.pid$/.exec(page) ?? []
        calls.push({
          plugin,
          command,
          pid: Number(await readFile(`${base}.pid`, 'utf8')),
          env: (await readFile(`${base}.env`, 'utf8')).trim().split('\n'),
          stdin: await readFile(`${base}.stdin`, 'utf8'),
        })
      }
      return calls
    },
    childOf: async (index) => {
      const page = (await pages('.child'))[index]
      return page === undefined ? undefined : Number(await readFile(join(books, page), 'utf8'))
    },
  }
}

/** Does the process run (a corpse does not)? */
export async function runs(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
  return text !== '' && !/^[ZX]/.test(text.slice(text.lastIndexOf(')') + 2))
}

/** How many pipes and pidfds this process has open: what running a program opens. */
export async function openPipes(): Promise<number> {
  const fds = await readdir('/proc/self/fd')
  const targets = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
  return targets.filter((t) => t.startsWith('pipe:') || t === 'anon_inode:[pidfd]').length
}
