// SPDX-License-Identifier: Apache-2.0
/** The seccomp profile of RuntimeDefault: each call of the kernel is decided once, and what capabilities open. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { defaultSeccomp } from '../../../../src/model/plan/spec/seccomp.ts'
import {
  CALLS_BY_ARGUMENT,
  CALLS_BY_CAPABILITY,
  CLOSED_CALLS,
  OPEN_CALLS,
  UNUSED_CALLS,
} from '../../../../src/model/plan/spec/seccomp-calls.ts'
import { CAPABILITIES } from '../../../../src/model/security.ts'

const decided = [
  ...OPEN_CALLS,
  ...CLOSED_CALLS,
  ...CALLS_BY_ARGUMENT,
  ...UNUSED_CALLS,
  ...CALLS_BY_CAPABILITY.flatMap((e) => e.calls),
]
const profile = (capabilities: readonly string[] = [], small = false) =>
  defaultSeccomp({ architecture: 'amd64', capabilities, small })
type Profile = ReturnType<typeof profile>
const plain = (p: Profile, action: string) =>
  p.syscalls.filter((s) => !s.args && s.action === action).flatMap((s) => s.names)
const allowed = (p: Profile) => plain(p, 'SCMP_ACT_ALLOW')

/** What libseccomp makes of the rules for one call with this first argument; undefined: the default. */
function verdict(p: Profile, call: string, argument: bigint): string {
  const found = p.syscalls.filter(
    (s) =>
      s.names.includes(call) &&
      (s.args ?? []).every((a) => (argument & BigInt(a.value)) === BigInt(a.valueTwo ?? -1)),
  )
  expect(found.length, `${call} ${argument} meets more than one rule`).toBeLessThan(2)
  const [rule] = found
  if (!rule) return `errno ${p.defaultErrnoRet}`
  return rule.action === 'SCMP_ACT_ALLOW' ? 'allowed' : `errno ${rule.errnoRet}`
}

describe('the table', () => {
  test('names each call once', () => {
    expect(decided.filter((name, i) => decided.indexOf(name) !== i)).toEqual([])
  })

  const asm = '/usr/include/x86_64-linux-gnu/asm'
  const headers = [`${asm}/unistd_64.h`, `${asm}/unistd_32.h`, '/usr/include/asm-generic/unistd.h']
  test('knows every call of the kernel headers of this machine', () => {
    const here = headers.filter((path) => existsSync(path))
    expect(here).toContain('/usr/include/asm-generic/unistd.h')
    const names = here.flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/^#define __NR(?:3264)?_(\w+)\s+\d+/gm)].map((m) => m[1]),
    )
    expect(names.length).toBeGreaterThan(300)
    // Not calls: where an architecture's own begin, how many there are, and two generic names of calls listed above.
    const other = ['arch_specific_syscall', 'syscalls', 'fstatat', 'llseek']
    expect(names.filter((name) => ![...decided, ...other].includes(name ?? ''))).toEqual([])
  })

  test('has the names of capabilities right', () => {
    const named = CALLS_BY_CAPABILITY.flatMap((e) => e.capabilities)
    expect(named.filter((c) => !CAPABILITIES.includes(c))).toEqual([])
  })
})

describe('the profile', () => {
  test('is an allow-list: what it does not name is as if the kernel did not have it', () => {
    expect(profile()).toMatchObject({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 38 })
  })

  test.each([
    'mount umount2 unshare setns bpf kexec_load init_module finit_module delete_module reboot pivot_root swapon',
    'open_by_handle_at keyctl add_key request_key userfaultfd iopl ioperm settimeofday clock_settime',
    'perf_event_open io_uring_setup io_uring_enter process_madvise move_mount fsopen open_tree syslog acct kcmp',
  ])('without capabilities these are refused with EPERM: %s', (names) => {
    const [p, admin] = [profile(), profile(['CAP_SYS_ADMIN'])]
    for (const name of names.split(' ')) expect(plain(p, 'SCMP_ACT_ERRNO')).toContain(name)
    expect(allowed(p).filter((name) => !allowed(admin).includes(name))).toEqual([])
  })

  test.each(CALLS_BY_CAPABILITY.flatMap((e) => e.capabilities.map((c) => [c, e.calls] as const)))(
    '%s opens %s',
    (capability, calls) => {
      for (const call of calls) {
        expect(allowed(profile())).not.toContain(call)
        expect(allowed(profile([capability]))).toContain(call)
      }
    },
  )

  test('some doors stay shut with every capability', () => {
    for (const name of CLOSED_CALLS) expect(allowed(profile(CAPABILITIES))).not.toContain(name)
  })

  test.each([[[]], [['CAP_SYS_ADMIN']], [CAPABILITIES]])('no call has two plain rules with %s', (caps) => {
    const names = profile(caps).syscalls.flatMap((s) => (s.args ? [] : s.names))
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
    const withArgs = profile(caps).syscalls.flatMap((s) => (s.args ? s.names : []))
    expect(withArgs.filter((name) => names.includes(name))).toEqual([])
  })

  test.each<[bigint, string]>([
    [0n, 'allowed'],
    [0x3d0f00n & ~0x20000n, 'allowed'],
    [0x11n, 'allowed'],
    ...[17n, 25n, 26n, 27n, 28n, 29n, 30n].map((bit) => [(1n << bit) | 0x11n, 'errno 1'] as [bigint, string]),
  ])('clone with flags %s is %s', (flags, wanted) => {
    expect(verdict(profile(), 'clone', flags)).toBe(wanted)
    expect(verdict(profile(['CAP_SYS_ADMIN']), 'clone', flags)).toBe('allowed')
  })

  test('clone3 is as if it were not there, but for those who may make namespaces', () => {
    expect(verdict(profile(), 'clone3', 0n)).toBe('errno 38')
    expect(verdict(profile(['CAP_SYS_ADMIN']), 'clone3', 0n)).toBe('allowed')
  })

  test('every family of sockets is open but AF_ALG and AF_VSOCK, whatever the upper half of the register has', () => {
    for (let family = 0n; family < 48n; family++)
      for (const upper of [0n, 1n << 32n, 0xffff_ffffn << 32n])
        expect(verdict(profile(), 'socket', family | upper), `family ${family}`).toBe(
          family === 38n || family === 40n ? 'errno 97' : 'allowed',
        )
    expect(verdict(profile(), 'socket', 48n)).toBe('errno 38')
  })

  test.each([
    [0n, 'allowed'],
    [8n, 'allowed'],
    [0x20000n, 'allowed'],
    [0x20008n, 'allowed'],
    [0xffffffffn, 'allowed'],
    [-1n & ((1n << 64n) - 1n), 'allowed'],
    [0x40000n, 'errno 38'],
    [0x400000n, 'errno 38'],
  ])('personality %s is %s', (persona, wanted) => {
    expect(verdict(profile(), 'personality', persona)).toBe(wanted)
  })

  test('names the native architecture alone, its 32-bit sister and socketcall where programs of it are', () => {
    expect(profile().architectures).toEqual(['SCMP_ARCH_X86_64'])
    expect(allowed(profile())).not.toContain('socketcall')
    expect(profile([], true).architectures).toEqual(['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'])
    expect(allowed(profile([], true))).toContain('socketcall')
    const arm = defaultSeccomp({ architecture: 'arm64', capabilities: [], small: true })
    expect(arm.architectures).toEqual(['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'])
  })
})
