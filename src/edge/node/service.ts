// SPDX-License-Identifier: Apache-2.0
/**
 * The service gantry.v1.Node on the daemon's gRPC server, from the one table of its methods. Every call goes
 * through the wrapper of the CRI (`edge/cri/call.ts`).
 */
import * as grpc from '@grpc/grpc-js'
import { isFault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { answer, openCall } from '../cri/call.ts'
import type { Call } from '../cri/context.ts'
import { v1 } from './gen/api.js'
import { type Rpc, rpcs } from './gen/rpcs.ts'
import { methods } from './methods.ts'
import { type Out, outOf } from './out.ts'

/** The trailing metadata that tells a client the kind of the fault, which a gRPC code does not. */
const FAULT_KEY = 'gantry-fault'
interface Codec {
  encode(message: object): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
}

function definition(rpc: Rpc): grpc.MethodDefinition<object, object> {
  const [request, response]: [Codec, Codec] = [v1[rpc.request], v1[rpc.response]]
  const bytesOf = (codec: Codec) => (message: object) => Buffer.from(codec.encode(message).finish())
  return {
    path: rpc.path,
    requestStream: 'requestStream' in rpc,
    responseStream: rpc.stream,
    requestSerialize: bytesOf(request),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: bytesOf(response),
    responseDeserialize: (bytes) => response.decode(bytes),
  }
}

export interface NodeWiring {
  readonly daemon: Scope
  readonly context: (scope: Scope) => Call
  /** Called at the start and end of every call. */
  readonly onActivity: (rpc: string) => void
}

type Run = (call: Call, request: object, out: Out<object>) => unknown

/** Adds the service to a server. */
export function addNodeService(server: grpc.Server, wiring: NodeWiring): void {
  server.addService(
    Object.fromEntries(rpcs.map((r) => [r.name, definition(r)])),
    Object.fromEntries(rpcs.map((r) => [r.name, handler(wiring, r)])),
  )
}

function handler(w: NodeWiring, rpc: Rpc): grpc.UntypedHandleCall {
  // The table is typed row by row; here the rows are called by name, with messages of the row's own codec.
  const run = methods[rpc.name] as unknown as Run
  const name = `Node.${rpc.name}`
  if (!rpc.stream)
    return (call: grpc.ServerUnaryCall<object, object>, done: grpc.sendUnaryData<object>) => {
      const none: Out<object> = { send: () => Promise.resolve(), offer: () => {} }
      void carryOut(w, { call, name }, (scope) => run(w.context(scope), call.request, none)).then((end) => {
        if ('error' in end) done(end.error)
        else done(null, end.value as object)
      })
    }
  return (call: grpc.ServerWritableStream<object, object> | grpc.ServerDuplexStream<object, object>) => {
    const work = async (scope: Scope) => {
      const out = outOf(call)
      // A method that has read enough must not take away the stream, which its status still goes through.
      const request = 'request' in call ? call.request : call.iterator({ destroyOnReturn: false })
      try {
        return await run(w.context(scope), request, out)
      } finally {
        out.close()
      }
    }
    void carryOut(w, { call, name }, work).then((end) => {
      if ('error' in end) return call.emit('error', end.error)
      // `end` of this stream takes trailing metadata, no message.
      call.write(end.value as object)
      return call.end()
    })
  }
}

interface Carried {
  readonly call: Parameters<typeof openCall>[1]
  readonly name: string
}

async function carryOut(w: NodeWiring, { call, name }: Carried, work: (scope: Scope) => unknown) {
  w.onActivity(name)
  const scope = openCall(w.daemon, call, name)
  let kind = 'internal'
  const end = await answer(scope, name, async () => {
    try {
      return await work(scope)
    } catch (e) {
      if (isFault(e)) kind = e.kind
      throw e
    }
  })
  w.onActivity(name)
  if (!('error' in end)) return end
  const metadata = new grpc.Metadata()
  metadata.set(FAULT_KEY, kind)
  return { error: { ...end.error, metadata } }
}
