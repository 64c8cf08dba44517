// SPDX-License-Identifier: Apache-2.0
/**
 * guest: what the tests of this folder have in common. They run in the second kernel that `../run.sh` starts, with
 * cgroup v2 alone, and refuse to run elsewhere. It reads cgroup files of processes and starts the usual scenario
 * with a network that needs no NAT; it changes nothing itself.
 */
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Scenario, type ScenarioOptions, startScenario } from '../../support/scenario.ts'

/** The default one and the other: everything in this folder is asked of both. */
export const handlers = ['runc', 'crun'] as const
export type Handler = (typeof handlers)[number]

export const cgroupRoot = '/sys/fs/cgroup'

/** The usual scenario. Rejects outside the guest. */
export async function startGuestScenario(options: ScenarioOptions = {}): Promise<Scenario> {
  if (!(await readFile('/proc/cpuinfo', 'utf8')).includes('User Mode Linux'))
    throw new Error('these tests run in the guest: sh scripts/test.sh vm')
  return startScenario({ withoutNat: true, ...options })
}

/** The cgroup of a process, relative to the one root there is: `/…`. */
export async function cgroupOf(pid: number): Promise<string> {
  const text = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trim()
  const path = /^0::(\/.*)$/.exec(text)?.[1]
  if (path === undefined) throw new Error(`process ${pid} is not in cgroup v2 alone: ${text}`)
  return path
}

/** What a file of a cgroup says, without its last newline. */
export async function cgroupFile(cgroup: string, file: string): Promise<string> {
  return (await readFile(join(cgroupRoot, cgroup, file), 'utf8')).trim()
}

export async function cgroupExists(cgroup: string): Promise<boolean> {
  return access(join(cgroupRoot, cgroup)).then(
    () => true,
    () => false,
  )
}

/** One number of a file of `name number` lines, such as memory.events. */
export async function cgroupCount(cgroup: string, file: string, name: string): Promise<number> {
  const found = new RegExp(`^${name} (\\d+)$`, 'm').exec(await cgroupFile(cgroup, file))?.[1]
  if (found === undefined) throw new Error(`${cgroup}/${file} has no ${name}`)
  return Number(found)
}
