// SPDX-License-Identifier: Apache-2.0
/**
 * judge: what a machine means for pods: one Check a subject, each with a sentence and a remedy. A problem is
 * what keeps pods from running; what only some pods would miss is a warning. Pure.
 */
import {
  type Check,
  type MachineView,
  ok,
  problem,
  type RuntimeView,
  type SpaceView,
  warning,
} from './view.ts'

const MIB = 1024n * 1024n
const NEEDED_CONTROLLERS = ['cpu', 'memory', 'pids']
const WANTED_CONTROLLERS = ['cpuset', 'hugetlb']
/** What the daemon and the runtimes cannot do without. */
const NEEDED_CAPABILITIES = [
  'CAP_SYS_ADMIN',
  'CAP_NET_ADMIN',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_MKNOD',
  'CAP_KILL',
]
const NEEDED_NAMESPACES = ['mnt', 'pid', 'net', 'ipc', 'uts']

/** Every check of the machine, in the order in which a person would mend them. */
export function judgeMachine(m: MachineView): Check[] {
  if (m.platform !== 'linux')
    return [problem('system', `gantry runs on Linux, this is ${m.platform}`, 'use a Linux machine')]
  return [
    user(m),
    configuration(m),
    parts(m),
    kernel(m),
    cgroups(m),
    ...hybrid(m),
    overlay(m),
    ...namespaces(m),
    seccomp(m),
    securityModule(m),
    capabilities(m),
    ...m.runtimes.flatMap((r) => runtime(r, m)),
    ...m.space.flatMap(space),
    inotify(m),
    others(m),
  ]
}

function user({ uid }: MachineView): Check {
  if (uid === 0) return ok('user', 'root')
  return problem('user', 'the daemon has to be run as root, and some checks need it', 'use sudo')
}

function configuration({ configProblems: problems, configFiles: files }: MachineView): Check {
  const where = files.length === 0 ? 'no file, the defaults' : files.join(', ')
  if (problems.length === 0) return ok('configuration', where)
  return problem(
    'configuration',
    `it has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}: ${problems.join('; ')}`,
    'mend the file; "gantry config check" shows the rest',
  )
}

function parts({ parts: all }: MachineView): Check {
  const broken = all.filter((p) => p.trouble !== undefined)
  if (broken.length === 0) return ok('parts', all.map((p) => p.name).join(', '))
  const list = broken.map((p) => `${p.name} ${p.trouble}`).join('; ')
  return problem('parts', `parts of gantry are not there: ${list}`, 'run "npm run build" in its folder')
}

function kernel({ kernel: release, kernelCalls: calls }: MachineView): Check {
  if (calls === undefined)
    return warning(
      'kernel',
      `${release}; what it can do is not known without the addon`,
      'build gantry first',
    )
  const missing = [
    ...(calls.pidfd ? [] : ['pidfd_open (Linux 5.3)']),
    ...(calls.openat2 ? [] : ['openat2 (Linux 5.6)']),
  ]
  if (missing.length > 0)
    return problem('kernel', `${release} lacks ${missing.join(' and ')}`, 'use Linux 5.6 or newer')
  if (!calls.newMountApi || !calls.mountSetattr)
    return warning(
      'kernel',
      `${release} cannot change attributes of mounts: no recursive read-only mounts, no id-mapped ones`,
      'use Linux 5.12 or newer if pods need these',
    )
  return ok('kernel', `${release}, with every call that gantry uses`)
}

