// SPDX-License-Identifier: Apache-2.0
/**
 * Client: a small CRI client for measuring. It reads the vendored api.proto by reflection and shares no code
 * with the daemon, so that a mistake there cannot hide itself here. The clock of a call stops when the reply's
 * last byte has arrived: encoding the request is counted, decoding the reply is not.
 */
import { readFileSync } from 'node:fs'
import {
  type ClientUnaryCall,
  credentials,
  Client as GrpcClient,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import protobuf from 'protobufjs'

const PROTO = new URL('../proto/runtime/v1/api.proto', import.meta.url)
const MAX_MESSAGE_BYTES = 80 * 1024 * 1024

/** The parts of the replies that the bench reads. */
export interface Replies {
  Version: { runtimeName: string; runtimeVersion: string }
  Status: { status?: { conditions?: { type: string; status: boolean; message: string }[] } }
  RunPodSandbox: { podSandboxId: string }
  PodSandboxStatus: { status?: { network?: { ip: string } } }
  StopPodSandbox: object
  RemovePodSandbox: object
  ListPodSandbox: { items: { id: string }[] }
  CreateContainer: { containerId: string }
  StartContainer: object
  StopContainer: object
  RemoveContainer: object
  ListContainers: { containers: { id: string }[] }
  ContainerStatus: { status?: { state: string } }
  ListContainerStats: { stats: object[] }
  ListPodSandboxStats: { stats: object[] }
  ListPodSandboxMetrics: { podMetrics: object[] }
  ExecSync: { exitCode: number }
  Exec: { url: string }
  PortForward: { url: string }
  ListImages: { images: { id: string }[] }
  ImageStatus: { image?: { id: string } }
  PullImage: { imageRef: string }
  RemoveImage: object
}
export type RpcName = keyof Replies

/** The parts of the messages of streams without end that the bench reads. */
export interface Messages {
  GetContainerEvents: { containerId: string; containerEventType: string }
}

/** A call that the runtime refused, with the RPC's name in front. */
export class RpcError extends Error {
  readonly code: number
  constructor(rpc: string, cause: ServiceError) {
    super(`${rpc}: ${status[cause.code]}: ${cause.details}`, { cause })
    this.name = 'RpcError'
    this.code = cause.code
  }
  get unimplemented(): boolean {
    return this.code === status.UNIMPLEMENTED
  }
}

export interface Timed<R> {
  reply: R
  ms: number
}

interface Method {
  path: string
  request: protobuf.Type
  response: protobuf.Type
}

let cachedMethods: ReadonlyMap<string, Method> | undefined

function methods(): ReadonlyMap<string, Method> {
  if (cachedMethods) return cachedMethods
  const { root } = protobuf.parse(readFileSync(PROTO, 'utf8'))
  const found = new Map<string, Method>()
  for (const name of ['RuntimeService', 'ImageService']) {
    const service = root.lookupService(`runtime.v1.${name}`)
    for (const method of service.methodsArray) {
      found.set(method.name, {
        path: `/runtime.v1.${name}/${method.name}`,
        request: service.lookupType(method.requestType),
        response: service.lookupType(method.responseType),
      })
    }
  }
  cachedMethods = found
  return found
}

const pass = (bytes: Buffer) => bytes

const decoded = ({ response }: Method, bytes: Buffer): object =>
  response.toObject(response.decode(bytes), { longs: Number, enums: String, defaults: true })

/** One connection to one CRI socket. */
export class CriClient {
  readonly socket: string
  readonly #grpc: GrpcClient

  constructor(socket: string) {
    this.socket = socket
    this.#grpc = new GrpcClient(`unix:${socket}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
      'grpc.use_local_subchannel_pool': 1,
    })
  }

  /** Makes one call and says how long it took. Rejects with RpcError. */
  async call<K extends RpcName>(
    rpc: K,
    request: object = {},
    timeoutMs = 120_000,
  ): Promise<Timed<Replies[K]>> {
    const method = methods().get(rpc)
    if (!method) throw new Error(`bench: api.proto has no RPC ${rpc}`)
    const { bytes, ms } = await this.#bytes(method, rpc, { request, timeoutMs })
    return { reply: decoded(method, bytes) as Replies[K], ms }
  }

  /** Hears a stream until it is disposed of; `failed` says why it ended before that. */
  listen<K extends keyof Messages>(
    rpc: K,
    to: { readonly message: (one: Messages[K]) => void; readonly failed: (why: RpcError) => void },
  ): Disposable {
    const method = methods().get(rpc)
    if (!method) throw new Error(`bench: api.proto has no RPC ${rpc}`)
    const call = this.#grpc.makeServerStreamRequest(method.path, () => Buffer.alloc(0), pass, {})
    call.on('data', (bytes: Buffer) => to.message(decoded(method, bytes) as Messages[K]))
    call.on('error', (error: ServiceError) => to.failed(new RpcError(rpc, error)))
    return { [Symbol.dispose]: () => call.cancel() }
  }

  #bytes(
    method: Method,
    rpc: string,
    call: { request: object; timeoutMs: number },
  ): Promise<{ bytes: Buffer; ms: number }> {
    return new Promise((resolve, reject) => {
      const began = performance.now()
      const serialize = (message: object) =>
        Buffer.from(method.request.encode(method.request.fromObject(message)).finish())
      const options = { deadline: Date.now() + call.timeoutMs }
      const done = (error: ServiceError | null, bytes?: Buffer) => {
        const ms = performance.now() - began
        if (error) reject(new RpcError(rpc, error))
        else resolve({ bytes: bytes ?? Buffer.alloc(0), ms })
      }
      const _call: ClientUnaryCall = this.#grpc.makeUnaryRequest(
        method.path,
        serialize,
        pass,
        call.request,
        options,
        done,
      )
    })
  }

  /** Closes the connection; calls in flight are cancelled. */
  close(): void {
    this.#grpc.close()
  }
}
