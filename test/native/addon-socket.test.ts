// SPDX-License-Identifier: Apache-2.0
/** A socket in another network namespace: it reaches what listens there, on both families, and we stay outside. */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { native } from './addon-fixture.ts'

let root: string
let netns: string
const ours = readlinkSync('/proc/self/ns/net')

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'gt-socket-'))
  netns = join(root, 'net')
  await native.createNamespaces({ net: netns, loopback: true })
})
afterEach(async () => {
  await native.unpinNamespace(netns)
  rmSync(root, { recursive: true, force: true })
})

const echo = `
const s = require('node:net').createServer((c) => c.pipe(c))
s.listen(Number(process.argv[1]), process.argv[2], () => console.log('ready'))
setTimeout(() => process.exit(3), 20_000)`

/** An echo server inside the namespace; ends with the callback. */
async function withEcho(port: number, host: string, use: () => Promise<void>): Promise<void> {
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', echo, `${port}`, host], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const gone = new Promise((resolve) => child.on('close', resolve))
  try {
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve)
      child.once('close', () => reject(new Error('the echo server ended')))
    })
    await use()
  } finally {
    child.kill('SIGKILL')
    await gone
  }
}

async function said(socket: Socket, text: string): Promise<string> {
  let all = ''
  socket.on('data', (chunk) => {
    all += chunk.toString()
  })
  socket.end(text)
  await new Promise((resolve, reject) => socket.on('close', resolve).on('error', reject))
  return all
}

test.each([
  ['127.0.0.1', 4],
  ['::1', 6],
] as const)('reaches %s inside', async (host, family) => {
  await withEcho(4000, host, async () => {
    const fd = await native.socketInNetns(netns, family)
    const socket = new Socket({ fd, readable: true, writable: true })
    socket.connect({ host, port: 4000 })
    expect(await said(socket, 'over the wall')).toBe('over the wall')
    // The same address outside is somebody else's: nobody is there.
    const outside = connect({ host, port: 4000 })
    await expect(said(outside, 'x')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })
  expect(readlinkSync('/proc/self/ns/net')).toBe(ours)
})

test('a listener of ours is not reachable from inside', async () => {
  const server: Server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const socket = new Socket({ fd: await native.socketInNetns(netns, 4) })
  socket.connect({ host: '127.0.0.1', port })
  await expect(said(socket, 'x')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  await new Promise((resolve) => server.close(resolve))
})

test('what is not a network namespace is refused by name', async () => {
  await expect(native.socketInNetns(join(root, 'none'), 4)).rejects.toMatchObject({
    code: 'ENOENT',
    syscall: 'open',
    path: join(root, 'none'),
  })
  writeFileSync(join(root, 'file'), '')
  await expect(native.socketInNetns(join(root, 'file'), 4)).rejects.toMatchObject({ code: 'EINVAL' })
  mkdirSync(join(root, 'folder'))
  await expect(native.socketInNetns(join(root, 'folder'), 4)).rejects.toMatchObject({ syscall: 'setns' })
  await expect(native.socketInNetns('/proc/self/ns/uts', 4)).rejects.toMatchObject({ code: 'EINVAL' })
  await expect(native.socketInNetns(netns, 5 as 4)).rejects.toThrow('family must be 0, 4 or 6')
})