function cgroups({ cgroup: c }: MachineView): Check {
  if (c.version === 0)
    return problem('cgroups', 'no cgroup file system is mounted', 'mount -t cgroup2 none /sys/fs/cgroup')
  const name = `version ${c.version}`
  if (!c.writable)
    return problem(
      'cgroups',
      `${name}, mounted read-only`,
      'remount /sys/fs/cgroup read-write; in a container, give it a cgroup namespace of its own',
    )
  const missing = NEEDED_CONTROLLERS.filter((n) => !c.controllers.includes(n))
  const boot = c.version === 2 ? '' : ' (memory may need cgroup_enable=memory)'
  if (missing.length > 0)
    return problem(
      'cgroups',
      `${name} lacks the controllers ${missing.join(', ')}`,
      `enable them in the kernel's command line${boot}`,
    )
  const wanted = WANTED_CONTROLLERS.filter((n) => !c.controllers.includes(n))
  if (wanted.length > 0)
    return warning(
      'cgroups',
      `${name} lacks the controllers ${wanted.join(', ')}`,
      'pods that ask for what these limit will fail; enable them if you need them',
    )
  return ok('cgroups', `${name}, ${c.controllers.join(', ')}`)
}

/** A machine with both versions; a runtime that refuses it says so itself. */
function hybrid({ cgroup }: MachineView): Check[] {
  if (cgroup.hybrid === undefined) return []
  return [ok('cgroup mode', `hybrid: version 1 beside a version 2 tree${holding(cgroup.hybrid)}`)]
}

const holding = (controllers: readonly string[]): string =>
  controllers.length === 0 ? '' : ` that holds ${controllers.join(', ')}`

function overlay({ overlay: tried }: MachineView): Check {
  if (tried.is === 'works') return ok('overlay', 'an overlay was mounted and taken away')
  if (tried.is === 'untried')
    return warning('overlay', `not tried: ${tried.why}`, 'run this as root, with gantry built')
  return problem(
    'overlay',
    `an overlay cannot be mounted: ${tried.why}`,
    'modprobe overlay; keep root on ext4, xfs (ftype=1) or btrfs, and not on an overlay itself',
  )
}

function namespaces(m: MachineView): Check[] {
  const missing = NEEDED_NAMESPACES.filter((k) => !m.namespaceKinds.includes(k))
  if (missing.length > 0)
    return [
      problem('namespaces', `this kernel has no ${missing.join(', ')} namespaces`, 'use a kernel with them'),
    ]
  const tried = m.namespaces
  const made =
    tried.is === 'works'
      ? ok('namespaces', 'net, ipc and uts namespaces were made and taken away')
      : tried.is === 'untried'
        ? warning('namespaces', `not tried: ${tried.why}`, 'run this as root, with gantry built')
        : problem(
            'namespaces',
            `namespaces cannot be made: ${tried.why}`,
            'gantry needs CAP_SYS_ADMIN and bind mounts; in a container, run it privileged',
          )
  if (!m.namespaceKinds.includes('user') || m.maxUserNamespaces === 0)
    return [
      made,
      warning(
        'user namespaces',
        'not there: pods with hostUsers: false cannot run',
        'sysctl -w user.max_user_namespaces=65536',
      ),
    ]
  return [made, ok('user namespaces', `up to ${m.maxUserNamespaces}`)]
}

function seccomp({ seccomp: there }: MachineView): Check {
  if (there) return ok('seccomp', 'the kernel filters system calls')
  return warning(
    'seccomp',
    'this kernel has no seccomp filters: RuntimeDefault is not enforced, Localhost profiles are refused',
    'use a kernel with CONFIG_SECCOMP_FILTER',
  )
}

function securityModule({ apparmor, apparmorParser, selinux }: MachineView): Check {
  if (selinux === 'no-contexts')
    return warning(
      'security module',
      'SELinux is enforcing, and its policy has no contexts for containers: they are not labelled, and may be kept from their files',
      'install the package container-selinux',
    )
  if (apparmor && !apparmorParser)
    return warning(
      'security module',
      'AppArmor, without apparmor_parser: containers run without a profile, and RuntimeDefault is refused',
      'install the package apparmor',
    )
  if (apparmor) return ok('security module', 'AppArmor')
  return ok(
    'security module',
    selinux === 'off' ? 'none: AppArmor profiles are refused' : `SELinux, ${selinux}`,
  )
}

