// SPDX-License-Identifier: Apache-2.0
/** Port-forward over SPDY, over SPDY in a WebSocket, and over plain WebSocket channels. */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { Fault } from '../../../../src/base/fault.ts'
import type { Forwarded } from '../../../../src/edge/streaming/channels.ts'
import { STREAMING } from '../../../../src/edge/streaming/limits.ts'
import { tunnel } from '../../../../src/edge/streaming/websocket/tunnel.ts'
import {
  type ClientStream,
  controlFrame,
  type SpdyClient,
  spdyConnect,
  spdyOver,
  upgrade,
} from '../../../support/spdy-client.ts'
import { type Serving, serve } from './fixture.ts'

let serving: Serving | undefined
const clients: SpdyClient[] = []
const sockets: WebSocket[] = []

afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  for (const socket of sockets.splice(0)) socket.terminate()
  await serving?.stop()
  serving = undefined
})

/** Port 1 is refused; every other port echoes. */
async function echo({ port, data }: Forwarded): Promise<void> {
  if (port === 1) throw new Fault('unavailable', 'connection refused: port 1')
  for await (const chunk of data)
    if (!data.write(chunk)) await new Promise((resolve) => data.once('drain', resolve))
  data.end()
}

async function start(): Promise<Serving> {
  serving = await serve({ forward: echo })
  return serving
}

const ticket = { kind: 'portforward' } as const

