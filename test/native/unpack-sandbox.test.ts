// SPDX-License-Identifier: Apache-2.0
/** The sandbox of `gantry-unpack`, in each of its modes: seen from outside, and tried from inside. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, test } from 'vitest'
import { tarArchive, tarEntry } from '../support/tar-writer.ts'
import { ground, ok, sha256, UNPACK, unpack } from './unpack-fixture.ts'

const NATIVE = fileURLToPath(new URL('../../native', import.meta.url))
/** chown dac_override fowner fsetid mknod sys_admin setfcap; and dac_read_search sys_admin. */
const WRITER = 0x8820001bn
const READER = 0x200004n

beforeAll(() => {
  const stdio: ['ignore', 'ignore', 'inherit'] = ['ignore', 'ignore', 'inherit']
  execFileSync('make', ['-s', '-C', NATIVE, 'build/unpack_probe'], { stdio })
}, 120_000)

describe('seen from outside, while it waits', () => {
  test('for its blob', async () => {
    using g = ground()
    const child = spawn(UNPACK, ['--into', g.layer, '--digest', sha256(Buffer.from('')), '--size', '99999'])
    try {
      child.stdin.write(tarEntry({ name: 'first' }, Buffer.alloc(600_000, 'x')).subarray(0, 90_000))
      await expect.poll(() => status(child.pid, 'Seccomp')).toBe('2')
      look(child.pid, WRITER)
      expect(mounts(child.pid)).toEqual([expect.stringMatching(/ \/ rw,nosuid,nodev,noexec/)])
      expect(status(child.pid, 'Name')).toBe('gantry-unpack')
      expect(Number(status(child.pid, 'VmRSS')?.replace(' kB', ''))).toBeLessThan(32 * 1024)
    } finally {
      await ended(child)
    }
  })

  test('for the reader of what it packs', async () => {
    using g = ground()
    const tar = tarArchive(tarEntry({ name: 'big' }, Buffer.alloc(8_000_000, 'b')))
    const record = join(g.root, 'record')
    ok(await unpack(g.layer, gzipSync(tar), { more: ['--record', record] }))
    const child = spawn(UNPACK, ['--pack', g.layer, '--record', record])
    try {
      child.stdout.pause()
      await expect.poll(() => status(child.pid, 'Seccomp')).toBe('2')
      look(child.pid, READER)
      expect(mounts(child.pid)).toEqual([expect.stringMatching(/ \/ ro,nosuid,nodev,noexec/)])
    } finally {
      await ended(child)
    }
  })
})

describe('tried from inside', () => {
  const KILLED = 'SIGSYS'
  const everywhere: readonly (readonly [string, string])[] = [
    ['nothing', '0'],
    ['socket', KILLED],
    ['execve', KILLED],
    ['mount', KILLED],
    ['unshare', KILLED],
    ['setns', KILLED],
    ['ptrace', KILLED],
    ['chroot', KILLED],
    ['bpf', KILLED],
    ['handle', KILLED],
    ['fork', 'EPERM'],
    ['clone', 'EPERM'],
    ['clone3', 'ENOSYS'],
    ['kill', 'EPERM'],
    ['setuid', 'EPERM'],
    ['rename', 'EPERM'],
    ['outside', 'ENOENT'],
    ['proc', 'ENOENT'],
    ['link-out', 'ENOENT'],
    ['up-out', 'ENOENT'],
    ['files', '32'],
    ['core', '0'],
    ['memory', 'ENOMEM'],
  ]
  test.each([
    ...everywhere.flatMap(([probe, answer]) =>
      ['unpack', 'pack', 'verify'].map((mode) => [mode, probe, answer] as const),
    ),
    ['unpack', 'device', 'EACCES'] as const,
    ['unpack', 'fsize', '12345'] as const,
    ['pack', 'write', 'EROFS'] as const,
    ['verify', 'write', 'EROFS'] as const,
    ['pack', 'device', 'EROFS'] as const,
  ])('%s, %s: %s', (mode, probe, answer) => {
    using g = ground()
    symlinkSync('/../../../etc', join(g.layer, 'out'))
    writeFileSync(join(g.layer, 'a'), '')
    const run = spawnSync(join(NATIVE, 'build/unpack_probe'), [mode, g.layer, probe], { encoding: 'utf8' })
    expect(run.signal ?? run.stdout.trim()).toBe(answer)
    g.assertOutsideUntouched()
  })
})

function look(pid: number | undefined, caps: bigint): void {
  expect(status(pid, 'NoNewPrivs')).toBe('1')
  expect(BigInt(`0x${status(pid, 'CapEff')}`)).toBe(caps)
  expect(BigInt(`0x${status(pid, 'CapBnd')}`) & ~caps).toBe(0n)
  for (const ns of ['mnt', 'net', 'ipc'])
    expect(readlinkSync(`/proc/${pid}/ns/${ns}`)).not.toBe(readlinkSync(`/proc/self/ns/${ns}`))
}

function mounts(pid: number | undefined): readonly string[] {
  return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n')
}

function status(pid: number | undefined, key: string): string | undefined {
  return new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
}

async function ended(child: ReturnType<typeof spawn>): Promise<void> {
  const close = once(child, 'close')
  child.kill('SIGTERM')
  child.stdout?.resume()
  const [, signal] = await close
  expect(signal).toBe('SIGTERM')
}
