// SPDX-License-Identifier: Apache-2.0
/**
 * What this machine can do, probed once at start: cgroup version and mounts, capabilities, security modules,
 * and each configured OCI runtime. The result is frozen; nobody probes again.
 */
import { access, readdir, readFile } from 'node:fs/promises'
import { release } from 'node:os'
import { asFault, Fault } from '../base/fault.ts'
import type { Scope } from '../base/scope.ts'
import type { HandlerFacts, HostFacts, RuntimeGround, RuntimeProgram } from '../model/facts.ts'
import type { CgroupDriver } from '../model/names.ts'
import { CAPABILITIES } from '../model/security.ts'

export interface FactsOptions {
  readonly cgroupDriver: CgroupDriver | 'auto'
  readonly runtimes: readonly RuntimeProgram[]
  /** Asks one runtime what it is (`oci-runtime/features.ts`). */
  readonly probe: (scope: Scope, program: RuntimeProgram, ground: RuntimeGround) => Promise<HandlerFacts>
  /** The handler that must work; others that fail are left out with a warning. */
  readonly defaultRuntime: string
}

const text = async (path: string) => (await readFile(path, 'utf8').catch(() => '')).trim()
const there = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )

/**
 * cgroup mounts from /proc/self/mountinfo: each v1 controller, and the v2 tree as `unified`. With both (hybrid) the
 * version is 1, but runtimes make cgroups in the v2 tree too, so that it has to be known to whoever removes them.
 */
export function parseCgroupMounts(
  mountinfo: string,
): { version: 1 | 2; mounts: Record<string, string> } | undefined {
  const v1: Record<string, string> = {}
  let v2: string | undefined
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ')
    const point = left?.split(' ')[4]
    const [type, , superOptions] = right?.split(' ') ?? []
    if (!point?.startsWith('/sys/fs/cgroup')) continue
    if (type === 'cgroup2') v2 = point
    else if (type === 'cgroup') {
      for (const option of superOptions?.split(',') ?? []) {
        if (option !== 'rw' && option !== 'ro' && option !== 'xattr' && !option.startsWith('release_agent')) {
          v1[option.replace('name=', '')] = point
        }
      }
    }
  }
  const unified = v2 === undefined ? {} : { unified: v2 }
  if (Object.keys(v1).length > 0) return { version: 1, mounts: { ...v1, ...unified } }
  return v2 === undefined ? undefined : { version: 2, mounts: unified }
}

function capabilitySet(status: string, field: string): bigint {
  const hex = new RegExp(`^${field}:\\s+([0-9a-f]+)$`, 'm').exec(status)?.[1]
  return hex === undefined ? 0n : BigInt(`0x${hex}`)
}

/** Taken where the kernel gives no number. */
const OPEN_FILES = 1 << 20

/** `Max open files`: the second number is the one that a process cannot raise (proc_pid_limits(5)). */
export function parseOpenFiles(limits: string): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1]
  return hard === undefined || !/^\d+$/.test(hard) ? OPEN_FILES : Number(hard)
}

export function parseCapabilities(status: string): { bounding: readonly string[]; sysResource: boolean } {
  const [bounding, effective] = [capabilitySet(status, 'CapBnd'), capabilitySet(status, 'CapEff')]
  const named = CAPABILITIES.filter((_, bit) => (bounding & effective & (1n << BigInt(bit))) !== 0n)
  return { bounding: named, sysResource: (effective & (1n << 24n)) !== 0n }
}

/** The controllers of the v2 tree of a machine that has v1 as well. */
async function hybridControllers(cgroup: {
  version: 1 | 2
  mounts: Record<string, string>
}): Promise<string[]> {
  if (cgroup.version !== 1 || cgroup.mounts.unified === undefined) return []
  return (await text(`${cgroup.mounts.unified}/cgroup.controllers`)).split(' ').filter((c) => c !== '')
}

async function probeHandlers(
  scope: Scope,
  options: FactsOptions,
  ground: RuntimeGround,
): Promise<Pick<HostFacts, 'handlers' | 'leftOut'>> {
  const handlers: Record<string, HandlerFacts> = {}
  const leftOut: Record<string, string> = {}
  for (const program of options.runtimes) {
    try {
      handlers[program.handler] = await options.probe(scope, program, ground)
    } catch (e) {
      const { kind, message } = asFault(e)
      const mend =
        kind === 'unsupported' ? '' : `; install ${program.kind} or set runtimes.${program.handler}.path`
      if (program.handler === options.defaultRuntime) throw new Fault('unavailable', `${message}${mend}`)
      leftOut[program.handler] = `${message}${mend}`
    }
  }
  if (!handlers[options.defaultRuntime]) {
    throw new Fault(
      'unavailable',
      `the default runtime "${options.defaultRuntime}" is not among the configured runtimes`,
    )
  }
  return { handlers, leftOut }
}

