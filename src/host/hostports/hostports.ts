// SPDX-License-Identifier: Apache-2.0
/**
 * Ports of the node that lead into pods, where no plugin of the network maps them: by nftables, by iptables where
 * nft is missing. Knows the ports of all pods, and puts the rules of all in force at once, so that what a crash,
 * or somebody else, left behind does not matter. Starts no program as long as no pod has such ports, but for the
 * first time, when rules of an earlier daemon may be there. Does not open ports in anybody's firewall.
 */
import { writeFile } from 'node:fs/promises'
import { errnoCode, Fault } from '../../base/fault.ts'
import { KeyedLock } from '../../base/keyed-lock.ts'
import { abortFault, type Scope } from '../../base/scope.ts'
import type { HostPort, IpFamily, PodHostPorts } from '../../model/host-ports.ts'
import { clip } from '../../model/ids.ts'
import { findExecutable, PROGRAM_DIRS, type Run, type RunResult, run as runProgram } from '../exec.ts'
import type { Native } from '../native.ts'
import { iptablesRules } from './iptables.ts'
import { nftRuleset } from './nft.ts'
import { type Opened, openedFor } from './opened.ts'

export interface HostportsDeps {
  readonly native: Native
  /** Distinguishes the rules of daemons on one node: some letters and digits. */
  readonly owner: string
  /** In place of the real things, for tests. */
  readonly run?: Run
  readonly programDirs?: readonly string[]
  readonly writeSysctl?: (path: string, value: string) => Promise<void>
}

export interface Hostports {
  /** The ports of pods that an earlier daemon made: known from now on, in force with the next `apply`. @abort finishes */
  adopt(pods: readonly PodHostPorts[]): void
  /** Puts in force what is known and takes away what is not. @abort kills */
  apply(scope: Scope): Promise<void>
  /** Maps the ports of a pod. After a failure `remove` undoes it. @abort kills */
  add(scope: Scope, pod: PodHostPorts): Promise<void>
  /** Success for a pod that never had any, without a program. @abort kills */
  remove(scope: Scope, podId: string): Promise<void>
}

const DEADLINE_MS = 30_000
/** For the lock that all users of iptables take. */
const LOCK_SECONDS = '10'
/** iptables-save on a node with many services. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024
const FAMILIES = [
  { family: 4, program: 'iptables' },
  { family: 6, program: 'ip6tables' },
] as const satisfies readonly { family: IpFamily; program: string }[]

/** Interfaces as the kernel allows them; the rest would be syntax in a rule or leave the sysctl's folder. */
const INTERFACE = /^(?!\.{1,2}$)[\w.@:-]{1,15}$/

/** Knows no pods yet, and takes nothing for being in force: the first `apply` always does something. */
export function hostports(deps: HostportsDeps): Hostports {
  const known = new Map<string, PodHostPorts>()
  const lock = new KeyedLock()
  const loopback = loopbackRoutes(deps)
  // Of what is known and of what is in force: not equal, they are to be made so.
  let version = 1
  let applied = 0
  const learn = (pod: PodHostPorts) => {
    known.set(pod.podId, { ...pod, interfaces: pod.interfaces.filter((name) => INTERFACE.test(name)) })
    version++
  }
  const apply = async (scope: Scope) => {
    using _ = await lock.exclusive(scope, 'rules')
    if (applied === version) return
    const now = version
    const pods = [...known.values()]
    const opened = openedFor(pods)
    await loopback.close(opened.interfaces)
    await putInForce(scope, deps, { pods, opened })
    await loopback.open(scope, opened.interfaces)
    applied = now
  }
  return {
    adopt: (pods) => pods.forEach(learn),
    apply,
    async add(scope, pod) {
      learn(pod)
      await apply(scope)
      await forgetFlows(scope, deps, pod.ports)
    },
    async remove(scope, podId) {
      const pod = known.get(podId)
      if (known.delete(podId)) version++
      await apply(scope)
      await forgetFlows(scope, deps, pod?.ports ?? [])
    },
  }
}

interface Rules {
  readonly pods: readonly PodHostPorts[]
  readonly opened: Opened
}

