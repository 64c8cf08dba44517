// SPDX-License-Identifier: Apache-2.0
/** The rules as text. That they do what they should is for the integration suite; SCTP, which few kernels have, is here. */
import { describe, expect, test } from 'vitest'
import { iptablesRules } from '../../../../src/host/hostports/iptables.ts'
import { nftRuleset } from '../../../../src/host/hostports/nft.ts'
import { openedFor } from '../../../../src/host/hostports/opened.ts'
import type { HostPort, PodHostPorts } from '../../../../src/model/host-ports.ts'

const port = (more: Partial<HostPort> = {}): HostPort => ({
  family: 4,
  protocol: 'tcp',
  hostPort: 8080,
  podIp: '10.0.0.2',
  podPort: 80,
  ...more,
})
const pod = (...ports: HostPort[]): PodHostPorts => ({
  podId: 'pod1',
  ports,
  subnets: ['10.0.0.2/24', 'fd00::2/64'],
  interfaces: ['br0'],
})
const v6 = port({ family: 6, podIp: 'fd00::2' })
const full = [
  pod(port(), port({ protocol: 'sctp', hostPort: 9 }), port({ hostIp: '192.0.2.1', podPort: 81 }), v6),
]

describe('nft', () => {
  const text = (pods: readonly PodHostPorts[]) => nftRuleset('gantry_x', pods, openedFor(pods))

  test('replaces the table in one transaction, or takes it away', () => {
    expect(text([])).toBe('add table inet gantry_x\ndelete table inet gantry_x\n')
    expect(text(full).split('\n').slice(0, 3)).toEqual([
      'add table inet gantry_x',
      'delete table inet gantry_x',
      'table inet gantry_x {',
    ])
  })

  test('has one element a port, with the pod as comment', () => {
    const lines = text(full).split('\n')
    expect(
      lines
        .filter((l) => l.includes('elements'))
        .map((l) => l.replace(/^.*(?:map|set) (\w+) .* elements = /, '$1 ')),
    ).toEqual([
      'single4 { 192.0.2.1 . tcp . 8080 comment "pod1" : 10.0.0.2 . 81 }; }',
      'every4 { tcp . 8080 comment "pod1" : 10.0.0.2 . 80, sctp . 9 comment "pod1" : 10.0.0.2 . 80 }; }',
      'every6 { tcp . 8080 comment "pod1" : fd00::2 . 80 }; }',
      'ports { tcp . 8080, sctp . 9 }; }',
      'near4 { 127.0.0.0/8, 10.0.0.2/24 }; }',
      'near6 { fd00::2/64 }; }',
      'pods4 { 10.0.0.2 }; }',
      'pods6 { fd00::2 }; }',
      'opened { "br0" }; }',
    ])
  })

  test('opens nothing for 127.0.0.1 where no port is there', () => {
    expect(openedFor([pod(port({ hostIp: '192.0.2.1' }), v6)]).interfaces).toEqual([])
    expect(openedFor([pod(port({ hostIp: '127.0.0.1' }))]).interfaces).toEqual(['br0'])
  })
})

describe('iptables', () => {
  const text = (pods: readonly PodHostPorts[], saved = '', family: 4 | 6 = 4) =>
    iptablesRules('GT', { family, pods, opened: openedFor(pods) }, saved)
  const mark = '-j MARK --set-xmark 0x2000/0x2000'
  const [tcp, sctp] = ['-p tcp -m tcp --dport 8080', '-p sctp -m sctp --dport 9']
  const local = (hook: string) => `${hook} -m addrtype --dst-type LOCAL -j GT-DNAT`

  test('replaces the chains of our own, and puts in the jumps that are missing', () => {
    expect(text(full, `\n-A ${local('OUTPUT')}\n`).split('\n')).toEqual([
      '*raw',
      ':GT-GUARD - [0:0]',
      '-A GT-GUARD -i br0 -s 127.0.0.0/8 -j DROP',
      '-A GT-GUARD -i br0 -d 127.0.0.0/8 -j DROP',
      '-I PREROUTING -j GT-GUARD',
      'COMMIT',
      '*nat',
      ':GT-DNAT - [0:0]',
      `-A GT-DNAT -s 127.0.0.0/8 ${tcp} ${mark}`,
      `-A GT-DNAT -s 127.0.0.0/8 ${sctp} ${mark}`,
      `-A GT-DNAT -s 10.0.0.2/24 ${tcp} ${mark}`,
      `-A GT-DNAT -s 10.0.0.2/24 ${sctp} ${mark}`,
      `-A GT-DNAT -d 192.0.2.1 ${tcp} -j DNAT --to-destination 10.0.0.2:81`,
      `-A GT-DNAT ${tcp} -j DNAT --to-destination 10.0.0.2:80`,
      `-A GT-DNAT ${sctp} -j DNAT --to-destination 10.0.0.2:80`,
      `-I ${local('PREROUTING')}`,
      ':GT-MASQ - [0:0]',
      '-A GT-MASQ -d 10.0.0.2 -m mark --mark 0x2000/0x2000 -m conntrack --ctstate DNAT -j MASQUERADE',
      '-I POSTROUTING -j GT-MASQ',
      'COMMIT',
      '',
    ])
  })

  test('has the rules of IPv6 for itself', () => {
    expect(text(full, '', 6).split('\n')).toEqual([
      '*nat',
      ':GT-DNAT - [0:0]',
      `-A GT-DNAT -s fd00::2/64 ${tcp} ${mark}`,
      `-A GT-DNAT ${tcp} -j DNAT --to-destination [fd00::2]:80`,
      '-I PREROUTING ! -d ::1/128 -m addrtype --dst-type LOCAL -j GT-DNAT',
      '-I OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j GT-DNAT',
      ':GT-MASQ - [0:0]',
      '-A GT-MASQ -d fd00::2 -m mark --mark 0x2000/0x2000 -m conntrack --ctstate DNAT -j MASQUERADE',
      '-I POSTROUTING -j GT-MASQ',
      'COMMIT',
      '',
    ])
  })

  test('takes away what is there, and does nothing where nothing is', () => {
    expect(text([], '\n:OTHER - [0:0]\n')).toBe('')
    const saved = `\n:GT-DNAT - [0:0]\n-A ${local('PREROUTING')}\n-A GT-DNAT ${tcp} -j DNAT\n`
    expect(text([], saved).split('\n')).toEqual([
      '*nat',
      ':GT-DNAT - [0:0]',
      `-D ${local('PREROUTING')}`,
      '-X GT-DNAT',
      'COMMIT',
      '',
    ])
  })
})
