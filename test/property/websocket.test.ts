// SPDX-License-Identifier: Apache-2.0
/**
 * WebSocket clients of the streaming server that send anything: messages of every channel and form, and bytes that
 * are no frames. Each session ends, nothing of it is left, and the next one works.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { upgrade } from '../support/spdy-client.ts'
import { type Serving, serve } from '../unit/edge/streaming/fixture.ts'

let serving: Serving
/** Sessions that run; each ends with its client. */
let running = 0

beforeAll(async () => {
  serving = await serve({
    async run({ stdin, stdout, onResize }, signal) {
      running++
      onResize(() => undefined)
      stdin?.on('data', (chunk) => stdout?.write(chunk))
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve())
        if (signal.aborted) resolve()
      })
      running--
      return { is: 'success' }
    },
  })
})
afterAll(() => serving.stop())

const protocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
] as const

async function worksStill(): Promise<void> {
  const socket = new WebSocket(serving.url({ stdin: true }).replace('http', 'ws'), ['v5.channel.k8s.io'])
  const echoed = new Promise<Buffer>((resolve, reject) => {
    socket.on('message', (message: Buffer) => {
      if (message.length > 1) resolve(message)
    })
    socket.on('error', reject)
  })
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(Buffer.from([0, 65, 66]))
  expect([...(await echoed)]).toEqual([1, 65, 66])
  socket.terminate()
}

test('any messages, in any protocol', async () => {
  const message = fc.oneof(
    fc.record({ binary: fc.constant(true), bytes: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({
      binary: fc.boolean(),
      bytes: fc
        .tuple(fc.constantFrom(0, 1, 2, 3, 4, 5, 48, 52, 255), fc.uint8Array({ maxLength: 50 }))
        .map(([channel, rest]) => Uint8Array.from([channel, ...rest])),
    }),
    fc.record({
      binary: fc.constant(false),
      bytes: fc.string({ maxLength: 100 }).map((s) => Buffer.from(s)),
    }),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...protocols),
      fc.array(message, { maxLength: 30 }),
      async (protocol, list) => {
        const socket = new WebSocket(serving.url({ stdin: true }).replace('http', 'ws'), [protocol])
        socket.on('error', () => undefined)
        const closed = new Promise((resolve) => socket.once('close', resolve))
        await new Promise((resolve) => socket.once('open', resolve))
        for (const { binary, bytes } of list) socket.send(bytes, { binary })
        // The answer to it comes after all of them were read, if the server still listens.
        await Promise.race([new Promise((resolve) => socket.once('pong', resolve).ping()), closed])
        socket.terminate()
        await closed
      },
    ),
    { numRuns: 60 },
  )
  await worksStill()
  await expect.poll(() => running).toBe(0)
})

test('any bytes in the place of frames', async () => {
  const lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const key = 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=='
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { maxLength: 8 }),
      async (chunks) => {
        const reply = await upgrade(serving.url({ stdin: true }), [...lines, key], 'GET')
        expect(reply.status).toBe(101)
        for (const chunk of chunks) reply.socket.write(chunk)
        reply.socket.resume()
        const closed = new Promise((resolve) => reply.socket.once('close', resolve))
        reply.socket.end()
        await closed
      },
    ),
    { numRuns: 60 },
  )
  await worksStill()
  await expect.poll(() => running).toBe(0)
})
