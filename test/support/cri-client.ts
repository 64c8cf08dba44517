// SPDX-License-Identifier: Apache-2.0
/**
 * cri-client: a typed client for any CRI socket, over grpc-js and the generated codec. Replies are plain
 * objects with every field of the message (defaults filled in, absent messages null, 64-bit numbers bigint),
 * so that they can be compared and printed. Errors are grpc-js's own, with `code` and `details`. It retries
 * nothing.
 */
import * as grpc from '@grpc/grpc-js'
import { v1 } from '../../src/edge/cri/gen/api.js'
import type { Rpc, RpcName } from '../../src/edge/cri/gen/rpcs.ts'
import { rpcs } from '../../src/edge/cri/gen/rpcs.ts'

type RowOf<N extends RpcName> = Extract<Rpc, { name: N }>
type RequestCodec<N extends RpcName> = (typeof v1)[RowOf<N>['request']]
type ReplyCodec<N extends RpcName> = (typeof v1)[RowOf<N>['response']]

/** What an RPC takes: any of its fields. */
export type RequestOf<N extends RpcName> = Parameters<RequestCodec<N>['encode']>[0]
/** What it gives; for a stream, one message of it. */
export type ReplyOf<N extends RpcName> = ReturnType<ReplyCodec<N>['decode']>
export type StreamName = Extract<Rpc, { stream: true }>['name']
export type UnaryName = Exclude<RpcName, StreamName>

export interface CallOptions {
  /** Without it a call has 60 s. */
  readonly deadlineMs?: number
  /** Cancels the call; it then fails with CANCELLED. */
  readonly signal?: AbortSignal
  /** Wait for a connection, also one that was refused just now, until the deadline. */
  readonly waitForReady?: boolean
  /** Sent beside the request. */
  readonly metadata?: Readonly<Record<string, string>>
}

export interface CriClient {
  /** One unary call. Rejects with a grpc ServiceError. */
  call<N extends UnaryName>(method: N, request: RequestOf<N>, options?: CallOptions): Promise<ReplyOf<N>>
  /** The messages of a stream; leaving the loop cancels it. No deadline unless given. */
  stream<N extends StreamName>(
    method: N,
    request: RequestOf<N>,
    options?: CallOptions,
  ): AsyncIterable<ReplyOf<N>>
  /** A unary call with raw bytes as its request: for what no encoder would write. */
  callRaw(method: RpcName, request: Uint8Array, options?: CallOptions): Promise<Uint8Array>
  close(): void
}

/** Codes by name, for `expect(error.code).toBe(status.NOT_FOUND)`. */
export const status = grpc.status

/** The grpc code of a failed call, or undefined for another error. */
export function codeOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'number' ? code : undefined
}

/** A decoded message as a plain object: inherited defaults become fields of its own. Bytes stay bytes. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(plain)
  const copy: Record<string, unknown> = {}
  for (const key in value) copy[key] = plain(Reflect.get(value, key))
  return copy
}

interface Codec {
  encode(message: unknown): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
}

function rowOf(method: RpcName): Rpc {
  const row = rpcs.find((r) => r.name === method)
  if (row === undefined) throw new Error(`there is no RPC ${method}`)
  return row
}

function codecOf(message: Rpc['request'] | Rpc['response']): Codec {
  const codec: Codec = v1[message]
  return codec
}

function callOptions(options: CallOptions, defaultMs: number | undefined): grpc.CallOptions {
  const ms = options.deadlineMs ?? defaultMs
  return ms === undefined ? {} : { deadline: Date.now() + ms }
}

function metadataOf(options: CallOptions): grpc.Metadata {
  const metadata = new grpc.Metadata(options.waitForReady === true ? { waitForReady: true } : {})
  for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value)
  return metadata
}

function unary(
  client: grpc.Client,
  method: RpcName,
  call: { readonly bytes: Buffer; readonly options: CallOptions },
): Promise<Buffer> {
  const { bytes, options } = call
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted()
    const same = (b: Buffer): Buffer => b
    const sent = client.makeUnaryRequest<Buffer, Buffer>(
      rowOf(method).path,
      same,
      same,
      bytes,
      metadataOf(options),
      callOptions(options, 60_000),
      (error, reply) => {
        options.signal?.removeEventListener('abort', cancel)
        if (error !== null) reject(error)
        else resolve(reply ?? Buffer.alloc(0))
      },
    )
    const cancel = (): void => sent.cancel()
    options.signal?.addEventListener('abort', cancel, { once: true })
  })
}

async function* messages(
  client: grpc.Client,
  method: RpcName,
  call: { readonly bytes: Buffer; readonly options: CallOptions },
): AsyncGenerator<Buffer> {
  const same = (b: Buffer): Buffer => b
  const sent = client.makeServerStreamRequest<Buffer, Buffer>(
    rowOf(method).path,
    same,
    same,
    call.bytes,
    metadataOf(call.options),
    callOptions(call.options, undefined),
  )
  const cancel = (): void => sent.cancel()
  call.options.signal?.addEventListener('abort', cancel, { once: true })
  try {
    for await (const message of sent) yield message
  } finally {
    call.options.signal?.removeEventListener('abort', cancel)
    sent.on('error', () => {}) // the cancellation's own error has no reader any more
    sent.cancel()
  }
}

/** Connects to the unix socket; nothing is sent before the first call. */
export function connect(socket: string): CriClient {
  const client = new grpc.Client(`unix://${socket}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.initial_reconnect_backoff_ms': 20,
    'grpc.min_reconnect_backoff_ms': 20,
    'grpc.max_reconnect_backoff_ms': 200,
    'grpc.use_local_subchannel_pool': 1,
  })
  const encoded = (method: RpcName, request: unknown): Buffer =>
    Buffer.from(codecOf(rowOf(method).request).encode(request).finish())
  const decoded = <N extends RpcName>(method: N, bytes: Buffer): ReplyOf<N> =>
    plain(codecOf(rowOf(method).response).decode(bytes)) as ReplyOf<N>
  return {
    call: async (method, request, options = {}) =>
      decoded(method, await unary(client, method, { bytes: encoded(method, request), options })),
    stream: async function* (method, request, options = {}) {
      for await (const bytes of messages(client, method, { bytes: encoded(method, request), options }))
        yield decoded(method, bytes)
    },
    callRaw: (method, request, options = {}) =>
      unary(client, method, { bytes: Buffer.from(request), options }),
    close: () => client.close(),
  }
}
