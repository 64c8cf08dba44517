// SPDX-License-Identifier: Apache-2.0
/**
 * One connection to a monitor: a socket that speaks frames. Owns connecting (paths longer than a socket address
 * go through /proc/self/fd), decoding, and the single end of the connection. Does not know what frames mean.
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { createConnection, Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import { errnoCode, Fault } from '../../base/fault.ts'
import { orAbort, type Scope } from '../../base/scope.ts'
import { FrameDecoder, type MonitorFrame, parseMonitorFrame } from './frames.ts'

export interface Wire {
  /** Resolves once when the connection has ended, for whatever reason. Never rejects. */
  readonly closed: Promise<void>
  send(frame: Buffer): boolean
  /** Calls back when a `send` that returned false may go on. */
  onDrain(call: () => void): void
  /** The one receiver of frames; frames that came earlier are given at once. */
  onFrame(receive: (frame: MonitorFrame) => void): void
  pause(): void
  resume(): void
  close(): void
}

/** Wraps a connected socket. A frame that makes no sense ends the connection. */
export function wireOf(socket: Socket): Wire {
  const decoder = new FrameDecoder()
  const early: MonitorFrame[] = []
  let receive: ((frame: MonitorFrame) => void) | undefined
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {}) // followed by 'close', which is what callers wait for
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const frame of decoder.push(chunk)) {
        const parsed = parseMonitorFrame(frame)
        if (receive) receive(parsed)
        else early.push(parsed)
      }
    } catch {
      socket.destroy()
    }
  })
  return Object.freeze({
    closed,
    send: (frame: Buffer) => !socket.writable || socket.write(frame),
    onDrain: (call: () => void) => void socket.once('drain', call),
    onFrame: (to: (frame: MonitorFrame) => void) => {
      receive = to
      for (const frame of early.splice(0)) to(frame)
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    close: () => void socket.destroy(),
  })
}

/** Takes over a connected descriptor; it is closed with the wire. */
export function wireOfFd(fd: number): Wire {
  return wireOf(new Socket({ fd, readable: true, writable: true }))
}

/** What fits into a socket address (unix(7)). */
const SOCKET_PATH_BYTES = 107

/** Connects to `ctl.sock`. Fault `not-found` when nobody listens there. @abort stops */
export async function connectWire(scope: Scope, ctlPath: string): Promise<Wire> {
  if (Buffer.byteLength(ctlPath) <= SOCKET_PATH_BYTES) return connected(scope, ctlPath, ctlPath)
  let folder: FileHandle
  try {
    folder = await open(dirname(ctlPath), constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (e) {
    throw gone(ctlPath, e)
  }
  try {
    return await connected(scope, `/proc/self/fd/${folder.fd}/${basename(ctlPath)}`, ctlPath)
  } finally {
    await folder.close()
  }
}

async function connected(scope: Scope, path: string, ctlPath: string): Promise<Wire> {
  const socket = createConnection({ path })
  const done = new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  try {
    await orAbort(scope, done)
  } catch (e) {
    socket.destroy()
    throw errnoCode(e) === undefined ? e : gone(ctlPath, e)
  }
  return wireOf(socket)
}

function gone(ctlPath: string, error: unknown): Fault {
  const code = errnoCode(error)
  const nobody = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR'
  return new Fault(
    nobody ? 'not-found' : 'unavailable',
    `no monitor answers at ${ctlPath}: ${code ?? error}`,
    {
      cause: error,
      reason: 'monitor-gone',
    },
  )
}
