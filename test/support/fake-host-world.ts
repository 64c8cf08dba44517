// SPDX-License-Identifier: Apache-2.0
/**
 * fake-host-world: one machine of the fault suites and the daemons that live on it one after the other. `boot`
 * is the start of a daemon as src/daemon.ts has it: a new engine over the same books and disk, recovered.
 * Ends with `expectEmpty`: nothing is left that a pod or a container had.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'vitest'
import { formatJson } from '../../src/base/json-file.ts'
import { KeyedLock } from '../../src/base/keyed-lock.ts'
import type { Log } from '../../src/base/log.ts'
import { childScope, type OwnedScope } from '../../src/base/scope.ts'
import { SharedTasks } from '../../src/base/shared-task.ts'
import type { Context, ImageSource } from '../../src/engine/context.ts'
import { engine as buildEngine } from '../../src/engine/engine.ts'
import type { Engine } from '../../src/engine/index.ts'
import { catalog } from '../../src/engine/state/catalog.ts'
import { recover } from '../../src/engine/state/recover.ts'
import { type Store, store } from '../../src/engine/state/store.ts'
import type { Host } from '../../src/host/index.ts'
import type { HostFacts } from '../../src/model/facts.ts'
import { absPath } from '../../src/model/ids.ts'
import { folders, type Roots } from '../../src/model/names.ts'
import { emptyFolders, fakeHost } from './fake-host.ts'
import { Books } from './fake-host-books.ts'
import { worldImageId, worldImages } from './fake-host-images.ts'
import { facts } from './fake-host-requests.ts'
import type { Behaviour } from './fake-host-runtime.ts'
import { Steps } from './fake-host-steps.ts'
import { ownedDir, staleDirs } from './owned-dir.ts'

export interface Daemon {
  readonly engine: Engine
  readonly ctx: Context
  readonly host: Host
  readonly steps: Steps
  /** Events logged as warnings and errors. */
  readonly events: readonly string[]
  readonly problems: readonly string[]
  /** Waits until nothing is under way in this daemon or on the machine. */
  idle(): Promise<void>
  /** A scope for one call. */
  scope(): OwnedScope
}

export interface TestWorld {
  readonly books: Books
  readonly roots: Roots
  readonly behaviour: Behaviour
  readonly dir: string
  /** `change`: what the machine or the configuration is from now on. */
  boot(steps?: Steps, change?: Partial<HostFacts>): Promise<Daemon>
  /** All that is there beyond an empty machine, with the names of ids shortened. */
  lines(): readonly string[]
  expectEmpty(daemon: Daemon): Promise<void>
  remove(): Promise<void>
}

/** Where files are in memory, syncing them costs nothing. */
const prefix = join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gt-faults-')
let swept: Promise<unknown> | undefined

/** A folder of this process's; the first time, those of processes that were killed are taken away. */
async function ownFolder(): Promise<string> {
  swept ??= staleDirs(prefix).then((stale) =>
    Promise.all(stale.map((path) => rm(path, { recursive: true, force: true }))),
  )
  await swept
  return await ownedDir(prefix)
}

