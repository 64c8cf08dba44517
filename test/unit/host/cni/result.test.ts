// SPDX-License-Identifier: Apache-2.0
/** Results: across versions, and which of their addresses are the pod's. */
import { describe, expect, test } from 'vitest'
import { addresses, convertResult } from '../../../../src/host/cni/result.ts'

describe('conversion', () => {
  const v040 = {
    cniVersion: '0.4.0',
    ips: [
      { version: '4', address: '10.0.0.2/24', interface: 0 },
      { version: '6', address: 'fd00::2/64', interface: 0 },
    ],
    own: 'kept',
  }
  const v100 = {
    cniVersion: '1.0.0',
    ips: [
      { address: '10.0.0.2/24', interface: 0 },
      { address: 'fd00::2/64', interface: 0 },
    ],
    own: 'kept',
  }
  test('drops and restores the family of an address', () => {
    expect(convertResult(v040, '1.0.0')).toEqual(v100)
    expect(convertResult(v100, '0.4.0')).toEqual(v040)
    expect(convertResult(v040, '0.3.1')).toEqual({ ...v040, cniVersion: '0.3.1' })
  })
  test('drops what came with 1.1', () => {
    const v110 = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'eth0', mac: 'x', mtu: 1500, pciID: 'p', socketPath: 's' }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', priority: 1, table: 2, scope: 0, mtu: 1, advmss: 1 }],
    }
    expect(convertResult(v110, '1.0.0')).toEqual({
      cniVersion: '1.0.0',
      interfaces: [{ name: 'eth0', mac: 'x' }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }],
    })
  })
  test('a result without a version is in that of the list', () => {
    expect(convertResult({ ips: [] }, '1.1.0')).toEqual({ cniVersion: '1.1.0', ips: [] })
    expect(convertResult({ cniVersion: '' }, '0.4.0')).toEqual({ cniVersion: '0.4.0' })
  })
  test.each([
    [{ cniVersion: '0.2.0', ip4: {} }, /of version "0\.2\.0"/],
    [{ cniVersion: 3 }, /of version 3/],
    [{ ip4: { ip: '10.0.0.1/24' } }, /form from before/],
  ])('refuses %j', (result, why) => {
    expect(() => convertResult(result, '1.0.0')).toThrow(why)
  })
})

describe('addresses', () => {
  const interfaces = [
    { name: 'gantry0', mac: '1' },
    { name: 'veth1' },
    { name: 'net1', sandbox: '/n' },
    { name: 'eth0', mac: '2', sandbox: '/n' },
  ]
  test('those of eth0 come first, those on the host do not count', () => {
    const ips = [
      { address: '10.88.0.1/16', interface: 0 },
      { address: '172.16.0.2/24', interface: 2 },
      { address: '10.88.0.2/16', interface: 3 },
      { address: 'fd00::2/64', interface: 3 },
      { address: '10.88.0.2/16', interface: 3 },
    ]
    const found = addresses({ interfaces, ips }, 'eth0')
    expect(found.ips).toEqual(['10.88.0.2', 'fd00::2', '172.16.0.2'])
    expect(found.interfaces[0]).toEqual({ name: 'gantry0', mac: '1', sandbox: undefined })
  })
  test('one that names no interface is the pod’s', () => {
    expect(addresses({ ips: [{ address: '10.1.1.1/32' }] }, 'eth0').ips).toEqual(['10.1.1.1'])
  })
  test.each([
    [{}, /no address/],
    [{ interfaces, ips: [{ address: '10.88.0.1/16', interface: 0 }] }, /no address/],
    [{ interfaces, ips: [{ address: '10.88.0.1/16', interface: 9 }] }, /names interface 9 of 4/],
    [{ interfaces, ips: [{ address: '10.88.0.1/16', interface: -1 }] }, /names interface -1/],
    [{ ips: [{ address: 'nonsense' }] }, /ips\[0\] has no valid address/],
    [{ ips: [7] }, /ips\[0\] has no valid address/],
    [{ interfaces: [{}], ips: [] }, /interfaces\[0\] has no name/],
  ])('refuses %j', (result, why) => {
    expect(() => addresses(result, 'eth0')).toThrow(why)
  })
})
