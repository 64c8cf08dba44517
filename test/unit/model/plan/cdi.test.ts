// SPDX-License-Identifier: Apache-2.0
/** What the edits of CDI devices make of a container's spec. */
import { describe, expect, test } from 'vitest'
import type { CdiDeviceNode, CdiEdits } from '../../../../src/model/cdi.ts'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { withCdi } from '../../../../src/model/plan/spec/cdi.ts'
import type { HostDevice } from '../../../../src/model/plan/spec/devices.ts'
import { type PlanChange, planInputs } from '../../../support/plan-inputs.ts'

const none: CdiEdits = { env: [], deviceNodes: [], mounts: [], hooks: [], additionalGids: [] }
const edited = (edits: Partial<CdiEdits>, change?: PlanChange, devices = new Map<string, HostDevice[]>()) =>
  withCdi(planSpec(planInputs(change)), { ...none, ...edits }, devices)
const at = (more: Partial<CdiDeviceNode>): CdiDeviceNode => ({
  path: '/dev/x',
  hostPath: '/dev/v/x',
  permissions: '',
  ...more,
})
const found: HostDevice = { path: '/dev/v/x', type: 'b', major: 9, minor: 8, mode: 0o600, uid: 4, gid: 5 }

test('without devices the spec is the same', () => {
  const spec = planSpec(planInputs())
  expect(withCdi(spec, undefined, new Map())).toBe(spec)
})

test('variables replace those of image and request, in their place', () => {
  const { process } = edited({ env: ['A=vendor', 'NEW=1=2'] })
  expect(process.env.filter((e) => /^(A|NEW)=/.test(e))).toEqual(['A=vendor', 'NEW=1=2'])
})

test('groups are added once', () => {
  const user = { uid: 7, gid: 7, additionalGids: [7, 44], home: '/' }
  const { process } = edited({ additionalGids: [44, 45] }, { inputs: { user } })
  expect(process.user.additionalGids).toEqual([7, 44, 45])
})

test('hooks are kept in their order, by their kind', () => {
  const hooks = ['createContainer', 'poststop', 'createContainer'] as const
  const spec = edited({ hooks: hooks.map((hookName, i) => ({ hookName, path: `/h${i}`, timeout: 1 })) })
  expect(spec.hooks).toEqual({
    createContainer: [
      { path: '/h0', timeout: 1 },
      { path: '/h2', timeout: 1 },
    ],
    poststop: [{ path: '/h1', timeout: 1 }],
  })
  expect(edited({}).hooks).toBeUndefined()
})

test('a mount replaces what is mounted at the same path, and parents stay before children', () => {
  const mount = (containerPath: string) => ({
    hostPath: '/host',
    containerPath,
    type: 'bind',
    options: ['bind'],
  })
  const paths = ['/etc/hosts', '/deep/er/file', '/deep']
  const { mounts } = edited({ mounts: paths.map(mount) })
  for (const path of paths)
    expect(mounts.filter((m) => m.destination === path)).toEqual([
      { destination: path, type: 'bind', source: '/host', options: ['bind'] },
    ])
  const order = mounts.map((m) => m.destination)
  expect(order.indexOf('/deep')).toBeLessThan(order.indexOf('/deep/er/file'))
  expect(order.indexOf('/dev')).toBeLessThan(order.indexOf('/dev/pts'))
})

describe('a device node', () => {
  test('that says all is taken as it is, and belongs to the process unless it says whose it is', () => {
    const user = { uid: 7, gid: 6, additionalGids: [6], home: '/' }
    const whole = { type: 'c', major: 195, minor: 3 } as const
    const nodes = [
      at(whole),
      at({ ...whole, path: '/dev/y', uid: 1, gid: 2, fileMode: 0o640, permissions: 'r' }),
    ]
    const { linux } = edited({ deviceNodes: nodes }, { inputs: { user } })
    expect(linux.devices).toEqual([
      { path: '/dev/x', ...whole, uid: 7, gid: 6 },
      { path: '/dev/y', ...whole, uid: 1, gid: 2, fileMode: 0o640 },
    ])
    expect(linux.resources.devices?.slice(-2)).toEqual([
      { allow: true, ...whole, access: 'rwm' },
      { allow: true, ...whole, access: 'r' },
    ])
  })

  test('that leaves out what it is gets it from the host, and replaces one of the request', () => {
    const devices = new Map([['/dev/v/x', [found]]])
    const request = [{ hostPath: '/dev/v/x', containerPath: '/dev/x', permissions: 'r' }]
    const change = { config: { devices: request }, inputs: { devices } }
    const { linux } = edited({ deviceNodes: [at({ type: 'b', fileMode: 0o666 })] }, change, devices)
    expect(linux.devices).toEqual([
      { path: '/dev/x', type: 'b', major: 9, minor: 8, uid: 0, gid: 0, fileMode: 0o666 },
    ])
  })

  test('in a user namespace is bound where its path inside is another', () => {
    const ids = { hostId: 7000, length: 65_536 }
    const pod = {
      namespaces: { network: 'pod', pid: 'container', ipc: 'pod', user: { uids: ids, gids: ids } },
    } as const
    const whole = { type: 'c', major: 195, minor: 3 } as const
    const { linux, mounts } = edited(
      { deviceNodes: [at(whole), at({ ...whole, path: '/dev/v/x' })] },
      { pod },
    )
    expect(linux.devices?.map((d) => d.path)).toEqual(['/dev/v/x'])
    expect(mounts.find((m) => m.destination === '/dev/x')).toMatchObject({ type: 'bind', source: '/dev/v/x' })
    expect(linux.resources.devices?.at(-1)).toEqual({ allow: true, ...whole, access: 'rwm' })
  })

  test('a pipe has no rule, an unbuffered device that of a character device', () => {
    const rules = (node: Partial<CdiDeviceNode>) =>
      edited({ deviceNodes: [at(node)] }).linux.resources.devices?.at(-1)
    expect(rules({ type: 'p' })).toEqual(edited({}).linux.resources.devices?.at(-1))
    expect(rules({ type: 'u', major: 1, minor: 2 })).toMatchObject({ type: 'c', major: 1, minor: 2 })
  })

  test.each<[string, HostDevice[], Partial<CdiDeviceNode>, RegExp]>([
    ['is not there', [], {}, /^CDI device node \/dev\/v\/x is not a device of this node$/],
    ['is a folder', [{ ...found, path: '/dev/v/x/y' }], {}, /is not a device/],
    ['is of another kind', [found], { type: 'c' }, /is of type b here, its spec says c/],
  ])('that %s is refused by name', (_what, there, node, why) => {
    expect(() => edited({ deviceNodes: [at(node)] }, {}, new Map([['/dev/v/x', there]]))).toThrow(why)
  })
})
