// SPDX-License-Identifier: Apache-2.0
/**
 * What the daemon makes sure of before anything is started: a machine that it can run on, its folders, and that it is
 * the only one there. Each check refuses in one sentence. When which is done is `daemon.ts`.
 */
import { lstatSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { Fault } from './base/fault.ts'
import type { Config } from './config/schema.ts'
import type { Native } from './host/native.ts'
import { folders } from './model/names.ts'
import { roots } from './places.ts'

/** Descriptors that hold our locks until the process ends; kept here so that nothing closes them. */
const locks: number[] = []

/** Throws `unsupported` or `denied`. */
export function checkMachine(): void {
  if (process.platform !== 'linux')
    throw new Fault('unsupported', `gantryd runs on Linux, this is ${process.platform}`)
  if (process.getuid?.() !== 0) throw new Fault('denied', 'gantryd has to be run as root (try sudo)')
}

/** What is there stays as it is. Throws with the folder that cannot be made. */
export function makeFolders(config: Config): void {
  const all = folders(roots(config))
  const make = (path: string, mode = 0o700): void => {
    try {
      mkdirSync(path, { recursive: true, mode })
    } catch (e) {
      throw Fault.during(`cannot make the folder ${path} (of root, run_dir or socket)`, e)
    }
  }
  make(config.runDir, 0o711)
  const own = [config.root, all.pods, all.containers, all.trash, `${config.runDir}/oci`]
  for (const path of own) make(path)
  // The root of a user namespace, who is somebody else on the node, gets through to what is below and is its own.
  for (const path of [all.runPods, all.runContainers]) make(path, 0o711)
  make(dirname(config.socket), 0o755)
  for (const handler of Object.keys(config.runtimes)) make(all.runtime(handler))
}

/** One daemon per root and per run folder: a lock on each, which the kernel drops when the process ends. */
export function takeLocks(config: Config, native: Native): void {
  for (const folder of [config.root, config.runDir]) {
    const fd = openSync(`${folder}/lock`, 'a', 0o600)
    if (!native.flock(fd))
      throw new Fault(
        'exists',
        `another gantryd is running on ${folder}: stop it first, or choose another root and run_dir`,
      )
    locks.push(fd)
  }
}

/** Logs of runtime calls that an earlier daemon did not live to read. Only under the lock: nobody else writes there. */
export function dropRuntimeLogs(config: Config): void {
  for (const handler of Object.keys(config.runtimes)) {
    const folder = folders(roots(config)).runtime(handler)
    for (const name of readdirSync(folder)) if (name.startsWith('.log-')) rmSync(`${folder}/${name}`)
  }
}

/** A socket that answers belongs to somebody, and so does a file that is no socket: neither is taken away. */
export async function checkSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false)
    throw new Fault('exists', `${path} is there and is no socket: take it away, or set socket`)
  const busy = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (busy) throw new Fault('exists', `another program is serving ${path}: stop it, or set socket`)
}
