// SPDX-License-Identifier: Apache-2.0
/** The CRI log as the monitor writes it with a real runc: lines, reopening, full disks. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { startMonitor } from '../../src/host/monitor/spawn.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { deps, eventually, eventuallyStatus, Ground, parseLog, readExit, scope } from './monitor-fixture.ts'

const run = promisify(execFile)
const ground = new Ground()
let before: Snapshot

beforeAll(async () => {
  before = await snapshot(ground.leakScope)
})

afterAll(async () => {
  await ground.clear()
  await expectNoLeaks(before)
})

describe('the log', () => {
  it('splits long lines and passes every byte on', async () => {
    const script =
      'head -c 40000 /dev/zero | tr "\\0" x; echo; printf "a\\000b\\377\\r\\n"; head -c 16384 /dev/zero | tr "\\0" y; echo'
    const c = await ground.running({ command: script })
    await c.exit()
    expect(c.log()).toEqual([
      { stream: 'stdout', tag: 'P', content: 'x'.repeat(16384) },
      { stream: 'stdout', tag: 'P', content: 'x'.repeat(16384) },
      { stream: 'stdout', tag: 'F', content: 'x'.repeat(40000 - 2 * 16384) },
      { stream: 'stdout', tag: 'F', content: 'a\0b\xff\r' },
      { stream: 'stdout', tag: 'F', content: 'y'.repeat(16384) },
    ])
  })

  it('is complete at the exit although another process holds the pipe open', async () => {
    const command = 'sleep 20 & head -c 60000 /dev/zero | tr "\\0" z; printf end; exit 2'
    const c = await ground.running({ command, hostPid: true })
    const start = performance.now()
    expect(await c.exit()).toMatchObject({ code: 2 })
    expect(performance.now() - start).toBeLessThan(5000)
    const all = c.log()
    expect(all.map((l) => l.content).join('')).toBe(`${'z'.repeat(60000)}end`)
    expect(all.map((l) => l.tag)).toEqual(['P', 'P', 'P', 'P'])
  })

  it('loses nothing when it is reopened again and again under load', async () => {
    const c = await ground.running({
      command: 'i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done',
    })
    const files: string[] = []
    let over = false
    void c.monitor.closed.then(() => {
      over = true
    })
    for (let n = 0; n < 50 && !over; n++) {
      const old = `${c.logPath}.${n}`
      renameSync(c.logPath, old)
      files.push(old)
      try {
        await c.monitor.reopenLog(scope)
      } catch (e) {
        if (!over && !(e instanceof Fault && e.reason === 'monitor-gone')) throw e
        break
      }
      expect(existsSync(c.logPath)).toBe(true)
    }
    await c.exit()
    if (existsSync(c.logPath)) files.push(c.logPath)
    expect(files.length).toBeGreaterThan(2)
    const all = files.flatMap((f) => parseLog(f)).map((l) => l.content)
    expect(all).toEqual(Array.from({ length: 20000 }, (_, i) => `line ${i}`))
  })

  it('says why it cannot be reopened and goes on in the old file', async () => {
    const c = await ground.running({ command: 'read x; echo $x; sleep 100' }, { stdin: true })
    const moved = `${c.dir}/moved`
    renameSync(c.logPath, moved)
    mkdirSync(c.logPath)
    await expect(c.monitor.reopenLog(scope)).rejects.toThrow(/cannot open the log: Is a directory/)
    const a = await c.monitor.attach(scope, { stdin: true })
    a.stdin?.write('still here\n')
    await eventually('the line', () => readFileSync(moved, 'utf8').includes('stdout F still here'))
    a.close()
  })

  it('replaces a dangling symbolic link', async () => {
    const options = await ground.prepare({ command: 'echo x' })
    symlinkSync(join(options.dir, 'nowhere'), join(options.dir, 'log'))
    const m = await startMonitor(scope, deps, options)
    await ground.runc('start', options.id)
    await m.closed
    expect(existsSync(join(options.dir, 'nowhere'))).toBe(false)
    expect(parseLog(join(options.dir, 'log'))).toHaveLength(1)
  })

  it('drains output without a log', async () => {
    const { logPath: _, ...options } = await ground.prepare({ command: 'head -c 1000000 /dev/zero; exit 4' })
    const m = await startMonitor(scope, deps, options)
    await ground.runc('start', options.id)
    await m.closed
    expect(readExit(options.exitFile)).toMatchObject({ code: 4, droppedLogLines: 0 })
  })

  it('on a full disk drops and counts lines, never blocks the container, and tries again', async () => {
    const disk = join(ground.root, 'tiny')
    mkdirSync(disk)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'gt-tiny', disk])
    try {
      const many = 20000
      const lines = `i=0; while [ $i -lt ${many} ]; do echo "line number $i, of some length"; i=$((i+1)); done`
      const logPath = join(disk, 'log')
      const c = await ground.running(
        { command: `${lines}; read x; echo after; exit 7` },
        { logPath, stdin: true },
      )
      const status = await eventuallyStatus(
        c.monitor,
        (s) =>
          Number(s.droppedLogLines) + (readFileSync(logPath, 'latin1').match(/\n/g)?.length ?? 0) === many,
      )
      expect(status.droppedLogLines).toBeGreaterThan(5000n)
      expect(status.droppedLogBytes).toBeGreaterThan(status.droppedLogLines * 20n)
      expect(parseLog(logPath).length).toBeGreaterThan(2000)
      renameSync(logPath, `${logPath}.1`)
      writeFileSync(`${logPath}.1`, '') // there is room again
      await c.monitor.reopenLog(scope)
      const a = await c.monitor.attach(scope, { stdin: true })
      a.stdin?.write('go\n')
      const exit = await c.exit()
      expect(exit).toMatchObject({ code: 7, droppedLogLines: Number(status.droppedLogLines) })
      expect(parseLog(logPath).map((l) => l.content)).toEqual(['after'])
    } finally {
      await run('umount', ['--lazy', disk]) // a failure above must not be hidden by a busy disk
    }
  })
})
