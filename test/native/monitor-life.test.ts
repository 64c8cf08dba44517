// SPDX-License-Identifier: Apache-2.0
/** A monitor's life with a real runc: creation and its failures, exit.json, memory, what it hands down, no daemon. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { childScope } from '../../src/base/scope.ts'
import { connectMonitor } from '../../src/host/monitor/client.ts'
import { monitorFailure } from '../../src/host/monitor/failure.ts'
import { startMonitor } from '../../src/host/monitor/spawn.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import {
  collect,
  deps,
  eventually,
  eventuallyStatus,
  execText,
  Ground,
  MONITOR_PATH,
  parseLog,
  pidsWith,
  readExit,
  SANITIZED,
  scope,
} from './monitor-fixture.ts'

const ground = new Ground()
let before: Snapshot

beforeAll(async () => {
  before = await snapshot(ground.leakScope)
})

afterAll(async () => {
  await ground.clear()
  await expectNoLeaks(before)
})

describe('a container from beginning to end', () => {
  it('logs exactly its lines, records its exit and goes away', async () => {
    const c = await ground.container({ command: 'echo hello; echo oops >&2; echo; printf "no end"; exit 3' })
    expect(existsSync(c.logPath)).toBe(true)
    expect((await c.monitor.status(scope)).state).toBe('live')
    expect(readFileSync(c.logPath, 'utf8')).toBe('')
    const start = process.hrtime.bigint()
    const startNs = BigInt(Date.now()) * 1_000_000n
    await c.start()
    const exit = await c.exit()
    const tookNs = process.hrtime.bigint() - start
    expect(exit).toMatchObject({
      code: 3,
      signal: 0,
      oomKilled: false,
      pid: c.monitor.pid,
      droppedLogLines: 0,
    })
    expect(exit.exitedAtNs - startNs).toBeGreaterThan(-1_000_000n)
    expect(exit.exitedAtNs - startNs).toBeLessThan(tookNs + 2_000_000n)
    const lines = c.log()
    expect(lines.filter((l) => l.stream === 'stdout')).toEqual([
      { stream: 'stdout', tag: 'F', content: 'hello' },
      { stream: 'stdout', tag: 'F', content: '' },
      { stream: 'stdout', tag: 'P', content: 'no end' },
    ])
    expect(lines.filter((l) => l.stream === 'stderr')).toEqual([
      { stream: 'stderr', tag: 'F', content: 'oops' },
    ])
    await eventually('end of the monitor', () => !existsSync(`/proc/${c.monitor.monitorPid}/exe`))
    expect(existsSync(join(c.runDir, 'ctl.sock'))).toBe(false)
    expect(existsSync(join(c.runDir, 'monitor.log'))).toBe(false)
  })

  it('tells a signal as 128 + n', async () => {
    const c = await ground.running({ command: 'kill -9 $$; sleep 100', hostPid: true })
    expect(await c.exit()).toMatchObject({ code: 137, signal: 9, oomKilled: false })
  })

  it('is told apart from others by the name of its process', async () => {
    const c = await ground.container({ command: 'true' })
    expect(readFileSync(`/proc/${c.monitor.monitorPid}/comm`, 'utf8')).toBe('gantry-monitor\n')
  })

  it('records the exit of a container that was created and deleted without a start', async () => {
    const c = await ground.container({ command: 'true' })
    await ground.runc('delete', '--force', c.id)
    expect(await c.exit()).toMatchObject({ code: 137, signal: 9 })
  })

  it('works when the paths are longer than a socket address', async () => {
    const options = await ground.prepare({ command: 'echo long; sleep 100' })
    const runDir = join(options.dir, 'r'.repeat(150))
    mkdirSync(runDir)
    const m = await startMonitor(scope, deps, { ...options, runDir })
    await ground.runc('start', options.id)
    const again = await connectMonitor(scope, join(runDir, 'ctl.sock'))
    expect(await again.status(scope)).toMatchObject({ state: 'live', pid: m.pid, startTicks: m.startTicks })
    await ground.runc('delete', '--force', options.id)
    await Promise.all([again.closed, m.closed])
  })
})

describe('an exit file that cannot be written', () => {
  it('goes into the run folder instead', async () => {
    const options = await ground.prepare({ command: 'exit 8' })
    const exitFile = join(options.dir, 'missing/exit.json')
    const m = await startMonitor(scope, deps, { ...options, exitFile })
    await ground.runc('start', options.id)
    await m.closed
    expect(readExit(join(options.runDir, 'exit.json'))).toMatchObject({ code: 8 })
    const complaint = `cannot write ${exitFile}: No such file or directory\n`
    expect(readFileSync(join(options.runDir, 'monitor.log'), 'utf8')).toBe(complaint)
  })

  it('keeps the monitor, which tells the code and tries again', async () => {
    const options = await ground.prepare({ command: 'exit 8' })
    const exitFile = join(options.dir, 'missing/exit.json')
    mkdirSync(join(options.runDir, 'exit.json/in-the-way'), { recursive: true })
    const m = await startMonitor(scope, deps, { ...options, exitFile })
    await ground.runc('start', options.id)
    const status = await eventuallyStatus(m, (s) => s.state === 'exited')
    expect(status).toMatchObject({ code: 8, signal: 0 })
    await expect(m.exec(scope, { process: {} })).rejects.toThrow(/the container is not running/)
    await expect(m.attach(scope, {})).rejects.toThrow(/the container is not running/)
    mkdirSync(join(options.dir, 'missing'))
    await m.closed
    expect(readExit(exitFile)).toMatchObject({ code: 8, pid: m.pid })
  })
})

describe('failure to create', () => {
  it('passes on what the runtime said about a bad command', async () => {
    const options = await ground.prepare({ command: ['no-such-program'] })
    const error: unknown = await startMonitor(scope, deps, options).catch((e: unknown) => e)
    expect(error).toMatchObject({ kind: 'internal', reason: 'monitor-create' })
    const failure = monitorFailure(error)
    expect(failure).toMatchObject({ stage: 'create', exitStatus: 1 })
    expect(failure?.log).toMatch(/"level":"error".*no-such-program.*executable file not found/)
    expect(readFileSync(join(options.dir, 'log'), 'utf8')).toBe('')
  })

  it('names a missing runtime, a missing log folder and a missing run folder', async () => {
    const options = await ground.prepare({ command: 'true' })
    const log = async (more: object) => {
      const error: unknown = await startMonitor(scope, deps, { ...options, ...more }).catch((e: unknown) => e)
      return monitorFailure(error)
    }
    expect(await log({ runtime: '/no/runtime' })).toMatchObject({
      stage: 'create',
      exitStatus: 127,
      log: 'cannot execute /no/runtime: No such file or directory\n',
    })
    const logPath = join(options.dir, 'missing/log')
    expect(await log({ logPath })).toMatchObject({
      stage: 'log',
      log: `${logPath}: No such file or directory`,
    })
    expect(await log({ runDir: '/no/run' })).toMatchObject({ stage: 'setup' })
  })

  it('kills the runtime and its own process when the caller gives up', async () => {
    const options = await ground.prepare({ command: 'true' })
    const slow = join(options.dir, 'slow-runtime')
    writeFileSync(slow, '#!/bin/sh\nsleep 4242 &\nsleep 4243\n', { mode: 0o755 })
    using child = childScope(scope)
    const starting = startMonitor(child, deps, { ...options, runtime: slow })
    starting.catch(() => {})
    const pids = await eventually('the slow runtime', () => {
      const found = pidsWith('sleep\x004242').concat(pidsWith('sleep\x004243'))
      return found.length === 2 ? found : undefined
    })
    child.abort(new Fault('cancelled', 'changed my mind'))
    await expect(starting).rejects.toMatchObject({ kind: 'cancelled', message: 'changed my mind' })
    for (const pid of pids) expect(existsSync(`/proc/${pid}/exe`)).toBe(false)
  })
})

describe('an exec that is over before its runtime has written its pid down', () => {
  it('is told with its exit code', async () => {
    // An orphan ends and is reaped by the monitor; only then the stand-in writes the pid file and ends.
    const standIn = [
      '#!/bin/sh',
      'case " $* " in *" exec "*) ;; *) exec runc "$@" ;; esac',
      'while [ "$1" != --pid-file ]; do shift; done',
      '(sh -c \'echo $$ > "$1.early"; exit 7\' sh "$2" &)',
      'until [ -s "$2.early" ] && [ ! -d "/proc/$(cat "$2.early")" ]; do sleep 0.02; done',
      'mv "$2.early" "$2"',
    ]
    const options = await ground.prepare({ command: 'sleep 60' })
    const runtime = join(options.dir, 'late-runtime')
    writeFileSync(runtime, `${standIn.join('\n')}\n`, { mode: 0o755 })
    const c = await ground.running({ command: 'sleep 60' }, { runtime })
    expect(await execText(c, 'true', { timeoutMs: 20_000 })).toMatchObject({ code: 7, timedOut: false })
  })
})

describe('an exec whose runtime takes its time to end', () => {
  it('gives its output at once, and all of it', async () => {
    const standIn = [
      '#!/bin/sh',
      'case " $* " in *" exec "*) runc "$@" && sleep 0.7 && touch "$0.ended" ;; *) exec runc "$@" ;; esac',
    ]
    const options = await ground.prepare({ command: 'sleep 60' })
    const runtime = join(options.dir, 'slow-runtime')
    writeFileSync(runtime, `${standIn.join('\n')}\n`, { mode: 0o755 })
    const c = await ground.running({ command: 'sleep 60' }, { runtime })
    const process = c.process('echo early; head -c 700000 /dev/zero; exit 3')
    const session = await c.monitor.exec(scope, { process, stdout: true })
    expect(existsSync(`${runtime}.ended`)).toBe(false)
    const { stdout, code } = await collect(session)
    expect([stdout.length, stdout.slice(0, 6), code]).toEqual([700_006, 'early\n', 3])
  })
})

describe('memory', () => {
  it('tells that the container was killed for lack of memory', async () => {
    const memoryBytes = 15 * 1024 * 1024
    const c = await ground.running({ command: 'dd if=/dev/zero of=/dev/null bs=20M', memoryBytes })
    const exit = await c.exit()
    expect(exit).toMatchObject({ code: 137, oomKilled: true })
    expect(exit.oomKills).toBeGreaterThan(0)
  })

  it('does not blame memory when only a child was killed', async () => {
    const memoryBytes = 15 * 1024 * 1024
    const c = await ground.running({ command: 'dd if=/dev/zero of=/dev/null bs=20M; exit 0', memoryBytes })
    expect(await c.exit()).toMatchObject({ code: 0, oomKilled: false, oomKills: 1 })
  })

  it.skipIf(SANITIZED)(
    'needs at most 1 MiB resident and 200 KiB of its own, idle and after a burst',
    async () => {
      const c = await ground.running({ command: 'echo hi; read x; seq 1 200000; read x' }, { stdin: true })
      const small = () => {
        const rollup = readFileSync(`/proc/${c.monitor.monitorPid}/smaps_rollup`, 'utf8')
        const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1])
        expect(kib('Rss')).toBeGreaterThan(0)
        expect(kib('Rss')).toBeLessThanOrEqual(1024)
        return kib('Pss')
      }
      await eventually('a line', () => c.log().length > 0)
      expect(small()).toBeLessThanOrEqual(200)
      const a = await c.monitor.attach(scope, { stdin: true, stdout: true })
      a.stdout?.resume()
      a.stdin?.write('\n')
      await eventually('the last line', () => readFileSync(c.logPath, 'latin1').endsWith(' F 200000\n'))
      await Promise.all(Array.from({ length: 8 }, () => execText(c, 'head -c 300000 /dev/zero')))
      a.close()
      expect(small()).toBeLessThanOrEqual(320) // its buffers have been used now
    },
  )
})

/** CAP_SYS_RESOURCE: without it nobody can go below the value he has. */
function maySetOomScore(): boolean {
  const mask = /^CapEff:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return ((BigInt(`0x${mask}`) >> 24n) & 1n) === 1n
}

