// SPDX-License-Identifier: Apache-2.0
/**
 * The `streaming` suite: from the Exec request to the first byte of its output; how much one port-forward brings
 * out of a pod, and twenty at once; and what Version takes meanwhile. The load comes from a process of its own,
 * so that it is not the bench that is slow to answer itself.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { spdyConnect } from '../test/support/spdy-client.ts'
import type { Turn } from './suites.ts'
import type { Pod } from './workload.ts'

const MIB = 1024 * 1024
const ALONE_MIB = 512
const EACH_MIB = 64
const MANY = 20
const ASK_EVERY_MS = 5
const LOAD_MS = 60_000
const load = fileURLToPath(new URL('./streaming-load.ts', import.meta.url))

/** Milliseconds until the first byte; the session is seen to its end. */
async function firstByte(turn: Turn, containerId: string): Promise<number> {
  const began = performance.now()
  const { reply } = await turn.target.client.call('Exec', {
    containerId,
    cmd: ['/bin/echo', 'x'],
    stdout: true,
    stderr: true,
  })
  const wire = await spdyConnect(reply.url, ['v4.channel.k8s.io'])
  const error = await wire.open({ streamtype: 'error' })
  const stdout = await wire.open({ streamtype: 'stdout' })
  const stderr = await wire.open({ streamtype: 'stderr' })
  const { promise: first, resolve } = Promise.withResolvers<number>()
  stdout.onData = (piece) => {
    if (piece.length > 0) resolve(performance.now())
  }
  const came = await first
  await Promise.all([error, stdout, stderr].map((s) => s.ended))
  wire.close()
  return came - began
}

/** A server on the node, where the pod is too, that sends so much to whoever connects, while `work` runs. */
async function served<T>(mib: number, work: (port: string) => Promise<T>): Promise<T> {
  const server = spawn(process.execPath, [load, 'serve', `${mib * MIB}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const [port]: unknown[] = await once(server.stdout, 'data')
    return await work(String(port))
  } finally {
    server.kill('SIGKILL')
  }
}

/** MiB per second over so many connections of one session. */
async function forwarded(turn: Turn, pod: Pod, asked: { mib: number; connections: number }): Promise<number> {
  const { reply } = await turn.target.client.call('PortForward', { podSandboxId: pod.sandbox })
  const { stdout } = await served(asked.mib, (port) => {
    const args = [load, 'read', reply.url, port, `${asked.connections}`]
    return promisify(execFile)(process.execPath, args, { signal: turn.signal, timeout: LOAD_MS })
  })
  const { bytes, ms } = JSON.parse(stdout)
  if (bytes !== asked.mib * MIB * asked.connections)
    throw new Error(`bench: ${turn.target.name}: ${bytes} bytes came through a port-forward`)
  return (asked.mib * asked.connections) / (ms / 1000)
}

export async function streamed(turn: Turn): Promise<void> {
  const { target, round, options, signal } = turn
  const add = (name: string, unit: 'ms' | 'MiB/s', value: number) =>
    target.samples.add(`streaming.${name}`, unit, { round, value })
  const pod = await target.workload.up('host')
  await firstByte(turn, pod.container) // the first one starts what there is to start
  for (let i = 0; i < options.iterations * 2; i++) {
    signal.throwIfAborted()
    add('exec_first_byte', 'ms', await firstByte(turn, pod.container))
  }
  for (let i = 0; i < 3; i++)
    add('forward', 'MiB/s', await forwarded(turn, pod, { mib: ALONE_MIB, connections: 1 }))
  let busy = true
  const asking = (async () => {
    while (busy) {
      add('asking', 'ms', (await target.client.call('Version')).ms)
      await sleep(ASK_EVERY_MS)
    }
  })()
  try {
    add('forward_20', 'MiB/s', await forwarded(turn, pod, { mib: EACH_MIB, connections: MANY }))
  } finally {
    busy = false
    await asking
  }
  await target.workload.down(pod)
}
