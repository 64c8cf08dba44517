// SPDX-License-Identifier: Apache-2.0
/**
 * Ground for the monitor's tests: a root of its own under /tmp, a busybox root file system, containers that are
 * created by the real monitor with the real runc, and their removal whatever happened. Needs root and runc.
 */
import { execFile } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parseJson } from '../../src/base/json-file.ts'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import type { MonitorStatus } from '../../src/host/monitor/frames.ts'
import type { ExecRequest, Session, SessionExit } from '../../src/host/monitor/session.ts'
import {
  type Monitor,
  type MonitorDeps,
  type MonitorOptions,
  startMonitor,
} from '../../src/host/monitor/spawn.ts'
import { loadNative } from '../../src/host/native.ts'

import type { LeakScope } from '../support/leak-check.ts'

const built = (name: string) => fileURLToPath(new URL(`../../native/build/${name}`, import.meta.url))
const run = promisify(execFile)

export const MONITOR_PATH = process.env.GANTRY_TEST_MONITOR ?? built('gantry-monitor')
/** A sanitized monitor is larger and slower: its size says nothing. */
export const SANITIZED = MONITOR_PATH.endsWith('-asan')
export const scope: Scope = { signal: new AbortController().signal, log: silent }
export const deps: MonitorDeps = {
  native: loadNative(built('gantry.node')),
  paths: { monitor: MONITOR_PATH },
}

const RUNC = '/usr/sbin/runc'
const PATH = 'PATH=/bin:/usr/bin:/sbin:/usr/sbin'
const CAPABILITIES = ['CAP_KILL', 'CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_SETUID', 'CAP_SETGID']

export interface Exit {
  readonly code: number
  readonly signal: number
  readonly oomKilled: boolean
  readonly oomKills: number
  readonly exitedAtNs: bigint
  readonly pid: number
  readonly droppedLogLines: number
  readonly droppedLogBytes: number
}

export interface LogLine {
  readonly stream: string
  readonly tag: string
  readonly content: string
}

export interface BundleOptions {
  readonly command: string | readonly string[]
  readonly tty?: boolean
  readonly memoryBytes?: number
  readonly hostPid?: boolean
}

export interface Container {
  readonly id: string
  readonly dir: string
  readonly runDir: string
  readonly logPath: string
  readonly exitFile: string
  readonly monitor: Monitor
  start(): Promise<void>
  /** Waits for the monitor to be gone and reads exit.json. */
  exit(): Promise<Exit>
  log(path?: string): LogLine[]
  process(command: string | readonly string[], more?: object): object
}

/** Reads `<time> <stream> <tag> <content>`; a line of another form is an error. `latin1` keeps all bytes apart. */
export function parseLog(path: string): LogLine[] {
  const text = readFileSync(path, 'latin1')
  if (text !== '' && !text.endsWith('\n')) throw new Error(`half a line at the end: ${text.slice(-80)}`)
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const m = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)$/s.exec(line)
      if (!m) throw new Error(`not a log line: ${line.slice(0, 100)}`)
      return { stream: m[1] ?? '', tag: m[2] ?? '', content: m[3] ?? '' }
    })
}

/** Polls until `see` gives something, at most 10 s. */
export async function eventually<T>(what: string, see: () => T | undefined | false): Promise<T> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(10)) {
    const seen = see()
    if (seen !== undefined && seen !== false) return seen
  }
  throw new Error(`did not come within 10 s: ${what}`)
}

/** Asks for the status until it is as wanted, at most 20 s. */
export async function eventuallyStatus(m: Pick<Monitor, 'status'>, enough: (s: MonitorStatus) => boolean) {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    const s = await m.status(scope)
    if (enough(s)) return s
  }
  throw new Error('the status did not come within 20 s')
}

function argvOf(command: string | readonly string[]): readonly string[] {
  return typeof command === 'string' ? ['sh', '-c', command] : command
}

function processObject(command: string | readonly string[], tty: boolean): Record<string, unknown> {
  const capabilities = { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES }
  return {
    terminal: tty,
    user: { uid: 0, gid: 0 },
    args: argvOf(command),
    env: [PATH],
    cwd: '/',
    capabilities,
  }
}

function spec(o: BundleOptions, cgroup: string): object {
  const namespaces = ['network', 'ipc', 'uts', 'mount', ...(o.hostPid ? [] : ['pid'])].map((type) => ({
    type,
  }))
  const memory = o.memoryBytes === undefined ? {} : { memory: { limit: o.memoryBytes, swap: o.memoryBytes } }
  return {
    ociVersion: '1.0.2',
    process: processObject(o.command, o.tty ?? false),
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666'],
      },
    ],
    linux: { namespaces, cgroupsPath: cgroup, resources: { ...memory } },
  }
}

export class Ground {
  readonly root = mkdtempSync('/tmp/gt-monitor-')
  readonly cgroup = `/gt-monitor-${process.pid}`
  readonly #containers: { id: string; monitor: Monitor | undefined }[] = []
  #count = 0

  /** What the leak check looks at: all that is of this ground, whatever else goes on on the machine. */
  get leakScope(): LeakScope {
    const { root, cgroup } = this
    return { roots: [root], cgroups: [cgroup], programs: [], linkPrefixes: ['gt-monitor'] }
  }

