// SPDX-License-Identifier: Apache-2.0
/**
 * doctor judges machines: each row is a healthy machine with one thing changed, and what is said of it. Nothing
 * of this machine is read.
 */
import { describe, expect, test } from 'vitest'
import { judgeMachine } from '../../../src/cli/doctor/judge.ts'
import type { MachineView, RuntimeView } from '../../../src/cli/doctor/view.ts'
import { expectSound, told } from './doctor-told.ts'

const GIB = 1024n ** 3n

const runc: RuntimeView = {
  handler: 'runc',
  kind: 'runc',
  isDefault: true,
  explicit: false,
  path: '/usr/sbin/runc',
  version: 'runc version 1.1.5',
  failure: '',
  refusesMachine: false,
  ociVersion: '1.0.2',
  seccomp: true,
}
const crun: RuntimeView = {
  ...runc,
  handler: 'crun',
  kind: 'crun',
  isDefault: false,
  path: '/usr/bin/crun',
  version: 'crun version 1.8.1',
}

const machine: MachineView = {
  platform: 'linux',
  uid: 0,
  kernel: '6.1.0',
  kernelCalls: { newMountApi: true, mountSetattr: true, openat2: true, pidfd: true },
  cgroup: {
    version: 2,
    controllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids'],
    writable: true,
    hybrid: undefined,
  },
  overlay: { is: 'works' },
  namespaces: { is: 'works' },
  namespaceKinds: ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'time', 'user', 'uts'],
  maxUserNamespaces: 10_000,
  seccomp: true,
  apparmor: true,
  apparmorParser: true,
  selinux: 'off',
  capabilities: [
    'CAP_SYS_ADMIN',
    'CAP_NET_ADMIN',
    'CAP_CHOWN',
    'CAP_DAC_OVERRIDE',
    'CAP_MKNOD',
    'CAP_KILL',
    'CAP_SYS_RESOURCE',
  ],
  runtimes: [runc, crun],
  space: [
    {
      path: '/var/lib/gantry',
      freeBytes: 50n * GIB,
      totalBytes: 100n * GIB,
      freeInodes: 900_000n,
      totalInodes: 1_000_000n,
    },
  ],
  inotify: { instances: 128, watches: 65_536 },
  parts: [{ name: 'addon', trouble: undefined }],
  configProblems: [],
  configFiles: [],
  otherRuntimes: [],
}