async function putInForce(scope: Scope, deps: HostportsDeps, rules: Rules): Promise<void> {
  const nft = await find(deps, 'nft')
  if (nft !== undefined) {
    const text = nftRuleset(`gantry_${deps.owner}`, rules.pods, rules.opened)
    await succeed(scope, deps, { file: nft, args: ['-f', '-'], stdin: text })
    return
  }
  for (const { family, program } of FAMILIES) {
    const [save, restore] = [await find(deps, `${program}-save`), await find(deps, `${program}-restore`)]
    const wanted = rules.pods.some((pod) => pod.ports.some((p) => p.family === family))
    if (save === undefined || restore === undefined) {
      // Without the program there cannot be rules of ours either.
      if (!wanted) continue
      throw new Fault(
        'unavailable',
        `port_mappings: neither nft nor ${program} is installed, so that ports of the node cannot be mapped; install the package nftables, or a network with the portmap plugin`,
      )
    }
    const saved = await Promise.all(
      ['nat', 'raw'].map((table) => succeed(scope, deps, { file: save, args: ['-t', table] })),
    )
    const input = { family, pods: rules.pods, opened: rules.opened }
    const text = iptablesRules(`GANTRY-${deps.owner}`, input, saved.join(''))
    const args = ['-w', LOCK_SECONDS, '--noflush']
    if (text !== '') await succeed(scope, deps, { file: restore, args, stdin: text })
  }
}

/** A flow of UDP has no end of its own: without this it would go on to where it went before. */
async function forgetFlows(scope: Scope, deps: HostportsDeps, ports: readonly HostPort[]): Promise<void> {
  const udp = ports.filter((p) => p.protocol === 'udp')
  if (udp.length === 0) return
  const conntrack = await find(deps, 'conntrack')
  if (conntrack === undefined) return scope.log.info('hostports-without-conntrack')
  for (const { family, hostIp, hostPort } of udp) {
    const to = hostIp === undefined ? [] : ['--orig-dst', hostIp]
    const args = ['-D', '-f', `ipv${family}`, '-p', 'udp', '--orig-port-dst', String(hostPort), ...to]
    // Its exit code is 1 when there is none.
    await execute(scope, deps, { file: conntrack, args })
  }
}

/**
 * Which interfaces are opened for 127.0.0.1 by this daemon. The rules that guard one are there before it is opened
 * and go after it is closed.
 */
function loopbackRoutes({ writeSysctl = (path, value) => writeFile(path, value) }: HostportsDeps) {
  const open = new Set<string>()
  const path = (name: string) => `/proc/sys/net/ipv4/conf/${name}/route_localnet`
  return {
    async close(wanted: readonly string[]): Promise<void> {
      for (const name of open) {
        if (wanted.includes(name)) continue
        await writeSysctl(path(name), '0').catch((e: unknown) => {
          // The interface went with its pod.
          if (errnoCode(e) !== 'ENOENT') throw e
        })
        open.delete(name)
      }
    },
    async open(scope: Scope, wanted: readonly string[]): Promise<void> {
      for (const name of wanted) {
        if (open.has(name)) continue
        open.add(name)
        await writeSysctl(path(name), '1').catch((e: unknown) =>
          scope.log.warn('hostports-not-on-loopback', { interface: name, error: String(e) }),
        )
      }
    },
  }
}

interface Program {
  readonly file: string
  readonly args: readonly string[]
  readonly stdin?: string
}

const find = ({ programDirs = PROGRAM_DIRS }: HostportsDeps, name: string) =>
  findExecutable(programDirs, name)

function execute(scope: Scope, deps: HostportsDeps, { file, args, stdin }: Program): Promise<RunResult> {
  const { native, run = runProgram, programDirs = PROGRAM_DIRS } = deps
  return run(
    scope,
    { native },
    {
      file,
      argv: [file, ...args],
      env: ['LC_ALL=C', `PATH=${programDirs.join(':')}`],
      ...(stdin === undefined ? {} : { stdin: Buffer.from(stdin) }),
      maxOutputBytes: MAX_OUTPUT_BYTES,
      deadlineMs: DEADLINE_MS,
      killGraceMs: 500,
    },
  )
}

/** Its output; throws for every way of ending but success. */
async function succeed(scope: Scope, deps: HostportsDeps, program: Program): Promise<string> {
  const ended = await execute(scope, deps, program)
  if (ended.reason === 'cancelled') throw Fault.during(program.file, abortFault(scope.signal))
  if (ended.reason === 'exited' && ended.code === 0) return ended.stdout.toString('utf8')
  const why = ended.reason === 'exited' ? clip(ended.stderr.toString('utf8').trim()) : ended.reason
  throw new Fault('internal', `port_mappings: ${program.file} could not change the rules: ${why}`)
}
