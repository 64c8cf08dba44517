// SPDX-License-Identifier: Apache-2.0
/**
 * Targets: finds or starts the runtimes to measure and makes each ready for it: connected, with the image, a
 * cgroup parent and warm. Whatever it does is entered in the cleanup before it is done.
 */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cleanup } from './cleanup.ts'
import { CriClient } from './client.ts'
import { Daemon, type DaemonCommand } from './daemon.ts'
import type { ImageSource } from './images.ts'
import { type Options, say } from './options.ts'
import { containerd } from './peers/containerd.ts'
import { listenerOf } from './processes.ts'
import { Samples } from './samples.ts'
import { daemonMemory, type Target, warmUp } from './suites.ts'
import { Workload } from './workload.ts'

const DEFAULT_SOCKET = '/run/gantry/gantry.sock'
const STARTS = 3
const IDLE_MS = 2000

/** A runtime to measure, before it is connected to. */
interface Candidate {
  socket: string
  command: DaemonCommand | undefined
}

/** What the runtimes of one run share. */
export interface Ground {
  options: Options
  folder: string
  cniConf: string
  images: ImageSource
  cleanup: Cleanup
  signal: AbortSignal
}

function shell(ground: Ground, command: string, socket: string): DaemonCommand {
  return {
    argv: ['/bin/sh', '-c', `exec ${command}`],
    env: {
      GT_BENCH_FOLDER: ground.folder,
      GT_BENCH_CNI_CONF_DIR: ground.cniConf,
      GT_BENCH_REGISTRY: ground.images.host,
    },
    socket,
    logFile: join(ground.folder, `${socket.replaceAll('/', '_')}.log`),
  }
}

/** The runtimes that the options ask for, A first; none is started yet. */
export async function candidates(ground: Ground): Promise<Candidate[]> {
  const { options, cleanup, images } = ground
  const found: Candidate[] = []
  const add = (socket: string, start: string | undefined) =>
    found.push({ socket, command: start === undefined ? undefined : shell(ground, start, socket) })
  const socket = options.socket ?? DEFAULT_SOCKET
  if (options.socket !== undefined || !options.peer || existsSync(socket)) add(socket, options.start)
  else say(`nothing at ${socket}: measuring ${options.peer} alone`)
  if (options.against !== undefined) add(options.against, options.againstStart)
  if (options.peer) {
    const folder = join(ground.folder, 'peer')
    await mkdir(folder)
    const peer = await containerd(folder, images, ground.cniConf)
    cleanup.later(`clear ${peer.name} away`, peer.clear)
    found.push({ socket: peer.command.socket, command: peer.command })
  }
  return found
}

/** Starts the runtime where it has a command, several times where the start is to be measured. */
async function bringUp(ground: Ground, candidate: Candidate, samples: Samples): Promise<void> {
  if (!candidate.command) return
  const daemon = new Daemon(candidate.command)
  ground.cleanup.later(`stop the runtime on ${candidate.socket}`, () => daemon.stop())
  const starts = ground.options.only.has('start') ? STARTS : 1
  for (let round = 0; round < starts; round++) {
    ground.signal.throwIfAborted()
    if (round > 0) await daemon.stop()
    say(`start ${round + 1}, ${candidate.socket}`)
    const { answerMs, readyMs } = await daemon.start()
    samples.add('start.answer', 'ms', { round, value: answerMs })
    samples.add('start.ready', 'ms', { round, value: readyMs })
  }
}

/** Starts the runtime where needed, measures it idle, and gives it the image. */
export async function connectTo(ground: Ground, candidate: Candidate, index: number): Promise<Target> {
  const { options, cleanup, images } = ground
  const samples = new Samples()
  await bringUp(ground, candidate, samples)
  const client = new CriClient(candidate.socket)
  cleanup.later('close the connection', async () => client.close())
  const { reply } = await client.call('Version', {}, 5000).catch((cause: unknown) => {
    throw new Error(`bench: no CRI runtime answers on ${candidate.socket}`, { cause })
  })
  const label = index === 0 ? 'A' : 'B'
  const run = `${process.pid}-${label.toLowerCase()}`
  const folder = join(ground.folder, `pods-${label.toLowerCase()}`)
  const { handler, seccomp } = options
  const image = images.busybox
  const userNamespace = options.userNamespaces && index === 0
  const workload = new Workload({ client, run, folder, handler, image, seccomp, userNamespace })
  const daemonPid = await listenerOf(candidate.socket)
  const target: Target = {
    label,
    name: reply.runtimeName,
    version: reply.runtimeVersion,
    daemonPid,
    client,
    workload,
    samples,
  }
  await sleep(IDLE_MS)
  await daemonMemory({ target, round: 0, options, signal: ground.signal }, 'idle')
  cleanup.later(`remove the image from ${label} ${target.name}`, async () => {
    await client.call('RemoveImage', { image: { image } })
  })
  await client.call('PullImage', { image: { image } })
  cleanup.later(`remove the pods from ${label} ${target.name}`, () => workload.sweep())
  await workload.prepare()
  await warmUp(target)
  return target
}
