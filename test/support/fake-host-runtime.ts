// SPDX-License-Identifier: Apache-2.0
/**
 * fake-host-runtime: the OCI runtime, the monitors and the processes of the fake host. A monitor goes on when
 * the daemon is dead, writes its exit file when its container ends, and takes its socket away last, as the real
 * one does. What a real runtime refuses is refused here.
 */
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { Fault } from '../../src/base/fault.ts'
import { writeJson } from '../../src/base/json-file.ts'
import { orAbort } from '../../src/base/scope.ts'
import type {
  ExecRequest,
  ExecResult,
  MonitorLink,
  MonitorStart,
  Monitors,
  OciRuntime,
  Processes,
} from '../../src/host/index.ts'
import type { ContainerPaths } from '../../src/model/names.ts'
import type { ProcessId } from '../../src/model/pod.ts'
import type { Books, FakeMonitor, FakeProcess } from './fake-host-books.ts'
import type { Steps } from './fake-host-steps.ts'

const SIGKILL = 9
/** Not a signal: the process has ended by itself, with code 1. */
const EXIT_1 = -1
const codeOf = (signal: number) => (signal <= 0 ? -signal : 128 + signal)

/** How programs in containers behave. */
export interface Behaviour {
  /** Signals that the container's program does not die of (never SIGKILL). */
  ignores: ReadonlySet<number>
  /** Resolves when an exec'd program ends by itself. */
  exec: () => Promise<{ code: number; stdout: string }>
}

export interface Machine {
  readonly books: Books
  readonly steps: Steps
  readonly behaviour: Behaviour
}

/** The program that cannot be executed: the runtime says `bad-command`. */
export const MISSING = '/missing'
/** The one that cannot be executed either, but of which the runtime says so at start (crun). */
export const MISSING_AT_START = '/missing-at-start'

export const runtimeKey = (handler: string, id: string) => `${handler}/${id}`

interface Spec {
  readonly process: { readonly args: readonly string[] }
  readonly linux: { readonly cgroupsPath: string }
}

const badCommand = (what: string) =>
  new Fault('invalid', `${what}: exec: no such file or directory`, { reason: 'bad-command' })

async function readSpec(bundle: string): Promise<Spec> {
  return JSON.parse(await readFile(`${bundle}/config.json`, 'utf8'))
}

/** `create` of a runtime: cgroup, process at the gate, state. */
async function create(
  { books }: Machine,
  at: { key: string; bundle: string; what: string },
): Promise<FakeProcess> {
  const spec = await readSpec(at.bundle)
  if (books.runtimes.has(at.key)) throw new Fault('internal', `container with id ${at.key} already exists`)
  if (spec.process.args[0] === MISSING) throw badCommand(MISSING)
  const cgroup = spec.linux.cgroupsPath
  books.makeCgroup(cgroup)
  const process = books.newProcess(at.what, cgroup)
  const container = {
    cgroup,
    bundle: at.bundle,
    process,
    status: 'created' as 'created' | 'stopped',
    resources: undefined,
  }
  books.runtimes.set(at.key, container)
  process.onEnd.push(() => {
    container.status = 'stopped'
  })
  return process
}

export function fakeRuntime(m: Machine, handler: string): OciRuntime {
  const { books, steps } = m
  const at = (id: string) => books.runtimes.get(runtimeKey(handler, id))
  const kind = 'finishes'
  const short = (id: string) => (id.startsWith('pause-') ? 'pause' : 'container')
  return {
    program: { handler, kind: 'runc', path: `/usr/bin/${handler}` },
    command: [`/usr/bin/${handler}`, '--root', `/oci/${handler}`],
    sandboxed: false,
    endSignal: SIGKILL,
    failure: (doing, log) => new Fault('internal', `${doing}: ${log}`),
    start: (scope, id) =>
      steps.step('runtime.start', { kind, scope }, async () => {
        const c = at(id)
        if (!c) throw new Fault('not-found', 'no such container', { reason: 'unknown-container' })
        if (c.status !== 'created')
          throw new Fault('internal', `cannot start a container that is ${c.status}`)
        if ((await readSpec(c.bundle)).process.args[0] === MISSING_AT_START) {
          books.end(c.process, EXIT_1)
          throw badCommand(MISSING_AT_START)
        }
        c.status = 'running'
        books.note('runtime.start')
      }),
    delete: (scope, id, _options) =>
      steps.step(`runtime.delete ${short(id)}`, { kind, scope }, () => {
        const c = at(id)
        if (!c) return
        books.end(c.process, SIGKILL)
        books.removeCgroup(c.cgroup)
        books.runtimes.delete(runtimeKey(handler, id))
      }),
    status: (scope, id) =>
      steps.step(`runtime.status ${short(id)}`, { kind: 'kills', scope }, () => at(id)?.status),
    update: (scope, id, resources) =>
      steps.step('runtime.update', { kind, scope }, () => {
        const c = at(id)
        if (!c) throw new Fault('not-found', 'no such container', { reason: 'unknown-container' })
        c.resources = resources
        books.note('runtime.update')
      }),
    runDetached: (scope, id, bundle) =>
      steps.step('runtime.runDetached', { kind, scope, middle: true }, async (middle) => {
        const process = await create(m, { key: runtimeKey(handler, id), bundle, what: 'pause' })
        await middle()
        await writeFile(`${bundle}/pid`, `${process.pid}`)
        const c = at(id)
        if (c) c.status = 'running'
        return process.pid
      }),
  }
}