  constructor() {
    mkdirSync(join(this.root, 'rootfs/bin'), { recursive: true })
    for (const d of ['proc', 'dev', 'tmp']) mkdirSync(join(this.root, 'rootfs', d))
    copyFileSync('/bin/busybox', join(this.root, 'rootfs/bin/busybox'))
  }

  async runc(...args: string[]): Promise<string> {
    return (await run(RUNC, ['--root', join(this.root, 'runc'), ...args])).stdout
  }

  /** OOM counts of a container's cgroup, as an option of the monitor; for v1 and v2. */
  oomFiles(id: string): { path: string; key: string }[] {
    const v1 = '/sys/fs/cgroup/memory'
    if (existsSync(v1)) return [{ path: `${v1}${this.cgroup}/${id}/memory.oom_control`, key: 'oom_kill' }]
    return [{ path: `/sys/fs/cgroup${this.cgroup}/${id}/memory.events`, key: 'oom_kill' }]
  }

  /** Writes the bundle and gives the monitor's options for it. */
  async prepare(
    o: BundleOptions,
    more: Partial<MonitorOptions> = {},
  ): Promise<MonitorOptions & { dir: string }> {
    const id = `gt-monitor-${process.pid}-${++this.#count}`
    const dir = join(this.root, id)
    mkdirSync(join(dir, 'bundle'), { recursive: true })
    mkdirSync(join(dir, 'run'))
    await run('cp', ['-a', join(this.root, 'rootfs'), join(dir, 'bundle/rootfs')])
    await run('chroot', [join(dir, 'bundle/rootfs'), '/bin/busybox', '--install', '-s', '/bin'])
    writeFileSync(join(dir, 'bundle/config.json'), JSON.stringify(spec(o, `${this.cgroup}/${id}`)))
    this.#containers.push({ id, monitor: undefined })
    return {
      ...{ dir, id, runtime: RUNC, runtimeRoot: join(this.root, 'runc'), bundle: join(dir, 'bundle') },
      ...{ runDir: join(dir, 'run'), exitFile: join(dir, 'exit.json'), logPath: join(dir, 'log') },
      oomFiles: this.oomFiles(id),
      tty: o.tty ?? false,
      ...more,
    }
  }

  async container(o: BundleOptions, more: Partial<MonitorOptions> = {}): Promise<Container> {
    const options = await this.prepare(o, more)
    const monitor = await startMonitor(scope, deps, options)
    for (const c of this.#containers) if (c.id === options.id) c.monitor = monitor
    const { id, dir, runDir, exitFile } = options
    const logPath = options.logPath ?? ''
    return {
      ...{ id, dir, runDir, exitFile, logPath, monitor },
      start: async () => void (await this.runc('start', id)),
      exit: async () => {
        await monitor.closed
        return readExit(exitFile)
      },
      log: (path = logPath) => parseLog(path),
      process: (command, extra = {}) => ({ ...processObject(command, false), ...extra }),
    }
  }

  /** Created and started. */
  async running(o: BundleOptions, more: Partial<MonitorOptions> = {}): Promise<Container> {
    const c = await this.container(o, more)
    await c.start()
    return c
  }

  /** Ends and forgets every container of this ground, and removes its files and cgroups. */
  async clear(): Promise<void> {
    for (const { id, monitor } of this.#containers.splice(0)) {
      await this.runc('delete', '--force', id).catch(() => {})
      await monitor?.closed
    }
    rmSync(this.root, { recursive: true, force: true })
    for (const entry of ['', ...(await readdir('/sys/fs/cgroup'))])
      await rmdir(join('/sys/fs/cgroup', entry, this.cgroup)).catch(() => {})
  }
}

/** Processes of the host whose arguments contain these words; arguments are separated by NUL. */
export function pidsWith(words: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 1 && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(words)
      } catch {
        return false // ended meanwhile
      }
    })
}

export function readExit(path: string): Exit {
  const value: unknown = parseJson(readFileSync(path, 'utf8'))
  const get = (key: string): unknown =>
    typeof value === 'object' && value ? Reflect.get(value, key) : undefined
  if (get('v') !== 1 || typeof get('exitedAtNs') !== 'bigint') throw new Error(`not an exit file: ${path}`)
  return value as Exit
}

export interface Collected extends SessionExit {
  readonly stdout: string
  readonly stderr: string
}

async function text(stream: AsyncIterable<Buffer> | undefined): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream ?? []) chunks.push(chunk)
  return Buffer.concat(chunks).toString('latin1')
}

export async function collect(session: Session): Promise<Collected> {
  const [stdout, stderr, exit] = await Promise.all([text(session.stdout), text(session.stderr), session.exit])
  return { stdout, stderr, ...exit }
}

/** Runs a command with both outputs collected. */
export async function execText(
  c: Container,
  command: string | readonly string[],
  more: Partial<ExecRequest> = {},
): Promise<Collected> {
  const request = { process: c.process(command), stdout: true, stderr: true, ...more }
  return collect(await c.monitor.exec(scope, request))
}
