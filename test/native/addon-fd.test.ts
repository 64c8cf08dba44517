// SPDX-License-Identifier: Apache-2.0
/** The addon's descriptors: pipes, socket pairs, locks, passed descriptors, peers, and pidfds with their waits. */
import { closeSync, existsSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeRoot, native, openFdCount, start } from './addon-fixture.ts'

let root: string
let remove: () => Promise<void>
let fds: number
beforeEach(async () => {
  ;({ path: root, remove } = makeRoot())
  fds = await openFdCount()
})
afterEach(async () => {
  expect(await openFdCount()).toBe(fds)
  await remove()
})

const closeOnExec = (fd: number) =>
  (Number.parseInt(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').match(/flags:\s+(\d+)/)?.[1] ?? '', 8) &
    0o2000000) !==
  0

describe('pipes and sockets', () => {
  test('a pipe carries bytes; both ends are close-on-exec', () => {
    const [r, w] = native.pipe()
    expect([r, w].map(closeOnExec)).toEqual([true, true])
    writeSync(w, 'hello')
    native.close(w)
    expect(readFileSync(r, 'utf8')).toBe('hello')
    native.close(r)
    expect(() => native.close(r)).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'close', errno: -9 }),
    )
  })

  test('peerCred of a socket pair is this process; of a pipe it is ENOTSOCK', () => {
    const [a, b] = native.socketpair()
    expect([a, b].map(closeOnExec)).toEqual([true, true])
    const own = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() }
    expect(native.peerCred(a)).toEqual(own)
    const [r, w] = native.pipe()
    expect(() => native.peerCred(r)).toThrow(expect.objectContaining({ code: 'ENOTSOCK' }))
    for (const fd of [a, b, r, w]) native.close(fd)
  })
})

describe('sendFds and recvFds', () => {
  test.each([0, 1, 2, 253])('%i descriptors arrive, close-on-exec, and are the same files', (count) => {
    const [a, b] = native.socketpair()
    const [r, w] = native.pipe()
    native.sendFds(a, Buffer.from('data'), Array(count).fill(w))
    const got = native.recvFds(b, 100)
    expect(got?.data.toString()).toBe('data')
    expect(got?.fds.length).toBe(count)
    expect(new Set(got?.fds).size).toBe(count)
    for (const [i, fd] of (got?.fds ?? []).entries()) {
      expect(closeOnExec(fd)).toBe(true)
      const one = Buffer.alloc(1)
      writeSync(fd, String.fromCharCode(65 + (i % 26)))
      readSync(r, one, 0, 1, null)
      expect(one.toString()).toBe(String.fromCharCode(65 + (i % 26)))
      native.close(fd)
    }
    for (const fd of [a, b, r, w]) native.close(fd)
  })

  test('nothing there is null, the end is no data', () => {
    const [a, b] = native.socketpair()
    expect(native.recvFds(b, 10)).toBeNull()
    native.close(a)
    expect(native.recvFds(b, 10)).toEqual({ data: Buffer.alloc(0), fds: [] })
    native.close(b)
  })

  test('a full socket is EAGAIN, a gone reader EPIPE (and no SIGPIPE)', () => {
    const [a, b] = native.socketpair()
    const block = Buffer.alloc(1024)
    const fill = () => {
      for (;;) native.sendFds(a, block, [])
    }
    expect(fill).toThrow(expect.objectContaining({ code: 'EAGAIN', syscall: 'sendmsg' }))
    native.close(b)
    expect(() => native.sendFds(a, block, [])).toThrow(expect.objectContaining({ code: 'EPIPE' }))
    native.close(a)
  })

  test('wrong arguments', () => {
    const [a, b] = native.socketpair()
    expect(() => native.sendFds(a, Buffer.alloc(0), [])).toThrow('sendFds: data')
    expect(() => native.sendFds(a, 'text' as never, [])).toThrow('sendFds: data must be a Buffer')
    expect(() => native.sendFds(a, Buffer.from('x'), [-1])).toThrow('sendFds: fds')
    expect(() => native.sendFds(a, Buffer.from('x'), [999_999])).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    )
    expect(() => native.recvFds(a, 0)).toThrow('recvFds: maxBytes')
    for (const fd of [a, b]) native.close(fd)
  })
})

test('flock: one of two opens has it, the other gets it after the close', () => {
  const path = join(root, 'lock')
  const first = openSync(path, 'w')
  const second = openSync(path, 'w')
  expect(native.flock(first)).toBe(true)
  expect(native.flock(first)).toBe(true)
  expect(native.flock(second)).toBe(false)
  closeSync(first)
  expect(native.flock(second)).toBe(true)
  closeSync(second)
  expect(() => native.flock(second)).toThrow(expect.objectContaining({ code: 'EBADF' }))
})

describe('pidfds', () => {
  test('wait settles when the process has ended, for several waiters and after the caller closed its own', async () => {
    const child = start(['/bin/sleep', '60'])
    const pidfd = native.pidfdOpen(child.pid)
    expect(closeOnExec(pidfd)).toBe(true)
    let done = 0
    const waits = [native.pidfdWait(pidfd), native.pidfdWait(pidfd)].map((w) => w.then(() => done++))
    native.pidfdSignal(pidfd, 0)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(done).toBe(0)
    native.pidfdSignal(pidfd, 15)
    native.close(pidfd)
    await Promise.all(waits)
    expect(await child.exit).toEqual({ code: -1, signal: 15 })
  })

  test('a process that is gone: signal and open are ESRCH, wait settles at once', async () => {
    const child = start(['/bin/sleep', '60'])
    const pidfd = native.pidfdOpen(child.pid)
    native.pidfdSignal(pidfd, 9)
    await child.exit
    expect(() => native.pidfdSignal(pidfd, 9)).toThrow(
      expect.objectContaining({ code: 'ESRCH', syscall: 'pidfd_send_signal' }),
    )
    expect(() => native.pidfdOpen(child.pid)).toThrow(expect.objectContaining({ code: 'ESRCH' }))
    await native.pidfdWait(pidfd)
    native.close(pidfd)
    expect(existsSync(`/proc/${child.pid}`)).toBe(false)
  })

  test('wait does not reap: the exit status is still reported', async () => {
    for (let i = 0; i < 20; i++) {
      const child = start(['/bin/sh', '-c', `exit ${i}`])
      const pidfd = native.pidfdOpen(child.pid)
      const waited = native.pidfdWait(pidfd)
      expect(await child.exit).toEqual({ code: i, signal: 0 })
      await waited
      native.close(pidfd)
    }
  })

  test.each([1, 0, -1])('pid %i is refused', (pid) => {
    expect(() => native.pidfdOpen(pid)).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'pidfd_open' }),
    )
  })

  test('wrong arguments', () => {
    expect(() => native.pidfdOpen('5' as never)).toThrow('pidfdOpen: pid must be an integer')
    expect(() => native.pidfdSignal(3, 65)).toThrow('pidfdSignal: signal')
    expect(() => native.pidfdWait(999_999)).toThrow(expect.objectContaining({ code: 'EBADF' }))
  })
})
