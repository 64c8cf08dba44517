// SPDX-License-Identifier: Apache-2.0
/**
 * The stream worker as the daemon holds it, without a daemon: when it starts, when it ends, its certificates, its
 * address, and how much memory the data of a session takes. What runs in the sessions is a server on loopback.
 */
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { silent } from '../../src/base/log.ts'
import { loadNative } from '../../src/host/native.ts'
import type { StreamSettings } from '../../src/host/streaming/protocol.ts'
import { type Streams, streams } from '../../src/host/streaming/streams.ts'
import type { StreamTicket } from '../../src/model/streaming.ts'
import { waitUntil } from '../support/child.ts'
import { processes } from '../support/host-view.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { spdyConnect } from '../support/spdy-client.ts'
import { makeCertificate, makeRoot, p256 } from '../support/x509.ts'

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const addon = file('native/build/gantry.node')
const scope = { signal: new AbortController().signal, log: silent }

let folder: string
let before: Snapshot
let open: Streams[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-streams-'))
  before = await snapshot({ roots: [folder] })
})
afterEach(async () => {
  for (const one of open) await one.close()
  open = []
})
afterAll(async () => {
  await expectNoLeaks(before, { withinMs: 5000 })
  await rm(folder, { recursive: true })
})

function opened(settings: Partial<StreamSettings> = {}): Streams {
  const made = streams(scope, {
    native: loadNative(addon),
    node: process.execPath,
    worker: file('dist/stream-worker.js'),
    cwd: folder,
    settings: { host: '127.0.0.1', port: 0, addon, idleMs: 60_000, ...settings },
  })
  open.push(made)
  return made
}

const ticket: StreamTicket = {
  kind: 'portforward',
  ...{ stdin: false, stdout: false, stderr: false, tty: false, ports: [] },
  plan: { is: 'forward', pod: 'pod', netns: undefined },
}
const workers = async () =>
  (await processes()).filter((p) => p.comm === 'gantry-stream' && p.text.includes(folder))
const untilNone = () =>
  waitUntil('no worker is left', async () => (await workers()).length === 0, { withinMs: 10_000 })

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

describe('the stream worker', () => {
  it('is started by the first ticket, one for all, and is no burden to the daemon', async () => {
    const made = opened()
    expect(await workers()).toEqual([])
    const urls = await Promise.all([1, 2, 3].map(() => made.offer(scope, ticket)))
    expect(new Set(urls).size).toBe(3)
    expect(urls[0]).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/portforward\/[\w-]{22}$/)
    const [worker, ...others] = await workers()
    expect(others).toEqual([])
    const nice = (await readFile(`/proc/${worker?.pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[16]
    expect(nice).toBe('2')
  })

  it('ends when it has had nothing to do, not before; then another one is started', async () => {
    const made = opened({ idleMs: 300 })
    const url = await made.offer(scope, ticket)
    const session = await spdyConnect(url, ['portforward.k8s.io'])
    const [first] = await workers()
    const calm = performance.now() + 900
    await waitUntil('three times the idle time is over', () => performance.now() > calm, { withinMs: 5000 })
    expect((await workers()).map((w) => w.pid)).toEqual([first?.pid])
    session.close()
    await untilNone()
    expect(new URL(await made.offer(scope, ticket)).pathname).toMatch(/^\/portforward\//)
    expect((await workers()).map((w) => w.pid)).not.toContain(first?.pid)
  })

  it('is gone at once when the daemon closes and nobody is served', async () => {
    const made = opened()
    await made.offer(scope, ticket)
    await made.close()
    expect(await workers()).toEqual([])
    await expect(made.offer(scope, ticket)).rejects.toMatchObject({ kind: 'unavailable' })
  })

  it('says which option is at fault when its address is taken, or a file is missing', async () => {
    const taken = createServer()
    const port = await listening(taken)
    await expect(opened({ port }).offer(scope, ticket)).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringContaining('streaming.port'),
    })
    const tls = { certFile: join(folder, 'none.crt'), keyFile: join(folder, 'none.key') }
    await expect(opened({ tls }).offer(scope, ticket)).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringContaining('streaming.tls_cert_file'),
    })
    taken.close()
    await untilNone()
  })
})

describe('certificates', () => {
  const root = makeRoot('streams')
  const issue = (name: string) => {
    const { privateKey, publicKey } = p256()
    // Server and client authentication.
    const usages = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']
    return {
      cert: makeCertificate({ name, publicKey, issuer: root, dns: 'localhost', usages }),
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    }
  }
  /** Who the server says it is, and whether it answers. */
  const shown = async (url: string, client: { key?: string; cert?: string } = {}) => {
    const { port } = new URL(url)
    const socket = tlsConnect({
      ...{ host: '127.0.0.1', port: Number(port), servername: 'localhost', ca: root.pem },
      ...client,
    })
    socket.on('error', () => {})
    try {
      await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
      const name = socket.getPeerCertificate().subject.CN
      // A server that refuses the client's certificate says so only after its own handshake.
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      const [answer]: unknown[] = await once(socket, 'data').catch(() => [])
      return { name, answered: answer instanceof Buffer }
    } finally {
      socket.destroy()
    }
  }

  it('are read again for the next ticket when they have changed; clients show one if they must', async () => {
    const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
    const write = async (name: string) => {
      const { key, cert } = issue(name)
      await writeFile(certFile, cert)
      await writeFile(keyFile, key)
    }
    await write('first')
    const clientCaFile = join(folder, 'ca.crt')
    await writeFile(clientCaFile, root.pem)
    const made = opened({ tls: { certFile, keyFile, clientCaFile } })
    const client = issue('client')
    const url = await made.offer(scope, ticket)
    expect(url).toMatch(/^https:/)
    expect(await shown(url, client)).toEqual({ name: 'first', answered: true })
    expect((await shown(url)).answered).toBe(false)
    await write('second')
    await writeFile(keyFile, 'half of it')
    expect(await shown(await made.offer(scope, ticket), client)).toMatchObject({ name: 'first' })
    await write('third')
    expect(await shown(await made.offer(scope, ticket), client)).toMatchObject({ name: 'third' })
  })
})

it('holds no data: its memory does not grow with what goes through', async () => {
  const echo = createServer((socket: Socket) => socket.on('error', () => {}).pipe(socket))
  const port = await listening(echo)
  const session = await spdyConnect(await opened().offer(scope, ticket), ['portforward.k8s.io'])
  await session.open({ streamtype: 'error', port: `${port}`, requestid: '1' }, true)
  const data = await session.open({ streamtype: 'data', port: `${port}`, requestid: '1' })
  let got = 0
  data.onData = (piece) => {
    got += piece.length
  }
  const [worker] = await workers()
  const rssKib = async () =>
    Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${worker?.pid}/status`, 'utf8'))?.[1])
  const piece = Buffer.alloc(64 * 1024, 7)
  const through = async (bytes: number) => {
    const target = got + bytes
    for (let sent = 0; sent < bytes; sent += piece.length) await data.write(piece)
    await waitUntil('all came back', () => got === target, { withinMs: 60_000 })
  }
  // What it takes is garbage that comes and goes, 40 MiB at most: seen after the first and after all of it.
  await through(64 << 20)
  const begin = await rssKib()
  await through(256 << 20)
  expect((await rssKib()) - begin).toBeLessThan(32 * 1024)
  session.close()
  echo.close()
}, 90_000)
