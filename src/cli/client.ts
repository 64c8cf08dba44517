// SPDX-License-Identifier: Apache-2.0
/**
 * client: asks a daemon over its CRI socket, for the commands that read. A socket that nobody serves is told
 * apart from one that may not be used, before gRPC turns both into "unavailable". Retries nothing; each call
 * has a deadline.
 */
import { connect as connectSocket } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { errnoCode, Fault } from '../base/fault.ts'
import { v1 } from '../edge/cri/gen/api.js'
import { type Rpc, type RpcMessages, type RpcName, rpcs } from '../edge/cri/gen/rpcs.ts'

/** The `reason` of the Fault of a daemon that does not answer. */
export const UNREACHABLE = 'unreachable'

const DEADLINE_MS = 10_000
const CONNECT_MS = 3_000

export type Reply<N extends RpcName> = RpcMessages[N]['response']

type StreamName = Extract<Rpc, { stream: true }>['name']

export interface CriClient extends Disposable {
  /** One unary call. Fault `unavailable` with reason `unreachable` when nobody answers, else `internal`. */
  call<N extends RpcName>(method: N, request: object): Promise<Reply<N>>
  /** Its messages, without a deadline; ends when `signal` says so. Faults as of `call`. */
  stream<N extends StreamName>(method: N, signal: AbortSignal): AsyncIterable<Reply<N>>
}

/** Nobody answers on the socket, why, and what to do about it. */
export function unreachable(socket: string, why: string, todo: string): Fault {
  return new Fault('unavailable', `no daemon answers on ${socket}: ${why}; ${todo}`, { reason: UNREACHABLE })
}

const START = 'start it with "gantry serve" (or npm start), or name its socket with --socket'

function explain(socket: string, error: unknown): Fault {
  switch (errnoCode(error)) {
    case 'ENOENT':
      return unreachable(socket, 'there is no such socket', START)
    case 'ECONNREFUSED':
      return unreachable(socket, 'nobody listens on it', START)
    case 'EACCES':
    case 'EPERM':
      return unreachable(
        socket,
        'it may not be used by this user',
        'use sudo, or join the group that socket_group names',
      )
    default:
      return unreachable(socket, error instanceof Error ? error.message : String(error), START)
  }
}

/** Resolves when something accepts on the socket; throws what a person can act on. */
export async function expectServed(socket: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const probe = connectSocket(socket)
    const timer = setTimeout(() => end(new Error(`no answer within ${CONNECT_MS} ms`)), CONNECT_MS)
    const end = (error?: Error): void => {
      clearTimeout(timer)
      probe.destroy()
      if (error === undefined) resolve()
      else reject(explain(socket, error))
    }
    probe.once('connect', () => end())
    probe.once('error', end)
  })
}

interface Codec {
  encode(message: object): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
}

function rowOf(method: RpcName) {
  const row: Rpc | undefined = rpcs.find((r) => r.name === method)
  if (row === undefined) throw new Fault('internal', `there is no RPC ${method}`)
  const [request, response]: [Codec, Codec] = [v1[row.request], v1[row.response]]
  return {
    path: row.path,
    encode: (message: object) => Buffer.from(request.encode(message).finish()),
    decode: (bytes: Buffer) => response.decode(bytes),
  }
}

function asked(socket: string, method: RpcName, error: grpc.ServiceError): Fault {
  if (error.code === grpc.status.UNAVAILABLE)
    return unreachable(socket, 'it closed the connection', 'see its log: it may refuse this user')
  if (error.code === grpc.status.DEADLINE_EXCEEDED)
    return unreachable(socket, `${method} had no answer within ${DEADLINE_MS} ms`, 'see its log')
  return new Fault('internal', `${method} on ${socket}: ${error.details || error.message}`)
}

/** Connects, and throws at once if nobody serves the socket. */
export async function connectCri(socket: string): Promise<CriClient> {
  await expectServed(socket)
  const client = new grpc.Client(`unix://${socket}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
  })
  return {
    call: (method, request) =>
      new Promise((resolve, reject) => {
        const { path, encode, decode } = rowOf(method)
        client.makeUnaryRequest<object, object>(
          path,
          encode,
          decode,
          request,
          { deadline: Date.now() + DEADLINE_MS },
          (error, reply) => (error === null ? resolve(reply ?? {}) : reject(asked(socket, method, error))),
        )
      }),
    async *stream<N extends StreamName>(method: N, signal: AbortSignal) {
      const { path, encode, decode } = rowOf(method)
      const call = client.makeServerStreamRequest<object, object>(path, encode, decode, {})
      const stop = () => call.cancel()
      signal.addEventListener('abort', stop, { once: true })
      try {
        for await (const message of call) yield message as Reply<N>
      } catch (e) {
        if (!signal.aborted) throw asked(socket, method, e as grpc.ServiceError)
      } finally {
        signal.removeEventListener('abort', stop)
        call.on('error', () => {})
        stop()
      }
    },
    [Symbol.dispose]: () => client.close(),
  }
}
