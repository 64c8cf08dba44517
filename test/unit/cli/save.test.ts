// SPDX-License-Identifier: Apache-2.0
/** `gantry save` and `load` that do not come to their end, as programs of their own: exit codes, and what stays. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Scope } from '../../../src/base/scope.ts'
import { waitUntil } from '../../support/child.ts'
import { type NodeServer, serveNode } from '../../support/node-server.ts'

const program = join(import.meta.dirname, '../../../src/cli.ts')

// Programs are started, on a machine that may be busy.
vi.setConfig({ testTimeout: 30_000 })

let folder: string
let server: NodeServer
let aborted: Promise<unknown>
/** A verb has been called. */
let reached: Promise<void>

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-save-'))
  const { promise, resolve } = Promise.withResolvers<unknown>()
  aborted = promise
  const called = Promise.withResolvers<void>()
  reached = called.promise
  const watch = (scope: Scope) => {
    scope.signal.addEventListener('abort', resolve)
    called.resolve()
  }
  server = await serveNode({
    images: {
      save: async (scope: Scope, _: unknown, sink: Writable) => {
        watch(scope)
        sink.write(Buffer.alloc(100_000))
        await promise
        throw scope.signal.reason
      },
      loadArchive: async (scope: Scope, source: AsyncIterable<Buffer>) => {
        watch(scope)
        for await (const _ of source);
        return { images: [], warnings: [] }
      },
    },
  })
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

function start(args: readonly string[]): {
  child: ChildProcess
  ended: Promise<{ code: number; stderr: string }>
} {
  const child = spawn(process.execPath, [program, ...args, `--socket=${server.socket}`], { stdio: 'pipe' })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return { child, ended: once(child, 'close').then(([code]) => ({ code, stderr })) }
}

const target = () => join(folder, 'a.tar')
const saving = async () => {
  const running = start(['save', '-o', target(), 'x'])
  const isThere = async () => (await readdir(folder)).some((name) => name.includes('.part-'))
  await waitUntil('the archive has begun', isThere, { withinMs: 20_000 })
  await reached
  return running
}

test('Ctrl-C leaves the file that was there, no part of a new one, and ends the work of the daemon', async () => {
  await writeFile(target(), 'mine')
  const { child, ended } = await saving()
  child.kill('SIGINT')
  expect(await ended).toEqual({ code: 130, stderr: 'gantry: interrupted\n' })
  await aborted
  expect(await readdir(folder)).toEqual(['a.tar'])
  expect(await readFile(target(), 'utf8')).toBe('mine')
})

test('a daemon that dies leaves no part of a file', async () => {
  const { ended } = await saving()
  server.die()
  expect(await ended).toMatchObject({ code: 3, stderr: expect.stringContaining('it closed the connection') })
  expect(await readdir(folder)).toEqual([])
})

test('Ctrl-C gives up an archive that still comes', async () => {
  const { child, ended } = start(['load'])
  child.stdin?.write(Buffer.alloc(1000))
  await reached
  child.kill('SIGINT')
  expect((await ended).code).toBe(130)
})
