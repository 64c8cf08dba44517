// SPDX-License-Identifier: Apache-2.0
/**
 * The gRPC server on the unix socket: both services from the one table of methods, and the node's own; the peer of each connection
 * checked, a bounded drain at the end. Owns the socket file: 0660 from its first moment, taken away on close.
 */
import { chown, rm } from 'node:fs/promises'
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { Fault } from '../../base/fault.ts'
import { childScope, type Scope } from '../../base/scope.ts'
import type { Engine } from '../../engine/index.ts'
import { addNodeService } from '../node/service.ts'
import { answer, openCall } from './call.ts'
import type { About } from './context.ts'
import { Encoded } from './encode/repeated.ts'
import { v1 } from './gen/api.js'
import { type Rpc, rpcs } from './gen/rpcs.ts'
import { methods } from './methods.ts'
import { UNIMPLEMENTED } from './status.ts'
import { writeAll, writeLive } from './streams.ts'

export interface ServerOptions {
  readonly socket: string
  readonly gid: number
  readonly maxMessageBytes: number
  readonly about: About
  /** Who is at the other end; false closes the connection. */
  readonly allows: (socket: Socket) => boolean
  /** Called at the start and end of every RPC: for the idle pass. */
  readonly onActivity: (rpc: string) => void
}

export interface CriServer {
  /** Stops accepting, lets calls end for `drainMs`, then ends them; removes the socket. Idempotent. @abort finishes */
  close(drainMs: number): Promise<void>
}

/** protobufjs classes by name; every message has encode and decode. */
interface Codec {
  encode(message: object): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
}

function codec(name: string): Codec {
  const found: unknown = Reflect.get(v1, name)
  if (typeof found !== 'function') throw new Fault('internal', `the generated code has no message ${name}`)
  return found as unknown as Codec
}

function serialize(response: Codec) {
  return (value: unknown): Buffer => {
    if (value instanceof Encoded) return value.bytes
    return Buffer.from(response.encode(value as object).finish())
  }
}

function definition(rpc: Rpc): grpc.MethodDefinition<object, object> {
  const [request, response] = [codec(rpc.request), codec(rpc.response)]
  return {
    path: rpc.path,
    requestStream: false,
    responseStream: rpc.stream,
    requestSerialize: serialize(request),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: serialize(response),
    responseDeserialize: (bytes) => response.decode(bytes),
  }
}

interface Wiring {
  readonly daemon: Scope
  /** Ends before the drain: for what does not end by itself. */
  readonly live: Scope
  readonly engine: Engine
  readonly options: ServerOptions
}

type AnyMethod =
  | { is: 'unary'; run: (call: object, request: object) => unknown }
  | { is: 'stream'; run: (call: object, request: object) => Iterable<object> | AsyncIterable<object> }
  | {
      is: 'live'
      run: (call: object, request: object, send: (message: object) => void) => Disposable
    }
  | { is: 'later'; capability: string }

function handler(w: Wiring, rpc: Rpc): grpc.UntypedHandleCall {
  // The table is typed row by row; here the rows are called by name, with messages of the row's own codec.
  const method = methods[rpc.name] as unknown as AnyMethod
  const context = (scope: Scope) => ({ scope, engine: w.engine, about: w.options.about })
  const later = (capability: string) => ({
    code: UNIMPLEMENTED,
    details: `${rpc.name} is not offered yet: it comes with ${capability} (see the README's status table)`,
  })
  if (rpc.stream) return streamHandler(w, rpc, { method, later, context })
  return (call: grpc.ServerUnaryCall<object, object>, done: grpc.sendUnaryData<object>) => {
    w.options.onActivity(rpc.name)
    if (method.is !== 'unary') {
      done(method.is === 'later' ? later(method.capability) : { code: UNIMPLEMENTED })
      return
    }
    const scope = openCall(w.daemon, call, rpc.name)
    void answer(scope, rpc.name, () => method.run(context(scope), call.request) as object).then((end) => {
      w.options.onActivity(rpc.name)
      if ('error' in end) done(end.error)
      else done(null, end.value)
    })
  }
}

interface StreamParts {
  readonly method: AnyMethod
  readonly later: (capability: string) => { code: grpc.status; details: string }
  readonly context: (scope: Scope) => object
}

function streamHandler(w: Wiring, rpc: Rpc, parts: StreamParts) {
  const { method } = parts
  return (call: grpc.ServerWritableStream<object, object>) => {
    w.options.onActivity(rpc.name)
    if (method.is !== 'stream' && method.is !== 'live') {
      call.emit('error', method.is === 'later' ? parts.later(method.capability) : { code: UNIMPLEMENTED })
      return
    }
    const scope = openCall(method.is === 'live' ? w.live : w.daemon, call, rpc.name)
    const context = parts.context(scope)
    const work = () =>
      method.is === 'live'
        ? writeLive(scope, call, (send) => method.run(context, call.request, send))
        : writeAll(scope, call, method.run(context, call.request))
    void answer(scope, rpc.name, work).then((end) => {
      if ('error' in end) call.emit('error', end.error)
      else call.end()
    })
  }
}

function grpcServer(w: Wiring): grpc.Server {
  const server = new grpc.Server({
    'grpc.max_receive_message_length': w.options.maxMessageBytes,
    'grpc.max_send_message_length': w.options.maxMessageBytes,
  })
  for (const service of ['RuntimeService', 'ImageService'] as const) {
    const own = rpcs.filter((r) => r.service === service)
    server.addService(
      Object.fromEntries(own.map((r) => [r.name, definition(r)])),
      Object.fromEntries(own.map((r) => [r.name, handler(w, r)])),
    )
  }
  addNodeService(server, {
    daemon: w.daemon,
    context: (scope) => ({ scope, engine: w.engine, about: w.options.about }),
    onActivity: w.options.onActivity,
  })
  return server
}

/** Listens. Resolves when the socket answers. */
export async function serveCri(daemon: Scope, engine: Engine, options: ServerOptions): Promise<CriServer> {
  const live = childScope(daemon)
  const server = grpcServer({ daemon, live, engine, options })
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
  const open = new Set<Socket>()
  const listener = createServer((socket) => {
    if (!options.allows(socket)) {
      socket.destroy()
      return
    }
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    injector.injectConnection(socket)
  })
  await listen(listener, options)
  let closing: Promise<void> | undefined
  return {
    close(drainMs) {
      live.abort(new Fault('unavailable', 'gantryd is stopping'))
      closing ??= drain({ server, listener, injector, open, options, drainMs })
      return closing
    },
  }
}

/** The mode is right from the first moment: bind happens inside `listen()`, under a umask of its own. */
async function listen(listener: NetServer, options: ServerOptions): Promise<void> {
  await rm(options.socket, { force: true })
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject)
    const before = process.umask(0o117)
    listener.listen(options.socket, resolve)
    process.umask(before)
  })
  await chown(options.socket, 0, options.gid)
}

interface Drain {
  readonly server: grpc.Server
  readonly listener: NetServer
  readonly injector: { drain(graceTimeMs: number): void; destroy(): void }
  readonly open: ReadonlySet<Socket>
  readonly options: ServerOptions
  readonly drainMs: number
}

async function drain(d: Drain): Promise<void> {
  d.listener.close()
  await rm(d.options.socket, { force: true })
  d.injector.drain(d.drainMs)
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, d.drainMs)
    d.server.tryShutdown(() => {
      clearTimeout(timer)
      resolve()
    })
  })
  d.server.forceShutdown()
  d.injector.destroy()
  for (const socket of d.open) socket.destroy()
}