describe('what it hands down', () => {
  it('starts the runtime with all signals at their defaults and its own priority taken back', async () => {
    const options = await ground.prepare({
      command: 'cat /proc/self/status; cat /proc/self/oom_score_adj; umask; ls -l /proc/self/fd; sleep 100',
    })
    // A parent that ignores signals, has a strange umask and leaves a descriptor open.
    const wrapper = join(options.dir, 'wrapper')
    const seen = join(options.dir, 'seen')
    const script = [
      '#!/bin/sh',
      'trap "" HUP INT USR1',
      `grep SigIgn /proc/self/status >${seen}`,
      'umask 077',
      `exec ${MONITOR_PATH} "$@" 7</etc/hostname`,
    ]
    writeFileSync(wrapper, script.join('\n'), { mode: 0o755 })
    // Some runtimes hand ignored signals on to the container, some do not: look at the runtime itself, too.
    const runtime = join(options.dir, 'runtime')
    const looked = join(options.dir, 'looked')
    const look = `#!/bin/sh\ncat /proc/self/status >${looked}\nls -l /proc/$$/fd >>${looked}\nexec ${options.runtime} "$@"\n`
    writeFileSync(runtime, look, { mode: 0o755 })
    const m = await startMonitor(scope, { ...deps, paths: { monitor: wrapper } }, { ...options, runtime })
    const atRuntime = readFileSync(looked, 'utf8').split('\n')
    for (const name of ['SigIgn', 'SigBlk'])
      expect(atRuntime.find((l) => l.startsWith(name))).toBe(`${name}:\t0000000000000000`)
    const handed = atRuntime.flatMap((l) => / (\d) -> /.exec(l)?.[1] ?? []) // sh keeps its own above 9
    expect(handed).toEqual(['0', '1', '2'])
    const ignored = (text: string | undefined) => BigInt(`0x${text?.split('\t')[1]?.trim()}`) & 0x203n
    expect(ignored(readFileSync(seen, 'utf8'))).toBe(0x203n)
    await ground.runc('start', options.id)
    const lines = await eventually('its output', () => {
      const l = parseLog(options.logPath ?? '').map((x) => x.content)
      return l.some((x) => x.includes(' 2 -> ')) ? l : undefined
    })
    expect(ignored(lines.find((l) => l.startsWith('SigIgn:')))).toBe(0n)
    expect(lines.find((l) => l.startsWith('SigBlk:'))).toBe('SigBlk:\t0000000000000000')
    const own = readFileSync('/proc/self/oom_score_adj', 'utf8').trim()
    const adj = readFileSync(`/proc/${m.monitorPid}/oom_score_adj`, 'utf8').trim()
    expect(adj).toBe(maySetOomScore() ? '-999' : own)
    expect(lines).toContain(own)
    expect(lines).toContain('0022')
    const fds = lines.flatMap((l) => / (\d+) -> /.exec(l)?.[1] ?? [])
    expect(fds).toEqual(['0', '1', '2']) // and the folder that ls reads, whose link ls cannot read any more
    await ground.runc('kill', options.id, 'KILL')
    await m.closed
  })
})