/** The tunnelled form needs a name that no WebSocket library lets through: the upgrade is done by hand. */
async function tunnelled(url: string): Promise<Duplex> {
  const key = randomBytes(16).toString('base64')
  const lines = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`,
  ]
  const name = 'SPDY/3.1+portforward.k8s.io'
  const reply = await upgrade(url, [...lines, `Sec-WebSocket-Protocol: ${name}`], 'GET')
  expect(reply.head).toContain(`Sec-WebSocket-Protocol: ${name}`)
  const socket: WebSocket = Reflect.construct(WebSocket, [null, undefined, {}])
  Reflect.set(socket, '_isServer', false)
  Reflect.get(socket, 'setSocket').call(socket, reply.socket, reply.rest, { maxPayload: 1 << 24 })
  reply.socket.resume()
  sockets.push(socket)
  return tunnel(socket)
}

const ways: readonly [string, (url: string) => Promise<SpdyClient>][] = [
  ['SPDY', (url) => spdyConnect(url, ['portforward.k8s.io'])],
  ['SPDY in a WebSocket', async (url) => spdyOver(await tunnelled(url))],
]

describe.each(ways)('over %s', (_name, connect) => {
  async function client(): Promise<SpdyClient> {
    const { url } = await start()
    const made = await connect(url(ticket))
    clients.push(made)
    return made
  }

  async function connection(on: SpdyClient, port: string, id: string): Promise<[ClientStream, ClientStream]> {
    const error = await on.open({ streamtype: 'error', port, requestid: id })
    error.fin()
    const data = await on.open({ streamtype: 'data', port, requestid: id })
    return [data, error]
  }

  it('many connections go side by side, each byte-exact, each ended on its own', async () => {
    const on = await client()
    const all = Array.from({ length: 40 }, async (_, i) => {
      const [data, error] = await connection(on, '80', `${i}`)
      const blob = randomBytes(1 + i * 10_000)
      await data.write(blob)
      data.fin()
      expect(await data.ended).toBe('fin')
      expect(data.bytes.equals(blob)).toBe(true)
      expect(await error.ended).toBe('fin')
      expect(error.bytes.length).toBe(0)
    })
    await Promise.all(all)
  })

  it('a refused port is told on its own error stream, and the session lives on', async () => {
    const on = await client()
    const [refused, why] = await connection(on, '1', 'a')
    expect(await why.ended).toBe('fin')
    expect(why.bytes.toString()).toBe('connection refused: port 1')
    expect(await refused.ended).toBe('fin')
    const [data] = await connection(on, '80', 'b')
    await data.write('still here')
    data.fin()
    await data.ended
    expect(data.bytes.toString()).toBe('still here')
  })

  it('streams without a port, with a wrong one, or of a wrong kind are refused one by one', async () => {
    const on = await client()
    for (const headers of [
      { streamtype: 'data', requestid: '1' },
      { streamtype: 'data', requestid: '1', port: '70000' },
      { streamtype: 'data', requestid: '1', port: '80x' },
      { streamtype: 'stdin', requestid: '1', port: '80' },
    ])
      await expect((await on.open(headers)).replied).rejects.toThrow('reset')
    const [data] = await connection(on, '80', '2')
    data.fin()
    expect(await data.ended).toBe('fin')
  })

  it('clients without the header requestid pair by the order of their streams', async () => {
    const on = await client()
    await on.open({ streamtype: 'error', port: '80' })
    const data = await on.open({ streamtype: 'data', port: '80' })
    await data.write('x')
    data.fin()
    await data.ended
    expect(data.bytes.toString()).toBe('x')
  })
})

it('a client that opens streams without end gets so many, and the rest refused', async () => {
  const { url, server } = await start()
  const client = await spdyConnect(url(ticket), ['portforward.k8s.io'])
  clients.push(client)
  const opened: ClientStream[] = []
  for (let i = 0; i < STREAMING.spdyStreams + 5; i++)
    opened.push(await client.open({ streamtype: 'error', port: '80', requestid: `${i}` }))
  await client.ping(1)
  const replies = await Promise.allSettled(opened.map((stream) => stream.replied))
  expect(replies.filter((r) => r.status === 'fulfilled')).toHaveLength(STREAMING.spdyStreams)
  client.close()
  await server.idle()
})

it('ends the connections of a client that goes', async () => {
  const gone = Promise.withResolvers<boolean>()
  serving = await serve({
    forward: ({ data }, signal) =>
      new Promise((resolve) => {
        data.on('close', () => {
          gone.resolve(signal.aborted)
          resolve()
        })
      }),
  })
  const client = await spdyConnect(serving.url(ticket), ['portforward.k8s.io'])
  await client.open({ streamtype: 'error', port: '80', requestid: '1' })
  await (await client.open({ streamtype: 'data', port: '80', requestid: '1' })).replied
  client.close()
  await gone.promise
})

it('only ports that were asked for', async () => {
  const { url } = await start()
  const client = await spdyConnect(url({ ...ticket, ports: [80] }), ['portforward.k8s.io'])
  clients.push(client)
  const wrong = await client.open({ streamtype: 'error', port: '81', requestid: '1' })
  await expect(wrong.replied).rejects.toThrow('reset')
  client.wire.write(controlFrame(7, 0, Buffer.alloc(8)))
})

it('over plain channels each port has two, and the first message on each is the port', async () => {
  const { url } = await start()
  const socket = new WebSocket(url({ ...ticket, ports: [80, 1] }).replace('http', 'ws'), [
    'v4.channel.k8s.io',
  ])
  sockets.push(socket)
  const got = new Map<number, Buffer[]>()
  const refused = Promise.withResolvers<void>()
  const echoed = Promise.withResolvers<void>()
  socket.on('message', (message: Buffer) => {
    const channel = message.readUInt8(0)
    got.set(channel, [...(got.get(channel) ?? []), message.subarray(1)])
    if (channel === 3 && got.get(3)?.length === 2) refused.resolve()
    if (channel === 0 && got.get(0)?.length === 2) echoed.resolve()
  })
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('hello')]))
  await Promise.all([refused.promise, echoed.promise])
  expect([0, 1, 2, 3].map((channel) => got.get(channel)?.[0]?.readUInt16LE(0))).toEqual([80, 80, 1, 1])
  expect(got.get(0)?.[1]?.toString()).toBe('hello')
  expect(got.get(3)?.[1]?.toString()).toBe('connection refused: port 1')
})