function capabilities({ capabilities: own, uid }: MachineView): Check {
  if (uid !== 0) return warning('capabilities', 'not looked at: not root', 'use sudo')
  const missing = NEEDED_CAPABILITIES.filter((c) => !own.includes(c))
  if (missing.length > 0)
    return problem('capabilities', `root lacks ${missing.join(', ')}`, 'in a container, run it privileged')
  if (!own.includes('CAP_SYS_RESOURCE'))
    return warning(
      'capabilities',
      'root lacks CAP_SYS_RESOURCE: oom_score_adj of pods is raised to what this process may set',
      'give it the capability, if the order in which pods are killed for memory matters',
    )
  return ok('capabilities', `all ${NEEDED_CAPABILITIES.length + 1} that are needed`)
}

function runtime(r: RuntimeView, m: MachineView): Check[] {
  const name = `runtime ${r.handler}`
  const say = r.isDefault || r.explicit ? problem : warning
  if (r.path === undefined) {
    const mend = `install ${r.kind} (Debian: apt-get install ${r.kind}), or set runtimes.${r.handler}.path`
    if (!r.isDefault && !r.explicit) return [ok(name, 'not installed; pods that ask for it are refused')]
    return [problem(name, 'its program is not installed', mend)]
  }
  if (r.version === undefined)
    return [
      say(
        name,
        `${r.path} cannot be run: ${r.failure}`,
        `install ${r.kind} again, or set runtimes.${r.handler}.path`,
      ),
    ]
  if (r.refusesMachine)
    return [
      say(
        name,
        `${r.version} refuses machines with hybrid cgroups, as this one: version 1 beside a version 2 tree${holding(m.cgroup.hybrid ?? [])}`,
        'use another handler (runc runs here), or boot with systemd.unified_cgroup_hierarchy=1 to have version 2 alone',
      ),
    ]
  const about = `${r.version}, ${r.path}, OCI ${r.ociVersion}${r.isDefault ? ', the default' : ''}`
  if (m.seccomp && !r.seccomp)
    return [warning(name, `${about}; built without seccomp`, `use a build of ${r.kind} with seccomp`)]
  return [ok(name, about)]
}

function space(s: SpaceView): Check[] {
  const name = `space ${s.path}`
  const free = `${s.freeBytes / MIB} MiB of ${s.totalBytes / MIB} MiB free`
  const percent = s.totalBytes === 0n ? 100n : (s.freeBytes * 100n) / s.totalBytes
  const mend = 'make room, or move root to a larger disk'
  const inodes = s.totalInodes === 0n ? 100n : (s.freeInodes * 100n) / s.totalInodes
  if (s.freeBytes < 100n * MIB) return [problem(name, free, mend)]
  if (s.totalInodes > 0n && s.freeInodes < 10_000n)
    return [problem(name, `${free}, but only ${s.freeInodes} files can be made`, mend)]
  if (s.freeBytes < 1024n * MIB || percent < 10n)
    return [warning(name, `${free}; the kubelet evicts pods below 10 to 15 %`, mend)]
  if (inodes < 5n)
    return [warning(name, `${free}; ${inodes} % of its inodes are free, the kubelet evicts below 5 %`, mend)]
  return [ok(name, free)]
}

function inotify({ inotify: i }: MachineView): Check {
  const text = `${i.instances} instances and ${i.watches} watches a user`
  if (i.instances >= 128 && i.watches >= 8192) return ok('inotify', text)
  return warning(
    'inotify',
    `${text}: few; the kubelet and programs in pods run out of them ("too many open files")`,
    'sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536',
  )
}

function others({ otherRuntimes: all }: MachineView): Check {
  if (all.length === 0) return ok('other runtimes', 'none serves the CRI here')
  const list = all.map((o) => `${o.name} on ${o.socket}`).join(', ')
  return warning(
    'other runtimes',
    `${list}: both can run side by side, but the kubelet uses one`,
    'give the kubelet and crictl the endpoint of gantry; drain the node before you change it',
  )
}
