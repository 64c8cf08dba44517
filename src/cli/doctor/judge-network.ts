// SPDX-License-Identifier: Apache-2.0
/** judge-network: what the network configuration of a machine means for pods. Pure; see judge.ts. */
import { type Check, type NetworkView, ok, problem, warning } from './view.ts'

/** Every check of the network. */
export function judgeNetwork(n: NetworkView): Check[] {
  return [configuration(n), ...programs(n), firewall(n), forwarding(n), bridgeFilter(n)]
}

function configuration(n: NetworkView): Check {
  const told = n.problems.map((p) => `${p.file}: ${p.why}`).join('; ')
  if (n.name !== undefined) {
    const text = `${n.name}, ${n.builtIn ? 'the network that gantry brings along' : n.from}`
    if (n.problems.length === 0) return ok('network', text)
    return warning('network', `${text}; left out: ${told}`, 'mend or remove these files')
  }
  if (n.problems.length > 0)
    return problem(
      'network',
      `no CNI configuration in ${n.confDir} can be used: ${told}`,
      'mend or remove these files',
    )
  return warning(
    'network',
    `there is no CNI configuration in ${n.confDir}: only pods on the host's network can run`,
    'install a network plugin of your cluster, or start with --default-network (npm start does)',
  )
}

function programs(n: NetworkView): Check[] {
  if (n.name === undefined) return []
  if (n.missing.length > 0)
    return [
      problem(
        'network plugins',
        `network ${n.name} names ${n.missing.join(', ')}, which are in none of ${n.binDirs.join(', ')}`,
        'install them (Debian: apt-get install containernetworking-plugins), or set cni.bin_dirs',
      ),
    ]
  return [ok('network plugins', n.plugins.join(', '))]
}

function firewall(n: NetworkView): Check {
  const there = [...(n.iptables ? ['iptables'] : []), ...(n.nft ? ['nft'] : [])]
  if (n.iptables) return ok('firewall', there.join(', '))
  const mend = 'install it (Debian: apt-get install iptables)'
  if (n.needsIptables)
    return problem(
      'firewall',
      `iptables is not there, and network ${n.name} masquerades or maps ports with it`,
      mend,
    )
  return warning('firewall', 'iptables is not there; most network plugins and kube-proxy use it', mend)
}

function forwarding(n: NetworkView): Check {
  if (n.ipForward) return ok('forwarding', 'net.ipv4.ip_forward is on')
  if (n.gatewayBridge) return ok('forwarding', 'off now; the bridge plugin turns it on with the first pod')
  return warning(
    'forwarding',
    'net.ipv4.ip_forward is off: pods reach nobody outside of this machine',
    'sysctl -w net.ipv4.ip_forward=1, and the same in /etc/sysctl.d',
  )
}

function bridgeFilter(n: NetworkView): Check {
  if (n.bridgeNfCall === true) return ok('bridge filter', 'bridged packets pass iptables')
  return warning(
    'bridge filter',
    n.bridgeNfCall === undefined
      ? 'br_netfilter is not loaded: a pod may not reach a service whose other end is on the same bridge'
      : 'net.bridge.bridge-nf-call-iptables is off: a pod may not reach a service whose other end is on the same bridge',
    'modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1, if kube-proxy uses iptables',
  )
}
