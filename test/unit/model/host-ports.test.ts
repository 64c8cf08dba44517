// SPDX-License-Identifier: Apache-2.0
/** Host ports: who wants the same one, and where each leads to. */
import { describe, expect, test } from 'vitest'
import {
  clash,
  contradict,
  hostPortLabel,
  planHostPorts,
  wantedHostPorts,
} from '../../../src/model/host-ports.ts'
import type { PortMapping } from '../../../src/model/pod.ts'
import { podConfig } from '../../support/fake-host-requests.ts'

const port = (hostIp = '', more: Partial<PortMapping> = {}): PortMapping => ({
  protocol: 'tcp',
  containerPort: 80,
  hostPort: 8080,
  hostIp,
  ...more,
})

describe('two pods', () => {
  test.each<[PortMapping, PortMapping, boolean]>([
    [port(), port(), true],
    [port(), port('192.0.2.1'), true],
    [port('0.0.0.0'), port('192.0.2.1'), true],
    [port('192.0.2.1'), port('192.0.2.1', { containerPort: 81 }), true],
    [port('192.0.2.1'), port('192.0.2.2'), false],
    [port('0.0.0.0'), port('::'), false],
    [port('::'), port('fd00::1'), true],
    [port(), port('', { protocol: 'udp' }), false],
    [port(), port('', { hostPort: 8081 }), false],
  ])('%j and %j: %s', (a, b, expected) => {
    expect([clash(a, b), clash(b, a)]).toEqual([expected, expected])
  })
})

describe('one pod', () => {
  test.each<[PortMapping, PortMapping, boolean]>([
    [port(), port(), false],
    [port(), port('', { containerPort: 81 }), true],
    [port(), port('0.0.0.0', { containerPort: 81 }), true],
    [port(), port('192.0.2.1', { containerPort: 81 }), false],
    [port('192.0.2.1'), port('192.0.2.1', { containerPort: 81 }), true],
  ])('%j and %j: %s', (a, b, expected) => {
    expect([contradict(a, b), contradict(b, a)]).toEqual([expected, expected])
  })
})

const addresses = {
  ips: ['10.0.0.2', 'fd00::2'],
  subnets: ['10.0.0.2/24', 'fd00::2/64'],
  interfaces: [
    { name: 'br0', sandbox: undefined },
    { name: 'eth0', sandbox: '/n' },
  ],
}
const target = { protocol: 'tcp', hostPort: 8080, podPort: 80 }

test('a port of every address leads to each address of the pod', () => {
  expect(planHostPorts('p', [port(), port()], addresses)).toEqual({
    podId: 'p',
    ports: [
      { ...target, family: 4, podIp: '10.0.0.2' },
      { ...target, family: 6, podIp: 'fd00::2' },
    ],
    subnets: addresses.subnets,
    interfaces: ['br0'],
  })
  const only4 = { ...addresses, ips: ['10.0.0.2'] }
  expect(planHostPorts('p', [port()], only4).ports.map((p) => p.family)).toEqual([4])
})

test('one of an address, or of a family, needs a pod of that family', () => {
  const only4 = { ...addresses, ips: ['10.0.0.2'] }
  expect(planHostPorts('p', [port('192.0.2.1'), port('0.0.0.0')], only4).ports).toEqual([
    { ...target, family: 4, hostIp: '192.0.2.1', podIp: '10.0.0.2' },
    { ...target, family: 4, podIp: '10.0.0.2' },
  ])
  expect(() => planHostPorts('p', [port('fd00::1')], only4)).toThrow(
    'config.port_mappings: [fd00::1]:8080/tcp: the pod has no IPv6 address, only 10.0.0.2',
  )
})

test('ports without a host port, and those of pods on the network of the node, are not mapped', () => {
  const portMappings = [port(), port('', { hostPort: 0 })]
  const config = { ...podConfig, portMappings }
  expect(wantedHostPorts(config)).toEqual([port()])
  const namespaces = { ...podConfig.namespaces, network: 'node' } as const
  expect(wantedHostPorts({ ...config, namespaces })).toEqual([])
})

test('labels', () => {
  expect([port(), port('1.2.3.4'), port('::1')].map(hostPortLabel)).toEqual([
    '8080/tcp',
    '1.2.3.4:8080/tcp',
    '[::1]:8080/tcp',
  ])
})
