// SPDX-License-Identifier: Apache-2.0
/** spawn(): what a child inherits and what not, how its end is reported, and that failures leave nothing. */
import { closeSync, existsSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ADDON_PATH, makeRoot, native, openFdCount, run, start } from './addon-fixture.ts'

let root: string
let remove: () => Promise<void>
beforeEach(() => {
  ;({ path: root, remove } = makeRoot())
})
afterEach(() => remove())

function shell(script: string, options: Parameters<typeof run>[2] = {}) {
  return run(root, ['/bin/sh', '-c', script], options)
}

describe('the end of a child', () => {
  test.each([0, 1, 7, 255])('exit code %i', async (code) => {
    expect(await start(['/bin/sh', '-c', `exit ${code}`]).exit).toEqual({ code, signal: 0 })
  })

  test.each([9, 15, 6, 34, 64])('signal %i: code -1 and its number', async (signal) => {
    const child = start(['/bin/sleep', '60'])
    const pidfd = native.pidfdOpen(child.pid)
    native.pidfdSignal(pidfd, signal)
    expect(await child.exit).toEqual({ code: -1, signal })
    native.close(pidfd)
  })

  test('is reaped: no zombie remains', async () => {
    const child = start(['/bin/true'])
    await child.exit
    expect(existsSync(`/proc/${child.pid}`)).toBe(false)
  })

  test('is reported once, later than spawn() returns', async () => {
    let calls = 0
    await new Promise<void>((resolve) => {
      native.spawn({ file: '/bin/true', argv: ['true'], env: [], fds: [] }, () => {
        calls++
        setTimeout(resolve, 50)
      })
      expect(calls).toBe(0)
    })
    expect(calls).toBe(1)
  })

  test('100 at once: each reports its own code, no descriptor is lost', async () => {
    await start(['/bin/true']).exit
    const before = await openFdCount()
    const ends = await Promise.all(
      Array.from({ length: 100 }, (_, i) => start(['/bin/sh', '-c', `exit ${i}`]).exit),
    )
    expect(ends.map((e) => e.code)).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(await openFdCount()).toBe(before)
  })
})

describe('what a child gets', () => {
  test('argv, environment and folder exactly as given', async () => {
    const got = await run(root, ['/bin/sh', '-c', 'echo "$0|$1|$X|$HOME|$(pwd -P)"', 'zero', 'a b\nc'], {
      env: ['X=ü=1'],
      cwd: '/usr/share',
    })
    expect(got.out).toBe('zero|a b\nc|ü=1||/usr/share\n')
  })

  test('only the given descriptors', async () => {
    const got = await run(root, ['/bin/ls', '/proc/self/fd'])
    expect(got.out.trim().split('\n')).toEqual(['0', '1', '2', '3']) // 3 is the listing itself
  })

  test('a descriptor without close-on-exec stays out', async () => {
    // A child that was given fd 5 without close-on-exec loads the addon and spawns: fd 5 must not go further.
    const script = join(root, 'leak.mjs')
    const addon = JSON.stringify(ADDON_PATH)
    writeFileSync(
      script,
      `import { createRequire } from 'node:module'
       const native = createRequire(import.meta.url)(${addon})
       native.spawn({ file: '/bin/ls', argv: ['ls', '/proc/self/fd'], env: [], fds: [-1, 1, 2] }, () => {})`,
    )
    const zero = openSync('/dev/zero', 'r')
    const env = Object.entries(process.env).map(([k, v]) => `${k}=${v}`)
    const got = await run(root, [process.execPath, script], { more: [zero, zero, zero], env })
    closeSync(zero)
    expect(got.out.trim().split('\n')).toEqual(['0', '1', '2', '3'])
  })

  test('descriptors in any order: swapped, repeated, sources below the targets', async () => {
    const a = openSync(join(root, 'a'), 'w')
    const b = openSync(join(root, 'b'), 'w')
    const low = [a, b].sort((x, y) => x - y)
    const fds = [-1, b, a, a, b]
    // Fill up past the sources' own numbers, so that some target equals some source crosswise.
    while (fds.length <= (low[1] ?? 0) + 1) fds.push(fds.length === low[0] ? (low[1] ?? 0) : (low[0] ?? 0))
    const out = openSync(join(root, 'list'), 'w')
    fds[1] = out
    await start(['/bin/ls', '-l', '/proc/self/fd'], { fds }).exit
    const list = readFileSync(join(root, 'list'), 'utf8')
    const seen = new Map([...list.matchAll(/ (\d+) -> (.*)/g)].map((m) => [Number(m[1]), m[2]]))
    for (const [target, source] of fds.entries()) {
      const want = source === -1 ? '/dev/null' : readlinkSync(`/proc/self/fd/${source}`)
      expect(seen.get(target), `child fd ${target}`).toBe(want)
    }
    for (const fd of [a, b, out]) closeSync(fd)
  })

  test('a source that already has its target number is inherited', async () => {
    const got = await run(root, ['/bin/sh', '-c', 'echo on stderr >&2'], { fds: [0, 1, 2] })
    expect(got.code).toBe(0)
    const pipe = native.pipe()
    const fds = Array.from({ length: pipe[1] + 1 }, () => -1)
    fds[pipe[1]] = pipe[1] // same number, close-on-exec in this process
    await start(['/bin/bash', '-c', `echo through >&${pipe[1]}`], { fds }).exit
    native.close(pipe[1])
    expect(readFileSync(pipe[0], 'utf8')).toBe('through\n')
    native.close(pipe[0])
  })

  test('no ignored and no blocked signal, though we ignore SIGHUP', async () => {
    // trap '' makes the shell ignore SIGHUP; the Node it executes inherits that and spawns through the addon.
    const script = join(root, 'sig.mjs')
    const addon = JSON.stringify(ADDON_PATH)
    writeFileSync(
      script,
      `import { createRequire } from 'node:module'
       import { readFileSync } from 'node:fs'
       const native = createRequire(import.meta.url)(${addon})
       process.stdout.write(readFileSync('/proc/self/status', 'utf8').match(/SigIgn.*/)[0] + '\\n')
       native.spawn({ file: '/bin/grep', argv: ['grep', '-E', 'SigIgn|SigBlk', '/proc/self/status'], env: [], fds: [-1, 1, 2] }, () => {})`,
    )
    const env = Object.entries(process.env).map(([k, v]) => `${k}=${v}`)
    const got = await run(
      root,
      ['/bin/sh', '-c', `trap '' HUP USR2 PIPE; exec ${process.execPath} ${script}`],
      { env },
    )
    const [own, ...child] = got.out.trim().split('\n')
    expect(own).not.toMatch(/^SigIgn:\t0+$/) // Node ignores SIGPIPE at least: the test would prove nothing else
    expect(child.sort()).toEqual(['SigBlk:\t0000000000000000', 'SigIgn:\t0000000000000000'])
  })

  test('newSession makes it the leader of a session, else it stays in ours', async () => {
    const session = 'cut -d" " -f1,6 /proc/$$/stat'
    const own = await shell(session, { newSession: true })
    const [pid, sid] = own.out.trim().split(' ')
    expect(sid).toBe(pid)
    const shared = await shell(session)
    const [pid2, sid2] = shared.out.trim().split(' ')
    expect(sid2).not.toBe(pid2)
  })
})

