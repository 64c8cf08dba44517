// SPDX-License-Identifier: Apache-2.0
/**
 * The host ports of all pods as iptables rules, for nodes without nft: text for `iptables-restore --noflush` of one
 * family, which replaces the chains of our own in one transaction. The jumps to them are in chains that others
 * use too, so each is made only where it is missing, and taken away one by one. Pure.
 */
import type { HostPort, IpFamily, PodHostPorts } from '../../model/host-ports.ts'
import { LOOPBACK, MASQUERADE_MARK, type Opened } from './opened.ts'

const MARK = `${MASQUERADE_MARK}/${MASQUERADE_MARK}`

interface Chain {
  readonly table: 'nat' | 'raw'
  readonly name: string
  readonly rules: readonly string[]
  /** Rules of built-in chains that lead to it. */
  readonly jumps: readonly string[]
}

/**
 * The input for one family; '' when there is nothing to be done. `saved` is what iptables-save prints of the tables
 * nat and raw: where each jump is already.
 */
export function iptablesRules(
  prefix: string,
  { family, pods, opened }: { family: IpFamily; pods: readonly PodHostPorts[]; opened: Opened },
  saved: string,
): string {
  const there = new Set(saved.split('\n'))
  const wanted = chains(prefix, { family, pods, opened })
  const isThere = (chain: Chain) => saved.includes(`\n:${chain.name} `)
  return (['raw', 'nat'] as const)
    .map((table) => {
      const ours = wanted.filter((c) => c.table === table && (c.rules.length > 0 || isThere(c)))
      const lines = ours.flatMap((c) => [
        `:${c.name} - [0:0]`,
        ...c.rules.map((rule) => `-A ${c.name} ${rule}`),
        ...(c.rules.length > 0
          ? c.jumps.filter((j) => !there.has(`-A ${j}`)).map((j) => `-I ${j}`)
          : [...c.jumps.filter((j) => there.has(`-A ${j}`)).map((j) => `-D ${j}`), `-X ${c.name}`]),
      ])
      return lines.length === 0 ? '' : [`*${table}`, ...lines, 'COMMIT', ''].join('\n')
    })
    .join('')
}

function chains(
  prefix: string,
  { family, pods, opened }: { family: IpFamily; pods: readonly PodHostPorts[]; opened: Opened },
): readonly Chain[] {
  const ports = pods.flatMap((pod) => pod.ports).filter((p) => p.family === family)
  // The first rule that fits counts: those for one address come first.
  const ordered = ports.toSorted((a, b) => Number(b.hostIp !== undefined) - Number(a.hostIp !== undefined))
  const near = opened.subnets.filter((s) => s.includes(':') === (family === 6))
  const sources = ports.length === 0 ? [] : [...(family === 4 ? [LOOPBACK] : []), ...near]
  const marked = sources.flatMap((source) =>
    keys(ports).map((key) => `-s ${source} ${key} -j MARK --set-xmark ${MARK}`),
  )
  const masqueraded = [...new Set(ports.map((p) => p.podIp))].map(
    (ip) => `-d ${ip} -m mark --mark ${MARK} -m conntrack --ctstate DNAT -j MASQUERADE`,
  )
  const guarded = opened.interfaces.flatMap((name) =>
    ['-s', '-d'].map((way) => `-i ${name} ${way} ${LOOPBACK} -j DROP`),
  )
  // Answers to ::1 are dropped by the kernel.
  const not = family === 6 ? '! -d ::1/128 ' : ''
  const local = (hook: string, chain: string) => `${hook} ${not}-m addrtype --dst-type LOCAL -j ${chain}`
  const [to, from, guard] = [`${prefix}-DNAT`, `${prefix}-MASQ`, `${prefix}-GUARD`]
  return [
    {
      table: 'nat',
      name: to,
      rules: [...marked, ...ordered.map(dnat)],
      jumps: [local('PREROUTING', to), local('OUTPUT', to)],
    },
    { table: 'nat', name: from, rules: masqueraded, jumps: [`POSTROUTING -j ${from}`] },
    {
      table: 'raw',
      name: guard,
      rules: family === 4 ? guarded : [],
      jumps: [`PREROUTING -j ${guard}`],
    },
  ]
}

const match = (p: HostPort) => `-p ${p.protocol} -m ${p.protocol} --dport ${p.hostPort}`
const keys = (ports: readonly HostPort[]) => [...new Set(ports.map(match))]

function dnat(p: HostPort): string {
  const host = p.hostIp === undefined ? '' : `-d ${p.hostIp} `
  const target = p.family === 6 ? `[${p.podIp}]:${p.podPort}` : `${p.podIp}:${p.podPort}`
  return `${host}${match(p)} -j DNAT --to-destination ${target}`
}