describe('a machine', () => {
  test('that is healthy has nothing but ok', () => {
    expect(told(judgeMachine(machine))).toEqual([])
    expectSound(judgeMachine(machine))
  })

  const space = machine.space[0]
  if (space === undefined) throw new Error('the machine has no disk')

  test.each<[string, Partial<MachineView>, string[]]>([
    ['another system', { platform: 'darwin' }, ['problem system: gantry runs on Linux, this is darwin']],
    [
      'not root',
      {
        uid: 1000,
        overlay: { is: 'untried', why: 'not root' },
        namespaces: { is: 'untried', why: 'not root' },
        capabilities: [],
      },
      [
        'problem user: the daemon has to be run as root, and some checks need it',
        'warning overlay: not tried: not root',
        'warning namespaces: not tried: not root',
        'warning capabilities: not looked at: not root',
      ],
    ],
    [
      'a broken configuration',
      { configProblems: ['a.toml: rot: no', 'b'] },
      ['problem configuration: it has 2 problems: a.toml: rot: no; b'],
    ],
    [
      'a part that is missing',
      { parts: [{ name: 'gantry-monitor', trouble: 'is missing' }] },
      ['problem parts: parts of gantry are not there: gantry-monitor is missing'],
    ],
    [
      'an old kernel',
      { kernelCalls: { newMountApi: false, mountSetattr: false, openat2: false, pidfd: false } },
      ['problem kernel: 6.1.0 lacks pidfd_open (Linux 5.3) and openat2 (Linux 5.6)'],
    ],
    [
      'a kernel before 5.12',
      { kernelCalls: { newMountApi: true, mountSetattr: false, openat2: true, pidfd: true } },
      [
        'warning kernel: 6.1.0 cannot change attributes of mounts: no recursive read-only mounts, no id-mapped ones',
      ],
    ],
    [
      'no cgroups',
      { cgroup: { version: 0, controllers: [], writable: false, hybrid: undefined } },
      ['problem cgroups: no cgroup file system is mounted'],
    ],
    [
      'cgroups mounted read-only',
      { cgroup: { ...machine.cgroup, writable: false } },
      ['problem cgroups: version 2, mounted read-only'],
    ],
    [
      'a controller that is missing',
      { cgroup: { ...machine.cgroup, controllers: ['cpu', 'cpuset', 'hugetlb', 'pids'] } },
      ['problem cgroups: version 2 lacks the controllers memory'],
    ],
    [
      'a controller that few need',
      { cgroup: { ...machine.cgroup, controllers: ['cpu', 'memory', 'pids', 'cpuset'] } },
      ['warning cgroups: version 2 lacks the controllers hugetlb'],
    ],
    [
      'hybrid cgroups with a controller in the v2 tree',
      {
        cgroup: { ...machine.cgroup, version: 1, hybrid: ['hugetlb'] },
        runtimes: [runc, { ...crun, refusesMachine: true }],
      },
      [
        'warning runtime crun: crun version 1.8.1 refuses machines with hybrid cgroups, as this one: version 1 beside a version 2 tree that holds hugetlb',
      ],
    ],
    [
      'the same with crun as the default',
      {
        cgroup: { ...machine.cgroup, version: 1, hybrid: ['hugetlb'] },
        runtimes: [{ ...crun, isDefault: true, refusesMachine: true }],
      },
      [
        'problem runtime crun: crun version 1.8.1 refuses machines with hybrid cgroups, as this one: version 1 beside a version 2 tree that holds hugetlb',
      ],
    ],
    ['hybrid cgroups with an empty v2 tree', { cgroup: { ...machine.cgroup, version: 1, hybrid: [] } }, []],
    [
      'an overlay that cannot be mounted',
      { overlay: { is: 'fails', why: 'ENODEV' } },
      ['problem overlay: an overlay cannot be mounted: ENODEV'],
    ],
    [
      'namespaces that cannot be made',
      { namespaces: { is: 'fails', why: 'EPERM' } },
      ['problem namespaces: namespaces cannot be made: EPERM'],
    ],
    [
      'a kernel without namespaces',
      { namespaceKinds: ['mnt', 'pid', 'uts'] },
      ['problem namespaces: this kernel has no net, ipc namespaces'],
    ],
    [
      'no user namespaces',
      { maxUserNamespaces: 0 },
      ['warning user namespaces: not there: pods with hostUsers: false cannot run'],
    ],
    [
      'no seccomp',
      { seccomp: false },
      [
        'warning seccomp: this kernel has no seccomp filters: RuntimeDefault is not enforced, Localhost profiles are refused',
      ],
    ],
    ['no security module', { apparmor: false }, []],
    ['SELinux enforcing', { apparmor: false, selinux: 'enforcing' }, []],
    [
      'SELinux enforcing, with a policy that knows no containers',
      { selinux: 'no-contexts' },
      [
        'warning security module: SELinux is enforcing, and its policy has no contexts for containers: they are not labelled, and may be kept from their files',
      ],
    ],
    [
      'AppArmor without its parser',
      { apparmorParser: false },
      [
        'warning security module: AppArmor, without apparmor_parser: containers run without a profile, and RuntimeDefault is refused',
      ],
    ],
    ['SELinux permissive', { apparmor: false, selinux: 'permissive' }, []],
    [
      'root without a capability',
      { capabilities: machine.capabilities.filter((c) => c !== 'CAP_NET_ADMIN') },
      ['problem capabilities: root lacks CAP_NET_ADMIN'],
    ],
    [
      'root without CAP_SYS_RESOURCE',
      { capabilities: machine.capabilities.filter((c) => c !== 'CAP_SYS_RESOURCE') },
      [
        'warning capabilities: root lacks CAP_SYS_RESOURCE: oom_score_adj of pods is raised to what this process may set',
      ],
    ],
    [
      'no default runtime',
      { runtimes: [{ ...runc, path: undefined }] },
      ['problem runtime runc: its program is not installed'],
    ],
    ['another runtime that is not there', { runtimes: [runc, { ...crun, path: undefined }] }, []],
    [
      'one that an operator asked for',
      { runtimes: [runc, { ...crun, path: undefined, explicit: true }] },
      ['problem runtime crun: its program is not installed'],
    ],
    [
      'a runtime that cannot be run',
      { runtimes: [{ ...runc, version: undefined, failure: 'exec format error' }] },
      ['problem runtime runc: /usr/sbin/runc cannot be run: exec format error'],
    ],
    [
      'a runtime without seccomp',
      { runtimes: [{ ...runc, seccomp: false }] },
      [
        'warning runtime runc: runc version 1.1.5, /usr/sbin/runc, OCI 1.0.2, the default; built without seccomp',
      ],
    ],
    [
      'a full disk',
      { space: [{ ...space, freeBytes: 1024n * 1024n }] },
      ['problem space /var/lib/gantry: 1 MiB of 102400 MiB free'],
    ],
    [
      'a disk that is nearly full',
      { space: [{ ...space, freeBytes: 9n * GIB }] },
      [
        'warning space /var/lib/gantry: 9216 MiB of 102400 MiB free; the kubelet evicts pods below 10 to 15 %',
      ],
    ],
    [
      'no inodes',
      { space: [{ ...space, freeInodes: 7n }] },
      ['problem space /var/lib/gantry: 51200 MiB of 102400 MiB free, but only 7 files can be made'],
    ],
    [
      'few inodes',
      { space: [{ ...space, freeInodes: 20_000n }] },
      [
        'warning space /var/lib/gantry: 51200 MiB of 102400 MiB free; 2 % of its inodes are free, the kubelet evicts below 5 %',
      ],
    ],
    ['a file system that counts no inodes', { space: [{ ...space, freeInodes: 0n, totalInodes: 0n }] }, []],
    [
      'few inotify instances',
      { inotify: { instances: 64, watches: 65_536 } },
      [
        'warning inotify: 64 instances and 65536 watches a user: few; the kubelet and programs in pods run out of them ("too many open files")',
      ],
    ],
    [
      'another runtime that serves',
      { otherRuntimes: [{ name: 'containerd', socket: '/run/c.sock' }] },
      [
        'warning other runtimes: containerd on /run/c.sock: both can run side by side, but the kubelet uses one',
      ],
    ],
  ])('%s', (_, change, expected) => {
    const checks = judgeMachine({ ...machine, ...change })
    expect(told(checks)).toEqual(expected)
    expectSound(checks)
  })

  test('hybrid cgroups are named, also when they do no harm', () => {
    const checks = judgeMachine({ ...machine, cgroup: { ...machine.cgroup, version: 1, hybrid: [] } })
    expect(checks.find((c) => c.name === 'cgroup mode')?.text).toBe(
      'hybrid: version 1 beside a version 2 tree',
    )
  })
})
