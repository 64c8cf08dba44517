// SPDX-License-Identifier: Apache-2.0
/**
 * node-client: asks a daemon's own service, gantry.v1.Node, for the commands about images. Streams go at the
 * pace of the slower end, and end when `signal` says so. A failure is the Fault that the daemon had, of its
 * kind. Retries nothing; only the calls that answer at once have a deadline.
 */
import * as grpc from '@grpc/grpc-js'
import { Fault, isFaultKind } from '../base/fault.ts'
import { v1 } from '../edge/node/gen/api.js'
import { type Rpc, type RpcMessages, type RpcName, rpcs } from '../edge/node/gen/rpcs.ts'
import { expectServed, unreachable } from './client.ts'

type Message<N extends RpcName> = RpcMessages[N]['response']
type Request<N extends RpcName> = Partial<RpcMessages[N]['request']>
export type StreamName = 'Pull' | 'Push' | 'Save'
export type UnaryName = Exclude<RpcName, StreamName | 'Load'>

export interface NodeClient extends Disposable {
  call<N extends UnaryName>(method: N, request: Request<N>): Promise<Message<N>>
  stream<N extends StreamName>(method: N, request: Request<N>, signal: AbortSignal): AsyncIterable<Message<N>>
  /** Sends the bytes and gives the events meanwhile. What reading them throws is thrown here. */
  load(bytes: AsyncIterable<Buffer>, signal: AbortSignal): AsyncIterable<Message<'Load'>>
}

const DEADLINE_MS = 10_000
/** These remove or walk files, or wait for who does: as long as it takes, or until Ctrl-C. */
const slow: ReadonlySet<RpcName> = new Set(['Diff', 'Prune', 'Remove', 'Tag'])
/** What the daemon takes in one message. */
const CHUNK_BYTES = 64 * 1024
/** What a call ends with that Ctrl-C has stopped; `reason` of its Fault. */
export const INTERRUPTED = 'interrupted'

interface Codec {
  encode(message: object): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
}

interface Row {
  readonly path: string
  readonly encode: (message: object) => Buffer
  readonly decode: (bytes: Buffer) => object
}

function rowOf(method: RpcName): Row {
  const row: Rpc | undefined = rpcs.find((r) => r.name === method)
  if (row === undefined) throw new Fault('internal', `there is no RPC ${method}`)
  const [request, response]: [Codec, Codec] = [v1[row.request], v1[row.response]]
  return {
    path: row.path,
    encode: (message) => Buffer.from(request.encode(message).finish()),
    decode: (bytes) => response.decode(bytes),
  }
}

/** The Fault behind an error of gRPC. */
function faultOf(socket: string, error: unknown, signal?: AbortSignal): Fault {
  if (signal?.aborted) return new Fault('cancelled', 'interrupted', { reason: INTERRUPTED })
  if (error instanceof Fault) return error
  if (!isServiceError(error))
    return new Fault('internal', error instanceof Error ? error.message : String(error))
  const [kind] = error.metadata?.get('gantry-fault') ?? []
  if (typeof kind === 'string' && isFaultKind(kind)) return new Fault(kind, error.details)
  if (error.code === grpc.status.UNAVAILABLE)
    return unreachable(
      socket,
      'it closed the connection',
      'see its log: it may refuse this user, or have stopped',
    )
  if (error.code === grpc.status.UNIMPLEMENTED)
    return new Fault('unsupported', `what serves ${socket} is no gantry, or an older one: ${error.details}`)
  if (error.code === grpc.status.DEADLINE_EXCEEDED)
    return unreachable(socket, `no answer within ${DEADLINE_MS / 1000} s`, 'see its log')
  return new Fault('internal', error.details || error.message)
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error
}

/** Connects, and throws at once if nobody serves the socket. */
export async function connectNode(socket: string): Promise<NodeClient> {
  await expectServed(socket)
  const client = new grpc.Client(`unix://${socket}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
  })
  return {
    call<N extends UnaryName>(method: N, request: Request<N>) {
      const { path, encode, decode } = rowOf(method)
      return new Promise<Message<N>>((resolve, reject) => {
        const options = slow.has(method) ? {} : { deadline: Date.now() + DEADLINE_MS }
        client.makeUnaryRequest<object, object>(path, encode, decode, request, options, (error, reply) => {
          if (error === null) resolve((reply ?? {}) as Message<N>)
          else reject(faultOf(socket, error))
        })
      })
    },
    stream<N extends StreamName>(method: N, request: Request<N>, signal: AbortSignal) {
      const { path, encode, decode } = rowOf(method)
      const call = client.makeServerStreamRequest<object, object>(path, encode, decode, request)
      return events<Message<N>>(call, { socket, signal })
    },
    load: (bytes, signal) => {
      const { path, encode, decode } = rowOf('Load')
      const call = client.makeBidiStreamRequest<object, object>(path, encode, decode)
      return loadEvents(call, { bytes, socket, signal })
    },
    [Symbol.dispose]: () => client.close(),
  }
}

type Readable = AsyncIterable<object> & { cancel(): void; on(event: 'error', listener: () => void): unknown }

async function* events<M>(
  call: Readable,
  { socket, signal }: { readonly socket: string; readonly signal: AbortSignal },
): AsyncGenerator<M> {
  const onAbort = () => call.cancel()
  // One that comes when nobody iterates any more is of no interest.
  call.on('error', () => {})
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) onAbort()
    for await (const message of call) yield message as M
  } catch (e) {
    throw faultOf(socket, e, signal)
  } finally {
    signal.removeEventListener('abort', onAbort)
    call.cancel()
  }
}

interface Loading {
  readonly bytes: AsyncIterable<Buffer>
  readonly socket: string
  readonly signal: AbortSignal
}

async function* loadEvents(
  call: grpc.ClientDuplexStream<object, object>,
  loading: Loading,
): AsyncGenerator<Message<'Load'>> {
  let unreadable: unknown
  const sent = pump(call, loading.bytes).catch((e: unknown) => {
    unreadable = e
    call.cancel()
  })
  try {
    yield* events<Message<'Load'>>(call, loading)
    await sent
  } catch (e) {
    throw unreadable ?? e
  }
}

/** Sends the bytes; ends without an error when the call has ended: what it says then is in its status. */
async function pump(
  call: grpc.ClientDuplexStream<object, object>,
  bytes: AsyncIterable<Buffer>,
): Promise<void> {
  let over = false
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  call.once('status', () => {
    over = true
    resolve()
  })
  for await (const piece of bytes)
    for (let at = 0; at < piece.length; at += CHUNK_BYTES) {
      if (over) return
      if (call.write({ data: piece.subarray(at, at + CHUNK_BYTES) })) continue
      await Promise.race([new Promise((go) => call.once('drain', go)), ended])
    }
  call.end()
}

/** Runs `work` with a signal that Ctrl-C aborts. A second Ctrl-C ends the program at once. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = () => controller.abort()
  process.once('SIGINT', stop)
  try {
    return await work(controller.signal)
  } finally {
    process.off('SIGINT', stop)
  }
}

/** The last event of a stream. A daemon of the same build always sends it. */
export function ended<T>(last: T | undefined): T {
  if (last === undefined) throw new Fault('internal', 'the daemon ended the call without a result')
  return last
}
