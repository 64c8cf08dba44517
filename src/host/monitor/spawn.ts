// SPDX-License-Identifier: Apache-2.0
/**
 * Starting a container's monitor: builds its argv, spawns it through the addon with one end of a socket pair as
 * descriptor 3, and waits for the handshake: CREATED or FAILED. The monitor outlives this process. Does not
 * start the container (`runtime start` is the caller's), and does not delete what a failed create left behind.
 */
import { Fault } from '../../base/fault.ts'
import { abortFault, checkpoint, type Scope } from '../../base/scope.ts'
import type { Native } from '../native.ts'
import { connectionOn, type MonitorConnection } from './client.ts'
import { failureFault } from './failure.ts'
import { type Wire, wireOfFd } from './wire.ts'

/** How long a monitor that was told to give up may take to clean up before it is killed. */
const GIVE_UP_MS = 3000
const SIGTERM = 15
const SIGKILL = 9

export interface MonitorOptions {
  readonly id: string
  /** Absolute path of the OCI runtime. */
  readonly runtime: string
  readonly runtimeRoot?: string
  /** Global arguments before the verb, e.g. `--systemd-cgroup`. */
  readonly runtimeArgs?: readonly string[]
  readonly bundle: string
  /** CRI log; absent: output is read and thrown away. */
  readonly logPath?: string
  /** Exists already; gets ctl.sock and scratch files. */
  readonly runDir: string
  readonly exitFile: string
  readonly tty?: boolean
  readonly stdin?: boolean
  readonly stdinOnce?: boolean
  /** The runtime is the keeper of a container in a kernel of its pod's own. */
  readonly sandboxed?: boolean
  /** Owner of the pipes. */
  readonly stdioOwner?: { readonly uid: number; readonly gid: number }
  readonly oomFiles?: readonly { readonly path: string; readonly key: string }[]
  /** cgroup.procs the monitor moves itself into. */
  readonly cgroupProcs?: string
  /** The runtime's environment; by default only a PATH. */
  readonly env?: readonly string[]
}

export interface MonitorDeps {
  readonly native: Pick<Native, 'spawn' | 'socketpair' | 'close' | 'pidfdOpen' | 'pidfdSignal'>
  readonly paths: { readonly monitor: string }
}

export interface Monitor extends MonitorConnection {
  /** The container's first process. */
  readonly pid: number
  readonly startTicks: bigint
  readonly monitorPid: number
}

/** argv of the monitor, argv[0] included. Pure. */
export function monitorArgv(program: string, o: MonitorOptions): string[] {
  const argv = [program, '--id', o.id, '--runtime', o.runtime]
  if (o.runtimeRoot !== undefined) argv.push('--runtime-root', o.runtimeRoot)
  for (const arg of o.runtimeArgs ?? []) argv.push('--runtime-arg', arg)
  argv.push('--bundle', o.bundle, '--run-dir', o.runDir, '--exit-file', o.exitFile)
  if (o.logPath !== undefined) argv.push('--log', o.logPath)
  for (const f of o.oomFiles ?? []) argv.push('--oom-file', `${f.path}:${f.key}`)
  if (o.cgroupProcs !== undefined) argv.push('--cgroup-procs', o.cgroupProcs)
  if (o.stdioOwner) argv.push('--stdio-owner', `${o.stdioOwner.uid}:${o.stdioOwner.gid}`)
  if (o.tty) argv.push('--tty')
  if (o.stdin) argv.push('--stdin')
  if (o.stdinOnce) argv.push('--stdin-once')
  if (o.sandboxed) argv.push('--sandboxed')
  return argv
}

interface Child {
  readonly pid: number
  readonly wire: Wire
  readonly ended: Promise<void>
  signal(signal: number): void
  release(): void
}

function spawnMonitor(deps: MonitorDeps, options: MonitorOptions): Child {
  const { native } = deps
  const [ours, theirs] = native.socketpair()
  let pid: number
  const ended = Promise.withResolvers<void>()
  try {
    pid = native.spawn(
      {
        file: deps.paths.monitor,
        argv: monitorArgv(deps.paths.monitor, options),
        env: options.env ?? ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
        fds: [-1, -1, -1, theirs],
        newSession: true,
      },
      () => ended.resolve(),
    )
  } catch (e) {
    native.close(ours)
    throw Fault.during(`start the monitor of ${options.id}`, e)
  } finally {
    native.close(theirs)
  }
  let pidfd = -1
  try {
    pidfd = native.pidfdOpen(pid)
  } catch {
    // it has ended already: the handshake tells why
  }
  return {
    pid,
    wire: wireOfFd(ours),
    ended: ended.promise,
    signal(signal) {
      try {
        if (pidfd >= 0) native.pidfdSignal(pidfd, signal)
      } catch {
        // gone: what was wanted
      }
    },
    release() {
      if (pidfd >= 0) native.close(pidfd)
      pidfd = -1
    },
  }
}

/** Tells a monitor to give up; waits until it has cleaned up and ended, or turned out to be past that. */
async function giveUp(child: Child, created: Promise<unknown>): Promise<void> {
  child.signal(SIGTERM)
  const timer = setTimeout(() => child.signal(SIGKILL), GIVE_UP_MS)
  await Promise.race([child.ended, created])
  clearTimeout(timer)
}

/**
 * Starts a monitor and returns when the container has been created (not started). On failure the monitor has
 * ended and nothing of it runs; the runtime's own leftovers are the caller's to delete. Faults: `internal` with
 * reason `monitor-setup | monitor-log | monitor-create` and the runtime's words (see `monitorFailure`).
 * @abort kills: the runtime is killed, the monitor ends, then the abort is thrown. A container that became
 * created at that very moment keeps its monitor: both end when the caller's release deletes the container.
 */
export async function startMonitor(
  scope: Scope,
  deps: MonitorDeps,
  options: MonitorOptions,
): Promise<Monitor> {
  checkpoint(scope)
  const child = spawnMonitor(deps, options)
  const { wire } = child
  const first = Promise.withResolvers<{ pid: number; startTicks: bigint }>()
  const created = Promise.withResolvers<void>()
  first.promise.catch(() => {})
  const onAbort = () => first.reject(abortFault(scope.signal))
  wire.onFrame((frame) => {
    if (frame.is === 'failed') first.reject(failureFault(`create container ${options.id}`, frame))
    if (frame.is !== 'created') return
    created.resolve()
    first.resolve(frame)
  })
  void wire.closed.then(() =>
    first.reject(new Fault('internal', `the monitor of ${options.id} ended without a word`)),
  )
  scope.signal.addEventListener('abort', onAbort, { once: true })
  if (scope.signal.aborted) onAbort()
  try {
    const { pid, startTicks } = await first.promise
    const connection = connectionOn(wire, `${options.runDir}/ctl.sock`)
    return Object.freeze({ ...connection, pid, startTicks, monitorPid: child.pid })
  } catch (e) {
    await giveUp(child, created.promise)
    wire.close()
    throw e
  } finally {
    scope.signal.removeEventListener('abort', onAbort)
    child.release()
  }
}
