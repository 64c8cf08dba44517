// SPDX-License-Identifier: Apache-2.0
/**
 * Who a container's process is and what it may do: users and groups of the request and of the image, capabilities,
 * no_new_privs, seccomp, masked paths, privileged. Read from /proc inside, as the kernel enforces it.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { names } from '../images/catalog.ts'
import type { RunningPod } from '../support/cri-requests.ts'
import { containerConfig, waitForExit } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { logText } from '../support/scenario-log.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { ran } from '../support/scenario-run.ts'

let s: Scenario
let pod: RunningPod
const staging = 'gcr.io/k8s-staging-cri-tools'

beforeAll(async () => {
  s = await startScenario({
    images: [
      names.busybox,
      names.predefinedGroup,
      names.nonewprivs,
      ...['uid', 'username', 'uid-group', 'username-group'].map(
        (u) => `${staging}/test-image-user-${u}:latest`,
      ),
    ],
  })
  pod = await s.pod('security', { privileged: true })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const as = (securityContext: object) => ({ linux: { securityContext } })
const identity = 'echo $(id -u):$(id -g) $(id -G)'

async function inImage(image: string, script: string, securityContext = {}): Promise<string> {
  const name = `i${image.replace(/[^a-z-]/g, '').slice(-20)}-${script.length}-${Object.keys(securityContext).length}`
  const config = containerConfig(name, image, { command: ['sh', '-c', script], ...as(securityContext) })
  await waitForExit(s.client, await pod.start(config))
  return logText(s.logOf(pod, name))
}

describe('the user', () => {
  it.each([
    ['nothing', {}, '0:0 0\n'],
    ['a uid', { runAsUser: { value: 1234n } }, '1234:0 0\n'],
    ['a uid that the image names', { runAsUser: { value: 33n } }, '33:33 33\n'],
    ['a name', { runAsUsername: 'www-data' }, '33:33 33\n'],
    ['a uid and a gid', { runAsUser: { value: 1234n }, runAsGroup: { value: 56n } }, '1234:56 56\n'],
    ['supplemental groups', { runAsUser: { value: 1n }, supplementalGroups: [77n, 78n] }, '1:1 1 77 78\n'],
  ])('is what the request says: %s', async (_what, securityContext, expected) => {
    expect((await ran(s, pod, identity, as(securityContext))).stdout).toBe(expected)
  })

  it.each([
    ['uid', '1002:0 0\n'],
    ['username', '33:33 33\n'],
    ['uid-group', '1003:1004 1004\n'],
    ['username-group', '33:1004 1004\n'],
  ])('is the image’s without one: %s', async (which, expected) => {
    expect(await inImage(`${staging}/test-image-user-${which}:latest`, identity)).toBe(expected)
  })

  it('has the groups of the image under Merge, and only the request’s under Strict', async () => {
    const groups = { runAsUser: { value: 1000n }, supplementalGroups: [1234n] }
    expect(await inImage(names.predefinedGroup, identity, groups)).toBe('1000:1000 1000 1234 50000\n')
    const strict = { ...groups, supplementalGroupsPolicy: 1 }
    expect(await inImage(names.predefinedGroup, identity, strict)).toBe('1000:1000 1000 1234\n')
  })

  it('is told in the status', async () => {
    const { status } = await ran(s, pod, 'true', as({ runAsUser: { value: 7n }, supplementalGroups: [9n] }))
    expect(status.user?.linux).toMatchObject({ uid: 7n, gid: 0n, supplementalGroups: [0n, 9n] })
  })

  it('that cannot be is refused with the field', async () => {
    for (const [securityContext, word] of [
      [{ runAsUsername: 'nobody-knows' }, /nobody-knows/],
      [{ runAsGroup: { value: 5n } }, /run_as_group/],
      [{ runAsUser: { value: -1n } }, /run_as_user/],
      [{ runAsUser: { value: 1n << 32n } }, /run_as_user/],
    ] as const) {
      const { code, details } = await refusalOf(ran(s, pod, 'true', as(securityContext)))
      expect([code, details]).toEqual(['INVALID_ARGUMENT', expect.stringMatching(word)])
    }
  })
})

describe('capabilities', () => {
  const caps = 'grep -E "^Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status | tr "\\n\\t" "  "'
  const bits = (text: string): Record<string, bigint> =>
    Object.fromEntries([...text.matchAll(/Cap(\w+): +([0-9a-f]+)/g)].map((m) => [m[1], BigInt(`0x${m[2]}`)]))
  const of = async (securityContext: object) => bits((await ran(s, pod, caps, as(securityContext))).stdout)
  const netAdmin = 1n << 12n
  const netRaw = 1n << 13n

  it('are fourteen by default, for root in effect, for others in the bounding set only', async () => {
    const root = await of({})
    const count = (n: bigint | undefined) => (n ?? 0n).toString(2).replaceAll('0', '').length
    expect(count(root.Eff)).toBe(14)
    expect([root.Prm, root.Bnd, root.Inh, root.Amb]).toEqual([root.Eff, root.Eff, 0n, 0n])
    expect(await of({ runAsUser: { value: 99n } })).toEqual({
      Inh: 0n,
      Prm: 0n,
      Eff: 0n,
      Bnd: root.Eff,
      Amb: 0n,
    })
  })

  it('are added and dropped by name with and without CAP_, and ALL is all', async () => {
    const standard = (await of({})).Eff ?? 0n
    const changed = await of({
      capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['CAP_NET_RAW'] },
    })
    expect(changed.Eff).toBe((standard | netAdmin) & ~netRaw)
    expect((await of({ capabilities: { dropCapabilities: ['ALL'] } })).Bnd).toBe(0n)
    const only = { dropCapabilities: ['ALL'], addCapabilities: ['NET_RAW'] }
    expect((await of({ capabilities: only })).Eff).toBe(netRaw)
    expect((await of({ privileged: true })).Eff).toBe(
      (await of({ capabilities: { addCapabilities: ['ALL'] } })).Eff,
    )
  })

  it('are kept by a user that is not root when they are ambient', async () => {
    const own = await of({
      runAsUser: { value: 99n },
      capabilities: { addAmbientCapabilities: ['NET_ADMIN'] },
    })
    expect([own.Amb, own.Eff]).toEqual([netAdmin, netAdmin])
  })

  it('that nobody knows are refused', async () => {
    const { code, details } = await refusalOf(of({ capabilities: { addCapabilities: ['FLY'] } }))
    expect([code, details]).toEqual(['INVALID_ARGUMENT', expect.stringContaining('CAP_FLY')])
  })
})

describe('confinement', () => {
  it('no_new_privs keeps a setuid program from being root', async () => {
    const user = { runAsUser: { value: 1000n } }
    for (const [noNewPrivs, uid] of [
      [false, 'Effective uid: 0'],
      [true, 'Effective uid: 1000'],
    ] as const) {
      const name = `nnp-${noNewPrivs}`
      const config = containerConfig(name, names.nonewprivs, as({ ...user, noNewPrivs }))
      await waitForExit(s.client, await pod.start(config))
      expect(await logText(s.logOf(pod, name))).toContain(uid)
    }
  })

  it('RuntimeDefault filters system calls, a local profile says which, Unconfined and none do not', async () => {
    const mode = 'grep ^Seccomp: /proc/self/status | tr -d "\\t"'
    const profile = join(s.workspace.root, 'seccomp.json')
    const syscalls = [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }]
    await writeFile(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }))
    const seccomp = (profileType: number, localhostRef = '') => as({ seccomp: { profileType, localhostRef } })
    expect((await ran(s, pod, mode, seccomp(0))).stdout).toBe('Seccomp:2\n')
    expect((await ran(s, pod, mode, seccomp(1))).stdout).toBe('Seccomp:0\n')
    expect((await ran(s, pod, mode)).stdout).toBe('Seccomp:0\n')
    const local = await ran(s, pod, 'mkdir /x; echo $?', seccomp(2, profile))
    expect([local.stdout, local.stderr]).toEqual(['1\n', expect.stringContaining('Operation not permitted')])
    const missing = await refusalOf(ran(s, pod, 'true', seccomp(2, `${profile}.not`)))
    expect([missing.code, missing.details]).toEqual([
      'INVALID_ARGUMENT',
      expect.stringContaining(`${profile}.not`),
    ])
  })

  it('masked and read-only paths are what the request lists', async () => {
    const script =
      'cat /proc/version | wc -c; ls /proc/bus 2>/dev/null | wc -l; echo x >/proc/sys/kernel/domainname; echo $?'
    const masked = as({ maskedPaths: ['/proc/version', '/proc/bus'], readonlyPaths: ['/proc/sys'] })
    const { stdout, stderr } = await ran(s, pod, script, masked)
    expect([stdout, stderr]).toEqual(['0\n0\n1\n', expect.stringContaining('Read-only')])
    expect((await ran(s, pod, 'wc -c </proc/version')).stdout).not.toBe('0\n')
  })

  it('privileged lifts all of it, and only in a privileged pod', async () => {
    const all = as({ privileged: true, maskedPaths: ['/proc/version'], seccomp: { profileType: 0 } })
    const { stdout } = await ran(
      s,
      pod,
      'grep ^Seccomp: /proc/self/status | tr -d "\\t"; wc -c </proc/version',
      all,
    )
    expect(stdout).toMatch(/^Seccomp:0\n[1-9]/)
    const plain = await s.pod('not-privileged')
    const { code, details } = await refusalOf(ran(s, plain, 'true', all))
    expect([code, details]).toEqual(['INVALID_ARGUMENT', expect.stringContaining('privileged')])
    await plain.remove()
  })

  it('oom_score_adj is set as far as the daemon may', async () => {
    const resources = { oomScoreAdj: 321n }
    expect((await ran(s, pod, 'cat /proc/self/oom_score_adj', { linux: { resources } })).stdout).toBe('321\n')
  })
})
