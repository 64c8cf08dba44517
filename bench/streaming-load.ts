// SPDX-License-Identifier: Apache-2.0
/**
 * The load of the `streaming` suite, in processes of its own. `streaming-load.ts serve BYTES` listens on loopback,
 * prints its port and sends so much to whoever connects; `read URL PORT CONNECTIONS` opens connections of a
 * port-forward, reads each to its end, and prints how much came in which time.
 */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { spdyConnect } from '../test/support/spdy-client.ts'

const PIECE = Buffer.alloc(256 * 1024)

async function send(socket: Socket, bytes: number): Promise<void> {
  socket.on('error', () => {})
  for (let left = bytes; left > 0; left -= PIECE.length)
    if (!socket.write(PIECE.subarray(0, Math.min(left, PIECE.length)))) await once(socket, 'drain')
  socket.end()
}

async function read(url: string, port: string, connections: number): Promise<void> {
  const wire = await spdyConnect(url, ['portforward.k8s.io'])
  const began = performance.now()
  let bytes = 0
  await Promise.all(
    Array.from({ length: connections }, async (_, i) => {
      const shared = { port, requestid: `${i}` }
      const error = await wire.open({ streamtype: 'error', ...shared }, true)
      const data = await wire.open({ streamtype: 'data', ...shared })
      data.onData = (piece) => {
        bytes += piece.length
      }
      await data.ended
      if (error.bytes.length > 0) throw new Error(error.bytes.toString())
    }),
  )
  process.stdout.write(JSON.stringify({ bytes, ms: performance.now() - began }))
  wire.close()
}

const [what, first = '', port = '', connections = '1'] = process.argv.slice(2)
if (what === 'serve') {
  const server = createServer((socket) => void send(socket, Number(first)).catch(() => {}))
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    if (address !== null && typeof address === 'object') process.stdout.write(`${address.port}`)
  })
} else await read(first, port, Number(connections))