export function fakeProcesses({ books, steps, behaviour }: Machine): Processes {
  return {
    get bootId() {
      return books.bootId
    },
    identify: (pid) =>
      steps.sync('processes.identify', () => {
        const p = books.processes.get(pid)
        return p ? books.identity(p) : undefined
      }),
    alive: (id) => steps.sync('processes.alive', () => books.processOf(id) !== undefined),
    signal: (id: ProcessId, signal: number) =>
      steps.sync(`processes.signal ${signal}`, () => {
        const p = books.processOf(id)
        if (!p) return false
        books.note(`signal ${signal}`)
        if (signal === SIGKILL || !behaviour.ignores.has(signal)) books.end(p, signal)
        return true
      }),
    // A watch is no step under way: the step is the news of the end.
    gone: async (scope, id) => {
      const p = books.processOf(id)
      if (p) await orAbort(scope, new Promise<void>((resolve) => p.onEnd.push(() => resolve())))
      await steps.step('processes.gone', { kind: 'stops', scope }, () => {})
    },
    find: () => Promise.reject(new Fault('internal', 'the engine does not look for processes')),
  }
}

/** A monitor has seen its container end: exit file first, socket last. It needs no daemon for that. */
async function finish({ books }: Machine, monitor: FakeMonitor, at: { paths: ContainerPaths; code: number }) {
  books.busy++
  try {
    if (existsSync(at.paths.state)) {
      const exit = { code: at.code, oomKilled: false, exitedAtNs: BigInt(Date.now()) * 1_000_000n }
      // Removed meanwhile: nobody is left who would read it.
      await writeJson(at.paths.exitFile, exit).catch(() => {})
    }
    books.end(monitor.process, 0)
  } finally {
    books.busy--
  }
}

async function startMonitor(m: Machine, o: MonitorStart, middle: () => Promise<void>): Promise<MonitorLink> {
  const { books } = m
  if (!existsSync(o.paths.run)) throw new Fault('internal', `no folder for the socket of ${o.id}`)
  if (!books.mounts.has(o.paths.rootfs))
    throw new Fault('internal', `nothing is mounted at ${o.paths.rootfs}`)
  const { promise: closed, resolve: close } = Promise.withResolvers<void>()
  const process = books.newProcess('monitor')
  const monitor: FakeMonitor = { id: o.id, process, init: undefined, closed, close }
  books.monitors.set(o.paths.control, monitor)
  process.onEnd.push(() => {
    books.monitors.delete(o.paths.control)
    close()
  })
  await middle()
  try {
    const key = runtimeKey(o.runtime.program.handler, o.id)
    const init = await create(m, { key, bundle: o.paths.bundle, what: 'container' })
    monitor.init = init
    init.onEnd.push((signal) => {
      if (process.alive) void finish(m, monitor, { paths: o.paths, code: codeOf(signal) })
    })
    books.note('monitors.start')
    return { process: books.identity(init), closed }
  } catch (e) {
    books.end(process, SIGKILL)
    throw e
  }
}

export function fakeMonitors(m: Machine): Monitors {
  const { books, steps } = m
  const kind = 'kills'
  const linkOf = (paths: ContainerPaths): MonitorLink | undefined => {
    const found = books.monitors.get(paths.control)
    return found?.init ? { process: books.identity(found.init), closed: found.closed } : undefined
  }
  return {
    start: (scope, o) =>
      steps.step('monitors.start', { kind, scope, middle: true }, (middle) => startMonitor(m, o, middle)),
    connect: (scope, paths) => steps.step('monitors.connect', { kind, scope }, () => linkOf(paths)),
    reopenLog: (scope, paths) =>
      steps.step('monitors.reopenLog', { kind, scope }, async () => {
        if (!linkOf(paths)) throw new Fault('not-found', 'no monitor')
        await mkdir(paths.run, { recursive: true })
        books.note('monitors.reopenLog')
      }),
    exec: (scope, paths, request) =>
      steps.step('monitors.exec', { kind, scope }, () => exec(m, linkOf(paths), { scope, request })),
    sweep: (scope, keep) =>
      steps.step('monitors.sweep', { kind, scope }, () => {
        for (const monitor of [...books.monitors.values()])
          if (!keep.has(monitor.id)) books.end(monitor.process, SIGKILL)
      }),
  }
}

async function exec(
  { books, behaviour }: Machine,
  link: MonitorLink | undefined,
  { scope, request }: { scope: Parameters<Monitors['exec']>[0]; request: ExecRequest },
): Promise<ExecResult> {
  if (!link) throw new Fault('wrong-state', 'the container ended during the exec')
  const process = books.newProcess('exec')
  books.note('monitors.exec')
  const ended = link.closed.then(() => {
    throw new Fault('wrong-state', 'the container ended during the exec')
  })
  ended.catch(() => {})
  try {
    const { code, stdout } = await orAbort(scope, Promise.race([behaviour.exec(), ended]))
    const out = Buffer.from(stdout).subarray(0, request.maxOutputBytes)
    return { code, stdout: out, stderr: Buffer.alloc(0), timedOut: false }
  } finally {
    books.end(process, SIGKILL)
  }
}