interface Driver {
  readonly child: ChildProcess
  readonly pid: number
  readonly monitorPid: number
  readonly logPath: string
  readonly runDir: string
  readonly exitFile: string
}

/** A stand-in daemon: a process of its own that starts a monitor and then only waits. */
async function startDriver(command: string): Promise<Driver> {
  const options = await ground.prepare({ command })
  const script = fileURLToPath(new URL('./monitor-driver.ts', import.meta.url))
  const child = spawn(process.execPath, [script, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve)
    child.once('exit', (code) => reject(new Error(`the driver ended with ${code}`)))
  })
  const told: unknown = JSON.parse(line)
  const monitorPid = typeof told === 'object' && told ? Number(Reflect.get(told, 'monitorPid')) : 0
  await ground.runc('start', options.id)
  const { runDir, exitFile } = options
  return { child, pid: child.pid ?? 0, monitorPid, logPath: options.logPath ?? '', runDir, exitFile }
}

describe('without its clients', () => {
  it('with stdin-once, a terminal outlives its clients all the same', async () => {
    const own = await ground.running(
      { command: 'read x; echo "got $x"; read y; exit 8', tty: true },
      { stdin: true, stdinOnce: true },
    )
    const first = await own.monitor.attach(scope, { stdin: true, stdout: true })
    first.stdin?.end('one\n')
    await eventually('the answer', () => own.log().some((l) => l.content === 'got one\r'))
    first.close()
    const second = await own.monitor.attach(scope, { stdin: true })
    second.stdin?.write('two\n')
    expect(await own.exit()).toMatchObject({ code: 8 })
  })
})

describe('without its daemon', () => {
  it('logs on after the daemon was killed, answers a new one, and records the exit', async () => {
    const driver = await startDriver(
      'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; [ -e /tmp/stop ] && exit 9; done',
    )
    await eventually('the first lines', () => parseLog(driver.logPath).length > 2)
    driver.child.kill('SIGKILL')
    await new Promise((resolve) => driver.child.once('close', resolve))
    const seen = parseLog(driver.logPath).length
    await eventually('lines after that', () => parseLog(driver.logPath).length > seen + 10)
    const again = await connectMonitor(scope, join(driver.runDir, 'ctl.sock'))
    expect(await again.status(scope)).toMatchObject({ state: 'live' })
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(driver.monitorPid, signal)
    expect(await again.status(scope)).toMatchObject({ state: 'live' })
    writeFileSync(join(driver.runDir, '../bundle/rootfs/tmp/stop'), '')
    await again.closed
    expect(readExit(driver.exitFile)).toMatchObject({ code: 9 })
    const numbers = parseLog(driver.logPath).map((l) => Number(l.content))
    expect(numbers).toEqual(numbers.map((_, i) => i + 1))
  })
})
