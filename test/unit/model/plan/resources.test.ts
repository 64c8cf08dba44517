// SPDX-License-Identifier: Apache-2.0
/** Resources and devices of an OCI spec: the rules, and what they never let through. */
import { describe, expect, test } from 'vitest'
import { planSpec } from '../../../../src/model/plan/container.ts'
import type { HostDevice } from '../../../../src/model/plan/spec/devices.ts'
import { placed, planDevices } from '../../../../src/model/plan/spec/devices.ts'
import { ociResources } from '../../../../src/model/plan/spec/resources.ts'
import { noResources, type Resources } from '../../../../src/model/resources.ts'
import { planInputs } from '../../../support/plan-inputs.ts'

const v2 = { cgroupVersion: 2 as const, swapAccounting: true, hugepageSizes: ['2MB', '1GB'] }
const plan = (r: Partial<Resources>, facts: Partial<Parameters<typeof ociResources>[1]> = {}) =>
  ociResources({ ...noResources, ...r }, { ...v2, ...facts })

describe('resources', () => {
  test.each([
    ['nothing', {}, {}],
    ['a limit: no swap beyond it', { memoryLimitBytes: 10n }, { memory: { limit: 10, swap: 10 } }],
    [
      'a limit and more swap',
      { memoryLimitBytes: 10n, memorySwapLimitBytes: 15n },
      { memory: { limit: 10, swap: 15 } },
    ],
    [
      'unlimited swap',
      { memoryLimitBytes: 10n, memorySwapLimitBytes: -1n },
      { memory: { limit: 10, swap: -1 } },
    ],
    ['no limit at all', { memoryLimitBytes: -1n }, { memory: { limit: -1, swap: -1 } }],
    [
      'cpu',
      { cpuPeriod: 100n, cpuQuota: -1n, cpuShares: 2n, cpusetCpus: '0-1', cpusetMems: '0' },
      { cpu: { period: 100, quota: -1, shares: 2, cpus: '0-1', mems: '0' } },
    ],
    ['v2 files', { unified: { 'memory.high': '5' } }, { unified: { 'memory.high': '5' } }],
    [
      'huge pages, the last of a size',
      {
        hugepages: [
          { pageSize: '2MB', limitBytes: 1n },
          { pageSize: '2MB', limitBytes: 2n },
        ],
      },
      { hugepageLimits: [{ pageSize: '2MB', limit: 2 }] },
    ],
    ['none of a size that is not there', { hugepages: [{ pageSize: '16GB', limitBytes: 0n }] }, {}],
  ])('%s', (_what, r, wanted) => {
    expect(plan(r)).toEqual(wanted)
  })

  test('a limit for swap alone is refused: it would be ignored', () => {
    expect(() => ociResources({ ...noResources, memorySwapLimitBytes: 5n }, v2)).toThrow(
      /needs memory_limit_in_bytes/,
    )
  })

  test('without swap accounting nothing is said of swap', () => {
    const r = { memoryLimitBytes: 10n, memorySwapLimitBytes: 5n }
    expect(plan(r, { swapAccounting: false })).toEqual({ memory: { limit: 10 } })
  })

  test.each([
    [
      'swap below the limit',
      { memoryLimitBytes: 10n, memorySwapLimitBytes: 5n },
      {},
      /is below memory_limit/,
    ],
    ['a size that is not there', { hugepages: [{ pageSize: '3MB', limitBytes: 1n }] }, {}, /3MB.*2MB, 1GB/],
    ['v2 files on v1', { unified: { a: 'b' } }, { cgroupVersion: 1 as const }, /need cgroup v2/],
    [
      'a number beyond what JSON holds',
      { memoryLimitBytes: 2n ** 60n },
      {},
      /memory_limit_in_bytes .*out of range/,
    ],
    ['a number below -1', { cpuQuota: -2n }, {}, /cpu_quota -2 is out of range/],
  ])('%s is refused', (_what, r, facts, why) => {
    expect(() => plan(r, facts)).toThrow(why)
  })
})

