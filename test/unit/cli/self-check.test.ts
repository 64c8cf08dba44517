// SPDX-License-Identifier: Apache-2.0
/**
 * The self-check over an engine that only keeps books: it takes away what it made in every case, also what an
 * earlier one left, says what did not work, and ends soon when it is told to.
 */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import { silent } from '../../../src/base/log.ts'
import { childScope } from '../../../src/base/scope.ts'
import { selfCheck } from '../../../src/cli/self-check.ts'
import { welcome } from '../../../src/cli/serve.ts'
import { makeConfig } from '../../../src/config/load.ts'
import { startDaemon } from '../../../src/daemon.ts'
import type { CreateContainer, Engine, Health, RunPod } from '../../../src/engine/index.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gt-self-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

interface Books {
  readonly pods: Map<string, string>
  readonly images: Set<string>
  readonly calls: string[]
}

const readyNetwork = { ready: true, reason: '', message: '' }

/** `breaks` names the verb that fails. */
function fakeEngine(
  options: {
    breaks?: string
    health?: Health
    line?: string
    locks?: () => { key: string; waiting: number }[]
  } = {},
) {
  const books: Books = { pods: new Map(), images: new Set(), calls: [] }
  const act = (name: string): void => {
    books.calls.push(name)
    if (options.breaks === name) throw new Fault('internal', `${name} is broken`)
  }
  const health = options.health ?? { runtimeReady: true, network: readyNetwork }
  const engine = {
    health: async () => health,
    work: () => ({ locks: options.locks?.() ?? [], joined: 0 }),
    images: {
      addLocal: async (_: unknown, image: { name: string }) => {
        act('addLocal')
        books.images.add(image.name)
      },
      remove: async (_: unknown, name: string) => void books.images.delete(name),
    },
    pods: {
      run: async (_: unknown, command: RunPod) => {
        act('run')
        books.pods.set('p1', command.config.metadata.namespace)
        return 'p1'
      },
      stop: async () => act('stop pod'),
      remove: async (_: unknown, id: string) => void books.pods.delete(id),
      list: () =>
        [...books.pods].map(([id, namespace]) => ({ record: { id, config: { metadata: { namespace } } } })),
    },
    containers: {
      create: async (_: unknown, command: CreateContainer) => {
        act('create')
        expect(command.config.image).toBe('gantry.local/hello:latest')
        return 'c1'
      },
      start: async () => {
        act('start')
        const line = options.line ?? '2024-01-01T00:00:00.000000000Z stdout F hello from gantry\n'
        await writeFile(join(folder, 'hello.log'), line)
      },
      stop: async () => act('stop'),
    },
  } as unknown as Engine
  return { engine, books }
}

const daemonScope = () => childScope({ signal: new AbortController().signal, log: silent })
const options = () => ({ program: '/nowhere/hello', folder, readyMs: 150 })
const gone = () =>
  stat(folder).then(
    () => false,
    () => true,
  )

describe('the self-check', () => {
  test('brings a pod up and down and keeps nothing', async () => {
    const { engine, books } = fakeEngine()
    // The folder is emptied before the pod is made; the container's start writes into it again.
    books.pods.set('old', 'gantry-self-check')
    books.pods.set('theirs', 'default')
    const start = engine.containers.start
    Reflect.set(engine.containers, 'start', async (...args: Parameters<typeof start>) => {
      const { mkdir } = await import('node:fs/promises')
      await mkdir(folder, { recursive: true })
      await start(...args)
    })
    const { upMs, downMs } = await selfCheck(daemonScope(), engine, options())
    expect(upMs >= 0 && downMs >= 0).toBe(true)
    expect(books.calls).toEqual(['addLocal', 'run', 'create', 'start', 'stop', 'stop pod'])
    expect([...books.pods.keys()]).toEqual(['theirs'])
    expect(books.images.size).toBe(0)
    expect(await gone()).toBe(true)
  })

  test.each(['addLocal', 'run', 'create', 'start'])(
    '%s that fails is named, and nothing is left',
    async (breaks) => {
      const { engine, books } = fakeEngine({ breaks })
      await expect(selfCheck(daemonScope(), engine, options())).rejects.toThrow(
        `the self-check failed: ${breaks} is broken`,
      )
      expect(books.pods.size + books.images.size).toBe(0)
      expect(await gone()).toBe(true)
    },
  )

  test('a pod that is still being released is waited for', async () => {
    let asked = 0
    const key = 'name/gantry-self-check/self-check/u/0'
    const locks = () => (++asked < 4 ? [{ key, waiting: 0 }] : [{ key: 'name/default/x/u/0', waiting: 0 }])
    const { engine } = fakeEngine({ breaks: 'run', locks })
    await expect(selfCheck(daemonScope(), engine, options())).rejects.toThrow('run is broken')
    expect(asked).toBeGreaterThanOrEqual(4)
  })

  test('a network that does not become ready ends it in time, with the reason and what to do', async () => {
    const network = {
      ready: false,
      reason: 'NetworkPluginNotReady',
      message: 'there is no CNI configuration',
    }
    const { engine, books } = fakeEngine({ health: { runtimeReady: true, network } })
    await expect(selfCheck(daemonScope(), engine, options())).rejects.toThrow(
      'the self-check failed: the pod network is not ready after 0 s: there is no CNI configuration; install a CNI network, or start with --default-network',
    )
    expect(books.calls).toEqual([])
  })

  test('a signal while it waits ends it at once', async () => {
    const network = { ready: false, reason: 'x', message: 'y' }
    const { engine } = fakeEngine({ health: { runtimeReady: true, network } })
    const scope = daemonScope()
    const checking = selfCheck(scope, engine, { ...options(), readyMs: 60_000 })
    scope.abort(new Fault('cancelled', 'stopped by a signal'))
    await expect(checking).rejects.toMatchObject({ kind: 'cancelled' })
  })
})

describe('what to type next', () => {
  const base = { program: 'bin/gantry', upMs: 12.4, downMs: 7.6, paint: (_: string, text: string) => text }

  test('names the endpoint for every tool', () => {
    const text = welcome({ ...base, socket: '/run/gantry/gantry.sock', standard: true })
    expect(text).toContain('up in 12 ms and down in 8 ms')
    expect(text).toContain('sudo bin/gantry status\n')
    for (const flag of ['--runtime-endpoint', '--container-runtime-endpoint', '--cri-socket'])
      expect(text).toContain(`${flag}=unix:///run/gantry/gantry.sock`)
  })

  test('tells gantry where the socket is when it is not the usual one', () => {
    expect(welcome({ ...base, socket: '/s', standard: false })).toContain(
      'sudo bin/gantry status --socket=/s\n',
    )
  })
})

describe('a machine that is no Linux', () => {
  test('is refused before anything is read or made', async () => {
    const real = Object.getOwnPropertyDescriptor(process, 'platform')
    if (real === undefined) throw new Error('process has no platform')
    const config = makeConfig({ files: [], env: {}, flags: { settings: new Map(), problems: [] } })
    Object.defineProperty(process, 'platform', { ...real, value: 'darwin' })
    try {
      await expect(startDaemon(config)).rejects.toThrow(/^gantryd runs on Linux, this is darwin$/)
    } finally {
      Object.defineProperty(process, 'platform', real)
    }
  })
})