describe('failures are thrown at once', () => {
  test.each([
    ['a missing program', { file: '/gt-no-such' }, 'ENOENT', 'posix_spawn', '/gt-no-such'],
    ['a folder as the program', { file: '/etc' }, 'EACCES', 'posix_spawn', '/etc'],
    ['a missing folder', { cwd: '/gt-no-such' }, 'ENOENT', 'chdir', '/gt-no-such'],
    ['a file as the folder', { cwd: '/etc/passwd' }, 'ENOTDIR', 'chdir', '/etc/passwd'],
    ['a closed descriptor', { fds: [-1, 1_000_000] }, 'EBADF', 'dup', undefined],
  ])('%s', async (_name, options, code, syscall, path) => {
    const before = await openFdCount()
    let called = false
    let thrown: unknown
    try {
      native.spawn({ file: '/bin/true', argv: ['true'], env: [], fds: [], ...options }, () => {
        called = true
      })
    } catch (e) {
      thrown = e
    }
    expect(thrown).toBeInstanceOf(Error)
    expect(thrown).toMatchObject({ code, syscall, errno: expect.any(Number), ...(path ? { path } : {}) })
    expect(await openFdCount()).toBe(before)
    expect(called).toBe(false)
  })

  test.each([
    ['file', { file: 'true' }],
    ['file', { file: '/bin/tr\0ue' }],
    ['argv', { argv: [] }],
    ['argv', { argv: 'true' }],
    ['env', { env: [1] }],
    ['fds', { fds: [-2] }],
    ['fds', { fds: [1.5] }],
    ['newSession', { newSession: 1 }],
  ])('a wrong %s is a TypeError that names it', (name, options) => {
    const given = { file: '/bin/true', argv: ['true'], env: [], fds: [], ...options } as never
    expect(() => native.spawn(given, () => {})).toThrow(new RegExp(`^spawn: ${name} must be`))
    expect(() => native.spawn(given, () => {})).toThrow(TypeError)
  })

  test('onExit must be a function', () => {
    const options = { file: '/bin/true', argv: ['true'], env: [], fds: [] }
    expect(() => native.spawn(options, undefined as never)).toThrow('spawn: onExit must be a function')
  })
})
