// SPDX-License-Identifier: Apache-2.0
/** The addon as a module: its ABI, its life in workers and at exit, the idle trim, and the probe. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ABI, loadNative } from '../../src/host/native.ts'
import { ADDON_PATH, makeRoot, native, openFdCount, run } from './addon-fixture.ts'

let root: string
let remove: () => Promise<void>
beforeEach(() => {
  ;({ path: root, remove } = makeRoot())
})
afterEach(() => remove())

const head = `const native = require(${JSON.stringify(ADDON_PATH)})\n`
const env = Object.entries(process.env).map(([k, v]) => `${k}=${v}`)

function node(script: string) {
  const path = join(root, 'script.cjs')
  writeFileSync(path, head + script)
  return run(root, [process.execPath, path], { env })
}

test('has the ABI of the typed page, and every member of it', () => {
  expect(native.abi).toBe(ABI)
  const page = readFileSync(new URL('../../src/host/native.ts', import.meta.url), 'utf8')
  const body = page.slice(page.indexOf('export interface Native {'), page.indexOf('/** Loads the addon'))
  const members = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map((m) => m[1] ?? '')
  expect(members.length).toBeGreaterThan(25)
  expect(Object.keys(native).sort()).toEqual(members.sort())
})

test('a path without an addon is an error that names it', () => {
  expect(() => loadNative('/gt-no-such.node')).toThrow('/gt-no-such.node')
})

test('the probe of this kernel leaves descriptors alone', async () => {
  const fds = readdirSync('/proc/self/fd').sort()
  const seen = native.probe()
  expect(readdirSync('/proc/self/fd').sort()).toEqual(fds)
  expect(Object.values(seen).every((v) => typeof v === 'boolean')).toBe(true)
  expect(seen.pidfd).toBe(true)
})

test('trimMemory gives the code pages back and the process goes on', async () => {
  const rss = (kind: string) =>
    Number(readFileSync('/proc/self/status', 'utf8').match(`${kind}:\\s+(\\d+)`)?.[1])
  const before = rss('RssFile')
  native.trimMemory()
  expect(rss('RssFile')).toBeLessThan(before * 0.8)
  const words = JSON.parse(
    JSON.stringify(Array.from({ length: 1000 }, (_, i) => `w${i}`.replace(/(\d)/, '<$1>'))),
  )
  expect(words[999]).toBe('w<9>99')
  const got = await node(
    'for (let i = 0; i < 50; i++) { native.trimMemory(); Buffer.alloc(1e6).fill(i) } console.log("alive")',
  )
  expect(got).toMatchObject({ code: 0, out: 'alive\n' })
})

describe('worker threads', () => {
  const inWorker = (script: string) =>
    new Promise<{ messages: unknown[]; code: number }>((resolve, reject) => {
      const messages: unknown[] = []
      const worker = new Worker(`const { parentPort } = require('node:worker_threads')\n${head}${script}`, {
        eval: true,
      })
      worker.on('message', (m) => messages.push(m))
      worker.on('error', reject)
      worker.on('exit', (code) => resolve({ messages, code }))
    })

  test('the addon works in several at once, each with an environment of its own', async () => {
    const script = `native.spawn({ file: '/bin/sh', argv: ['sh', '-c', 'exit 5'], env: [], fds: [] },
      (code) => native.statfs('/') && native.removeTree('/tmp/gt-no-such').then(() => parentPort.postMessage(code)))`
    const got = await Promise.all(Array.from({ length: 4 }, () => inWorker(script)))
    expect(got).toEqual(Array(4).fill({ messages: [5], code: 0 }))
  })

  test('one that is ended with children running and jobs queued leaves no descriptor', async () => {
    const fds = await openFdCount()
    const script = `
      for (let i = 0; i < 5; i++)
        native.spawn({ file: '/bin/sleep', argv: ['sleep', '0.3'], env: [], fds: [] }, () => parentPort.postMessage('no'))
      native.pidfdWait(native.pidfdOpen(process.pid))
      for (let i = 0; i < 20; i++) native.treeUsage('/usr/include')
      process.exit(3)`
    const got = await inWorker(script)
    expect(got).toEqual({ messages: [], code: 3 })
    // pidfdOpen's own result is a plain descriptor that the script left open.
    expect(await openFdCount()).toBe(fds + 1)
  })
})

describe('the end of the process', () => {
  test('the loop is held while a child runs and no longer', async () => {
    const got = await node(
      `native.spawn({ file: '/bin/sleep', argv: ['sleep', '0.1'], env: [], fds: [] }, (c) => console.log('end', c))`,
    )
    expect(got).toMatchObject({ code: 0, signal: 0, out: 'end 0\n' })
  })

  test('process.exit with watches and jobs under way is clean', async () => {
    const got = await node(`
      native.spawn({ file: '/bin/sleep', argv: ['sleep', '0.2'], env: [], fds: [] }, () => {})
      native.pidfdWait(native.pidfdOpen(process.pid))
      for (let i = 0; i < 20; i++) native.treeUsage('/usr/include')
      process.exit(4)`)
    expect(got).toMatchObject({ code: 4, signal: 0, out: '' })
  })

  test('process.exit within onExit, and an exception thrown from it', async () => {
    const child = `{ file: '/bin/true', argv: ['true'], env: [], fds: [] }`
    expect(await node(`native.spawn(${child}, () => process.exit(6))`)).toMatchObject({ code: 6, signal: 0 })
    const thrown = await node(`
      process.on('uncaughtException', (e) => { console.log('caught', e.message); process.exitCode = 7 })
      native.spawn(${child}, () => { throw new Error('from onExit') })`)
    expect(thrown).toMatchObject({ code: 7, out: 'caught from onExit\n' })
  })

  test('promises and ticks of onExit run before the next event', async () => {
    const got = await node(`
      native.spawn({ file: '/bin/true', argv: ['true'], env: [], fds: [] }, () => {
        process.nextTick(() => console.log('tick'))
        Promise.resolve().then(() => console.log('micro'))
        setImmediate(() => console.log('immediate'))
      })`)
    expect(got.out).toBe('tick\nmicro\nimmediate\n')
  })

  test('an AsyncLocalStorage context reaches onExit', async () => {
    const got = await node(`
      const { AsyncLocalStorage } = require('node:async_hooks')
      const als = new AsyncLocalStorage()
      als.run('request 5', () => native.spawn({ file: '/bin/true', argv: ['true'], env: [], fds: [] },
        () => console.log(als.getStore())))`)
    expect(got.out).toBe('request 5\n')
  })
})