describe('devices', () => {
  const device = (path: string, minor: number): HostDevice => ({
    path,
    type: 'c',
    major: 10,
    minor,
    mode: 0o20666,
    uid: 0,
    gid: 5,
  })
  const wanted = (hostPath: string, containerPath: string, permissions = '') => ({
    hostPath,
    containerPath,
    permissions,
  })

  test('everything is denied first, then the harmless ones are let through', () => {
    const { rules, nodes } = planDevices([], new Map(), undefined)
    expect(rules[0]).toEqual({ allow: false, access: 'rwm' })
    expect(rules).toContainEqual({ allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' })
    expect(nodes).toEqual([])
  })

  test('a device gets a node and a rule with its permissions, all of them when none are said', () => {
    const found = new Map([['/dev/a', [device('/dev/a', 1)]]])
    const { nodes, rules } = planDevices([wanted('/dev/a', '/dev/b', 'r')], found, undefined)
    expect(nodes).toEqual([
      { path: '/dev/b', type: 'c', major: 10, minor: 1, fileMode: 0o666, uid: 0, gid: 5 },
    ])
    expect(rules.at(-1)).toEqual({ allow: true, type: 'c', major: 10, minor: 1, access: 'r' })
    expect(planDevices([wanted('/dev/a', '/dev/b')], found, undefined).rules.at(-1)?.access).toBe('rwm')
  })

  test('a folder gives all that are in it, below the container’s folder', () => {
    const found = new Map([['/dev/d', [device('/dev/d/x', 1), device('/dev/d/s/y', 2)]]])
    const { nodes } = planDevices([wanted('/dev/d', '/dev/e')], found, undefined)
    expect(nodes.map((n) => n.path)).toEqual(['/dev/e/x', '/dev/e/s/y'])
  })

  test('privileged: all devices of the host, and one rule that allows everything', () => {
    const { nodes, rules } = planDevices([], new Map(), [device('/dev/a', 1), device('/dev/b', 2)])
    expect([nodes.map((n) => n.path), rules]).toEqual([
      ['/dev/a', '/dev/b'],
      [{ allow: true, access: 'rwm' }],
    ])
  })

  test('privileged without the node’s devices: none of them, and leave to use any, or neither', () => {
    const planned = (privilegedDevices?: 'allowed' | 'own') =>
      planSpec(
        planInputs({
          security: { privileged: true },
          pod: { privileged: true },
          handler: privilegedDevices ? { privilegedDevices } : {},
          inputs: { hostDevices: privilegedDevices ? [] : [device('/dev/a', 1)] },
        }),
      ).linux
    expect(planned().devices?.map((d) => d.path)).toEqual(['/dev/a'])
    expect([planned('allowed').devices, planned('own').devices]).toEqual([undefined, undefined])
    const any = [{ allow: true, access: 'rwm' }]
    expect([planned().resources.devices, planned('allowed').resources.devices]).toEqual([any, any])
    expect(planned('own').resources.devices).toEqual(planDevices([], new Map(), undefined).rules)
  })

  test('in a user namespace one with another path inside is bound, as runtimes take its path for the host’s', () => {
    const found = new Map([['/dev/a', [device('/dev/a', 1)]]])
    const plan = planDevices([wanted('/dev/a', '/dev/b'), wanted('/dev/a', '/dev/a')], found, undefined)
    expect(placed(plan, false)).toEqual({ ...plan, mounts: [] })
    const { nodes, mounts, rules } = placed(plan, true)
    expect([nodes.map((n) => n.path), rules]).toEqual([['/dev/a'], plan.rules])
    expect(mounts).toMatchObject([{ destination: '/dev/b', type: 'bind', source: '/dev/a' }])
  })

  test('a path that is no device is refused by name', () => {
    expect(() => planDevices([wanted('/etc', '/etc')], new Map([['/etc', []]]), undefined)).toThrow(
      'device /etc',
    )
  })
})
