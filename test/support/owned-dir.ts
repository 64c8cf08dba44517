// SPDX-License-Identifier: Apache-2.0
/**
 * owned-dir: temporary folders that say which process made them, so that those of a test process that was killed
 * are found and cleared up by the next one. It only tells which are stale; what is in them is their maker's.
 */
import { mkdtemp, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

const ownerFile = '.owner'

/**
 * The kernel's boot and the PID namespace: only within them does a pid mean anything. A guest that shares the
 * folder is another boot, and must not judge.
 */
async function here(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
  return `${boot.trim()} ${await readlink('/proc/self/ns/pid')}`
}

/** `pid startTicks` of a process; '' when it is not there. The ticks tell a pid from the same one used again. */
async function identity(pid: number | 'self'): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const close = stat.lastIndexOf(')')
  return close < 0 ? '' : `${stat.slice(0, stat.indexOf(' '))} ${stat.slice(close + 2).split(' ')[19]}`
}

/** Makes a folder, `prefix` and six characters more, that belongs to this process. */
export async function ownedDir(prefix: string): Promise<string> {
  const dir = await mkdtemp(prefix)
  await writeFile(join(dir, ownerFile), `${await here()}\n${await identity('self')}`)
  return dir
}

/** Folders of that prefix whose process has ended. One of another boot or namespace is left alone. */
export async function staleDirs(prefix: string): Promise<string[]> {
  const parent = dirname(prefix)
  const start = basename(prefix)
  const place = await here()
  const stale: string[] = []
  for (const name of await readdir(parent)) {
    if (!name.startsWith(start) || name.length !== start.length + 6) continue
    const text = await readFile(join(parent, name, ownerFile), 'utf8').catch(() => '')
    const [where, owner = ''] = text.split('\n')
    const pid = Number(owner.split(' ')[0])
    if (where === place && pid > 1 && (await identity(pid)) !== owner) stale.push(join(parent, name))
  }
  return stale
}
