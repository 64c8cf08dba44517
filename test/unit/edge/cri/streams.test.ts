// SPDX-License-Identifier: Apache-2.0
/** Live streams over gRPC: at the pace of what happens, bounded for a reader that does not read, and ended. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import { silent } from '../../../../src/base/log.ts'
import { childScope, type OwnedScope } from '../../../../src/base/scope.ts'
import { answer, openCall } from '../../../../src/edge/cri/call.ts'
import { writeLive } from '../../../../src/edge/cri/streams.ts'
import { LIMITS } from '../../../../src/model/limits.ts'

const path = '/test.Test/Live'
const same = (b: Buffer) => b
/** Larger than what a connection holds: a few of them, and the reader is behind. */
const BIG = Buffer.alloc(64 * 1024)

let folder: string
let server: grpc.Server
let clients: grpc.Client[]
let socket: string
let daemon: OwnedScope
let subscribers: Set<(message: object) => void>
let ended: unknown[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-live-'))
  daemon = childScope({ signal: new AbortController().signal, log: silent })
  subscribers = new Set()
  ended = []
  server = new grpc.Server()
  const definition = { path, requestStream: false, responseStream: true }
  const codecs = { requestSerialize: same, requestDeserialize: same }
  const live = (call: grpc.ServerWritableStream<object, object>) => {
    const scope = openCall(daemon, call, 'GetContainerEvents')
    const work = () =>
      writeLive(scope, call, (send) => {
        subscribers.add(send)
        return { [Symbol.dispose]: () => subscribers.delete(send) }
      })
    void answer(scope, 'GetContainerEvents', work).then((end) => {
      ended.push('error' in end ? end.error.code : 'left')
      if ('error' in end) call.emit('error', end.error)
      else call.end()
    })
  }
  server.addService(
    { Live: { ...definition, ...codecs, responseSerialize: same, responseDeserialize: same } },
    { Live: live },
  )
  socket = `unix://${join(folder, 's')}`
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(socket, grpc.ServerCredentials.createInsecure(), (e) => (e ? reject(e) : resolve())),
  )
  clients = []
})
afterEach(async () => {
  for (const client of clients) client.close()
  server.forceShutdown()
  await rm(folder, { recursive: true, force: true })
})

/** A subscriber on a connection of its own; paused until somebody reads. */
async function subscribe() {
  const own = { 'grpc.use_local_subchannel_pool': 1 }
  const client = new grpc.Client(socket, grpc.credentials.createInsecure(), own)
  clients.push(client)
  const call = client.makeServerStreamRequest<Buffer, Buffer>(path, same, same, Buffer.alloc(0))
  const status = new Promise<grpc.StatusObject>((resolve) => call.once('status', resolve))
  call.on('error', () => {})
  await once(call, 'metadata')
  return { call, status }
}
const tell = (message: Buffer) => {
  for (const send of [...subscribers]) send(message)
}

test('a reader gets every message in order', async () => {
  const { call } = await subscribe()
  const got: string[] = []
  call.on('data', (b: Buffer) => void got.push(b.toString()))
  const all = Array.from({ length: 5000 }, (_, i) => String(i))
  for (const [i, text] of all.entries()) {
    tell(Buffer.from(text))
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await expect.poll(() => got.length).toBe(all.length)
  expect(got).toEqual(all)
})

test('one that does not read is ended with RESOURCE_EXHAUSTED, the others hear everything', async () => {
  const slow = await subscribe()
  // This gRPC holds a connection back only after the first message was read.
  slow.call.once('data', () => slow.call.pause())
  tell(BIG)
  await once(slow.call, 'pause')
  const { call } = await subscribe()
  let heard = 0
  call.on('data', () => void heard++)
  const count = LIMITS.liveQueue + 500
  for (let i = 1; i <= count; i++) {
    tell(BIG)
    while (heard < i) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(ended).toEqual([grpc.status.RESOURCE_EXHAUSTED])
  expect(subscribers.size).toBe(1)
  // It hears of it as soon as it reads, after what had been on its way.
  let late = 0
  slow.call.on('data', () => void late++).resume()
  expect(await slow.status).toMatchObject({
    code: grpc.status.RESOURCE_EXHAUSTED,
    details: expect.stringContaining('list what there is, then subscribe again'),
  })
  expect(late).toBeLessThan(100)
})

test('a client that leaves is unsubscribed', async () => {
  const { call } = await subscribe()
  call.cancel()
  await expect.poll(() => subscribers.size).toBe(0)
  await expect.poll(() => ended).toEqual(['left'])
})

test('the end of the daemon ends the stream, and says so', async () => {
  const { call, status } = await subscribe()
  call.resume()
  daemon.abort(new Fault('unavailable', 'gantryd is stopping'))
  expect(await status).toMatchObject({ code: grpc.status.UNAVAILABLE, details: 'gantryd is stopping' })
  expect(subscribers.size).toBe(0)
})