export async function testWorld(): Promise<TestWorld> {
  const dir = await ownFolder()
  const roots: Roots = { root: absPath(join(dir, 'lib')), run: absPath(join(dir, 'run')) }
  const all = folders(roots)
  for (const path of [all.pods, all.containers, all.trash, all.runPods, all.runContainers])
    await mkdir(path, { recursive: true })
  await mkdir(join(dir, 'data'))
  await writeFile(join(roots.root, 'gantry-pause'), 'pause')
  await writeFile(join(dir, 'profile.json'), '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}')
  await mkdir(join(roots.root, 'cdi'))
  const devices = [
    { name: 'x', containerEdits: { deviceNodes: [{ path: '/dev/x', hostPath: '/dev/null' }] } },
  ]
  const spec = { cdiVersion: '1.0.0', kind: 'v/c', devices }
  await writeFile(join(roots.root, 'cdi/v.json'), JSON.stringify(spec))
  const books = new Books()
  const behaviour: Behaviour = { ignores: new Set(), exec: async () => ({ code: 0, stdout: 'out' }) }
  let ids = 0
  const newId = () => createHash('sha256').update(`${++ids}`).digest('hex')
  const world: TestWorld = {
    books,
    roots,
    behaviour,
    dir,
    boot: (steps = new Steps(), change = {}) =>
      bootDaemon({ books, steps, behaviour, roots, facts: { ...facts, ...change }, newId }),
    lines: () => books.lines(emptyFolders(roots)),
    async expectEmpty(daemon) {
      await daemon.idle()
      await daemon.host.files.emptyTrash()
      expect({ left: world.lines(), violations: books.violations }).toEqual({ left: [], violations: [] })
      expect(books.lines([all.trash])).toEqual([])
      expect([...daemon.ctx.catalog.pods.byId, ...daemon.ctx.catalog.containers.byId]).toEqual([])
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  }
  return world
}

/** One image, whatever is asked for. Holds are counted for as long as the daemon lives. */
function imageSource({ layers }: ReturnType<typeof folders>, books: Books, steps: Steps): ImageSource {
  books.holds = 0
  const hold = (by: number) => {
    if (!steps.dead) books.holds += by
  }
  return {
    resolve: (reference) => ({
      id: worldImageId,
      ref: `${reference}@sha256:${'b'.repeat(64)}`,
      isArtifact: false,
      architecture: 'amd64',
      user: '',
      stopSignal: 'SIGTERM',
      volumes: ['/data/own'],
      process: { env: ['IMAGE=1'], entrypoint: [], cmd: ['/bin/sh'], workingDir: '/' },
      lowerDirs: [`${layers}/1/fs`, `${layers}/2/fs`],
      hold: () => {
        hold(1)
        return { [Symbol.dispose]: () => hold(-1) }
      },
      whole: async () => {},
    }),
  }
}

/** Warnings and errors by event, for tests of what an operator is told. */
function listening(events: string[]): Log {
  const log: Log = {
    debug: () => {},
    info: () => {},
    warn: (event) => void events.push(event),
    error: (event) => void events.push(event),
    with: () => log,
  }
  return log
}

/** The store with a step around every write: before it, after it, or the daemon dies there. */
function steppedStore(inner: Store, steps: Steps): Store {
  const step = (name: string, act: () => Promise<void>) =>
    steps.step(`store.${name}`, { kind: 'finishes' }, act)
  return {
    beginPod: (pod) => step('beginPod', () => inner.beginPod(pod)),
    putPod: (pod) => step(`putPod ${pod.state.phase}`, () => inner.putPod(pod)),
    dropPod: (id) => step('dropPod', () => inner.dropPod(id)),
    beginContainer: (c) => step('beginContainer', () => inner.beginContainer(c)),
    putContainer: (c) => step(`putContainer ${c.state.phase}`, () => inner.putContainer(c)),
    dropContainer: (id) => step('dropContainer', () => inner.dropContainer(id)),
  }
}

interface Boot {
  readonly books: Books
  readonly steps: Steps
  readonly behaviour: Behaviour
  readonly roots: Roots
  readonly facts: HostFacts
  readonly newId: () => string
}

async function bootDaemon(b: Boot): Promise<Daemon> {
  const { books, steps, roots } = b
  const events: string[] = []
  const log = listening(events)
  const host = fakeHost(b)
  const life = childScope({ signal: new AbortController().signal, log })
  const ctx: Context = {
    host,
    options: {
      roots,
      defaultCgroupParent: absPath('/gantry'),
      defaultHandler: 'runc',
      execOutputBytes: 1024,
    },
    catalog: catalog(),
    store: steppedStore(store(roots, host), steps),
    images: imageSource(folders(roots), books, steps),
    locks: new KeyedLock(),
    writable: () => ({ mountpoint: '/layers', of: () => undefined }),
    joins: new SharedTasks<string>(life),
    daemon: life,
    newId: b.newId,
    hash: (request) => createHash('sha256').update(formatJson(request)).digest('hex'),
  }
  const usedBy = (id: string) => ctx.catalog.usesImage(id)
  const images = worldImages({ books, steps, daemon: life, usedBy })
  ctx.catalog.containers.onDrop = ({ record }) => images.released(record.imageId)
  await images.load()
  const recovered = recover(ctx).catch((e: unknown) => {
    if (steps.dead) return undefined
    throw e
  })
  const recovery = await Promise.race([recovered, steps.died.then(() => undefined)])
  let inBackground = recovery !== undefined
  void recovery?.background
    .then(() => images.collect())
    .then(() => {
      inBackground = false
    })
  const engine = buildEngine(ctx, images, recovery?.problems ?? [])
  return {
    engine,
    ctx,
    host,
    steps,
    events,
    problems: recovery?.problems ?? [],
    idle: () =>
      untilIdle({ ctx, steps, books, inBackground: () => inBackground, pulling: () => images.pulling }),
    scope: () => childScope({ signal: new AbortController().signal, log }),
  }
}

interface Resting {
  readonly ctx: Context
  readonly steps: Steps
  readonly books: Books
  readonly inBackground: () => boolean
  readonly pulling: () => number
}

async function untilIdle(d: Resting) {
  const { ctx, steps, books } = d
  const busy = () =>
    books.busy > 0 ||
    (!steps.dead &&
      (steps.inFlight > 0 ||
        d.pulling() > 0 ||
        ctx.locks.held().length > 0 ||
        ctx.joins.size > 0 ||
        d.inBackground()))
  const deadline = Date.now() + 20_000
  // Work can be between two steps for a few turns of the loop: idle is to be so for some turns in a row.
  for (let quiet = 0; quiet < 10; quiet = busy() ? 0 : quiet + 1) {
    if (Date.now() > deadline) {
      const state = {
        held: ctx.locks.held(),
        steps: steps.inFlight,
        joined: ctx.joins.size,
        busy: books.busy,
      }
      throw new Error(`the engine does not come to rest: ${JSON.stringify(state)}`)
    }
    await turn()
  }
}
