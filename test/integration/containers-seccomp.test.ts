// SPDX-License-Identifier: Apache-2.0
/**
 * The seccomp profile of RuntimeDefault as the kernel enforces it: a small program makes system calls in a container
 * and says how each was answered; what containers do every day goes on; capabilities open what they are for.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import { containerConfig, execSync, type RunningPod } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { kept, ran } from '../support/scenario-run.ts'

let s: Scenario
let pod: RunningPod
let program: string

beforeAll(async () => {
  s = await startScenario({ images: [names.busybox, names.nginx] })
  program = join(s.workspace.root, 'syscalls')
  const source = join(import.meta.dirname, '../support/syscalls.c')
  await promisify(execFile)('cc', ['-static', '-O1', '-Wall', '-Wextra', '-Werror', '-o', program, source])
  pod = await s.pod('seccomp', { privileged: true })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const byDefault = { profileType: 0 }
const asked = (securityContext: object) => ({
  linux: { securityContext: { seccomp: byDefault, ...securityContext } },
})
const [EPERM, ENOSYS, EAFNOSUPPORT] = ['1', '38', '97']

/** How each call was answered, by its name: the number of the error, 0 for success. */
async function answers(securityContext: object = {}): Promise<Readonly<Record<string, string>>> {
  const mounts = [{ containerPath: '/syscalls', hostPath: program, readonly: true }]
  const { stdout, status } = await ran(s, pod, '/syscalls', { mounts, ...asked(securityContext) })
  expect(status.exitCode).toBe(0)
  return Object.fromEntries(
    stdout.split('\n').flatMap((line) => {
      const [name, ...rest] = line.split(' ')
      return name ? [[name, rest.join(' ')] as const] : []
    }),
  )
}

/** Refused whatever the capabilities. */
const never = 'keyctl add_key request_key userfaultfd io_uring_setup kexec_load swapon'.split(' ')
/** Refused without the capability, and then answered by the kernel. */
const conditional: Readonly<Record<string, string>> = {
  SYS_ADMIN:
    'unshare unshare-user setns mount umount2 pivot_root move_mount open_tree fsopen sethostname quotactl bpf perf_event_open',
  SYSLOG: 'syslog',
  SYS_TIME: 'settimeofday clock_settime',
  SYS_MODULE: 'init_module finit_module',
  SYS_BOOT: 'reboot',
  SYS_PACCT: 'acct',
  SYS_NICE: 'mbind move_pages',
  SYS_PTRACE: 'kcmp process_madvise',
  DAC_READ_SEARCH: 'open_by_handle_at',
}

