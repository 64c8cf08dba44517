// SPDX-License-Identifier: Apache-2.0
/**
 * containerd as a peer: its configuration, with every path in a folder of its own, its command, and what has to
 * be cleared away after it. The settings are containerd's defaults but for paths, images from the loopback
 * registry, cgroupfs, and oom_score_adj values clamped to what an unprivileged parent may set.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CNI_PLUGINS } from '../cni.ts'
import type { DaemonCommand } from '../daemon.ts'
import type { ImageSource } from '../images.ts'
import { mountsBelow } from '../mounts.ts'

const run = promisify(execFile)
const BIN = fileURLToPath(new URL('../out/bin', import.meta.url))
const BUILD = fileURLToPath(new URL('build.sh', import.meta.url))
/** containerd has these paths compiled in; only what this run brought there is removed. */
const SHIM_SOCKETS = '/run/containerd/s'
const FIXED_FOLDERS = ['/run/containerd', SHIM_SOCKETS, '/var/lib/cni', '/var/lib/cni/results']

/** A peer that can be started by its command and cleared away once it is stopped. */
export interface Peer {
  name: string
  command: DaemonCommand
  clear(): Promise<void>
}

function config(folder: string, images: ImageSource, cniConf: string): string {
  const text = (value: string) => JSON.stringify(value)
  return `version = 3
root = ${text(join(folder, 'root'))}
state = ${text(join(folder, 'state'))}

[grpc]
  address = ${text(join(folder, 'c.sock'))}
[ttrpc]
  address = ${text(join(folder, 'c.sock.ttrpc'))}

[plugins.'io.containerd.internal.v1.opt']
  path = ${text(join(folder, 'opt'))}
[plugins.'io.containerd.nri.v1.nri']
  socket_path = ${text(join(folder, 'nri.sock'))}
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = ${text(images.pause)}
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = ${text(join(folder, 'certs.d'))}
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [${text(CNI_PLUGINS)}]
    conf_dir = ${text(cniConf)}
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '/usr/sbin/runc'
      Root = ${text(join(folder, 'runc'))}
      SystemdCgroup = false
`
}

/** Builds containerd if need be and configures it below `folder`; its log is written beside it. Starts nothing. */
export async function containerd(folder: string, images: ImageSource, cniConf: string): Promise<Peer> {
  await run('sh', [BUILD]).catch((cause: Error & { stderr?: string }) => {
    throw new Error(`bench: containerd cannot be built: ${cause.stderr ?? cause.message}`, { cause })
  })
  const hosts = join(folder, 'certs.d', images.host)
  await mkdir(hosts, { recursive: true })
  await writeFile(
    join(hosts, 'hosts.toml'),
    `server = "http://${images.host}"\n[host."http://${images.host}"]\n  capabilities = ["pull", "resolve"]\n`,
  )
  const file = join(folder, 'config.toml')
  await writeFile(file, config(folder, images, cniConf))
  const shimSocketsBefore = new Set(await readdir(SHIM_SOCKETS).catch(() => []))
  const newFolders = FIXED_FOLDERS.filter((path) => !existsSync(path))
  return {
    name: 'containerd',
    command: {
      argv: [join(BIN, 'containerd'), '--config', file, '--log-level', 'warn'],
      env: { PATH: `${BIN}:${process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin'}` },
      socket: join(folder, 'c.sock'),
      logFile: join(dirname(folder), 'containerd.log'),
    },
    async clear() {
      await killShims(folder)
      for (const path of await mountsBelow(folder)) await run('umount', ['-l', path])
      await removeSockets(shimSocketsBefore)
      await removeFolders(newFolders)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Ends the shims that name our socket in their arguments; normally there are none left. */
async function killShims(folder: string): Promise<void> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)) {
    const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const ours =
      args[0]?.endsWith('containerd-shim-runc-v2') && args.some((arg) => arg.startsWith(`${folder}/`))
    if (ours && pid > 1) process.kill(pid, 'SIGKILL')
  }
  await sleep(50) // the kernel lets go of the mounts
}

async function removeSockets(before: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(SHIM_SOCKETS).catch(() => [])) {
    if (!before.has(name)) await rm(join(SHIM_SOCKETS, name), { force: true })
  }
}

/** Removes the folders that were not there before, as far as they are empty: another program may use them now. */
async function removeFolders(paths: readonly string[]): Promise<void> {
  for (const path of paths.toReversed()) await rmdir(path).catch(() => {})
}
