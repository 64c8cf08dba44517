// SPDX-License-Identifier: Apache-2.0
/**
 * The host ports of all pods as one nftables table, and nothing but it: text for `nft -f -`, which replaces the
 * whole table in one transaction, so that it does not matter what was there before. ::1 is left alone: the kernel
 * drops the answers. Pure.
 */
import type { HostPort, IpFamily, PodHostPorts } from '../../model/host-ports.ts'
import { LOOPBACK, MASQUERADE_MARK, type Opened } from './opened.ts'

const HAS_MARK = `meta mark & ${MASQUERADE_MARK} == ${MASQUERADE_MARK} ct status dnat`
/** The same whatever the ports are: these are in the maps and sets. */
const CHAINS = `  chain hostports {
    meta l4proto . th dport @ports ip saddr @near4 meta mark set meta mark | ${MASQUERADE_MARK}
    meta l4proto . th dport @ports ip6 saddr @near6 meta mark set meta mark | ${MASQUERADE_MARK}
    dnat ip to ip daddr . meta l4proto . th dport map @single4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @single6
    dnat ip to meta l4proto . th dport map @every4
    dnat ip6 to meta l4proto . th dport map @every6
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    fib daddr type local ip6 daddr != ::1 jump hostports
    meta nfproto ipv4 fib daddr type local jump hostports
  }
  chain output {
    type nat hook output priority -100; policy accept;
    fib daddr type local ip6 daddr != ::1 jump hostports
    meta nfproto ipv4 fib daddr type local jump hostports
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ${HAS_MARK} ip daddr @pods4 masquerade
    ${HAS_MARK} ip6 daddr @pods6 masquerade
  }
  chain guard {
    type filter hook prerouting priority -300; policy accept;
    iifname @opened ip daddr ${LOOPBACK} drop
    iifname @opened ip saddr ${LOOPBACK} drop
  }
`

/** The table with the ports of `pods`; without any, no table. */
export function nftRuleset(table: string, pods: readonly PodHostPorts[], opened: Opened): string {
  const gone = `add table inet ${table}\ndelete table inet ${table}\n`
  const all = pods.flatMap((pod) => pod.ports.map((port) => ({ ...port, podId: pod.podId })))
  if (all.length === 0) return gone
  const at = (family: IpFamily, single: boolean) =>
    all.filter((p) => p.family === family && (p.hostIp !== undefined) === single).map(element)
  const near = (family: IpFamily) => opened.subnets.filter((s) => s.includes(':') === (family === 6))
  const podIps = (family: IpFamily) => all.filter((p) => p.family === family).map((p) => p.podIp)
  const key = 'inet_proto . inet_service'
  const target = (family: IpFamily) => `ipv${family}_addr . inet_service`
  const interval = (family: IpFamily) => `type ipv${family}_addr; flags interval; auto-merge`
  return `${gone}table inet ${table} {
${list('map', 'single4', `type ipv4_addr . ${key} : ${target(4)}`, at(4, true))}
${list('map', 'single6', `type ipv6_addr . ${key} : ${target(6)}`, at(6, true))}
${list('map', 'every4', `type ${key} : ${target(4)}`, at(4, false))}
${list('map', 'every6', `type ${key} : ${target(6)}`, at(6, false))}
${list(
  'set',
  'ports',
  `type ${key}`,
  all.map((p) => `${p.protocol} . ${p.hostPort}`),
)}
${list('set', 'near4', interval(4), [LOOPBACK, ...near(4)])}
${list('set', 'near6', interval(6), near(6))}
${list('set', 'pods4', 'type ipv4_addr', podIps(4))}
${list('set', 'pods6', 'type ipv6_addr', podIps(6))}
${list(
  'set',
  'opened',
  'type ifname',
  opened.interfaces.map((name) => `"${name}"`),
)}
${CHAINS}}
`
}

function list(kind: 'map' | 'set', name: string, type: string, elements: readonly string[]): string {
  const filled = elements.length === 0 ? '' : ` elements = { ${[...new Set(elements)].join(', ')} };`
  return `  ${kind} ${name} { ${type};${filled} }`
}

/** The comment says whose it is, to whoever lists the table. */
function element({
  hostIp,
  protocol,
  hostPort,
  podId,
  podIp,
  podPort,
}: HostPort & { podId: string }): string {
  const key = [hostIp, protocol, hostPort].filter((part) => part !== undefined).join(' . ')
  return `${key} comment "${podId}" : ${podIp} . ${podPort}`
}
