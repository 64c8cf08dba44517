// SPDX-License-Identifier: Apache-2.0
/** Reading groups of files: what is missing, hung or too large is one group's trouble and nobody else's. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeRoot, native, openFdCount } from './addon-fixture.ts'

let root: ReturnType<typeof makeRoot>
beforeEach(() => {
  root = makeRoot()
})
afterEach(() => root.remove())

const limits = { stallMs: 5, deadlineMs: 100 }
const file = (name: string, text: string): string => {
  const path = join(root.path, name)
  writeFileSync(path, text)
  return path
}
/** Opening it for reading hangs until somebody writes. */
const fifo = (name: string): string => {
  const path = join(root.path, name)
  expect(spawnSync('mkfifo', [path]).status).toBe(0)
  return path
}
/** Lets the read go on and end. */
const release = (path: string) => closeSync(openSync(path, 'r+'))

test('gives every text in the order asked, and to what is missing its own error', async () => {
  const a = file('a', 'one\n')
  const gone = join(root.path, 'gone', 'cpu.stat')
  mkdirSync(join(root.path, 'folder'))
  const answer = await native.readGroups(
    [
      { key: 'x', paths: [a, gone, join(root.path, 'folder'), file('empty', '')] },
      { key: 'y', paths: [] },
      { key: 'z', paths: [file('large', 'x'.repeat(70_000)), file('full', 'x'.repeat(65_536))] },
    ],
    limits,
  )
  expect(answer[0]).toEqual(['one\n', { code: 'ENOENT' }, { code: 'EISDIR' }, ''])
  expect(answer[1]).toEqual([])
  expect(answer[2]?.[0 as never]).toEqual({ code: 'EFBIG' })
  expect(answer[2]?.[1 as never]).toHaveLength(65_536)
  expect(await native.readGroups([], limits)).toEqual([])
})

test('a hung read costs its own group, once, and no other', async () => {
  const hung = [fifo('h1'), fifo('h2'), fifo('h3')]
  const well = Array.from({ length: 40 }, (_, i) => ({ key: `w${i}`, paths: [file(`w${i}`, `${i}`)] }))
  const groups = [
    { key: 'h1', paths: [hung[0] ?? ''] },
    ...well.slice(0, 20),
    { key: 'h2', paths: [file('before', 'x'), hung[1] ?? ''] },
    ...well.slice(20),
    { key: 'h3', paths: [hung[2] ?? ''] },
  ]
  const began = performance.now()
  const first = await native.readGroups(groups, limits)
  const took = performance.now() - began
  expect(took).toBeGreaterThan(90)
  expect(took).toBeLessThan(1000)
  const codes = first.map((g) => ('code' in g ? g.code : g.join()))
  const wanted = (code: string) => [
    ...[code, ...well.slice(0, 20).map((_, i) => `${i}`)],
    ...[code, ...well.slice(20).map((_, i) => `${i + 20}`), code],
  ]
  expect(codes).toEqual(wanted('ETIMEDOUT'))
  const again = performance.now()
  const second = await native.readGroups(groups, limits)
  expect(performance.now() - again).toBeLessThan(90)
  expect(second.map((g) => ('code' in g ? g.code : g.join()))).toEqual(wanted('EBUSY'))
  for (const path of hung) release(path)
  await expect
    .poll(async () => (await native.readGroups([{ key: 'h2', paths: [] }], limits))[0], { timeout: 5000 })
    .toEqual([])
})

test('what the late thread held is closed when it returns', async () => {
  const path = fifo('late')
  const before = await openFdCount()
  const netns = join(root.path, 'net')
  await native.createNamespaces({ net: netns, loopback: true })
  const link = await native.socketInNetns(netns, 0)
  const [answer] = await native.readGroups([{ key: 'late', paths: [path], link }], limits)
  native.close(link)
  expect(answer).toEqual({ code: 'ETIMEDOUT' })
  release(path)
  await expect.poll(openFdCount, { timeout: 5000 }).toBe(before)
  await native.unpinNamespace(netns)
})

test('interfaces of another namespace, again and again by one socket, without entering it', async () => {
  const netns = join(root.path, 'net')
  await native.createNamespaces({ net: netns, loopback: true })
  const link = await native.socketInNetns(netns, 0)
  try {
    const look = async () => {
      const [texts] = await native.readGroups([{ key: 'n', paths: [], link }], limits)
      return `${Array.isArray(texts) ? texts[0] : ''}`
    }
    expect(await look()).toMatch(/^lo 0 0 0 0 0 0 0 0\n/m)
    const ping = spawnSync('nsenter', [`--net=${netns}`, 'bash', '-c', 'echo hello > /dev/udp/127.0.0.1/9'])
    expect(ping.status).toBe(0)
    expect(await look()).toMatch(/^lo [1-9]\d* [1-9]\d* 0 0 [1-9]\d* [1-9]\d* 0 0$/m)
  } finally {
    native.close(link)
    await native.unpinNamespace(netns)
  }
})

test('processes with their descriptors and sockets', async () => {
  const child = spawn('sleep', ['20'], { stdio: 'ignore' })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const procs = file('cgroup.procs', `${process.pid}\n${child.pid}\n4000000\n`)
    const [texts] = await native.readGroups([{ key: 'p', paths: [], procs }], limits)
    const [processes, descriptors, sockets] = `${Array.isArray(texts) ? texts[0] : ''}`.split(' ').map(Number)
    expect(processes).toBe(3)
    expect(descriptors).toBeGreaterThan(5)
    expect(sockets).toBeGreaterThan(0)
    expect(sockets).toBeLessThan(descriptors ?? 0)
  } finally {
    child.kill('SIGKILL')
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
})

test('a wrong argument is named, and a socket that is none is that text’s error', async () => {
  await expect(native.readGroups([{ key: 'x', paths: ['relative'] }], limits)).rejects.toThrow(
    'paths must be',
  )
  await expect(native.readGroups([{ key: 'x', paths: [], link: -1 }], limits)).rejects.toThrow('link must be')
  await expect(native.readGroups([{ key: 'x' } as never], limits)).rejects.toThrow('paths must be')
  await expect(native.readGroups([], { ...limits, deadlineMs: 0 })).rejects.toThrow('deadlineMs must be')
  const [texts] = await native.readGroups([{ key: 'x', paths: [], link: 99_999 }], limits)
  expect(texts).toEqual([{ code: 'EBADF' }])
})