/** v2: a kernel without swap accounting has no memory.swap.max; where nothing can be seen it is taken to be there. */
async function limitsSwap(root: string): Promise<boolean> {
  const own = /^0::(\/.*)$/m.exec(await text('/proc/self/cgroup'))?.[1] ?? '/'
  return !(await there(`${root}${own}/memory.max`)) || (await there(`${root}${own}/memory.swap.max`))
}

/** Where the limits of huge pages are: v1 has a hierarchy of its own for them. */
async function limitsHugepages(cgroup: { version: 1 | 2; mounts: Record<string, string> }): Promise<boolean> {
  if (cgroup.version === 1) return cgroup.mounts.hugetlb !== undefined
  return (await text(`${cgroup.mounts.unified}/cgroup.controllers`)).split(' ').includes('hugetlb')
}

function chooseDriver(wanted: FactsOptions['cgroupDriver'], systemd: boolean): CgroupDriver {
  if (wanted === 'systemd' && !systemd) {
    throw new Fault(
      'unavailable',
      'cgroup.driver is "systemd", but systemd does not run this machine (there is no /run/systemd/system): set it to "cgroupfs" or "auto", and the same in the kubelet',
    )
  }
  return wanted === 'auto' ? (systemd ? 'systemd' : 'cgroupfs') : wanted
}

/** Probes everything. Throws `unavailable` with what to do when pods could not run here. @abort kills */
export async function probeFacts(scope: Scope, options: FactsOptions): Promise<HostFacts> {
  const [mountinfo, status, boot, adj, hugepages, apparmor, systemd, limits] = await Promise.all([
    readFile('/proc/self/mountinfo', 'utf8'),
    readFile('/proc/self/status', 'utf8'),
    text('/proc/sys/kernel/random/boot_id'),
    text('/proc/self/oom_score_adj'),
    readdir('/sys/kernel/mm/hugepages').catch(() => []),
    text('/sys/module/apparmor/parameters/enabled'),
    there('/run/systemd/system'),
    text('/proc/self/limits'),
  ])
  const cgroup = parseCgroupMounts(mountinfo)
  if (!cgroup)
    throw new Fault(
      'unavailable',
      'no cgroup file system is mounted below /sys/fs/cgroup: mount cgroup2 there',
    )
  const cgroupDriver = chooseDriver(options.cgroupDriver, systemd)
  const { handlers, leftOut } = await probeHandlers(scope, options, {
    hybridControllers: await hybridControllers(cgroup),
  })
  const caps = parseCapabilities(status)
  const swap =
    cgroup.version === 1
      ? await there(`${cgroup.mounts.memory ?? '/nowhere'}/memory.memsw.limit_in_bytes`)
      : await limitsSwap(cgroup.mounts.unified ?? '/nowhere')
  return Object.freeze({
    bootId: boot,
    kernel: release(),
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    cgroupVersion: cgroup.version,
    cgroupDriver,
    cgroupMounts: cgroup.mounts,
    swapAccounting: swap,
    hugepageSizes: (await limitsHugepages(cgroup)) ? hugepages.flatMap((name) => hugepageName(name)) : [],
    maxOpenFiles: parseOpenFiles(limits),
    apparmor: apparmor === 'Y',
    seccomp: await there('/proc/sys/kernel/seccomp/actions_avail'),
    minOomScoreAdj: caps.sysResource ? -1000 : Number(adj) || 0,
    capabilities: caps.bounding,
    handlers,
    leftOut,
  })
}

/** `hugepages-2048kB` → `2MB`, as cgroup files and the CRI name it. */
function hugepageName(folder: string): readonly string[] {
  const kb = Number(/^hugepages-(\d+)kB$/.exec(folder)?.[1])
  if (!Number.isFinite(kb)) return []
  return [kb >= 1 << 20 ? `${kb >> 20}GB` : kb >= 1 << 10 ? `${kb >> 10}MB` : `${kb}KB`]
}
