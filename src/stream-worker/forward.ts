// SPDX-License-Identifier: Apache-2.0
/**
 * One TCP connection of a port-forward: connects to localhost inside the pod's network namespace, where a server
 * may listen on either family, and copies both ways, each direction with its own end.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import { asFault, Fault } from '../base/fault.ts'
import type { Forwarded } from '../edge/streaming/channels.ts'
import type { Native } from '../host/native.ts'
import type { StreamPlan } from '../model/streaming.ts'

type Plan = Extract<StreamPlan, { readonly is: 'forward' }>
type Sockets = Pick<Native, 'socketInNetns'>

/** One after the other: a refusal on loopback comes at once. */
const families = [
  { family: 4, host: '127.0.0.1' },
  { family: 6, host: '::1' },
] as const

/** Resolves when both directions have ended. Throws `unavailable` when nothing listens, or when it broke. @abort stops */
export async function forward(
  native: Sockets,
  plan: Plan,
  { connection, signal }: { readonly connection: Forwarded; readonly signal: AbortSignal },
): Promise<void> {
  const { port, data } = connection
  data.on('error', () => {})
  const socket = await connectToPod(native, plan, { port, signal })
  const onAbort = () => socket.destroy()
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    await joined(socket, data)
  } catch (e) {
    throw Fault.during(`the connection to localhost:${port} of pod ${plan.pod} was lost`, e)
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.destroy()
  }
}

async function joined(one: Duplex, other: Duplex): Promise<void> {
  one.pipe(other)
  other.pipe(one)
  try {
    await Promise.all([finished(one), finished(other)])
  } catch (e) {
    one.destroy()
    other.destroy()
    throw e
  }
}

async function connectToPod(
  native: Sockets,
  plan: Plan,
  { port, signal }: { readonly port: number; readonly signal: AbortSignal },
): Promise<Socket> {
  const refusals: string[] = []
  for (const { family, host } of families) {
    try {
      const fd = plan.netns === undefined ? undefined : await native.socketInNetns(plan.netns, family)
      return await connected(fd, { host, port, signal })
    } catch (e) {
      signal.throwIfAborted()
      refusals.push(`IPv${family}: ${asFault(e).message}`)
    }
  }
  throw new Fault(
    'unavailable',
    `failed to connect to localhost:${port} inside namespace "${plan.pod}", ${refusals.join(', ')}`,
  )
}

async function connected(
  fd: number | undefined,
  { host, port, signal }: { readonly host: string; readonly port: number; readonly signal: AbortSignal },
): Promise<Socket> {
  const socket = new Socket({
    ...(fd === undefined ? {} : { fd, readable: true, writable: true }),
    allowHalfOpen: true,
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  socket.once('connect', resolve)
  socket.once('error', reject)
  try {
    if (signal.aborted) onAbort()
    else socket.connect({ host, port })
    await promise
    socket.setNoDelay(true)
    // A later error ends the copying, which hears of it too.
    socket.on('error', () => {})
    return socket
  } catch (e) {
    socket.on('error', () => {})
    socket.destroy()
    throw e
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
