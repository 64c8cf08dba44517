// SPDX-License-Identifier: Apache-2.0
/**
 * The service gantry.v1.Node over a real socket and gRPC, from the CLI's client to an engine over fakes: what
 * each call does, how failures and credentials travel, and that neither end holds more than a few MiB of a
 * stream whose other end is slow.
 */
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Fault } from '../../../../src/base/fault.ts'
import type { Scope } from '../../../../src/base/scope.ts'
import { connectNode, type NodeClient } from '../../../../src/cli/node-client.ts'
import { fakeImages, pulledOf } from '../../../support/fake-images.ts'
import { digestOf } from '../../../support/image-record.ts'
import { type NodeServer, serveNode } from '../../../support/node-server.ts'

const MIB = 1024 * 1024

const never = () => new AbortController().signal
let server: NodeServer
let client: NodeClient
let fakes: ReturnType<typeof fakeImages>
let archives: { save?: unknown; load?: unknown }

beforeEach(async () => {
  fakes = fakeImages()
  archives = {}
  const none = { list: () => [] }
  // A test puts its own in place after the server has started.
  const verb =
    (name: 'save' | 'load') =>
    (...args: unknown[]) =>
      Reflect.apply(archives[name] as () => unknown, null, args)
  const images = { ...fakes.images, save: verb('save'), loadArchive: verb('load') }
  server = await serveNode({ images, containers: none, pods: none })
  client = await connectNode(server.socket)
})
afterEach(async () => {
  client[Symbol.dispose]()
  await server[Symbol.asyncDispose]()
})

const id = (seed: string) => digestOf(seed)

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const event of events) list.push(event)
  return list
}

describe('images', () => {
  test('are listed with their names, tagged, and untagged until the last name takes them away', async () => {
    await fakes.pull('one:1', pulledOf('one'))
    expect(await client.call('Tag', { image: 'one:1', name: 'two' })).toMatchObject({
      id: id('one'),
      name: 'docker.io/library/two:latest',
    })
    const { images } = await client.call('Images', {})
    expect(images).toMatchObject([
      {
        id: id('one'),
        tags: ['docker.io/library/one:1', 'docker.io/library/two:latest'],
        sizeBytes: 105n,
        createdAt: '',
        pinned: false,
        containers: 0,
      },
    ])
    expect(await client.call('Remove', { image: 'one:1' })).toMatchObject({ removedId: '' })
    const last = await client.call('Remove', { image: 'two' })
    expect(last).toMatchObject({ removedId: id('one') })
    expect(last.untagged).toContain('docker.io/library/two:latest')
    expect((await client.call('Images', {})).images).toEqual([])
  })

  test('that nothing needs are named by a dry run, and removed by prune', async () => {
    await fakes.pull('one:1', pulledOf('one'))
    await fakes.pull('one:1', pulledOf('two'))
    const dry = await client.call('Prune', { dryRun: true })
    expect(dry.images?.map((i) => i.id)).toEqual([id('one')])
    expect(fakes.images.list()).toHaveLength(2)
    expect((await client.call('Prune', {})).images?.map((i) => i.id)).toEqual([id('one')])
    expect(fakes.images.list().map((r) => r.id)).toEqual([id('two')])
  })

  test('inspection shows the configuration as it was pulled, history at least the layers', async () => {
    await fakes.pull('one:1', pulledOf('one', ['a', 'b']))
    const seen = await client.call('Inspect', { name: 'one:1' })
    expect([seen.kind, seen.id]).toEqual(['image', id('one')])
    expect(JSON.parse(seen.json ?? '')).toMatchObject({
      kind: 'image',
      config: { of: 'one' },
      sizeBytes: 205,
    })
    const { steps } = await client.call('History', { image: 'one:1' })
    expect(steps?.map((s) => s.sizeBytes)).toEqual([100n, 100n])
  })

  test.each([
    ['Tag', { image: 'nothing', name: 'x' }, 'not-found', 'image "nothing" is not here'],
    ['Tag', { image: '', name: 'x' }, 'invalid', 'invalid request: image: is required'],
    ['Tag', { image: 'x', name: 'a b' }, 'invalid', /^name: image reference "a b" is not valid/],
    ['Remove', { image: 'nothing' }, 'not-found', 'image "nothing" is not here'],
    ['History', { image: 'nothing' }, 'not-found', 'image "nothing" is not here'],
    ['Inspect', { name: 'nothing' }, 'not-found', 'there is no container, pod or image "nothing" here'],
    ['Inspect', { name: 'x', kind: 'volume' }, 'invalid', /^kind: "volume" is not one of/],
  ] as const)('%s %j fails as %s', async (method, request, kind, message) => {
    const error = await client.call(method, request).catch((e: unknown) => e)
    expect(error).toMatchObject({
      kind,
      message: typeof message === 'string' ? message : expect.stringMatching(message),
    })
  })
})

