// SPDX-License-Identifier: Apache-2.0
/**
 * The seccomp profile of `RuntimeDefault`: an allow-list made for each container from its capabilities and the table
 * in `seccomp-calls.ts`. What a kernel may know and this table does not answers ENOSYS, so that programs take their
 * older way; what is refused on purpose answers EPERM. Rules never overlap: for libseccomp a rule without arguments
 * swallows the others of its call. Arguments are compared in their low 32 bits alone where the kernel reads an int,
 * because the rest of the register is the program's to fill.
 */
import { Fault } from '../../../base/fault.ts'
import type { HandlerFacts, HostFacts } from '../../facts.ts'
import type { SecurityProfile } from '../../security.ts'
import type { OciSeccomp } from './oci.ts'
import { CALLS_BY_CAPABILITY, CLOSED_CALLS, OPEN_CALLS } from './seccomp-calls.ts'

const EPERM = 1
const ENOSYS = 38
const EAFNOSUPPORT = 97
const INT = 0xffff_ffff
/** CLONE_NEWNS|NEWCGROUP|NEWUTS|NEWIPC|NEWUSER|NEWPID|NEWNET: making a namespace needs CAP_SYS_ADMIN here. */
const CLONE_NEW = 0x7e02_0000
/** PER_LINUX and PER_LINUX32, each also with UNAME26, and the question for the present one (personality(2)). */
const PERSONALITIES = [0, 0x8, 0x2_0000, 0x2_0008, INT]
/** socket(2): the host's crypto (AF_ALG) and hypervisor (AF_VSOCK) have no namespaces. */
const CLOSED_FAMILIES = [38, 40]
/** All other families below 48, as bits that have to be set and bits that are looked at: 0–31, 32–35, 36–37, 39, … */
const OPEN_FAMILIES = [
  [0, ~31],
  [32, ~3],
  [36, ~1],
  [39, ~0],
  [41, ~0],
  [42, ~1],
  [44, ~3],
].map(([value = 0, mask = 0]) => ({ value, mask: mask >>> 0 }))

type Rule = OciSeccomp['syscalls'][number]

const allow = (names: readonly string[]): Rule => ({ names, action: 'SCMP_ACT_ALLOW' })
const refuse = (names: readonly string[], errnoRet = EPERM): Rule => ({
  names,
  action: 'SCMP_ACT_ERRNO',
  errnoRet,
})
/** The rule, for calls whose first argument has `value` in the bits of `mask`. */
const where = (rule: Rule, mask: number, value: number): Rule => ({
  ...rule,
  args: [{ index: 0, value: mask, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' }],
})

const byArgument: readonly Rule[] = [
  ...PERSONALITIES.map((p) => where(allow(['personality']), INT, p)),
  ...OPEN_FAMILIES.map(({ mask, value }) => where(allow(['socket']), mask, value)),
  ...CLOSED_FAMILIES.map((family) => where(refuse(['socket'], EAFNOSUPPORT), INT, family)),
]

/** clone3 has its flags in memory, where no filter looks: ENOSYS sends C libraries back to clone. */
const withoutNamespaces: readonly Rule[] = [
  refuse(['clone3'], ENOSYS),
  where(allow(['clone']), CLONE_NEW, 0),
  ...Array.from({ length: 31 }, (_, bit) => 2 ** bit)
    .filter((flag) => (CLONE_NEW & flag) !== 0)
    .map((flag) => where(refuse(['clone']), flag, flag)),
]

const ARCHITECTURES = {
  amd64: { native: 'SCMP_ARCH_X86_64', small: ['SCMP_ARCH_X86'] },
  arm64: { native: 'SCMP_ARCH_AARCH64', small: ['SCMP_ARCH_ARM'] },
} as const

export interface DefaultSeccomp {
  readonly architecture: keyof typeof ARCHITECTURES
  /** The bounding set of the container. */
  readonly capabilities: readonly string[]
  /**
   * Let 32-bit programs run too. Each architecture makes create and exec slower, and `socketcall`, without which most
   * 32-bit C libraries have no network, reaches the closed socket families. Otherwise such a program is killed.
   */
  readonly small: boolean
}

export function defaultSeccomp({ architecture, capabilities, small }: DefaultSeccomp): OciSeccomp {
  const has = new Set(capabilities)
  const may = (entry: (typeof CALLS_BY_CAPABILITY)[number]) => entry.capabilities.some((c) => has.has(c))
  const opened = CALLS_BY_CAPABILITY.filter(may).flatMap((e) => e.calls)
  const closed = CALLS_BY_CAPABILITY.filter((e) => !may(e)).flatMap((e) => e.calls)
  const admin = has.has('CAP_SYS_ADMIN')
  const names = ARCHITECTURES[architecture]
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures: small ? [names.native, ...names.small] : [names.native],
    syscalls: [
      allow([
        ...OPEN_CALLS,
        ...opened,
        ...(admin ? ['clone', 'clone3'] : []),
        ...(small ? ['socketcall'] : []),
      ]),
      refuse([...CLOSED_CALLS, ...closed]),
      ...byArgument,
      ...(admin ? [] : withoutNamespaces),
    ],
  }
}

export interface SeccompInputs {
  readonly profile: SecurityProfile
  readonly privileged: boolean
  readonly capabilities: readonly string[]
  readonly small: boolean
  /** Parsed JSON of a Localhost profile. */
  readonly local: OciSeccomp | undefined
}

/**
 * The filter of a process; undefined: none. Where filters cannot be loaded RuntimeDefault is none, as elsewhere, and
 * Localhost is refused with `unsupported`.
 */
export function planSeccomp(
  i: SeccompInputs,
  facts: HostFacts,
  handler: HandlerFacts,
): OciSeccomp | undefined {
  const { profile, local, capabilities, small } = i
  if (i.privileged || profile.type === 'unset' || profile.type === 'unconfined') return undefined
  const able = facts.seccomp && handler.seccomp
  if (profile.type === 'runtime-default')
    return able ? defaultSeccomp({ architecture: facts.architecture, capabilities, small }) : undefined
  if (!able) throw new Fault('unsupported', 'seccomp: this machine or this runtime cannot load profiles')
  if (!local) throw new Fault('internal', `seccomp profile ${profile.ref} was not read`)
  return local
}
