// SPDX-License-Identifier: Apache-2.0
/** Exec and attach over WebSocket: the subprotocols, their channels, the end of stdin in v5, and back-pressure. */
import { createHash, randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { type Behaviour, put, type Serving, serve } from './fixture.ts'

let serving: Serving | undefined
const sockets: WebSocket[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate()
  await serving?.stop()
  serving = undefined
})

interface Client {
  readonly socket: WebSocket
  readonly got: Map<number, Buffer>
  readonly closed: Promise<number>
  send(channel: number, bytes: Buffer | string): void
}

async function connect(how: Behaviour, protocols: string[], ticket = {}): Promise<Client> {
  serving = await serve(how)
  const socket = new WebSocket(serving.url({ stdin: true, ...ticket }).replace('http', 'ws'), protocols)
  sockets.push(socket)
  const base64 = protocols.some((p) => p.includes('base64'))
  const got = new Map<number, Buffer>()
  socket.on('message', (message: Buffer, binary: boolean) => {
    expect(binary).toBe(!base64)
    const channel = base64 ? Number(message.toString('latin1', 0, 1)) : message.readUInt8(0)
    const bytes = base64 ? Buffer.from(message.toString('latin1', 1), 'base64') : message.subarray(1)
    got.set(channel, Buffer.concat([got.get(channel) ?? Buffer.alloc(0), bytes]))
  })
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  return {
    socket,
    got,
    closed,
    send: (channel, bytes) => {
      if (base64) socket.send(`${channel}${Buffer.from(bytes).toString('base64')}`)
      else socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(bytes)]))
    },
  }
}

/** Answers the first input in capitals, on stdout and stderr. */
const shout: Behaviour = {
  async run({ stdin, stdout, stderr }) {
    for await (const chunk of stdin ?? []) {
      const text = String(chunk).toUpperCase()
      stdout?.write(text)
      stderr?.write(text)
      break
    }
    return { is: 'exit', code: 3 }
  },
}

describe.each([
  ['v5.channel.k8s.io', true],
  ['v4.channel.k8s.io', true],
  ['v4.base64.channel.k8s.io', true],
  ['channel.k8s.io', false],
  ['base64.channel.k8s.io', false],
])('%s', (protocol, json) => {
  it('carries input, output and the exit code, and closes as usual', async () => {
    const client = await connect(shout, [protocol])
    expect(client.socket.protocol).toBe(protocol)
    client.send(0, 'abc')
    expect(await client.closed).toBe(1000)
    expect(client.got.get(1)?.toString()).toBe('ABC')
    expect(client.got.get(2)?.toString()).toBe('ABC')
    const end = client.got.get(3)?.toString() ?? ''
    if (json) expect(JSON.parse(end).details.causes).toEqual([{ reason: 'ExitCode', message: '3' }])
    else expect(end).toContain('exit status 3')
  })
})

it('a client that names no protocol gets binary channels', async () => {
  const client = await connect(shout, [])
  expect(client.socket.protocol).toBe('')
  client.send(0, 'abc')
  await client.closed
  expect(client.got.get(1)?.toString()).toBe('ABC')
})

it('the best of several is chosen, and none that is known is an error', async () => {
  const client = await connect(shout, ['channel.k8s.io', 'v5.channel.k8s.io'])
  expect(client.socket.protocol).toBe('v5.channel.k8s.io')
  client.socket.terminate()
  await expect(connect(shout, ['v9.channel.k8s.io'])).rejects.toThrow('403')
})

it('in v5 the client ends stdin and still reads the output', async () => {
  const client = await connect(
    {
      async run({ stdin, stdout }) {
        const hash = createHash('sha256')
        for await (const chunk of stdin ?? []) hash.update(chunk)
        stdout?.write(hash.digest('hex'))
        return { is: 'success' }
      },
    },
    ['v5.channel.k8s.io'],
  )
  const blob = randomBytes(3_000_000)
  for (let at = 0; at < blob.length; at += 30_000) client.send(0, blob.subarray(at, at + 30_000))
  client.send(255, Buffer.from([0]))
  await client.closed
  expect(client.got.get(1)?.toString()).toBe(createHash('sha256').update(blob).digest('hex'))
  expect(JSON.parse(client.got.get(3)?.toString() ?? '')).toMatchObject({ status: 'Success' })
})

it('in v4 that byte is a channel that is not there', async () => {
  const client = await connect(shout, ['v4.channel.k8s.io'])
  client.send(255, Buffer.from([0]))
  client.send(0, 'abc')
  await client.closed
  expect(client.got.get(1)?.toString()).toBe('ABC')
})

it('sizes arrive, and a message that is none does no harm', async () => {
  const client = await connect(
    {
      run: ({ onResize }) =>
        new Promise((resolve) =>
          onResize((size) => resolve({ is: 'failure', message: JSON.stringify(size) })),
        ),
    },
    ['v5.channel.k8s.io'],
    { tty: true, stderr: false },
  )
  client.send(4, '{"Width":')
  client.send(4, '{"Width":80,"Height":24}')
  await client.closed
  expect(JSON.parse(client.got.get(3)?.toString() ?? '').message).toBe('{"cols":80,"rows":24}')
})

it('a client that goes ends the session, also when its input is not read', async () => {
  const aborted = Promise.withResolvers<void>()
  const client = await connect(
    {
      run: (_channels, signal) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            aborted.resolve()
            resolve({ is: 'success' })
          }),
        ),
    },
    ['v5.channel.k8s.io'],
  )
  for (let i = 0; i < 100; i++) client.send(0, Buffer.alloc(100_000))
  await new Promise((resolve) => setTimeout(resolve, 100))
  client.socket.terminate()
  await aborted.promise
})

it('a slow client holds back the process', async () => {
  let sent = 0
  const client = await connect(
    {
      async run({ stdout }) {
        const chunk = Buffer.alloc(64 * 1024)
        for (; sent < 1024 && stdout; sent++) await put(stdout, chunk)
        return { is: 'success' }
      },
    },
    ['v5.channel.k8s.io'],
  )
  let bytes = 0
  client.socket.removeAllListeners('message').on('message', (message: Buffer) => {
    if (message.readUInt8(0) === 1) bytes += message.length - 1
  })
  client.socket.pause()
  let last = -1
  while (sent !== last) {
    last = sent
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(sent).toBeLessThan(512)
  client.socket.resume()
  await client.closed
  expect(bytes).toBe(1024 * 64 * 1024)
})

it('a message beyond the limit ends the connection', async () => {
  const client = await connect(shout, ['v5.channel.k8s.io'])
  client.send(0, Buffer.alloc(5 * 1024 * 1024))
  expect(await client.closed).toBe(1009)
})
