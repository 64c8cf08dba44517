// SPDX-License-Identifier: Apache-2.0
/**
 * doctor judges networks: each row is a healthy one with one thing changed, and what is said of it; then the
 * screen on which all checks are shown. Nothing of this machine is read.
 */
import { describe, expect, test } from 'vitest'
import { judgeNetwork } from '../../../src/cli/doctor/judge-network.ts'
import { needsOf } from '../../../src/cli/doctor/network.ts'
import type { Check, NetworkView } from '../../../src/cli/doctor/view.ts'
import { doctorScreen, tally } from '../../../src/cli/doctor.ts'
import { defaultConf, parseConf } from '../../../src/host/cni/conf.ts'
import { expectSound, told } from './doctor-told.ts'

const network: NetworkView = {
  confDir: '/etc/cni/net.d',
  binDirs: ['/opt/cni/bin', '/usr/lib/cni'],
  name: 'gantry',
  from: '(built in)',
  builtIn: true,
  problems: [],
  plugins: ['bridge', 'host-local', 'portmap'],
  missing: [],
  needsIptables: true,
  iptables: true,
  nft: true,
  ipForward: true,
  gatewayBridge: true,
  bridgeNfCall: true,
}

describe('a network', () => {
  test('that is healthy has nothing but ok', () => {
    expect(told(judgeNetwork(network))).toEqual([])
    expectSound(judgeNetwork(network))
  })

  const none = {
    name: undefined,
    from: '',
    builtIn: false,
    plugins: [],
    needsIptables: false,
    gatewayBridge: false,
  }

  test.each<[string, Partial<NetworkView>, string[]]>([
    [
      'no configuration',
      none,
      [
        "warning network: there is no CNI configuration in /etc/cni/net.d: only pods on the host's network can run",
      ],
    ],
    [
      'only broken files',
      { ...none, problems: [{ file: 'a.conf', why: 'no type' }] },
      ['problem network: no CNI configuration in /etc/cni/net.d can be used: a.conf: no type'],
    ],
    [
      'a broken file before a good one',
      { builtIn: false, from: 'b.conflist', problems: [{ file: 'a.conf', why: 'no type' }] },
      ['warning network: gantry, b.conflist; left out: a.conf: no type'],
    ],
    [
      'a plugin that is missing',
      { missing: ['portmap'] },
      [
        'problem network plugins: network gantry names portmap, which are in none of /opt/cni/bin, /usr/lib/cni',
      ],
    ],
    [
      'no iptables where a plugin needs it',
      { iptables: false },
      ['problem firewall: iptables is not there, and network gantry masquerades or maps ports with it'],
    ],
    [
      'no iptables where none does',
      { iptables: false, needsIptables: false },
      ['warning firewall: iptables is not there; most network plugins and kube-proxy use it'],
    ],
    ['no forwarding, but a bridge that turns it on', { ipForward: false }, []],
    [
      'no forwarding',
      { ipForward: false, gatewayBridge: false },
      ['warning forwarding: net.ipv4.ip_forward is off: pods reach nobody outside of this machine'],
    ],
    [
      'no br_netfilter',
      { bridgeNfCall: undefined },
      [
        'warning bridge filter: br_netfilter is not loaded: a pod may not reach a service whose other end is on the same bridge',
      ],
    ],
    [
      'br_netfilter turned off',
      { bridgeNfCall: false },
      [
        'warning bridge filter: net.bridge.bridge-nf-call-iptables is off: a pod may not reach a service whose other end is on the same bridge',
      ],
    ],
  ])('%s', (_, change, expected) => {
    const checks = judgeNetwork({ ...network, ...change })
    expect(told(checks)).toEqual(expected)
    expectSound(checks)
  })

  const listOf = (...plugins: object[]) =>
    parseConf('x.conflist', JSON.stringify({ cniVersion: '1.0.0', name: 'x', plugins }))

  test.each([
    ['none', undefined, false, false],
    ['the default network', parseConf('x.conflist', defaultConf()), true, true],
    ['a plain ptp', listOf({ type: 'ptp' }), false, false],
    [
      'masquerading by nftables',
      listOf({ type: 'bridge', ipMasq: true, ipMasqBackend: 'nftables' }),
      false,
      false,
    ],
    ['a bridge without a gateway', listOf({ type: 'bridge' }), false, false],
  ])('what %s needs', (_, list, needsIptables, gatewayBridge) => {
    expect(needsOf(list)).toEqual({ needsIptables, gatewayBridge })
  })
})

describe('the screen', () => {
  const checks: Check[] = [
    { name: 'a', verdict: 'ok', text: 'fine', remedy: '' },
    { name: 'long name', verdict: 'problem', text: 'word '.repeat(40).trim(), remedy: 'do this' },
  ]

  test('has the verdict first, remedies below, and a tally', () => {
    const lines = doctorScreen(checks, (_, text) => text).split('\n')
    expect(lines[0]).toBe('ok       a          fine')
    expect(lines[1]).toMatch(/^problem {2}long name {2}word /)
    expect(lines.at(-4)).toBe('                    → do this')
    expect(lines.at(-2)).toBe('1 problem, 0 warnings, 1 ok')
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(104)
  })

  test('the tally counts', () => {
    expect(tally([])).toBe('0 problems, 0 warnings, 0 ok')
  })
})