describe('a pull', () => {
  test('tells at last what it has brought', async () => {
    const pulling = all(client.stream('Pull', { image: 'one:1' }, never()))
    ;(await fakes.atWorker()).finish(pulledOf('one'))
    const events = await pulling
    expect(events.at(-1)?.done).toMatchObject({
      id: id('one'),
      name: 'docker.io/library/one:1',
      sizeBytes: 105n,
    })
  })

  test('is told in flight, and not any more afterwards', async () => {
    const pulling = all(client.stream('Pull', { image: 'one:1' }, never()))
    const worker = await fakes.atWorker()
    expect((await client.call('PullsInFlight', {})).pulls).toMatchObject([{ name: 'one:1', callers: 1 }])
    worker.finish(pulledOf('one'))
    await pulling
    expect((await client.call('PullsInFlight', {})).pulls).toEqual([])
  })

  test('is given up when its caller leaves, and goes on while another one waits', async () => {
    const leaving = new AbortController()
    const first = all(client.stream('Pull', { image: 'one:1' }, leaving.signal)).catch((e: unknown) => e)
    const worker = await fakes.atWorker()
    const second = all(client.stream('Pull', { image: 'one:1' }, never()))
    while (fakes.images.inFlight()[0]?.callers !== 2) await new Promise((go) => setImmediate(go))
    leaving.abort()
    expect(await first).toMatchObject({ kind: 'cancelled', reason: 'interrupted' })
    while (fakes.images.inFlight()[0]?.callers !== 1) await new Promise((go) => setImmediate(go))
    expect(worker.scope.signal.aborted).toBe(false)
    worker.finish(pulledOf('one'))
    expect((await second).at(-1)?.done?.id).toBe(id('one'))

    const alone = new AbortController()
    const third = all(client.stream('Pull', { image: 'two:1' }, alone.signal)).catch((e: unknown) => e)
    const { signal } = (await fakes.atWorker(2)).scope
    const given = once(signal, 'abort')
    alone.abort()
    await Promise.all([third, given])
    expect(fakes.images.list()).toHaveLength(1)
  })

  test('that fails keeps the kind of its fault, and its credentials reach no log', async () => {
    const credentials = {
      username: 'alice',
      password: 'hunter2',
      identityToken: 'idtok',
      registryToken: 'regtok',
    }
    const pulling = all(client.stream('Pull', { image: 'one:1', credentials }, never())).catch(
      (e: unknown) => e,
    )
    ;(await fakes.atWorker()).fail(new Fault('denied', 'the registry does not let you in'))
    expect(await pulling).toMatchObject({ kind: 'denied', message: 'the registry does not let you in' })
    const said = JSON.stringify(server.log)
    expect(said).toContain('Node.Pull')
    for (const secret of ['hunter2', 'idtok', 'regtok']) expect(said).not.toContain(secret)
  })

  test('of a daemon that dies is told as such', async () => {
    const pulling = all(client.stream('Pull', { image: 'one:1' }, never())).catch((e: unknown) => e)
    await fakes.atWorker()
    server.die()
    expect(await pulling).toMatchObject({ kind: 'unavailable', reason: 'unreachable' })
  })
})