describe('RuntimeDefault', () => {
  it('refuses what is dangerous, and answers the rest as the kernel does', async () => {
    const got = await answers()
    for (const call of [...never, ...Object.values(conditional).flatMap((calls) => calls.split(' '))])
      expect([call, got[call]]).toEqual([call, EPERM])
    expect(got).toMatchObject({
      clone3: ENOSYS,
      'no-such-call': ENOSYS,
      clone: '0:0 17:1 25:1 26:1 27:1 28:1 29:1 30:1 both:1',
      'personality-query': '0',
      'personality-no-randomize': ENOSYS,
      'socket-unix': '0',
      'socket-inet': '0',
      'socket-netlink': '0',
      'socket-alg': EAFNOSUPPORT,
      'socket-alg-high-bits': EAFNOSUPPORT,
      'socket-vsock': EAFNOSUPPORT,
    })
    for (const call of ['ptrace-wrong', 'memfd_create-wrong', 'socket-unknown-44', 'chroot'])
      expect([EPERM, ENOSYS], call).not.toContain(got[call])
  })

  it.each(Object.entries(conditional))('with CAP_%s the kernel itself answers %s', async (cap, calls) => {
    const got = await answers({ capabilities: { addCapabilities: [cap] } })
    for (const call of calls.split(' ')) expect([call, got[call]]).not.toEqual([call, EPERM])
    for (const call of never) expect([call, got[call]]).toEqual([call, EPERM])
  })

  it('with CAP_SYS_ADMIN namespaces can be made, by clone3 too', async () => {
    const got = await answers({ capabilities: { addCapabilities: ['SYS_ADMIN'] } })
    expect(got.clone).toBe('0:0 17:0 25:0 26:0 27:0 28:0 29:0 30:0 both:0')
    expect(got.clone3).not.toBe(ENOSYS)
  })

  it('is lifted by Unconfined, by privileged, and where the request says nothing', async () => {
    for (const lifted of [{ seccomp: { profileType: 1 } }, { privileged: true }, { seccomp: undefined }]) {
      const got = await answers({ capabilities: { addCapabilities: ['SYS_ADMIN'] }, ...lifted })
      expect(got['personality-no-randomize']).toBe('0')
    }
  })

  it.runIf(process.arch === 'x64')('ends 32-bit programs in an image that has none', async () => {
    const source = join(s.workspace.root, 'small.S')
    const small = join(s.workspace.root, 'small')
    await writeFile(source, '.globl _start\n_start: mov $1, %eax\n xor %ebx, %ebx\n int $0x80\n')
    await promisify(execFile)('cc', ['-m32', '-nostdlib', '-static', '-o', small, source])
    const mounts = [{ containerPath: '/small', hostPath: small, readonly: true }]
    const code = async (profileType: number) =>
      (await ran(s, pod, '/small', { mounts, ...asked({ seccomp: { profileType } }) })).status.exitCode
    expect([await code(0), await code(1)]).toEqual([128 + 31, 0])
  })

  it('is that of commands too', async () => {
    const mounts = [{ containerPath: '/syscalls', hostPath: program, readonly: true }]
    const c = await kept(s, pod, { mounts, ...asked({}) })
    const { stdout } = await execSync(s.client, c.id, ['/syscalls'])
    expect(stdout).toMatch(/^unshare 1\n/)
  })

  it('leaves containers all that they do every day', async () => {
    const script = `set -e
      mkdir -p /w/a && cd /w && echo one >a/f && cp -a a b && mv b c && ln -s c d && ln a/f g && chmod 750 c && chown -R 7:7 c
      mkfifo p && (echo through >p & cat p) && mknod n c 1 3 && dd if=/dev/zero of=z bs=1k count=4 2>/dev/null
      tar -cf t.tar a c && tar -xf t.tar -C /tmp && find . -type f | sort | xargs stat -c %n%s >/dev/null
      su -s /bin/sh www-data -c id >/dev/null; timeout 5 true; date >/dev/null; sleep 0.01
      (sleep 9 & kill $!; wait $! 2>/dev/null || true) 2>/dev/null; hostname >/dev/null; df / >/dev/null; ps >/dev/null; uname -a >/dev/null
      (echo hi | nc -l -p 7171 & sleep 0.2; nc 127.0.0.1 7171 </dev/null); sync; chroot / true; echo done`
    const { stdout, stderr, status } = await ran(s, pod, script, asked({}))
    expect(stderr).toBe('')
    expect([status.exitCode, stdout]).toEqual([0, expect.stringMatching(/^through\n(hi\n)?done\n$/)])
  })

  it('lets a web server serve', async () => {
    const id = await pod.start(containerConfig('web', names.nginx, asked({})))
    const c = await kept(s, pod, asked({}))
    const fetched = await c.sh(
      'for i in $(seq 50); do wget -qO- http://127.0.0.1:80/ && break; sleep 0.1; done',
    )
    expect(fetched).not.toBe('')
    await s.client.call('StopContainer', { containerId: id, timeout: 1n })
  })
})

describe('profiles in files', () => {
  const local = (localhostRef: string) => ({
    linux: { securityContext: { seccomp: { profileType: 2, localhostRef } } },
  })
  const old = (seccompProfilePath: string, more = {}) => ({
    linux: { securityContext: { seccompProfilePath, ...more } },
  })
  const probe = 'mkdir /x 2>/dev/null; echo $?; grep ^Seccomp: /proc/self/status | tr -d "\\t"'
  const file = () => join(s.workspace.root, 'profiles/no-mkdir.json')

  beforeAll(async () => {
    const syscalls = [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }]
    await mkdir(join(s.workspace.root, 'profiles'))
    await writeFile(file(), JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }))
    await writeFile(join(s.workspace.root, 'profiles/bad.json'), '{"defaultAction":"SCMP_ACT_ALLOW"')
  })

  it('are named in the new field or the old one, and the new one wins', async () => {
    const blocked = '1\nSeccomp:2\n'
    const free = '0\nSeccomp:0\n'
    expect((await ran(s, pod, probe, local(file()))).stdout).toBe(blocked)
    expect((await ran(s, pod, probe, old(`localhost/${file()}`))).stdout).toBe(blocked)
    expect((await ran(s, pod, probe, old('unconfined'))).stdout).toBe(free)
    expect((await ran(s, pod, probe, old('runtime/default'))).stdout).toBe('0\nSeccomp:2\n')
    expect(
      (await ran(s, pod, probe, old(`localhost/${file()}`, { seccomp: { profileType: 1 } }))).stdout,
    ).toBe(free)
  })

  it('that are no profiles are refused by CreateContainer with the path', async () => {
    for (const [ref, why] of [
      [`${s.workspace.root}/profiles/bad.json`, /bad\.json is not JSON/],
      ['no/such.json', /\/no\/such\.json does not exist on this node/],
      ['../up.json', /localhost_ref: "\.\.\/up\.json" leaves its folder/],
    ] as const)
      expect((await refusalOf(ran(s, pod, 'true', local(ref)))).details).toMatch(why)
  })
})
