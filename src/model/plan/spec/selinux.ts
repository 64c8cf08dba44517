// SPDX-License-Identifier: Apache-2.0
/**
 * SELinux labels of a container: of its process and of its files. A pod has a level of its own, two categories that no
 * other pod of this daemon has, so that the containers of one pod share what others cannot reach. On a machine without
 * SELinux there are no labels, whatever was asked for. Pure; relabelling files is `host/security/selinux.ts`.
 */
import { Fault } from '../../../base/fault.ts'
import type { ContainerSecurity } from '../../container.ts'
import type { SelinuxFacts } from '../../facts.ts'
import type { PodConfig, PodRecord } from '../../pod.ts'
import type { SelinuxOptions } from '../../security.ts'

export interface Labels {
  readonly process: string
  readonly mount: string
}

const CATEGORIES = 1024
/** The type that SELinux does not confine, for what sees the host's processes anyway. */
const UNCONFINED = 'spc_t'

/** `s0:cA,cB` from the id of the pod; the next free one if a pod has it already. Throws `exhausted`. */
export function levelOf(id: string, taken: ReadonlySet<string>): string {
  const pairs = (CATEGORIES * (CATEGORIES - 1)) / 2
  const first = Number.parseInt(id.slice(0, 12), 16) % pairs
  for (let i = 0; i < pairs; i++) {
    const level = pair((first + i) % pairs)
    if (!taken.has(level)) return level
  }
  throw new Fault('exhausted', 'SELinux: each pair of categories belongs to a pod')
}

/** The n-th of all pairs of different categories: (1,0), (2,0), (2,1), (3,0), … */
function pair(n: number): string {
  const high = Math.floor((1 + Math.sqrt(1 + 8 * n)) / 2)
  return `s0:c${n - (high * (high - 1)) / 2},c${high}`
}

/** The level of a pod that is being made: what its request says, else one of its own; undefined without SELinux. */
export function podLevel(
  pod: { readonly id: string; readonly config: PodConfig },
  facts: SelinuxFacts | undefined,
  others: Iterable<PodRecord>,
): string | undefined {
  if (!facts) return undefined
  const asked = pod.config.selinux?.level
  if (asked) return asked
  return levelOf(pod.id, new Set([...others].flatMap((p) => p.selinuxLevel ?? [])))
}

/** undefined: no labels, because the machine has no SELinux. Options of the container win over those of its pod. */
export function planLabels(
  security: Pick<ContainerSecurity, 'selinux' | 'privileged' | 'pid'>,
  pod: Pick<PodRecord, 'config' | 'selinuxLevel'>,
  facts: SelinuxFacts | undefined,
): Labels | undefined {
  if (!facts) return undefined
  const { namespaces } = pod.config
  const open = security.privileged || security.pid.mode === 'node' || namespaces.ipc === 'node'
  const asked = merge(pod.config.selinux, security.selinux)
  const level = asked.level || pod.selinuxLevel || 's0'
  const process = context(facts.processContext, {
    ...asked,
    type: asked.type || (open ? UNCONFINED : ''),
    level: open && !security.selinux?.level ? 's0' : level,
  })
  return { process, mount: context(facts.fileContext, { user: asked.user, role: '', type: '', level }) }
}

function merge(pod: SelinuxOptions | undefined, own: SelinuxOptions | undefined): SelinuxOptions {
  const part = (name: keyof SelinuxOptions) => own?.[name] || pod?.[name] || ''
  return { user: part('user'), role: part('role'), type: part('type'), level: part('level') }
}

/** `user:role:type:level`, in which the level may have colons too. */
function context(base: string, over: SelinuxOptions): string {
  const [user = '', role = '', type = '', ...level] = base.split(':')
  return [over.user || user, over.role || role, over.type || type, over.level || level.join(':')].join(':')
}

/** Is it the label of a process that reads the files of every container? Nothing is relabelled for it. */
export function isUnconfined(processLabel: string | undefined): boolean {
  return processLabel?.split(':')[2] === UNCONFINED
}