describe('bytes', () => {
  const piece = Buffer.alloc(MIB, 7)
  const TOTAL = 24

  test('of an archive come at the pace of a reader that is slow', async () => {
    let written = 0
    archives.save = async (_: Scope, __: unknown, sink: Writable) => {
      for (; written < TOTAL; written++) if (!sink.write(piece)) await once(sink, 'drain')
      await new Promise<void>((resolve) => sink.end(() => resolve()))
      return { images: [{ id: id('one'), names: ['one'] }], warnings: [], bytes: TOTAL * MIB }
    }
    let read = 0
    let ahead = 0
    for await (const { chunk, done } of client.stream('Save', { images: ['one'] }, never())) {
      if (done) expect(done.images).toMatchObject([{ id: id('one'), names: ['one'] }])
      read += chunk?.length ?? 0
      ahead = Math.max(ahead, written * MIB - read)
      // Long enough for the other end to run away, if nothing held it.
      await new Promise((go) => setTimeout(go, 1))
    }
    expect(read).toBe(TOTAL * MIB)
    // Sixteen chunks that the client's stream holds, the windows of HTTP/2, and the piece in hand.
    expect(ahead).toBeLessThan(8 * MIB)
  })

  test('end with the reader: the engine hears of it', async () => {
    const { promise: aborted, resolve } = Promise.withResolvers<void>()
    archives.save = async (scope: Scope, _: unknown, sink: Writable) => {
      scope.signal.addEventListener('abort', () => resolve())
      for (;;) if (!sink.write(piece)) await once(sink, 'drain')
    }
    for await (const { chunk } of client.stream('Save', { images: ['one'] }, never())) if (chunk) break
    await aborted
  })

  test('of an archive are taken at the pace of an engine that is slow, and arrive as they were', async () => {
    let sent = 0
    let taken = 0
    let ahead = 0
    archives.load = async (_: Scope, source: AsyncIterable<Buffer>) => {
      for await (const bytes of source) {
        if (!bytes.equals(piece.subarray(0, bytes.length))) throw new Error('other bytes')
        taken += bytes.length
        ahead = Math.max(ahead, sent - taken)
        if (taken % MIB === 0) await new Promise((go) => setTimeout(go, 1))
      }
      return { images: [{ id: id('one'), names: ['one'] }], warnings: ['mind'] }
    }
    async function* bytes() {
      for (let i = 0; i < TOTAL; i++) {
        sent += piece.length
        yield piece
      }
    }
    const events = await all(client.load(bytes(), never()))
    expect(events.at(-1)?.done).toMatchObject({
      images: [{ id: id('one'), names: ['one'] }],
      warnings: ['mind'],
    })
    expect(taken).toBe(TOTAL * MIB)
    expect(ahead).toBeLessThan(8 * MIB)
  })

  test('that cannot be read end the load with that failure', async () => {
    archives.load = async (_: Scope, source: AsyncIterable<Buffer>) => {
      for await (const _bytes of source);
      return { images: [], warnings: [] }
    }
    async function* broken() {
      yield piece
      throw new Fault('internal', 'the disk is broken')
    }
    await expect(all(client.load(broken(), never()))).rejects.toThrow('the disk is broken')
  })

  test('are not taken to the end when the engine has refused them', async () => {
    archives.load = async (_: Scope, source: AsyncIterable<Buffer>) => {
      for await (const _bytes of source) throw new Fault('corrupt', 'not an archive')
    }
    let sent = 0
    async function* endless() {
      for (;;) {
        sent++
        yield piece
      }
    }
    await expect(all(client.load(endless(), never()))).rejects.toMatchObject({
      kind: 'corrupt',
      message: 'not an archive',
    })
    expect(sent).toBeLessThan(32)
  })
})
